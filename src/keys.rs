//! Settings keys. A struct of settings is a list of keys, each written once: its name, its type, its default, what the
//! help calls its value, and what it means. From the list follow the keys of settings files, the flags of `elbo train`,
//! and what `elbo models show` prints.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::nearest;

/// A key of a settings struct. Its default is the struct's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As in a settings file: `batch_size`. The flag of it is `--batch-size`.
    pub name: &'static str,
    /// What it belongs to, a heading of the help: `Training`.
    pub section: &'static str,
    /// What the help calls its value: `N`, `PATH`.
    pub value: &'static str,
    /// What it means, in which unit, and which values there are.
    pub help: &'static str,
}

/// Declares a struct of settings, its [`Default`], and `KEYS`. Reading it from a table takes the default for a key that
/// is not there.
#[macro_export]
macro_rules! keys {
    ($(#[$meta:meta])* $name:ident {
        $($section:literal { $($key:ident: $type:ty = $default:expr, $value:literal, $help:literal;)+ })+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[allow(rustdoc::broken_intra_doc_links, reason = "brackets in the help are optional parts, not links")]
        pub struct $name { $($(#[doc = $help] pub $key: $type,)+)+ }

        impl Default for $name {
            fn default() -> $name {
                $name { $($($key: $default,)+)+ }
            }
        }

        impl $name {
            /// Its keys, in the order in which they are shown.
            pub const KEYS: &'static [$crate::keys::Key] = &[
                $($($crate::keys::Key { name: stringify!($key), section: $section, value: $value, help: $help },)+)+
            ];
        }
    };
}

/// What a text of the command line may mean as the value of a key, the likeliest first: a TOML value (a number, `true`,
/// a quoted text), a list of such values, the text itself.
pub fn readings(text: &str) -> Vec<Value> {
    let value =
        |text: &str| format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let one = |text: &str| value(text).unwrap_or_else(|| Value::String(text.trim().into()));
    let literal = value(text).filter(|value| !value.is_table());
    let list = Value::Array(text.split(',').map(one).collect());
    literal.into_iter().chain([list, Value::String(text.into())]).collect()
}

/// Whether the value is how a file or a command line turns a key off that has no value by default: TOML has no null.
pub fn is_off(value: &Value) -> bool {
    matches!(value, Value::Integer(0)) || matches!(value, Value::Float(number) if *number == 0.0)
}

/// `; did you mean ...?` for a mistyped name, or the list of all where none is like it.
pub fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => format!(". There are: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The names that serde knows of an enumeration, as its error lists them: `expected one of ...`.
pub fn variants<T: DeserializeOwned>() -> Vec<String> {
    let message = Value::String("\u{0}".into()).try_into::<T>().err().map_or(String::new(), |e| e.to_string());
    message.split('`').skip(3).step_by(2).map(str::to_string).collect()
}

/// What a struct of settings reads of these values, as a table of all its keys: the default for each that is not there,
/// each value in its one form, as 2.0 is that of a number written 2. Else why it does not read them, in one line.
pub fn reads<T: DeserializeOwned + Serialize>(table: Table) -> std::result::Result<Table, String> {
    let settings: T = table.try_into().map_err(|e: toml::de::Error| one_line(e.message()))?;
    Table::try_from(settings).map_err(|e| one_line(&e.to_string()))
}

/// What serde found wrong in one line, with the nearest word that would have been right.
pub fn one_line(message: &str) -> String {
    let message = message.trim().replace('\n', ", ");
    // serde writes: unknown variant `x`, expected one of `a`, `b` (or: expected `a` or `b`).
    let mut quoted = message.split('`').skip(1).step_by(2);
    let suggestion = match quoted.next() {
        Some(given) if message.starts_with("unknown") => nearest(given, quoted),
        _ => None,
    };
    let named = |text: &str| text.replace("unknown field", "unknown key").replace("unknown variant", "unknown value");
    match suggestion {
        Some(word) => {
            let found = message.split(", expected").next().unwrap_or(&message);
            format!("{}; did you mean `{word}`?", named(found))
        }
        None => named(&message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    keys! {
        /// For the tests.
        Small {
            "Size" {
                width: usize = 3, "N", "Columns.";
                limit: Option<usize> = None, "N", "Rows at most; 0 takes all.";
            }
            "Kind" {
                kind: Kind = Kind::Round, "NAME", "round or square.";
            }
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Kind {
        Round,
        Square,
    }

    #[test]
    fn a_struct_has_its_keys_and_their_defaults() {
        assert_eq!(Small::KEYS.iter().map(|key| key.name).collect::<Vec<_>>(), ["width", "limit", "kind"]);
        assert_eq!((Small::KEYS[2].section, Small::KEYS[0].help), ("Kind", "Columns."));
        let read: Small = "limit = 4".parse::<Table>().unwrap().try_into().unwrap();
        assert_eq!(read, Small { width: 3, limit: Some(4), kind: Kind::Round });
        assert_eq!(variants::<Kind>(), ["round", "square"]);
    }

    #[test]
    fn a_text_of_the_command_line_is_read_in_every_way_it_may_be_meant() {
        let list = |values: &[i64]| Value::Array(values.iter().map(|&n| Value::Integer(n)).collect());
        assert_eq!(readings("400"), [Value::Integer(400), list(&[400]), Value::String("400".into())]);
        assert_eq!(readings("512,256")[0], list(&[512, 256]));
        assert_eq!(readings("cpu").last(), Some(&Value::String("cpu".into())));
        assert_eq!(readings("true")[0], Value::Boolean(true));
        assert_eq!(readings("1e-3")[0], Value::Float(1e-3));
        assert!(is_off(&Value::Integer(0)) && is_off(&Value::Float(0.0)) && !is_off(&Value::Integer(1)));
    }
}
