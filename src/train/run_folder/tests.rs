use super::*;
use crate::tuning::Origin;

fn settings() -> Settings {
    Settings::of_preset("mnist-2d").unwrap()
}

fn record() -> RunRecord {
    RunRecord {
        started: "2026-01-31T09:30:00Z".into(),
        dataset: "digits".into(),
        device: "CPU, 2 threads".into(),
        driver: "none".into(),
        backend: "cpu".into(),
        elbo: "0.1.0".into(),
        wgpu: "30.0.1".into(),
        git: None,
        selection: Selection::ByName,
        pictures: None,
        settings: settings(),
        tuning: Vec::new(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn usage(result: Result<RunFolder>) -> String {
    match result {
        Err(Error::Usage(message)) => message,
        other => panic!("expected a usage error, got {other:?}"),
    }
}

#[test]
fn a_new_and_an_empty_folder_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs/deep");
    let first = RunFolder::create(&root).unwrap();
    assert!(root.is_dir());
    assert!(usage(RunFolder::create(&root)).contains("another process is training in"));
    assert!(usage(RunFolder::create(&root)).contains("--out"));
    drop(first);
    assert!(!root.exists(), "nothing was put into it");
    fs::create_dir_all(&root).unwrap();
    RunFolder::create(&root).unwrap();
    for leftover in [".run.toml.tmp", ".run.toml.Ab12Cd.tmp"] {
        fs::write(root.join(leftover), "").unwrap();
        RunFolder::create(&root).unwrap();
        assert_eq!(names(&root), [""; 0]);
    }
}

#[test]
fn the_next_free_folder_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = folder.path().join("runs/a");
    let taken: Vec<_> = (0..3).map(|_| RunFolder::create_free(&wanted).unwrap()).collect();
    record().write(&taken[1]).unwrap();
    assert_eq!(names(&folder.path().join("runs")), ["a", "a-2", "a-3"]);
    drop(taken);
    assert_eq!(names(&folder.path().join("runs")), ["a-2"]);
    let again: Vec<_> = (0..2).map(|_| RunFolder::create_free(&wanted).unwrap()).collect();
    assert_eq!(
        again.iter().map(|taken| taken.root().to_path_buf()).collect::<Vec<_>>(),
        [wanted.clone(), folder.path().join("runs/a-3")]
    );
}

#[test]
fn one_process_goes_on_with_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let first = RunFolder::create(&root).unwrap();
    record().write(&first).unwrap();
    let message = usage(RunFolder::resume(&root));
    assert!(message.contains("run: another process is training this run"), "{message}");
    assert!(RunFolder::open(&root).is_ok(), "looking at it is free");
    let clone = first.clone();
    drop(first);
    assert!(RunFolder::resume(&root).is_err());
    drop(clone);
    fs::create_dir(root.join("samples")).unwrap();
    for leftover in [".state.safetensors.Ab12Cd.tmp", ".model.safetensors.tmp", "samples/.epoch_001.png.Ab12Cd.tmp"] {
        fs::write(root.join(leftover), "").unwrap();
    }
    fs::write(root.join(".notes.tmp"), "").unwrap();
    RunFolder::resume(&root).unwrap();
    assert_eq!((names(&root).join(" "), names(&root.join("samples")).len()), (".notes.tmp run.toml samples".into(), 0));
}

#[test]
fn a_folder_in_use_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    record().write(&RunFolder::create(&root).unwrap()).unwrap();
    let message = usage(RunFolder::create(&root));
    assert!(message.contains(&format!("--resume {}", root.display())) && message.contains("--out"), "{message}");

    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "years").unwrap();
    let message = usage(RunFolder::create(&other));
    assert!(message.contains("thesis.tex") && message.contains("--out"), "{message}");
    assert_eq!(fs::read(other.join("thesis.tex")).unwrap(), b"years");

    let message = usage(RunFolder::create(other.join("thesis.tex")));
    assert!(message.contains("is a file"), "{message}");
    assert_eq!(names(folder.path()), ["other", "run"]);
}

#[test]
fn a_folder_under_a_file_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(RunFolder::create(folder.path().join("file/run")), Err(Error::Io { .. })));
}

#[test]
fn only_a_run_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    assert!(usage(RunFolder::open(folder.path())).contains("holds no run"));
    assert!(usage(RunFolder::open(folder.path().join("missing"))).contains("holds no run"));
    record().write(&RunFolder::create(folder.path()).unwrap()).unwrap();
    assert_eq!(RunFolder::open(folder.path()).unwrap().root(), folder.path());
}

#[test]
fn members_have_their_names() {
    let folder = RunFolder { root: "r".into(), _hold: None };
    assert_eq!(folder.run_toml(), Path::new("r/run.toml"));
    assert_eq!(folder.metrics(), Path::new("r/metrics.csv"));
    assert_eq!(folder.model(), Path::new("r/model.safetensors"));
    assert_eq!(folder.best(), Path::new("r/best.safetensors"));
    assert_eq!(folder.state(), Path::new("r/state.safetensors"));
    assert_eq!(folder.curves(), Path::new("r/curves.png"));
    assert_eq!(folder.samples(1), Path::new("r/samples/epoch_001.png"));
    assert_eq!(folder.reconstructions(1234), Path::new("r/reconstructions/epoch_1234.png"));
    assert_eq!(folder.animation("samples"), Path::new("r/samples.gif"));
}

#[test]
fn pictures_come_in_the_order_of_their_epochs() {
    let root = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(root.path()).unwrap();
    assert!(folder.pictures("samples").unwrap().is_empty());
    fs::create_dir(root.path().join("samples")).unwrap();
    let epochs = [10_000, 2, 999, 1000, 1];
    let others = ["notes.txt", "epoch_x.png", ".epoch_007.png.tmp", "epoch_7.jpg"];
    let others = others.map(|name| root.path().join("samples").join(name));
    for path in epochs.iter().map(|&epoch| folder.samples(epoch)).chain(others) {
        fs::write(path, "").unwrap();
    }
    let expected = [1, 2, 999, 1000, 10_000].map(|epoch| folder.samples(epoch));
    assert_eq!(folder.pictures("samples").unwrap(), expected);
}

#[test]
fn the_record_reads_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(root.path()).unwrap();
    let with_git = RunRecord { git: Some("0123abc-dirty".into()), ..record() };
    let params = vec![128, 784, 400, 1, 0];
    let entry = Entry { kernel: "matmul.forward".into(), params, candidate: "32x32".into(), origin: Origin::Table };
    let tuned = RunRecord { tuning: vec![entry.clone(), entry], ..record() };
    let pictures = Fingerprint { training: 36, test: 4, checksum: "00c0ffee".into() };
    let with_pictures = RunRecord { pictures: Some(pictures), ..record() };
    for record in [record(), with_git, tuned, with_pictures] {
        record.write(&folder).unwrap();
        assert_eq!(RunRecord::read(&folder).unwrap(), record);
    }
    // One of when neither was recorded.
    record().write(&folder).unwrap();
    let older = fs::read_to_string(folder.run_toml()).unwrap().replace("selection = \"by_name\"\n", "");
    fs::write(folder.run_toml(), older).unwrap();
    assert_eq!(RunRecord::read(&folder).unwrap(), RunRecord { selection: Selection::ByOrder, ..record() });
    let text = fs::read_to_string(folder.run_toml()).unwrap();
    assert!(text.contains("\n[settings]\n") && text.contains("dataset = \"digits\""), "{text}");
}

#[test]
fn a_spoilt_record_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(root.path()).unwrap();
    record().write(&folder).unwrap();
    let good = fs::read_to_string(folder.run_toml()).unwrap();
    for (from, to, part) in [
        ("latent = 2", "latent = 0", "latent is 0"),
        ("latent = 2", "latnet = 2", "did you mean `latent`?"),
        ("latent = 2\n", "", "missing key `latent`"),
    ] {
        fs::write(folder.run_toml(), good.replace(from, to)).unwrap();
        let message = RunRecord::read(&folder).unwrap_err().to_string();
        assert!(message.contains("run.toml: ") && message.contains(part), "{message}");
    }
    fs::write(folder.run_toml(), &good[..good.len() / 2]).unwrap();
    assert!(matches!(RunRecord::read(&folder), Err(Error::File { .. })));
}

#[test]
fn dates_follow_the_calendar() {
    assert_eq!(utc(0), "1970-01-01T00:00:00Z");
    assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
    assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(utc(951_868_800), "2000-03-01T00:00:00Z");
    assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
    assert_eq!(utc(1_735_689_600), "2025-01-01T00:00:00Z");
    assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
}
