//! The fate of an option, and the line about it in the report.

use crate::guest::given::Given;
use crate::guest::opts::{Opts, Setting, join};
use crate::model::{joined, visible};
use crate::report::{GuestLine, GuestReason, Omission, Treatment};

/// An option of the guest that is moved. The name is always one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arg {
    pub option: &'static str,
    pub value: String,
}

impl Arg {
    pub(super) fn new(option: &'static str, value: impl Into<String>) -> Arg {
        Arg {
            option,
            value: value.into(),
        }
    }

    pub(super) fn words(&self) -> [String; 2] {
        [self.option.to_owned(), self.value.clone()]
    }

    fn shown(&self) -> String {
        format!("{} {}", self.option, self.value)
    }
}

/// The fate of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Treated {
    pub treatment: Treatment,
    /// The arguments that the guest has for it.
    pub args: Vec<Arg>,
    pub reason: Option<GuestReason>,
    pub detail: Option<String>,
    pub without: Vec<Omission>,
    /// The id of the device that it is.
    pub device: Option<String>,
}

impl Treated {
    pub(super) fn kept(args: impl Into<Vec<Arg>>) -> Treated {
        Treated {
            treatment: Treatment::Kept,
            args: args.into(),
            reason: None,
            detail: None,
            without: Vec::new(),
            device: None,
        }
    }

    pub(super) fn replaced(args: impl Into<Vec<Arg>>, reason: GuestReason) -> Treated {
        Treated {
            treatment: Treatment::Replaced,
            reason: Some(reason),
            ..Treated::kept(args)
        }
    }

    pub(super) fn left_out(reason: GuestReason) -> Treated {
        Treated {
            treatment: Treatment::LeftOut,
            reason: Some(reason),
            ..Treated::kept([])
        }
    }

    pub(super) fn because(self, detail: impl Into<String>) -> Treated {
        Treated {
            detail: Some(detail.into()),
            ..self
        }
    }

    pub(super) fn without(self, without: Vec<Omission>) -> Treated {
        Treated { without, ..self }
    }

    /// Returns the line of the report.
    pub(super) fn line(self, line: usize, given: String) -> GuestLine {
        GuestLine {
            line,
            given,
            treatment: self.treatment,
            now: self
                .args
                .iter()
                .map(|arg| printable(&arg.shown()))
                .collect(),
            reason: self.reason,
            detail: self.detail,
            without: self.without,
            device: self.device,
        }
    }
}

pub(super) fn omission(name: &str, reason: GuestReason) -> Omission {
    Omission {
        name: printable(name),
        reason,
    }
}

/// The characters of an option that a report has at most.
const SHOWN: usize = 400;

/// Returns a text in which every character is seen, and which is not too long.
pub(super) fn printable(text: &str) -> String {
    let shown = visible(text);
    match shown
        .char_indices()
        .find(|(at, c)| at + c.len_utf8() > SHOWN)
    {
        Some((at, c)) => format!("{}…", &shown[..at + c.len_utf8()]),
        None => shown.into_owned(),
    }
}

/// Returns an option without its secrets.
pub(super) fn shown(given: &Given) -> String {
    let Some(value) = &given.value else {
        return printable(&format!("-{}", given.name));
    };
    let opts = Opts::parse(value, "").unwrap_or_default();
    let shown = match opts.items.iter().any(|(name, _)| is_secret(name)) {
        false => value.clone(),
        true => {
            let items = opts.items.iter().map(|(name, value)| match value {
                _ if is_secret(name) => format!("{name}=…"),
                Setting::Text(text) => format!("{name}={text}"),
                Setting::Nested(value) => format!("{name}={value}"),
            });
            joined(items, ",")
        }
    };
    printable(&format!("-{} {shown}", given.name))
}

fn is_secret(name: &str) -> bool {
    matches!(name, "data" | "iv") || name.contains("password") || name.contains("passphrase")
}

/// Keeps an object with some settings and those that are accepted of the others, which are left out for a reason.
pub(super) fn with_some<'o>(
    mut settings: Vec<(&'o str, &'o str)>,
    opts: &'o Opts,
    accepts: impl Fn(&str, &str) -> bool,
    reason: GuestReason,
) -> Treated {
    let made = settings.len();
    let mut without = Vec::new();
    for (name, value) in &opts.items {
        match value.text() {
            _ if settings[..made].iter().any(|(known, _)| known == name) => {}
            Some(value) if accepts(name, value) => settings.push((name, value)),
            _ => without.push(omission(name, reason)),
        }
    }
    Treated::kept([Arg::new("-object", join(settings))]).without(without)
}
