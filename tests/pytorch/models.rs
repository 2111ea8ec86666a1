//! The VAE as a whole: against trajectories that PyTorch recorded, and against formulas that need no training.
//! What the golden files hold and how they were made: golden/README.md.

use elbo::arena::Arena;
use elbo::backend::cpu::Cpu;
use elbo::backend::{Backend, Device};
use elbo::cases::{Case, Tolerance, uniform};
use elbo::check::case;
use elbo::data::table::{Columns, PICTURES};
use elbo::kernels::activation::{self, Activation};
use elbo::kernels::clock::Clock;
use elbo::kernels::gaussian_kl;
use elbo::kernels::random::host_normal;
use elbo::kernels::rows::Rows;
use elbo::layers::Mode;
use elbo::models::Model;
use elbo::models::batch::{Augmentation, Batch, Source};
use elbo::models::draw::Draw;
use elbo::models::parts::likelihood::Likelihood;
use elbo::models::parts::networks::{Head, Networks};
use elbo::models::vae::{Config, Vae};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::settings::{Optimizer, Reduction, Settings};

use crate::common::golden::{Golden, assert_none, check, check_relative};
use crate::common::trajectory::{Trajectory, settings};

// ---- Golden trajectories

const TRAJECTORIES: [&str; 6] = [
    "mlp_split_bce_adam",
    "mlp_fused_bce_adam",
    "mlp_split_adam_l2",
    "mlp_split_adam_l2_strong",
    "mlp_deep_gaussian_adamw",
    "mlp_sgd_clip",
];

/// How far PyTorch's float32 is from float64: 1e-7 in the loss, 1.2e-6 in a gradient (relative to the largest of its
/// tensor), 1.2e-7 in a parameter. The CPU device comes as near; the rest is room for WGSL's exp and division.
const GRADIENT: Tolerance = Tolerance::Because(1e-5, "eight times PyTorch's distance from float64");
/// Adam's step is lr * g / |g| in size: ten steps of lr 1e-2 turn a gradient's 1e-5 into 1e-6 at the most.
const PARAMETER: Tolerance = Tolerance::Because(1e-6, "ten steps of lr times the gradient's relative error");

/// After each of the ten steps the losses, every gradient and every parameter.
fn follow(name: &str, device: &Device) -> Vec<String> {
    let mut t = Trajectory::new(name, device);
    let mut failures = Vec::new();
    for s in 0..t.steps {
        let after = t.step(s, &mut failures);
        for (name, (shape, gradient)) in &after.gradients.tensors {
            let want = |kind: &str| t.golden.tensor(&format!("{kind}.{s}.{name}"), shape);
            let what = |kind: &str| format!("step {s} {kind} {name}");
            check_relative(what("gradient"), gradient, want("grad"), GRADIENT, &mut failures);
            let (_, parameter) = &after.parameters.tensors[name];
            check(what("parameter"), parameter, want("param"), PARAMETER, &mut failures);
        }
    }
    // init, grad and param of each step, final, and what the steps are given and lose: nothing in the file is left out.
    let recorded = t.replay.arena.parameters().len() * (2 * t.steps + 2) + 5 + t.settings.clip_norm.is_some() as usize;
    assert_eq!(t.golden.file.tensors.len(), recorded, "{name}");
    failures
}

#[test]
fn ten_steps_of_training_follow_pytorch() {
    for (device_name, device) in crate::common::devices() {
        for name in TRAJECTORIES {
            assert_none(&format!("{name} on {device_name}"), &follow(name, &device));
        }
    }
}

/// The golden files between them use every choice the optimiser and the model have.
#[test]
fn the_trajectories_cover_the_settings() {
    let of = |name: &&str| {
        let settings = settings(&Golden::read(name));
        let config: Config = settings.own.clone().try_into().unwrap();
        (settings, config)
    };
    let all: Vec<(Settings, Config)> = TRAJECTORIES.iter().map(of).collect();
    let any = |wanted: fn(&Settings) -> bool| all.iter().any(|(settings, _)| wanted(settings));
    let any_model = |wanted: fn(&Config) -> bool| all.iter().any(|(_, config)| wanted(config));
    for optimizer in [Optimizer::Adam, Optimizer::AdamW, Optimizer::Sgd] {
        assert!(all.iter().any(|(s, _)| s.optimizer == optimizer), "{optimizer:?}");
    }
    assert!(any_model(|c| c.networks.head == Head::Fused) && any_model(|c| c.networks.head == Head::Split));
    let output = |wanted| all.iter().any(|(_, config)| config.networks.output == wanted);
    assert!(output(Likelihood::Gaussian) && output(Likelihood::Bernoulli));
    assert!(any(|s| s.reduction == Reduction::Mean) && any(|s| s.reduction == Reduction::Sum));
    assert!(any_model(|c| c.networks.hidden.len() > 1) && any_model(|c| c.divergence.kl_weight != 1.0));
    assert!(any(|s| s.clip_norm.is_some()));
    assert!(any(|s| s.optimizer == Optimizer::Adam && s.weight_decay > 0.0));
}

#[test]
fn activations_follow_pytorch() {
    // exp by WGSL's table errs by 3 + 2|x| ulp, which counts where it is not small, |x| < 20: 5e-6; erf by polynomial.
    let tolerance = Tolerance::Because(5e-6, "exp and erf as WGSL's precision allows");
    let golden = Golden::read("activations");
    let tensor = |name: &str| golden.tensor(name, &[7, 13]);
    let mut failures = Vec::new();
    for (device_name, device) in crate::common::devices() {
        for act in Activation::ALL.into_iter().filter(|&act| act != Activation::Identity) {
            let name = toml::Value::try_from(act).unwrap().as_str().unwrap().to_string();
            let what = |kind: &str| format!("{name}.{kind} on {device_name}");
            let params = [91u32, act as u32];
            let forward = Case::new("golden", params).read(tensor("x").to_vec()).assign(91, tolerance);
            let y = case::run(&device, &activation::FORWARD, &forward).unwrap()[0][..91].to_vec();
            check(what("y"), &y, tensor(&format!("{name}.y")), tolerance, &mut failures);
            let saved = if act.saves_output() { y } else { tensor("x").to_vec() };
            let backward = Case::new("golden", params).read(saved).read(tensor("dy").to_vec()).assign(91, tolerance);
            let dx = &case::run(&device, &activation::BACKWARD, &backward).unwrap()[0][..91];
            check(what("dx"), dx, tensor(&format!("{name}.dx")), tolerance, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(golden.file.tensors.len(), 2 + 2 * (Activation::ALL.len() - 1));
}

// ---- Closed forms

/// Mean and its standard error.
fn estimate(samples: &[f64]) -> [f64; 2] {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
    [mean, (variance / n).sqrt()]
}

/// KL(q || p) = E_q[log q(z) - log p(z)], estimated with 100 000 samples a dimension.
#[test]
fn gaussian_kl_is_what_sampling_estimates() {
    const PAIRS: [[f32; 2]; 6] = [[0.0, 0.3], [0.5, 0.0], [-1.2, -0.7], [2.0, 1.0], [0.1, -3.0], [-3.0, 0.5]];
    let arena = &mut Arena::new();
    let (mean, logvar) = (arena.tensor("mean", &[1, PAIRS.len()]), arena.tensor("logvar", &[1, PAIRS.len()]));
    let mut r = Recorder::new(arena);
    let kl = gaussian_kl::loss(&mut r, mean, logvar, 0.0);
    let program = r.finish("kl");
    let mut backend = Device::Cpu(Cpu::Reference).backend();
    let loaded = backend.load(arena, &program).unwrap();
    backend.write(mean, &PAIRS.map(|[mean, _]| mean));
    backend.write(logvar, &PAIRS.map(|[_, logvar]| logvar));
    backend.run(&[(loaded, 1)]).unwrap();

    for (site, ([mean, logvar], kl)) in PAIRS.into_iter().zip(backend.read_one(kl).unwrap()).enumerate() {
        let [mean, logvar, kl] = [mean, logvar, kl].map(f64::from);
        // log q - log p = (z^2 - noise^2 - logvar) / 2: the log(2 pi) / 2 of the two densities cancel.
        let sample = |noise: f32| {
            let z = mean + (0.5 * logvar).exp() * noise as f64;
            0.5 * (z * z - (noise as f64).powi(2) - logvar)
        };
        let [sampled, error] =
            estimate(&host_normal(7, site as u32, 100_000).into_iter().map(sample).collect::<Vec<_>>());
        assert!((kl - sampled).abs() < 4.0 * error, "N({mean}, e^{logvar}): {kl}, sampled {sampled} +- {error}");
    }
}

/// log N(x; mean, covariance) in nats, by Cholesky: covariance = L L^T, y = L^-1 (x - mean).
fn log_density(x: &[f64], mean: &[f64], covariance: &[Vec<f64>]) -> f64 {
    let d = x.len();
    let mut l = vec![vec![0.0; d]; d];
    let mut y = vec![0.0; d];
    for i in 0..d {
        for j in 0..=i {
            let rest = covariance[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
        }
        y[i] = (x[i] - mean[i] - (0..i).map(|k| l[i][k] * y[k]).sum::<f64>()) / l[i][i];
    }
    let log_determinant: f64 = 2.0 * (0..d).map(|i| l[i][i].ln()).sum::<f64>();
    -0.5 * (d as f64 * (2.0 * std::f64::consts::PI).ln() + log_determinant + y.iter().map(|v| v * v).sum::<f64>())
}

#[test]
fn log_density_of_a_plane_normal() {
    // Variances 4 and 9, correlation 0.5, at one standard deviation each:
    // -log(2 pi 2 3 sqrt(3)/2) - (1 + 1 - 2 * 0.5) / (2 * 0.75).
    let want = -(2.0 * std::f64::consts::PI * 6.0 * 0.75f64.sqrt()).ln() - 1.0 / 1.5;
    let got = log_density(&[3.0, 2.0], &[1.0, -1.0], &[vec![4.0, 3.0], vec![3.0, 9.0]]);
    assert!((got - want).abs() < 1e-12, "{got} {want}");
}

/// Probabilistic PCA (Tipping & Bishop 1999) as a VAE without nonlinearities: z ~ N(0, 1), x = W z + b + N(0, sigma^2).
/// The evidence is log N(x; b, W W^T + sigma^2 1). With orthogonal columns of W the posterior is diagonal, so a VAE's q
/// can be exactly it: N(V_j w_j^T (x - b) / sigma^2, V_j), V_j = sigma^2 / (sigma^2 + |w_j|^2).
mod linear {
    pub const D: usize = 6;
    pub const Z: usize = 2;
    pub const SIGMA: f64 = 0.6;
    /// (D,Z), orthogonal columns of different length.
    pub const W: [[f64; Z]; D] = [[0.9, 0.4], [0.9, -0.4], [0.9, 0.4], [0.9, -0.4], [0.9, 0.4], [0.9, -0.4]];
    pub const B: [f64; D] = [0.3, -0.2, 0.5, 0.0, 1.1, -0.7];

    pub fn posterior_variance(j: usize) -> f64 {
        SIGMA * SIGMA / (SIGMA * SIGMA + W.iter().map(|w| w[j] * w[j]).sum::<f64>())
    }
}

/// The pPCA model on a device, its encoder the exact posterior but for `shift` added to the mean and `widen` to the
/// logvar.
struct LinearVae {
    backend: Backend,
    program: elbo::backend::Loaded,
    x: Tensor,
    noise: Tensor,
    recon: Tensor,
    kl: Tensor,
}

impl LinearVae {
    fn new(device: &Device, rows: usize, shift: f64, widen: f64) -> LinearVae {
        use linear::{B, D, SIGMA, W, Z};
        let networks = Networks {
            encoder: None,
            decoder: None,
            hidden: vec![Z],
            latent: Z,
            head: Head::Split,
            activation: Activation::Identity,
            output: Likelihood::Gaussian,
            sigma: SIGMA,
        };
        let config = Config { networks, ..Config::default() };
        let arena = &mut Arena::new();
        let model = Vae::open(arena, config, &Columns::of_pictures([1, 1, D], 0)).unwrap();
        let (x, clock) = (arena.tensor("x", &[rows, D]), Clock::tensor(arena, "clock", 1));
        let batch = Batch {
            rows,
            clock,
            mode: Mode::Evaluate,
            weight: Rows::Scale(1.0),
            order: None,
            columns: vec![(PICTURES.into(), Source::Given(x))],
            augmentation: Augmentation::default(),
            longest: 0,
        };
        let mut draw = Draw::Given(Vec::new());
        let mut r = Recorder::new(arena);
        let [recon, kl] = model.evaluate(&mut r, &batch, &mut draw).try_into().expect("a VAE has two terms");
        let program = r.finish("linear");
        let Draw::Given(noise) = draw else { unreachable!("it was given") };
        let &[(noise, _)] = &noise[..] else { panic!("one z is drawn a row") };
        assert_eq!(noise.shape(), [rows, Z]);
        let mut backend = device.backend();
        let program = backend.load(arena, &program).unwrap();

        let diagonal = |value: &dyn Fn(usize) -> f64| {
            (0..Z * Z).map(|i| if i / Z == i % Z { value(i / Z) } else { 0.0 }).collect::<Vec<f64>>()
        };
        let variance = linear::posterior_variance;
        let column = |j: usize| W.map(|w| w[j]);
        for (name, values) in [
            // h = W^T (x - b)
            ("fc1.weight", (0..Z).flat_map(column).collect::<Vec<f64>>()),
            ("fc1.bias", (0..Z).map(|j| -column(j).iter().zip(B).map(|(w, b)| w * b).sum::<f64>()).collect()),
            // mean = V h / sigma^2, logvar = log V
            ("fc21.weight", diagonal(&|j| variance(j) / (SIGMA * SIGMA))),
            ("fc21.bias", vec![shift; Z]),
            ("fc22.weight", vec![0.0; Z * Z]),
            ("fc22.bias", (0..Z).map(|j| variance(j).ln() + widen).collect()),
            // y = W z + b
            ("fc3.weight", diagonal(&|_| 1.0)),
            ("fc3.bias", vec![0.0; Z]),
            ("fc4.weight", W.concat()),
            ("fc4.bias", B.to_vec()),
        ] {
            let parameter = arena.parameters().iter().find(|p| p.name == name).unwrap();
            backend.write(parameter.value, &values.iter().map(|&v| v as f32).collect::<Vec<f32>>());
        }
        assert_eq!(arena.parameters().len(), 10);
        LinearVae { backend, program, x, noise, recon, kl }
    }

    /// -log p(x|z) of each row's z, and the KL of one row, in nats.
    fn evaluate(&mut self, x: &[f64], noise: &[f32]) -> (Vec<f64>, f64) {
        let rows = self.recon.len();
        let row: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        self.backend.write(self.x, &row.repeat(rows));
        self.backend.write(self.noise, noise);
        self.backend.run(&[(self.program, 1)]).unwrap();
        let [recon, kl] = self.backend.read(&[self.recon, self.kl]).unwrap().try_into().expect("two were asked for");
        let kl: f64 = kl.iter().map(|&v| v as f64).sum::<f64>() / rows as f64;
        (recon.into_iter().map(f64::from).collect(), kl)
    }
}

fn evidence(x: &[f64]) -> f64 {
    use linear::{B, D, SIGMA, W, Z};
    let element =
        |i: usize, j: usize| (0..Z).map(|k| W[i][k] * W[j][k]).sum::<f64>() + if i == j { SIGMA * SIGMA } else { 0.0 };
    let covariance: Vec<Vec<f64>> = (0..D).map(|i| (0..D).map(|j| element(i, j)).collect()).collect();
    log_density(x, &B, &covariance)
}

/// A likely x, a less likely one and a far one.
fn points() -> Vec<Vec<f64>> {
    [0.5, 1.5, 4.0]
        .iter()
        .map(|&reach| uniform(9, linear::D, -1.0, 1.0).into_iter().map(|v| reach * v as f64).collect())
        .collect()
}

const ROWS: usize = 4096;

/// p(x) = p(x|z) p(z) / p(z|x) for any z: with the exact posterior each single sample gives the evidence.
#[test]
fn the_exact_posterior_gives_the_evidence_from_every_sample() {
    for (name, device) in crate::common::devices() {
        let mut vae = LinearVae::new(&device, ROWS, 0.0, 0.0);
        for x in points() {
            let noise = host_normal(3, 1, ROWS * linear::Z);
            let (recon, _) = vae.evaluate(&x, &noise);
            let evidence = evidence(&x);
            for (recon, noise) in recon.iter().zip(noise.chunks(linear::Z)) {
                let mut log_weight = -recon;
                for j in 0..linear::Z {
                    let (variance, noise) = (linear::posterior_variance(j), noise[j] as f64);
                    let centred = (0..linear::D).map(|i| linear::W[i][j] * (x[i] - linear::B[i]));
                    let mean = variance / (linear::SIGMA * linear::SIGMA) * centred.sum::<f64>();
                    let z = mean + variance.sqrt() * noise;
                    // log p(z) - log q(z|x), without the log(2 pi) / 2 that cancels.
                    log_weight += 0.5 * (noise * noise + variance.ln() - z * z);
                }
                // z carries an error of 1e-6 through errors y - x of up to 5 over sigma^2 = 0.36; recon, up to 100,
                // rounds.
                let bound = 1e-6 * (1.0 + recon.abs()) * 4.0 + 2e-5;
                assert!((log_weight - evidence).abs() < bound, "{name}: {log_weight}, evidence {evidence}");
            }
        }
    }
}

/// E_q[log p(x|z)] - KL(q || p(z)) = log p(x) - KL(q || p(z|x)): the evidence with the exact posterior, less with
/// another.
#[test]
fn the_elbo_is_the_evidence_less_the_posteriors_divergence() {
    for (name, device) in crate::common::devices() {
        for (shift, widen) in [(0.0, 0.0), (0.15, 0.0), (0.0, 0.8), (-0.1, -0.7)] {
            let mut vae = LinearVae::new(&device, ROWS, shift, widen);
            let divergence: f64 = (0..linear::Z)
                .map(|j| 0.5 * (widen.exp() + shift * shift / linear::posterior_variance(j) - 1.0 - widen))
                .sum();
            for (site, x) in points().iter().enumerate() {
                let (recon, kl) = vae.evaluate(x, &host_normal(4, site as u32, ROWS * linear::Z));
                let [recon, error] = estimate(&recon);
                let (elbo, evidence) = (-recon - kl, evidence(x));
                let (low, high) = (elbo - 4.0 * error, elbo + 4.0 * error);
                let label = format!("{name}, q off by {shift}, {widen}: ELBO {elbo} +- {error}, evidence {evidence}");
                assert!(error < 0.05, "{label}");
                assert!(low < evidence - divergence && evidence - divergence < high, "{label}, less {divergence}");
                assert!(divergence == 0.0 || high < evidence, "{label}: not below the evidence");
            }
        }
    }
}
