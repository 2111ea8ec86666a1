//! What small models learn: the label's picture where only the label says it, and pictures without their noise.

use std::sync::atomic::AtomicBool;

use elbo::data::Dataset;
use elbo::data::table::Table;
use elbo::inference::Trained;
use elbo::kernels::random::host_normal;
use elbo::models::conditional;
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::Trainer;

use crate::step::{CPU, of_model};

/// Pictures of one grey level each, which the label alone decides: (N,1,6,5), labels go round.
fn shades(count: usize, levels: [u8; 3]) -> Table {
    let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
    let pixels = labels.iter().flat_map(|&label| [levels[usize::from(label)]; 30]).collect();
    Table::of_pictures([1, 6, 5], pixels, Some((labels, 3)))
}

/// A model of these settings, trained on [`shades`].
fn trained(settings: &Settings, levels: [u8; 3]) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run")).unwrap();
    let (train, test) = (shades(64, levels), shades(9, levels));
    let data = Dataset { name: "shades".into(), class_names: vec![], vocabulary: None, spectrogram: None, train, test };
    let mut trainer = Trainer::new(settings.clone(), data, &CPU, run.clone(), false).unwrap();
    trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();
    Trained::open(run.root(), &CPU).unwrap()
}

/// Where z says nothing, the label is all there is to go by: it must be that of the picture in every batch, whatever
/// the order, the shorter last batch included.
#[test]
fn a_conditional_model_draws_what_is_asked_for() {
    let levels = [20, 128, 230];
    let text = "hidden = [12]\nlatent = 2\nkl_weight = 100.0\nbatch_size = 10\nepochs = 30\nlr = 1e-2\nsamples = 0";
    let mut model = trained(&of_model(conditional::ENTRY.name, text), levels);
    assert_eq!(model.classes("decode").unwrap(), Some(3));
    // Each label twice, with two different z.
    let z = host_normal(4, 0, 6 * 2);
    let pictures = model.decode(&z, Some(&[0, 1, 2, 2, 1, 0])).unwrap();
    for (picture, label) in pictures.chunks(30).zip([0, 1, 2, 2, 1, 0]) {
        let (mean, want) = (picture.iter().sum::<f32>() / 30.0, f32::from(levels[label]) / 255.0);
        assert!((mean - want).abs() < 0.08, "label {label}: {mean}, its pictures have {want}");
    }
    // The loss of the pictures with their labels is lower than with those of others.
    let test = shades(9, levels);
    let loss = |split: &Table| model.evaluate(split, elbo::train::evaluation::Latent::Mean, 1, 4).unwrap().loss;
    let other = test.labels().unwrap().iter().map(|label| (label + 1) % 3).collect();
    assert!(loss(&test) + 1.0 < loss(&test.clone().with_labels(other, 3)));
}

/// From black and white pictures with noise on them to cleaner ones.
#[test]
fn a_denoising_model_takes_noise_away() {
    let text =
        "hidden = [12]\nlatent = 2\nbatch_size = 10\nepochs = 60\nlr = 1e-2\nsamples = 0\nnoise = 'gaussian:0.5'";
    let mut model = trained(&of_model("denoising", text), [0, 0, 255]);
    let clean = shades(9, [0, 0, 255]).values(0..9);
    let apart =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).sum::<f64>() / a.len() as f64;
    let [noisy, reconstruction] = model.view("reconstruct", &[("x", &clean)], 3).unwrap().try_into().unwrap();
    // 0.5 E|n| of a normal n, half of it cut off: 0.2.
    let noise = apart(&noisy, &clean);
    assert!((0.15..0.25).contains(&noise), "{noise}");
    assert!(apart(&reconstruction, &clean) < noise / 3.0, "{} of {noise}", apart(&reconstruction, &clean));
    // What is noisy already is taken as it is, to the bit.
    assert_eq!(model.view("denoise", &[("x", &noisy)], 9).unwrap(), [reconstruction]);
    let other = model.view("reconstruct", &[("x", &clean)], 4).unwrap();
    assert_ne!(other[0], noisy);
}
