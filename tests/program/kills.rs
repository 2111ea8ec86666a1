//! A run that is killed again and again, at any moment, and each time resumed: it ends where an undisturbed one does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::common::process::{TINY, elbo, end};
use elbo::picture::Picture;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::metrics::read_metrics;
use elbo::train::run_folder::{RunFolder, RunRecord};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KILLS: usize = 100;

/// Every published file of the run can be read to its end, however it was killed, and they fit each other. Epochs done.
fn check_all(run: &Path) -> usize {
    let Ok(folder) = RunFolder::open(run) else {
        // Killed before it was a run: nothing is published, or the beginnings of names that are no file's.
        assert!(
            fs::read_dir(run)
                .into_iter()
                .flatten()
                .all(|entry| { entry.unwrap().file_name().to_str().unwrap().starts_with('.') })
        );
        return 0;
    };
    RunRecord::read(&folder).unwrap();
    let rows = read_metrics(&folder.metrics(), (elbo::models::vae::ENTRY.terms)(&toml::Table::new())).unwrap();
    assert!(rows.iter().enumerate().all(|(i, row)| row.epoch == i + 1), "{rows:?}");
    for path in [folder.model(), folder.best(), folder.state()] {
        assert!(!path.exists() || Checkpoint::read(&path).unwrap().tensors.len() >= 10, "{}", path.display());
    }
    let pictures = ["samples", "reconstructions"].map(|kind| folder.pictures(kind).unwrap());
    for path in pictures.iter().flatten().chain(folder.curves().exists().then_some(&folder.curves())) {
        Picture::read_png(path).unwrap();
    }
    let Ok(state) = Checkpoint::read(&folder.state()) else { return 0 };
    let progress: toml::Table = state.metadata.values().next().unwrap().parse().unwrap();
    let done = progress["epoch"].as_integer().unwrap() as usize;
    // The state is the last thing of an epoch: whatever belongs to it is there.
    assert!(rows.len() >= done && folder.model().exists() && folder.best().exists(), "{done} epochs");
    for epoch in 1..=done {
        assert!(folder.samples(epoch).exists() && folder.reconstructions(epoch).exists(), "epoch {epoch} of {done}");
    }
    done
}

#[test]
fn a_hundred_kills_change_nothing() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    let run = desk.join("run");
    let mut random = ChaCha8Rng::seed_from_u64(9);
    // So long from the start of the program to its end after one epoch: moments are drawn from twice that.
    let start = Instant::now();
    assert!(end(elbo(desk, &format!("{TINY} --epochs 1 --out first")).spawn().unwrap()).status.success());
    let mut life = 2 * start.elapsed();
    let (mut kills, mut lives, mut done, mut moments) = (0, 0, 0, BTreeMap::<usize, usize>::new());
    while kills < KILLS {
        lives += 1;
        assert!(lives < 2 * KILLS, "of {lives} runs only {kills} were killed");
        let args = match run.join("run.toml").exists() {
            true => "train --resume run --epochs 1000000 --json".to_string(),
            false => format!("{TINY} --epochs 1000000 --out run"),
        };
        let mut child = elbo(desk, &args).spawn().unwrap();
        std::thread::sleep(life.mul_f64(random.random_range(0.0..1.0)));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        // No exit code: it was killed and did not end by itself.
        match output.status.code() {
            None => kills += 1,
            Some(code) => panic!("exit code {code}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        let now = check_all(&run);
        assert!(now >= done, "{now} epochs after {done}");
        *moments.entry(now - done).or_default() += 1;
        done = now;
        // The machine may be busier than it was at first: some must come to the end of an epoch.
        if done == 0 && lives % 10 == 0 {
            life *= 2;
        }
    }
    crate::common::say(&format!("{kills} kills; how many went on by so many epochs: {moments:?}"));
    assert!(kills == KILLS && done > 0, "{moments:?}");
    let all = done + 1;
    let finish = |args: String| assert!(end(elbo(desk, &args).spawn().unwrap()).status.success(), "{args}");
    finish(format!("train --resume run --epochs {all} --json"));
    finish(format!("{TINY} --epochs {all} --out whole"));
    assert_eq!(check_all(&run), all);
    let bytes = |run: &str, name: &str| fs::read(desk.join(run).join(name)).unwrap();
    for name in ["model.safetensors", "best.safetensors", "state.safetensors", "samples.gif"] {
        assert!(bytes("run", name) == bytes("whole", name), "{name} differs");
    }
    // Nothing of the hundred is left.
    let leftovers = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(leftovers.filter(|name| name.starts_with('.')).collect::<Vec<_>>(), [""; 0]);
}
