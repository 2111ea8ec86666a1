//! The flags of `elbo train`, made of the keys of the run and of its models: a flag for each key that several models
//! have, and `--set` for any.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use elbo::keys::Key;
use elbo::models::parts::bound::Importance;
use elbo::models::parts::classifier::Supervision;
use elbo::models::parts::networks::{Divergence, Networks};
use elbo::models::presets;
use elbo::train::given::{Given, flag};
use elbo::train::settings::{Run, Settings};
use toml::{Table, Value};

/// The keys that were given as flags.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub Given);

/// The keys that have a flag, in the order of the help: the models' stand behind the data's.
fn named() -> Vec<&'static Key> {
    let models = Networks::KEYS.iter().chain(Supervision::KEYS).chain(Divergence::KEYS).chain(Importance::KEYS);
    let (data, rest): (Vec<_>, Vec<_>) = Run::KEYS.iter().partition(|key| key.section == "Data");
    data.into_iter().chain(models).chain(rest).collect()
}

/// What a flag's help says: the key's, and its default.
fn help(key: &Key, defaults: &Table) -> String {
    if key.help.contains("[default: ") {
        return key.help.into();
    }
    let shown = match defaults.get(key.name) {
        Some(Value::Array(values)) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(","),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None if ["N", "X"].contains(&key.value) => "0".into(),
        None => return key.help.into(),
    };
    format!("{} [default: {shown}]", key.help)
}

fn argument(key: &'static Key, defaults: &Table) -> Arg {
    let arg = Arg::new(key.name).long(flag(key.name).trim_start_matches('-').to_string());
    let arg = arg.value_name(key.value).help_heading(key.section).help(help(key, defaults));
    match defaults.get(key.name) {
        Some(Value::Boolean(_)) => arg.num_args(0..=1).default_missing_value("true"),
        // Of a list each time it is given adds to it.
        Some(Value::Array(_)) => arg.action(ArgAction::Append),
        _ => arg,
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let names: Vec<&str> = presets::all().map(|(_, preset)| preset.name).collect();
        let about = format!("The preset to start from: {} [default: {}]", names.join(", "), presets::DEFAULT);
        let preset = Arg::new("preset").value_name("PRESET").help(about);
        let set = Arg::new("set").long("set").value_name("KEY=VALUE").action(ArgAction::Append).help_heading("Model");
        let set =
            set.help("Set any key, also one of the model's own, such as noise=mask:0.5: `elbo models show` lists them");
        let model = Arg::new("model").long("model").value_name("NAME").help_heading("Model");
        let model = model.help("The model, where no preset is given and its defaults are wanted: see `elbo models`");
        let defaults = Settings::of_preset(presets::DEFAULT).expect("the default preset is one").to_table();
        let command = command.allow_negative_numbers(true).arg(preset);
        let mut command = command;
        for key in named() {
            command = command.arg(argument(key, &defaults));
            if key.name == "latent" {
                command = command.arg(&model).arg(&set);
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, Error> {
        let mut given = Given::default();
        let names = ["preset", "model"].into_iter().chain(named().into_iter().map(|key| key.name));
        for name in names {
            if let Some(values) = matches.get_many::<String>(name) {
                given.flag(name, &values.map(String::as_str).collect::<Vec<_>>().join(","));
            }
        }
        for text in matches.get_many::<String>("set").into_iter().flatten() {
            let Some((key, value)) = text.split_once('=') else {
                let problem = format!("--set is `{text}`, which is no KEY=VALUE, as in --set latent=8\n");
                return Err(Error::raw(clap::error::ErrorKind::ValueValidation, problem));
            };
            given.flag(&key.trim().replace('-', "_"), value.trim());
        }
        Ok(Flags(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(args: &[&str]) -> Result<Settings, String> {
        let cli = Cli::try_parse_from(std::iter::once(&"train").chain(args)).map_err(|e| e.to_string())?;
        Settings::resolve(None, cli.flags.0).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_are_keys() {
        let s = settings(&["mnist-2d", "--hidden", "512,256", "--betas", "0.9,0.99", "--lr", "1e-2"]).unwrap();
        assert_eq!((s.own("hidden").unwrap().to_string().as_str(), s.betas, s.lr), ("[512, 256]", [0.9, 0.99], 0.01));
        let repeated = settings(&["--hidden", "8", "--hidden", "4"]).unwrap();
        assert_eq!(repeated.own("hidden").unwrap().to_string(), "[8, 4]");
        let flip = |args: &[&str]| settings(args).unwrap().flip;
        assert_eq!([flip(&[]), flip(&["--flip", "false"])], [false; 2]);
        assert_eq!([flip(&["--flip"]), flip(&["mnist-2d", "--flip", "--lr", "1"])], [true; 2]);
        assert!(settings(&["--kl-weight", "-1"]).unwrap_err().contains("kl_weight is -1"));
    }

    #[test]
    fn any_key_can_be_set() {
        let s = settings(&["mnist-denoise", "--set", "noise=mask:0.3", "--set", "batch-size=9"]).unwrap();
        assert_eq!((s.own("noise").unwrap().as_str(), s.batch_size), (Some("mask:0.3"), 9));
        assert!(settings(&["--set", "noise=mask:0.3"]).unwrap_err().contains("noise is a key of denoising"));
        assert!(settings(&["--set", "epohcs=3"]).unwrap_err().contains("did you mean `epochs`?"));
        assert!(settings(&["--set", "epochs"]).unwrap_err().contains("no KEY=VALUE"));
        assert_eq!(settings(&["--model", "conditional"]).unwrap().model, "conditional");
    }

    #[test]
    fn the_help_names_presets_and_defaults() {
        let command = Cli::command();
        let help =
            |id: &str| command.get_arguments().find(|a| a.get_id() == id).unwrap().get_help().unwrap().to_string();
        assert!(presets::all().all(|(_, preset)| help("preset").contains(preset.name)));
        let table = Settings::of_preset(presets::DEFAULT).unwrap().to_table();
        let expected =
            [("lr", "0.001"), ("hidden", "400"), ("betas", "0.9,0.999"), ("patience", "0"), ("flip", "false")];
        for (key, shown) in expected {
            assert!(help(key).ends_with(&format!("[default: {shown}]")), "{key}: {}", help(key));
        }
        for arg in command.get_arguments().filter(|a| a.get_long().is_some_and(|l| l != "help")) {
            assert!(arg.get_help_heading().is_some(), "{} has no heading", arg.get_id());
        }
        assert!(named().iter().all(|key| command.get_arguments().any(|a| a.get_id() == key.name)));
        assert!(table.contains_key("latent"));
    }
}
