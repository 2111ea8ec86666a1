//! Training pictures that are shifted and mirrored.

use elbo::error::Error;
use elbo::train::programs::Programs;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Trainer};

use crate::runs::{Run, assert_same, cpu, data, devices, kl, small, small_with, still, trained};

#[test]
fn training_pictures_are_shifted_and_mirrored_as_the_seed_says() {
    let data = data(20, 10);
    for device in devices() {
        let what = device.description();
        let plain = trained(&still(), &data, &device).metrics();
        let mut seen = vec![kl(&plain[0].train)];
        for (flip, shift) in [(true, 0), (false, 2), (true, 2)] {
            let settings = still().with(&format!("flip = {flip}\nshift = {shift}")).unwrap();
            let run = trained(&settings, &data, &device);
            assert_same(&run, &trained(&settings, &data, &device), &what);
            let [first, second] = [0, 1].map(|epoch| kl(&run.metrics()[epoch].train));
            // Each epoch draws anew; the same pictures in another order differ in the last digits only.
            assert!((first - second).abs() > 1e-4 * first, "{what}, {flip} {shift}: {first} {second}");
            for other in &seen {
                assert!((first - other).abs() > 1e-4 * first, "{what}, {flip} {shift}: {first} {other}");
            }
            seen.push(first);
            // The test pictures stay as they are.
            assert_eq!(kl(&run.metrics()[0].test), kl(&plain[0].test), "{what}");
        }
    }
}

#[test]
fn an_augmented_run_goes_on_where_it_stopped() {
    let data = data(20, 10);
    let settings = small_with("flip = true\nshift = 3");
    for device in devices() {
        let run = Run::new();
        run.interrupt(&settings, &data, &device, 1);
        assert_eq!(run.train(&settings, &data, &device).unwrap(), Ending::Finished);
        assert_same(&run, &trained(&settings, &data, &device), &device.description());
    }
}

#[test]
fn the_augmented_picture_is_also_the_one_to_reconstruct() {
    let data = data(20, 10);
    let step = |settings: &Settings| {
        Programs::new(&mut cpu().backend(), settings, data.clone()).unwrap().steps[0].steps.clone()
    };
    let steps = step(&small_with("flip = true"));
    let augment = steps.iter().find(|step| step.kernel.name == "augment.forward").unwrap();
    let readers = |tensor| steps.iter().filter(move |step| step.reads.contains(&tensor)).map(|step| step.kernel.name);
    assert_eq!(readers(augment.reads[0]).collect::<Vec<_>>(), ["augment.forward"]);
    assert!(readers(augment.writes[0]).any(|kernel| kernel.contains("bce")));
    // Asked for nothing, a step has not one dispatch more.
    assert_eq!(step(&small()).len() + 1, steps.len());
}

#[test]
fn a_shift_out_of_sight_is_refused() {
    let new = |shift| {
        let settings = small_with(&format!("shift = {shift}"));
        Trainer::new(settings, data(20, 10), &cpu(), Run::new().folder, false).map(|_| ())
    };
    assert!(new(27).is_ok());
    assert!(matches!(new(28), Err(Error::Usage(message)) if message.starts_with("--shift 28 moves pictures of 28x28")));
}
