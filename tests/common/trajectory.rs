//! The ten training steps of a golden file, taken on a device: the same weights, batches and noise.

use elbo::backend::Device;
use elbo::cases::Tolerance;
use elbo::data::table::Columns;
use elbo::instruments::replay::{Replay, Taken};
use elbo::models::presets;
use elbo::train::settings::Settings;

use super::golden::{Golden, check, initial_by_formula};

const LOSS: Tolerance = Tolerance::Because(1e-6, "sums of 333 terms and more, each in its own order");
const KL: Tolerance = Tolerance::Because(1e-5, "15 terms and more whose parts of size 1 cancel, e^logvar to 3 ulp");

/// A recorded run, on a device and before its first step.
pub struct Trajectory {
    pub golden: Golden,
    pub settings: Settings,
    pub steps: usize,
    pub batch: usize,
    pub replay: Replay,
}

/// The settings that a golden file's metadata names; a key that does not apply there keeps the preset's value.
pub fn settings(golden: &Golden) -> Settings {
    let all = |key: &str| golden.file.metadata[key].clone();
    let quoted = |text: &str| format!("'{text}'");
    let listed = |text: &str| format!("[{text}]");
    let mut keys: Vec<(&str, String)> = vec![
        ("latent", all("latent")),
        // Listed networks leave mean and logvar themselves.
        ("head", quoted(golden.text("head").unwrap_or("direct"))),
        ("output", quoted(if all("output") == "bce" { "bernoulli" } else { golden.text("output").unwrap() })),
        ("reduction", quoted(&all("reduction"))),
        ("kl_weight", all("kl_weight")),
        ("optimizer", quoted(&all("optimizer"))),
        ("lr", all("lr")),
        ("weight_decay", all("weight_decay")),
        ("batch_size", all("batch")),
    ];
    let given = |key| golden.text(key).map(|text| (key, text.to_string()));
    keys.extend(["sigma", "eps", "momentum", "clip_norm"].into_iter().filter_map(given));
    keys.extend(["hidden", "betas"].into_iter().filter_map(given).map(|(key, text)| (key, listed(&text))));
    let texts = ["encoder", "decoder", "activation"].into_iter().filter_map(given);
    keys.extend(texts.map(|(key, text)| (key, quoted(&text))));
    let text: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    Settings::of_preset(presets::DEFAULT).unwrap().with(&text).unwrap()
}

impl Trajectory {
    pub fn new(name: &str, device: &Device) -> Trajectory {
        let golden = Golden::read(name);
        let settings = settings(&golden);
        let [batch, steps] = ["batch", "steps"].map(|key| golden.size(key));
        let shape = match golden.sizes("shape") {
            Some(shape) => shape.try_into().expect("(C,H,W)"),
            None => [1, 1, golden.size("input")],
        };
        let mut replay = Replay::new(&settings, &Columns::of_pictures(shape, 0), steps, device).unwrap();
        let formula = (golden.text("init") == Some("formula")).then(|| initial_by_formula(&replay.arena));
        replay.write_parameters(|p| match &formula {
            Some(values) => values[&p.name].clone(),
            None => golden.tensor(&format!("init.{}", p.name), &p.layout.file_shape(p.value.shape())).to_vec(),
        });
        Trajectory { golden, settings, steps, batch, replay }
    }

    /// The pictures and the noise of step `s`.
    pub fn batch(&self, s: usize) -> [Vec<f32>; 2] {
        let (&[x], &[noise]) = (&self.replay.inputs[..], &self.replay.noise[..]) else {
            panic!("a VAE takes pictures and draws one noise")
        };
        [("x", x), ("eps", noise)].map(|(name, tensor)| {
            let (shape, values) = self.golden.any(name);
            assert_eq!(
                (shape[0], shape[1], values.len()),
                (self.steps, self.batch, self.steps * tensor.len()),
                "{name}"
            );
            values[s * tensor.len()..][..tensor.len()].to_vec()
        })
    }

    /// Takes step `s`, the next one, and compares its losses.
    pub fn step(&mut self, s: usize, failures: &mut Vec<String>) -> Taken {
        let [x, noise] = self.batch(s);
        let taken = self.replay.take(&[x], &[&noise]).unwrap();
        let &[recon, kl] = &taken.terms[..] else { panic!("a VAE has two terms") };
        for (what, got, tolerance) in [("recon", recon, LOSS), ("kl", kl, KL), ("loss", taken.loss, LOSS)] {
            let want = self.golden.tensor(what, &[self.steps])[s];
            check(format!("step {s} {what}"), &[got], &[want], tolerance, failures);
        }
        taken
    }
}
