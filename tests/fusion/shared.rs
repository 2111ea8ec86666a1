//! Programs in which a rule's sequence is there and its preconditions are not: weights that several layers share,
//! losses that more than the tally reads. No rule may take them for what they look like.

use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::cases::Tolerance;
use elbo::check::close;
use elbo::fusion::{Fusion, fuse};
use elbo::kernels::activation::Activation;
use elbo::kernels::clock::{self, Clock};
use elbo::kernels::{bce, fill, gaussian_kl, joint, mse, random, reparameterise};
use elbo::layers::linear::Linear;
use elbo::program::{Program, Recorder};
use elbo::tensor::Tensor;

/// Rows, and features of every layer but the latent one.
const B: usize = 12;
const WIDTH: usize = 20;
const LATENT: usize = 4;

/// A recorded program, what it reads and what it leaves.
struct Example {
    arena: Arena,
    program: Program,
    /// (B,WIDTH) in [0,1]
    x: Tensor,
    clock: Tensor,
    /// What is compared beside the gradients.
    results: Vec<Tensor>,
    /// The first buffer of the arena that only the program uses.
    first: usize,
}

/// A program over layers of these inputs, outputs and activations that clears the gradients first. `record` gets the
/// layers, x and the clock, and returns the results.
fn example(
    layers: &[(usize, usize, Activation)],
    record: impl FnOnce(&mut Recorder, &[Linear], [Tensor; 2]) -> Vec<Tensor>,
) -> Example {
    let mut arena = Arena::new();
    let named = layers.iter().enumerate();
    let layers: Vec<Linear> =
        named.map(|(n, &(i, o, activation))| Linear::new(&mut arena, &format!("layer{n}"), i, o, activation)).collect();
    let x = arena.tensor("x", &[B, WIDTH]);
    let clock = Clock::tensor(&mut arena, "clock", 3);
    let (first, gradients) = (arena.buffers().len(), arena.flat_gradients());
    let mut r = Recorder::new(&mut arena);
    fill::forward(&mut r, gradients, 0.0);
    let results = record(&mut r, &layers, [x, clock]);
    let program = r.finish("example");
    Example { arena, program, x, clock, results, first }
}

impl Example {
    /// Results and gradients after two replays: what is not cleared shows in the second.
    fn run(&self, device: &Device) -> Vec<Vec<f32>> {
        let mut backend = device.backend();
        let loaded = backend.load(&self.arena, &self.program).unwrap();
        let numbers = |n: usize, low: f32, high: f32| -> Vec<f32> {
            (0..n).map(|i| low + (high - low) * (i * 37 % 101) as f32 / 100.0).collect()
        };
        let parameters = self.arena.flat_parameters();
        backend.write(parameters, &numbers(parameters.len(), -0.2, 0.2));
        backend.write(self.x, &numbers(B * WIDTH, 0.0, 1.0));
        backend.write_words(self.clock, &Clock::example().words());
        backend.run(&[(loaded, 2)]).unwrap();
        let kept: Vec<Tensor> = self.results.iter().copied().chain([self.arena.flat_gradients()]).collect();
        backend.read(&kept).unwrap()
    }

    /// On every device the fused program leaves what the recorded one does, and none of these kernels is in it.
    #[track_caller]
    fn stays_without(self, kernels: &[&str]) {
        for (name, device) in super::devices() {
            let mut arena = self.arena.clone();
            let program = fuse(&mut arena, self.program.clone(), Fusion::of(&device), self.first);
            let fused: Vec<&str> = program.steps.iter().map(|step| step.kernel.name).collect();
            assert!(!fused.iter().any(|kernel| kernels.contains(kernel)), "on the {name}: {fused:?}");
            let want = self.run(&device);
            assert!(want.iter().all(|values| values.iter().any(|v| *v != 0.0)), "the recorded program leaves zeros");
            let got = Example { arena, program, results: self.results.clone(), ..self }.run(&device);
            let tolerance = Tolerance::Because(2e-5, "sums of some hundred products in another order");
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                close::compare(got, want, tolerance)
                    .unwrap_or_else(|e| panic!("tensor {i} on the {name}: {fused:?}: {e}"));
            }
        }
    }
}

/// The same layer twice, then one of its own: what is not shared may still be fused.
#[test]
fn a_layer_that_is_used_twice_sums_its_gradients() {
    let sizes = [(WIDTH, WIDTH, Activation::Relu), (WIDTH, WIDTH, Activation::Identity)];
    let record = |r: &mut Recorder, layers: &[Linear], [x, _]: [Tensor; 2]| {
        let (h, first) = layers[0].forward(r, x);
        let (h, second) = layers[0].forward(r, h);
        let (y, last) = layers[1].forward(r, h);
        let recon = mse::loss(r, y, x, 1.0);
        let dy = mse::backward(r, y, x, 1.0, 1.0);
        let dh = layers[1].backward(r, last, dy);
        let dh = layers[0].backward(r, second, dh);
        layers[0].backward_parameters(r, first, dh);
        vec![recon]
    };
    let shared = example(&sizes, record);
    let mut arena = shared.arena.clone();
    let program = fuse(&mut arena, shared.program.clone(), Fusion::Full, shared.first);
    let count = |name: &str| program.steps.iter().filter(|step| step.kernel.name == name).count();
    assert_eq!(
        [count("fill.forward"), count("matmul.backward_w")],
        [1, 2],
        "the shared gradients are cleared, then added"
    );
    assert_eq!(count("fused_linear.backward"), 1, "the last layer is fused");
    shared.stays_without(&[]);
}

/// Where the clearing is gone although one bias is shared, its gradient grows from step to step.
#[test]
fn three_uses_of_a_layer_sum_their_gradients() {
    example(&[(WIDTH, WIDTH, Activation::Tanh)], |r, layers, [x, _]| {
        let (mut h, mut saved) = (x, Vec::new());
        for _ in 0..3 {
            let (y, s) = layers[0].forward(r, h);
            saved.push(s);
            h = y;
        }
        let recon = mse::loss(r, h, x, 1.0);
        let mut dy = mse::backward(r, h, x, 1.0, 1.0);
        while let Some(s) = saved.pop() {
            dy = layers[0].backward(r, s, dy);
        }
        vec![recon, dy]
    })
    .stays_without(&["fused_linear.backward", "fused_weights.backward"]);
}

/// A VAE's middle and loss. `heads` are the layers of mean and logvar; `readers` may read recon and kl, and says what.
fn vae(
    r: &mut Recorder,
    layers: &[Linear],
    heads: [usize; 2],
    [x, clock]: [Tensor; 2],
    readers: impl FnOnce(&mut Recorder, [Tensor; 2]) -> Vec<Tensor>,
) -> Vec<Tensor> {
    let [encoder, mean, logvar, decoder, output] = [0, heads[0], heads[1], 3, 4].map(|i| &layers[i]);
    let noise = random::normal(r, clock, &[B, LATENT]);
    let (h, encoded) = encoder.forward(r, x);
    let (m, saved_mean) = mean.forward(r, h);
    let (v, saved_logvar) = logvar.forward(r, h);
    let z = reparameterise::forward(r, m, v, noise);
    let (h, decoded) = decoder.forward(r, z);
    let (y, put_out) = output.forward(r, h);
    let recon = bce::loss(r, y, x);
    let kl = gaussian_kl::loss(r, m, v, 0.0);
    let dy = bce::backward(r, y, x, 1.0);
    let (dm, dv) = gaussian_kl::backward(r, [m, v, kl], clock, 1.0, 0.0);
    let dh = output.backward(r, put_out, dy);
    let dz = decoder.backward(r, decoded, dh);
    reparameterise::backward(r, v, noise, dz, dm, dv);
    let dh = mean.backward(r, saved_mean, dm);
    logvar.backward_into(r, saved_logvar, dv, dh);
    encoder.backward_parameters(r, encoded, dh);
    let mut results = readers(r, [recon, kl]);
    let losses = r.tensor("losses", &[3, 4]);
    clock::tally(r, B, &[recon, kl], clock, losses);
    results.push(losses);
    results
}

const VAE: [(usize, usize, Activation); 5] = [
    (WIDTH, WIDTH, Activation::Relu),
    (WIDTH, LATENT, Activation::Identity),
    (WIDTH, LATENT, Activation::Identity),
    (LATENT, WIDTH, Activation::Relu),
    (WIDTH, WIDTH, Activation::Identity),
];

fn nobody(_: &mut Recorder, _: [Tensor; 2]) -> Vec<Tensor> {
    Vec::new()
}

/// The sequence of the tests below is one that the rules take where nothing is shared.
#[test]
fn a_middle_of_its_own_is_fused() {
    let example = example(&VAE, |r, layers, inputs| vae(r, layers, [1, 2], inputs, nobody));
    let mut arena = example.arena.clone();
    let program = fuse(&mut arena, example.program.clone(), Fusion::Full, example.first);
    let kernels: Vec<&str> = program.steps.iter().map(|step| step.kernel.name).collect();
    for kernel in ["fused_latent.forward", "fused_latent.backward", "matmul_bce.forward", "fused_weights.backward"] {
        assert!(kernels.contains(&kernel), "{kernel} is not in {kernels:?}");
    }
    example.stays_without(&[]);
}

#[test]
fn heads_that_share_their_weights_are_left_alone() {
    example(&VAE, |r, layers, inputs| vae(r, layers, [1, 1], inputs, nobody))
        .stays_without(&["fused_latent.forward", "fused_latent.backward"]);
}

/// As importance weights will: recon has a number a row, kl one a dimension, and whoever reads them counts on it.
#[test]
fn losses_with_a_second_reader_keep_their_shape() {
    let doubled =
        |r: &mut Recorder, [recon, kl]: [Tensor; 2]| vec![joint::scale(r, recon, 2.0), joint::scale(r, kl, 2.0)];
    example(&VAE, |r, layers, inputs| vae(r, layers, [1, 2], inputs, doubled))
        .stays_without(&["fused_latent.forward", "matmul_bce.forward"]);
}
