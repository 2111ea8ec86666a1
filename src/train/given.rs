//! The settings someone gave: the keys of a settings file, the flags of a command line.

use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::files::open_regular;
use crate::keys::{hint, one_line, readings, reads};
use crate::models::{Entry, MODELS};
use crate::train::settings::Run;

/// Keys and what they were given as. A later one of a name counts over an earlier one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// `None` on a command line.
    file: Option<PathBuf>,
    keys: Vec<GivenKey>,
}

#[derive(Clone, Debug, PartialEq)]
struct GivenKey {
    name: String,
    meant: Meant,
    /// Of a file, from 1.
    line: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Meant {
    /// A command line's.
    Text(String),
    /// A file's.
    Value(Value),
}

impl Given {
    /// Reads a settings file: TOML whose keys are those of the run and of its model. Errors: a file that cannot be read
    /// or is no TOML, by name and line. Whether it has such keys is not known before the model is.
    pub fn from_file(path: &Path) -> Result<Given> {
        let text = read_text(path)?;
        let given = Given::from_text(&text).map_err(|e| Error::file(path, describe(&e, &text)))?;
        Ok(Given { file: Some(path.into()), ..given })
    }

    /// The keys of a settings text.
    pub fn from_text(text: &str) -> std::result::Result<Given, toml::de::Error> {
        let table: Table = text.parse()?;
        let places = DeTable::parse(text)?;
        let line = |name: &str| {
            let key = places.get_ref().keys().find(|key| key.get_ref() == name);
            key.map_or(0, |key| text[..key.span().start].matches('\n').count() + 1)
        };
        let key = |(name, value): (String, Value)| GivenKey { line: line(&name), meant: Meant::Value(value), name };
        Ok(Given { file: None, keys: table.into_iter().map(key).collect() })
    }

    /// Adds a key with the text of its value, as a command line has it.
    pub fn flag(&mut self, name: &str, text: &str) {
        self.keys.push(GivenKey { name: name.into(), meant: Meant::Text(text.into()), line: 0 });
    }

    /// Whether the key was given.
    pub fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    /// The text of a key that holds one, such as `preset`; `None` where it was not given. Errors: it is no text.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        match self.keys.iter().rev().find(|key| key.name == name) {
            None => Ok(None),
            Some(GivenKey { meant: Meant::Text(text) | Meant::Value(Value::String(text)), .. }) => {
                Ok(Some(text.clone()))
            }
            Some(key) => Err(self.problem(key, format!("{name} is not a text"))),
        }
    }

    /// The keys as a table for runs of that model, without `preset` and `model`. Errors: a key that neither the run nor
    /// the model has, with the nearest; a value that is not of its key's kind.
    pub fn table(&self, model: &'static Entry) -> Result<Table> {
        let mut table = Table::new();
        for key in self.keys.iter().filter(|key| !["preset", "model"].contains(&key.name.as_str())) {
            let of_run = Run::KEYS.iter().any(|k| k.name == key.name);
            if !of_run && !model.key_names().any(|name| name == key.name) {
                return Err(self.problem(key, unknown(&key.name, model)));
            }
            let accepts = |value: &Value| -> std::result::Result<(), String> {
                let one: Table = [(key.name.clone(), value.clone())].into_iter().collect();
                let read = match of_run {
                    true => reads::<Run>(one),
                    // Whether it is in range is looked at once all keys are there.
                    false => (model.reads)(one),
                };
                read.map(drop)
            };
            let value = match &key.meant {
                Meant::Value(value) => accepts(value).map(|()| value.clone()),
                Meant::Text(text) => {
                    let mut readings = readings(text).into_iter();
                    let fits = readings.clone().find(|value| accepts(value).is_ok());
                    // The likeliest reading says best what is wrong, the whole text of all that is no literal.
                    let first = readings.next().expect("a text has a reading");
                    let told = if first.is_array() { Value::String(text.clone()) } else { first };
                    fits.map_or_else(|| accepts(&told).map(|()| told.clone()), Ok)
                }
            };
            let value = value.map_err(|problem| {
                let key_of = match &key.meant {
                    Meant::Text(text) => format!("{} is `{text}`: ", flag(&key.name)),
                    Meant::Value(_) => String::new(),
                };
                self.problem(key, format!("{key_of}{problem}"))
            })?;
            table.insert(key.name.clone(), value);
        }
        Ok(table)
    }

    fn problem(&self, key: &GivenKey, problem: String) -> Error {
        match &self.file {
            Some(path) => Error::file(path, format!("line {}: {problem}", key.line)),
            None => Error::Usage(problem),
        }
    }
}

/// `--batch-size` of `batch_size`.
pub fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// What is said of a key that the model does not have: whose it is, or the nearest.
fn unknown(name: &str, model: &'static Entry) -> String {
    let others = MODELS.iter().filter(|other| other.key_names().any(|key| key == name));
    let others: Vec<&str> = others.map(|other| other.name).collect();
    if !others.is_empty() {
        return format!("{name} is a key of {}, and this run's model is {}", others.join(" and "), model.name);
    }
    let known = ["preset", "model"].into_iter().chain(Run::KEYS.iter().map(|key| key.name)).chain(model.key_names());
    format!("unknown key `{name}`{}", hint(name, known))
}

/// Largest text file read whole, in bytes. No settings come near it; a device file or a data set given by mistake does.
const LARGEST_TEXT: u64 = 1 << 20;

/// The text of a small file: settings, a run record.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let (file, _) = open_regular(path)?;
    file.take(LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(Error::file(path, "larger than 1 MiB, so not a settings file"));
    }
    String::from_utf8(bytes).map_err(|_| Error::file(path, "not UTF-8 text, so not a settings file"))
}

/// One line for what TOML found wrong: where, and what.
pub(super) fn describe(error: &toml::de::Error, text: &str) -> String {
    let place = match error.span() {
        Some(span) => format!("line {}: ", text[..span.start.min(text.len())].matches('\n').count() + 1),
        None => String::new(),
    };
    format!("{place}{}", one_line(error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{denoising, vae};

    fn file(text: &str) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        std::fs::write(&path, text).unwrap();
        Given::from_file(&path)?.table(&vae::ENTRY)
    }

    fn flags(pairs: &[(&str, &str)]) -> Result<Table> {
        let mut given = Given::default();
        pairs.iter().for_each(|(name, text)| given.flag(name, text));
        given.table(&vae::ENTRY)
    }

    #[test]
    fn flags_and_keys_say_the_same() {
        let told = flags(&[
            ("preset", "mnist-2d"),
            ("hidden", "512,256"),
            ("betas", "0.9,0.99"),
            ("kl_schedule", "linear:5"),
            ("activation", "leaky_relu"),
            ("lr", "1e-2"),
            ("batch_size", "32"),
        ]);
        let keys = file(
            "preset = \"mnist-2d\"\nhidden = [512, 256]\nbetas = [0.9, 0.99]\nkl_schedule = \"linear:5\"\n\
             activation = \"leaky_relu\"\nlr = 0.01\nbatch_size = 32\n",
        );
        assert_eq!(told.unwrap(), keys.unwrap());
        assert_eq!(flags(&[("hidden", "400")]).unwrap(), file("hidden = [400]").unwrap());
        // Not every text that looks like a number is one.
        assert_eq!(flags(&[("device", "7")]).unwrap(), file("device = \"7\"").unwrap());
        let network = "conv 8 k3 s2, relu";
        assert_eq!(flags(&[("encoder", network)]).unwrap(), file(&format!("encoder = '{network}'")).unwrap());
        assert_eq!(flags(&[]).unwrap(), file("").unwrap());
    }

    #[test]
    fn a_bad_flag_is_refused_by_name() {
        let message = |name: &str, text: &str| flags(&[(name, text)]).unwrap_err().to_string();
        for (name, bad) in [("betas", "0.9"), ("betas", "0.9,x"), ("betas", "1,2,3"), ("kl_schedule", "liner:5")] {
            let message = message(name, bad);
            assert!(message.starts_with(&format!("{} is `{bad}`", flag(name))), "{message}");
        }
        assert!(message("activation", "rleu").contains("did you mean `relu`?"));
        assert!(message("seed", "9223372036854775808").contains("--seed"));
        assert!(message("epochs", "ten").contains("--epochs is `ten`: invalid type"));
        assert!(message("epohcs", "3").contains("unknown key `epohcs`; did you mean `epochs`?"));
        // Negative numbers are values, so that the message is about the range.
        assert_eq!(flags(&[("kl_weight", "-1")]).unwrap()["kl_weight"].to_string(), "-1");
        let message = message("noise", "mask:0.5");
        assert!(message.contains("noise is a key of denoising, and this run's model is vae"), "{message}");
        let mut given = Given::default();
        given.flag("noise", "mask:0.5");
        assert!(given.table(&denoising::ENTRY).is_ok());
    }

    #[test]
    fn an_error_in_a_file_names_file_line_and_nearest() {
        let message = |text| file(text).unwrap_err().to_string();
        let unknown = message("lr = 0.1\n\nepohcs = 3\n");
        assert!(unknown.ends_with("my.toml: line 3: unknown key `epohcs`; did you mean `epochs`?"), "{unknown}");
        let kebab = message("batch-size = 3");
        assert!(kebab.ends_with("unknown key `batch-size`; did you mean `batch_size`?"), "{kebab}");
        let value = message("lr = 0.1\nactivation = \"rleu\"\n");
        assert!(value.ends_with("line 2: unknown value `rleu`; did you mean `relu`?"), "{value}");
        let two = message("head = \"fusd\"\n");
        assert!(two.ends_with("line 1: unknown value `fusd`; did you mean `fused`?"), "{two}");
        let far = message("zzz = 1\n");
        assert!(far.contains("line 1: unknown key `zzz`. There are: preset"), "{far}");
        let kind = message("epochs = \"ten\"\n");
        assert!(kind.contains("line 1: invalid type: string \"ten\""), "{kind}");
        let schedule = message("seed = 1\nkl_schedule = \"liner:5\"\n");
        assert!(schedule.contains("line 2: ") && schedule.contains("did you mean `linear`?"), "{schedule}");
        let syntax = message("lr = \n");
        assert!(syntax.contains("line 1: "), "{syntax}");
        assert!(message("betas = [0.9]\n").contains("line 1: "));
    }

    #[test]
    fn a_file_that_is_no_settings_file_is_refused() {
        assert!(matches!(Given::from_file(Path::new("no/such.toml")), Err(Error::Io { action: "open", .. })));
        assert!(file(&"#".repeat(LARGEST_TEXT as usize + 1)).unwrap_err().to_string().contains("larger than 1 MiB"));
        assert!(file(&"#".repeat(LARGEST_TEXT as usize)).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Given::from_file(&path).unwrap_err().to_string().contains("not UTF-8"));
    }
}
