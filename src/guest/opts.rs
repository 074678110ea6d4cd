//! The argument of an option: a list of names with values, or the same in JSON.

use serde_json::Value;

use crate::model::joined;
use crate::qemu::{is_id, option_value, split_option};
use crate::report::GuestReason;

/// The names and values of an argument.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Opts {
    pub items: Vec<(String, Setting)>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    Text(String),
    /// A list or an object, which only JSON has.
    Nested(Value),
}

impl Setting {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Setting::Text(text) => Some(text),
            Setting::Nested(_) => None,
        }
    }
}

impl Opts {
    /// Reads an argument; a first word without a name belongs to `implied`.
    ///
    /// # Errors
    /// It begins like JSON and is none.
    pub(super) fn parse(text: &str, implied: &str) -> Result<Opts, GuestReason> {
        if text.trim_start().starts_with('{') {
            let Ok(Value::Object(object)) = serde_json::from_str(text) else {
                return Err(GuestReason::Malformed);
            };
            let items = object
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, setting(value)));
            return Ok(Opts {
                items: items.collect(),
            });
        }
        let items = split_option(text)
            .into_iter()
            .enumerate()
            .map(|(at, item)| match item.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None if at == 0 && !implied.is_empty() => (implied.to_owned(), item),
                None => (item, "on".to_owned()),
            });
        Ok(Opts {
            items: items
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, value)| (name, Setting::Text(value)))
                .collect(),
        })
    }

    /// Returns the last value of a name: that counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut items = self.items.iter().rev();
        let (_, value) = items.find(|(known, _)| known == name)?;
        value.text()
    }

    /// Returns the value of a name, which has to be an id.
    ///
    /// # Errors
    /// It is none, or there is no value.
    pub(super) fn id(&self, name: &str) -> Result<&str, GuestReason> {
        let id = self.get(name).filter(|id| is_id(id));
        id.ok_or(GuestReason::Malformed)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.items.iter().any(|(known, _)| known == name)
    }

    /// Returns whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("on" | "yes" | "true" | "y"))
    }
}

fn setting(value: Value) -> Setting {
    match value {
        Value::Bool(true) => Setting::Text("on".to_owned()),
        Value::Bool(false) => Setting::Text("off".to_owned()),
        Value::Number(number) => Setting::Text(number.to_string()),
        Value::String(text) => Setting::Text(text),
        nested => Setting::Nested(nested),
    }
}

/// Joins names and values to an argument.
pub(super) fn join<'a>(items: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let item = |(name, value)| format!("{name}={}", option_value(value));
    joined(items.into_iter().map(item), ",")
}

/// Tells whether this is the name of a property, a driver or a machine type.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._+".contains(c))
}

/// Tells whether a value is a number, a word, an address or the like, and can be no path.
pub(super) fn is_word(text: &str) -> bool {
    text.len() <= LONGEST && !text.contains('/') && !text.chars().any(char::is_control)
}

/// Tells whether a value is a whole number, perhaps with a unit.
pub(super) fn is_number(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| "KMGTPEkmgtpeBb".contains(c));
    text.len() - digits.len() <= 1
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit())
}

/// The longest value that is passed on.
const LONGEST: usize = 1024;

/// Returns the bytes that a size means; a plain number counts `unit` bytes.
pub(super) fn bytes(text: &str, unit: u64) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => return digits.parse::<u64>().ok()?.checked_mul(unit),
        "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_argument_mean_the_same() {
        let plain = Opts::parse("e1000,id=net0,mac=52:54:00:00:00:01,rombar=0,mq", "driver");
        let json = Opts::parse(
            r#"{"driver":"e1000","id":"net0","mac":"52:54:00:00:00:01","rombar":0,"mq":true}"#,
            "driver",
        );
        for opts in [plain, json] {
            let opts = opts.unwrap();
            assert_eq!(opts.get("driver"), Some("e1000"));
            assert_eq!(opts.get("rombar"), Some("0"));
            assert!(opts.is_on("mq"));
        }
        let commas = Opts::parse("type=1,product=a,,b,,,serial=c", "").unwrap();
        assert_eq!(commas.get("product"), Some("a,b,"));
        assert_eq!(commas.get("serial"), Some("c"));
        assert_eq!(join([("product", "a,b")]), "product=a,,b");
        let malformed = Err(GuestReason::Malformed);
        assert_eq!(Opts::parse("{\"driver\":", "driver"), malformed);
        assert_eq!(Opts::parse("{}", "driver"), Ok(Opts::default()));
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, unit, expected) in [
            ("1024", 1 << 20, Some(1 << 30)),
            ("219136k", 1 << 20, Some(219_136 << 10)),
            ("2G", 1, Some(2 << 30)),
            ("8589934592", 1, Some(8 << 30)),
            ("18446744073709551615G", 1, None),
            ("", 1, None),
            ("2GB", 1, None),
        ] {
            assert_eq!(bytes(text, unit), expected, "{text}");
        }
        assert!(is_number("4G") && is_number("12") && !is_number("G") && !is_number("1;2"));
        assert!(!is_word("/etc/passwd") && !is_word("a\nb") && is_word("0x1.0x2"));
    }
}
