//! Runs of every other model repeat and go on bit by bit.

use elbo::backend::Device;
use elbo::data::Dataset;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Trainer};

use crate::runs::{OTHER_MODELS, Run, assert_same, cpu, data, data_of, devices, gpu, small_of, trained};

#[test]
fn runs_of_every_model_repeat_and_go_on_bit_by_bit() {
    check_all_on(&cpu());
}

#[test]
fn runs_of_every_model_repeat_and_go_on_bit_by_bit_on_a_gpu() {
    gpu().iter().for_each(check_all_on);
}

fn check_all_on(device: &Device) {
    for model in OTHER_MODELS {
        let what = format!("{model} on {}", device.description());
        check_repeats_and_goes_on(&what, &small_of(model), &data_of(model), device);
    }
}

fn check_repeats_and_goes_on(what: &str, settings: &Settings, data: &Dataset, device: &Device) {
    let whole = trained(settings, data, device);
    assert_same(&whole, &trained(settings, data, device), what);
    let other = trained(&settings.with("seed = 2").unwrap(), data, device);
    assert_ne!(whole.parameters(), other.parameters(), "{what}");
    let parts = trained(&settings.with("epochs = 1").unwrap(), data, device);
    assert_eq!(parts.train(settings, data, device).unwrap(), Ending::Finished);
    assert_same(&parts, &whole, what);
    let run = Run::new();
    run.interrupt(settings, data, device, 1);
    assert_eq!(run.train(settings, data, device).unwrap(), Ending::Finished);
    assert_same(&run, &whole, what);
}

/// Of convolutions, which files order otherwise than the device, with the VQ-VAE as constants.
#[test]
fn a_prior_over_codes_repeats_and_goes_on_bit_by_bit() {
    let networks = "head = 'direct'\nlatent = 9\ncode_dim = 4\ncodes = 6\n\
                    encoder = 'conv 8 k4 s4, batchnorm, relu, conv 4 k2 s2 p0'\n\
                    decoder = 'conv_transpose 8 k2 s2, relu, upsample 2, conv_transpose 1 k8 s2 p1'";
    let data = data(20, 10);
    for device in devices() {
        let vq = trained(&small_of("vq").with(networks).unwrap(), &data, &device);
        let of_prior = format!("vq = '{}'\nwidth = 8\nblocks = 1", vq.folder.root().display());
        let settings = small_of("pixelcnn").with(networks).unwrap().with(&of_prior).unwrap();
        check_repeats_and_goes_on(&format!("a prior on {}", device.description()), &settings, &data, &device);
        let other = settings.with("codes = 7").unwrap();
        let trainer = Trainer::new(other, data.clone(), &device, Run::new().folder.clone(), false);
        let problem = trainer.err().expect("another VQ-VAE is named").to_string();
        assert!(problem.contains("of 6 codes") && problem.contains("not what these settings say"), "{problem}");
    }
}
