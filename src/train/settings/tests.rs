use std::path::{Path, PathBuf};

use super::ranges::MOST_EPOCHS;
use super::*;
use crate::data::Corrupt;
use crate::data::Orientation;

fn given(text: &str) -> Given {
    Given::from_text(text).unwrap()
}

fn resolve(text: &str) -> Settings {
    Settings::resolve(None, given(text)).unwrap()
}

fn mlp() -> Settings {
    Settings::resolve(None, Given::default()).unwrap()
}

fn rejects(text: &str) -> String {
    match Settings::resolve(None, given(text)) {
        Err(Error::Usage(message)) => message,
        other => panic!("expected a usage error for {text}, got {other:?}"),
    }
}

fn own(settings: &Settings, key: &str) -> String {
    settings.own(key).map_or("off".into(), |value| value.to_string())
}

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_the_preset() {
    let file = given("preset = 'mnist-2d'\nlr = 0.5\nepochs = 3\nhidden = [10, 20]");
    let settings = Settings::resolve(Some(file.clone()), given("epochs = 7")).unwrap();
    assert_eq!((settings.epochs, settings.lr, settings.batch_size), (7, 0.5, 64));
    assert_eq!(own(&settings, "hidden"), "[10, 20]");

    let settings = Settings::resolve(Some(file), given("preset = 'mnist-fused'\nhidden = [400]")).unwrap();
    assert_eq!((settings.preset.as_str(), own(&settings, "head").as_str()), ("mnist-fused", "\"fused\""));
}

#[test]
fn a_preset_lends_its_name_to_its_own_model_alone() {
    let with = |text: &str| {
        let settings = resolve(&format!("preset = 'mnist-2d'\n{text}"));
        (settings.preset.clone(), settings.out.clone())
    };
    let [preset, own] = ["mnist-2d", "vae"].map(|name| (name.to_string(), PathBuf::from("runs").join(name)));
    assert_eq!(with("lr = 0.1\nepochs = 3\nbatch_size = 9"), preset);
    assert_eq!(with("hidden = [256]\nlatent = 2"), preset);
    for change in ["hidden = [255]", "latent = 3", "head = 'fused'", "activation = 'elu'"] {
        assert_eq!(with(change), own, "{change}");
    }
    assert_eq!(with("encoder = 'flatten, linear 9'"), own);
    let (name, out) = with("hidden = [9]\nout = 'mine'");
    assert_eq!((name.as_str(), out), ("vae", PathBuf::from("mine")));
    let noisy = resolve("preset = 'mnist-denoise'\nnoise = 'mask:0.3'");
    assert_eq!((noisy.preset.as_str(), noisy.out.as_path()), ("denoising", Path::new("runs/denoising")));
}

#[test]
fn a_model_without_a_preset_has_its_defaults() {
    let settings = resolve("model = 'conditional'\nlatent = 3");
    assert_eq!((settings.model.as_str(), own(&settings, "latent").as_str()), ("conditional", "3"));
    assert_eq!(own(&settings, "hidden"), "[400]");
    assert!(rejects("model = 'conditionel'").contains("did you mean `conditional`?"));
    let message = rejects("model = 'conditional'\npreset = 'mnist-2d'");
    assert!(message.contains("mnist-2d is of the model vae, not of conditional"), "{message}");
}

/// What `elbo models show` prints is a settings file of the preset.
#[test]
fn a_presets_file_passed_back_is_the_preset() {
    for (_, preset) in presets::all() {
        let settings = Settings::resolve(Some(given(preset.text)), Given::default()).unwrap();
        let expected = preset.settings();
        assert_eq!((&settings.own, settings.epochs), (&expected.own, expected.epochs), "{}", preset.name);
    }
}

#[test]
fn folders_of_older_records_are_read_as_they_were() {
    let mut record = resolve("preset = 'faces-conv'").to_table();
    assert!(record.remove("background").is_some() && record.remove("orientation").is_some());
    let settings = Settings::try_from(record.clone()).unwrap();
    assert_eq!((settings.background, settings.orientation), (Background::NONE, Orientation::Stored));
    // Of other sets nothing is done to the pictures.
    record.insert("dataset".into(), "mnist".into());
    let settings = Settings::try_from(record).unwrap();
    assert_eq!((settings.background, settings.orientation), (Background::WHITE, Orientation::Exif));
}

#[test]
fn a_recorded_run_is_repeated_with_what_it_had_turned_off() {
    let mut saved = resolve("preset = 'faces-conv'\ncrop = 0");
    saved.out = "old".into();
    let again = Settings::repeat(saved.clone(), given("seed = 7")).unwrap();
    assert_eq!((again.crop, again.seed, again.image_size), (None, 7, Some(64)));
    assert_eq!(again.out, PathBuf::from("runs/faces-conv"));
    let changed = Settings::repeat(saved.clone(), given("latent = 9")).unwrap();
    let twice = Settings::repeat(changed, Given::default()).unwrap();
    assert_eq!((twice.preset.as_str(), own(&twice, "latent").as_str()), ("vae", "9"));
    assert_eq!(twice.out, Path::new("runs/vae"));
    let mut here = saved.clone();
    here.data = Some("/pics".into());
    assert_eq!(Settings::repeat(here.clone(), given("dataset = 'digits'")).unwrap().data, None);
    assert_eq!(Settings::repeat(here.clone(), Given::default()).unwrap().data, here.data);
    let other = Settings::repeat(saved, given("preset = 'mnist-mlp'"));
    assert!(other.unwrap_err().to_string().contains("mnist-mlp cannot be put under"));
}

#[test]
fn the_place_of_the_data_is_found_from_any_folder() {
    let settings = resolve("data = 'pics'");
    assert_eq!(settings.data, Some(std::env::current_dir().unwrap().join("pics")));
    assert_eq!(Settings::resume(mlp(), &given("data = 'pics'")).unwrap().data, settings.data);
    // A run recorded before paths were whole keeps its own until another is given.
    let mut older = mlp();
    older.data = Some("pics".into());
    assert_eq!(Settings::resume(older.clone(), &Given::default()).unwrap(), older);
}

#[test]
fn every_key_is_written_once_and_can_be_given() {
    for entry in crate::models::MODELS {
        let names: Vec<&str> = Run::KEYS.iter().map(|key| key.name).chain(entry.key_names()).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name) && !["preset", "model"].contains(name), "{}: {name}", entry.name);
        }
        let settings = Settings::of_model(entry);
        let back = settings.to_table();
        assert!(back.keys().all(|key| ["preset", "model"].contains(&key.as_str()) || names.contains(&key.as_str())));
        assert_eq!(Settings::try_from(back).unwrap(), settings, "{}", entry.name);
    }
}

/// The values that help and `elbo models show` name are those that a key takes.
#[test]
fn the_help_names_every_value() {
    use crate::kernels::activation::Activation;
    use crate::keys::variants;
    use crate::models::parts::likelihood::Likelihood;
    use crate::models::parts::networks::{Head, Networks};
    let all = [
        (Run::KEYS, "optimizer", variants::<Optimizer>()),
        (Run::KEYS, "reduction", variants::<Reduction>()),
        (Run::KEYS, "corrupt", variants::<Corrupt>()),
        (Networks::KEYS, "head", variants::<Head>()),
        (Networks::KEYS, "activation", variants::<Activation>()),
        (Networks::KEYS, "output", variants::<Likelihood>()),
    ];
    for (keys, name, values) in all {
        let help = keys.iter().find(|key| key.name == name).unwrap().help;
        assert!(values.len() > 1 && values.iter().all(|value| help.contains(value.as_str())), "{name}: {values:?}");
    }
}

#[test]
fn zero_turns_off_what_a_preset_turned_on() {
    let settings = resolve(
        "preset = 'mnist-2d'\npatience = 0\nclip_norm = 0.0\ntrain_limit = 0\ntest_limit = 0\ncrop = 0\n\
         image_size = 0\nchannels = 0",
    );
    assert_eq!((settings.patience, settings.clip_norm), (None, None));
    assert_eq!((settings.crop, settings.image_size, settings.channels), (None, None, None));
    assert_eq!((settings.train_limit, settings.test_limit), (None, None));
}

#[test]
fn hidden_sizes_turn_listed_networks_off() {
    let settings = resolve("preset = 'mnist-conv'\nhidden = [30]");
    assert_eq!(
        [own(&settings, "encoder"), own(&settings, "decoder"), own(&settings, "head")],
        ["off", "off", "\"split\""]
    );
    assert_eq!(own(&resolve("preset = 'mnist-fused'\nhidden = [30]"), "head"), "\"fused\"");
    let both = resolve("hidden = [30]\nencoder = 'flatten, linear 9'\ndecoder = 'flatten, linear 784'");
    assert_eq!(own(&both, "encoder"), "\"flatten, linear 9\"");
}

#[test]
fn the_text_form_reads_back_to_an_equal_value() {
    let mut settings = resolve(
        "kl_schedule = 'cyclical:3:0.25'\noptimizer = 'adamw'\nactivation = 'leaky_relu'\nclip_norm = 0.3333333333333333",
    );
    (settings.run.lr, settings.run.seed) = (0.1 + 0.2, i64::MAX as u64);
    settings.run.data = Some("a \"b\"\\c".into());
    let text = settings.to_toml().unwrap();
    assert_eq!(Settings::from_toml(&text).unwrap(), settings);
    assert!(text.contains("optimizer = \"adamw\"") && text.contains("activation = \"leaky_relu\""), "{text}");
    // A run recorded before these keys were there.
    let older = ["corrupt = \"refuse\"\n", "flip = false\n", "shift = 0\n", "model = \"vae\"\n"];
    let older = older.iter().fold(text.clone(), |text, line| {
        assert!(text.contains(line), "{text}");
        text.replace(line, "")
    });
    assert!(Settings::from_toml(&older).unwrap() == settings);
    assert!(Settings::from_toml(&text.replace("epochs = 10", "epochs = 0")).is_err());
    assert!(Settings::from_toml("lr = 'x'").is_err());
    assert!(Settings::from_toml("lrr = 1").unwrap_err().to_string().contains("did you mean `lr`?"));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    assert_eq!(rejects("batch_size = 0"), "batch_size is 0, but must be 1 to 1048576");
    assert!(rejects("epochs = 0").starts_with("epochs is 0"));
    assert!(rejects(&format!("epochs = {}", MOST_EPOCHS + 1)).starts_with("epochs is"));
    assert!(rejects("latent = 0").starts_with("latent is 0"));
    assert!(rejects("hidden = [400, 0]").starts_with("hidden is 0"));
    assert!(rejects("hidden = []").starts_with("hidden is empty"));
    assert!(rejects(&format!("shift = {}", LARGEST_SIZE + 1)).starts_with("shift is"));
    assert!(rejects(&format!("samples = {}", LARGEST_SIZE + 1)).starts_with("samples is"));
    for bad in ["0.0", "-1e-3", "nan", "inf"] {
        for key in ["lr", "sigma", "eps"] {
            assert!(rejects(&format!("{key} = {bad}")).starts_with(&format!("{key} is")), "{key} {bad}");
        }
    }
    for bad in ["-1e-3", "nan", "inf"] {
        for key in ["kl_weight", "free_bits", "weight_decay", "min_delta", "warmup_epochs", "clip_norm"] {
            assert!(rejects(&format!("{key} = {bad}")).starts_with(&format!("{key} is")), "{key} {bad}");
        }
    }
    for bad in ["-0.1", "1.0", "nan"] {
        assert!(rejects(&format!("betas = [{bad}, 0.9]")).starts_with("betas is"));
        assert!(rejects(&format!("betas = [0.9, {bad}]")).starts_with("betas is"));
        assert!(rejects(&format!("momentum = {bad}")).starts_with("momentum is"));
    }
    assert!(rejects("dataset = ''").starts_with("dataset is empty"));
    assert!(rejects("device = ''").starts_with("device is empty"));
    assert!(rejects("out = ''").starts_with("out is empty"));
    assert!(rejects("preset = 'mnist2d'").contains("did you mean `mnist-2d`?"));
    assert!(rejects("monitor = 'test_los'").contains("did you mean `test_loss`?"));
    assert!(rejects("preset = 'mnist-denoise'\nnoise = 'mask:2'").contains("mask"));
}

#[test]
fn a_resumed_run_changes_only_what_leaves_its_past_true() {
    let settings = Settings::resume(mlp(), &given("epochs = 20\ndevice = 'cpu'")).unwrap();
    assert_eq!((settings.epochs, settings.device.as_str()), (20, "cpu"));
    assert_eq!(Settings::resume(mlp(), &given("lr = 0.001\nclip_norm = 0.0")).unwrap(), mlp());

    let message = Settings::resume(mlp(), &given("latent = 3")).unwrap_err().to_string();
    assert!(message.contains("latent cannot change") && message.contains("it was 20 and would be 3."), "{message}");
    let message = Settings::resume(mlp(), &given("preset = 'mnist-2d'")).unwrap_err().to_string();
    assert!(message.contains("preset cannot change"), "{message}");
    assert!(Settings::resume(mlp(), &given("epochs = 0")).is_err());
}
