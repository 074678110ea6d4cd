//! Options that are not on the command line: from variables `MIGCOMPAT_OPTION`, and from a `migcompat.toml` in the working
//! folder or the next one above it that has one. They are given to the parser as if they had been typed.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use crate::input::read_text;
use crate::model::nearest;

/// The file's name.
const FILE: &str = "migcompat.toml";
/// The beginning of the names of variables.
const PREFIX: &str = "MIGCOMPAT_";

/// The letters of a variable's name for each slip in it. One with more may be for something else.
const LETTERS_A_SLIP: usize = 5;

/// `MIGCOMPAT_LOG` is the filter of the log.
const NO_VARIABLE: [&str; 3] = ["help", "version", "log"];
/// A file that lies in a tree neither writes somewhere nor runs something else.
const NOT_IN_FILE: [&str; 10] = [
    "help",
    "version",
    "log",
    "output",
    "events",
    "format",
    "build-command",
    "program",
    "repository",
    "worktrees",
];

/// A `migcompat.toml`.
struct Settings {
    file: PathBuf,
    table: Table,
}

/// An option that the command line does not have.
struct Added {
    words: Vec<OsString>,
    /// The source of it.
    source: String,
}

/// Returns the arguments with those options that are set elsewhere, and where these are from. An option on the command
/// line comes before a variable, and a variable before the file; one that conflicts with an earlier one is left out.
/// The command has parsed the arguments, so that what was typed of it is built.
///
/// # Errors
/// The file cannot be read or names no option, or a value is none for its option.
pub(crate) fn complete(
    command: &mut Command,
    matches: &ArgMatches,
    args: &[OsString],
) -> anyhow::Result<(Vec<OsString>, BTreeSet<String>)> {
    let settings = Settings::find(&std::env::current_dir().unwrap_or_default())?;
    if let Some(settings) = &settings {
        command.build();
        settings.check(command)?;
    }
    let (leaf, matches, path) = leaf(command, matches);
    let mut given: BTreeSet<&str> = leaf
        .get_arguments()
        .filter(|arg| is_given(arg, matches))
        .map(|arg| arg.get_id().as_str())
        .collect();
    let mut added: BTreeMap<&str, Added> = BTreeMap::new();
    let mut add = |arg, found: Option<Added>| {
        let Some(found) = found else { return };
        let id = Arg::get_id(arg).as_str();
        if !given.contains(id) && !conflicts(leaf, arg, &given) {
            given.insert(id);
            added.insert(id, found);
        }
    };
    for arg in options(leaf) {
        add(arg, of_variable(arg)?);
    }
    if let Some(settings) = &settings {
        for arg in options(leaf) {
            add(arg, settings.of(arg, &path)?);
        }
    }
    let mut args = args.to_vec();
    let end = args
        .iter()
        .position(|arg| arg == "--")
        .unwrap_or(args.len());
    let words = added.values().flat_map(|added| added.words.clone());
    let words: Vec<OsString> = words.collect();
    args.splice(end..end, words);
    let used = added.into_values().filter(|added| !added.words.is_empty());
    Ok((args, used.map(|added| added.source).collect()))
}

/// Returns the variables that set no option of any command, each with the options that its name is near. One that is near
/// none may be for something else.
pub(crate) fn misspelt(command: &mut Command, variables: &[String]) -> Vec<(String, Vec<String>)> {
    command.build();
    let variable = |long: &str| format!("{PREFIX}{}", long.replace('-', "_").to_uppercase());
    let mut names: BTreeSet<String> = NO_VARIABLE.map(variable).into();
    let mut commands = vec![&*command];
    while let Some(command) = commands.pop() {
        names.extend(options(command).filter_map(Arg::get_long).map(variable));
        commands.extend(command.get_subcommands());
    }
    let own = |name: &String| name.starts_with(PREFIX) && !names.contains(name);
    let short = |name: &String| name[PREFIX.len()..].to_owned();
    let known: Vec<String> = names.iter().map(short).collect();
    let near = |name: &String| {
        let typed = short(name);
        let slips = |near: &String| strsim::damerau_levenshtein(&typed, near);
        let near = nearest(&typed, known.iter().map(String::as_str)).into_iter();
        let near = near.filter(|near| slips(near) * LETTERS_A_SLIP <= typed.len());
        let near: Vec<String> = near.map(|near| format!("{PREFIX}{near}")).collect();
        (name.clone(), near)
    };
    let misspelt = variables.iter().filter(|name| own(name)).map(near);
    misspelt.filter(|(_, near)| !near.is_empty()).collect()
}

/// Returns the innermost command that was typed, its arguments, and the names that lead to it.
fn leaf<'c>(
    mut command: &'c Command,
    mut matches: &'c ArgMatches,
) -> (&'c Command, &'c ArgMatches, Vec<&'c str>) {
    let mut path = Vec::new();
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else {
            break;
        };
        (command, matches) = (found, inner);
        path.push(name);
    }
    (command, matches, path)
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let options = command.get_arguments();
    options.filter(|arg| {
        arg.get_long()
            .is_some_and(|long| !["help", "version"].contains(&long))
    })
}

fn is_given(arg: &Arg, matches: &ArgMatches) -> bool {
    let source = matches.try_contains_id(arg.get_id().as_str());
    source.is_ok_and(|known| known)
        && matches!(
            matches.value_source(arg.get_id().as_str()),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
}

fn conflicts(command: &Command, arg: &Arg, given: &BTreeSet<&str>) -> bool {
    let of = |arg: &Arg| -> Vec<String> {
        let others = command.get_arg_conflicts_with(arg).into_iter();
        others.map(|other| other.get_id().to_string()).collect()
    };
    let id = arg.get_id().as_str();
    of(arg).iter().any(|other| given.contains(other.as_str()))
        || command.get_arguments().any(|other| {
            given.contains(other.get_id().as_str()) && of(other).iter().any(|known| known == id)
        })
}

/// Returns the option as a variable has it. One that is empty is as if it were not set.
fn of_variable(arg: &Arg) -> anyhow::Result<Option<Added>> {
    let Some(long) = arg.get_long().filter(|long| !NO_VARIABLE.contains(long)) else {
        return Ok(None);
    };
    let name = format!("{PREFIX}{}", long.replace('-', "_").to_uppercase());
    let Some(value) = std::env::var_os(&name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let words = match takes_value(arg) {
        true => {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            vec![word]
        }
        false => match value.to_str().map(str::to_ascii_lowercase).as_deref() {
            Some("1" | "true" | "yes" | "on") => vec![format!("--{long}").into()],
            Some("0" | "false" | "no" | "off") => Vec::new(),
            _ => bail!(
                "{name}={} is neither 1 nor 0: --{long} has no value",
                value.display()
            ),
        },
    };
    Ok(Some(Added {
        words,
        source: name,
    }))
}

fn takes_value(arg: &Arg) -> bool {
    !matches!(
        arg.get_action(),
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count
    )
}

impl Settings {
    /// Reads the file of this folder or of the next one above it that has one.
    fn find(folder: &Path) -> anyhow::Result<Option<Settings>> {
        let mut files = folder.ancestors().map(|folder| folder.join(FILE));
        let Some(file) = files.find(|file| file.is_file()) else {
            return Ok(None);
        };
        let text = read_text(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let table = text
            .parse()
            .map_err(|error: toml::de::Error| anyhow!("{}: {error}", file.display()))?;
        Ok(Some(Settings { file, table }))
    }

    /// Checks that every name is that of an option, or of a command with options.
    fn check(&self, command: &Command) -> anyhow::Result<()> {
        let every: BTreeSet<&str> = command.get_subcommands().flat_map(names).collect();
        for (name, value) in &self.table {
            match (command.find_subcommand(name), value) {
                (Some(inner), Value::Table(table)) => {
                    let known: BTreeSet<&str> = names(inner).collect();
                    for name in table.keys() {
                        self.check_name(name, &known, &format!(" of {}", inner.get_name()))?;
                    }
                }
                _ => self.check_name(name, &every, "")?,
            }
        }
        Ok(())
    }

    fn check_name(&self, name: &str, known: &BTreeSet<&str>, of: &str) -> anyhow::Result<()> {
        if known.contains(name) {
            return Ok(());
        }
        let file = self.file.display();
        if NOT_IN_FILE.contains(&name) {
            bail!("{file}: `{name}` is not for a file: give it on the command line");
        }
        let near = nearest(name, known.iter().copied());
        let near = match near.is_empty() {
            true => String::new(),
            false => format!("; near it: {}", near.join(", ")),
        };
        bail!("{file}: `{name}` is no option{of}{near}")
    }

    /// Returns the option as the file has it, for this command or for all.
    fn of(&self, arg: &Arg, path: &[&str]) -> anyhow::Result<Option<Added>> {
        let Some(long) = arg.get_long().filter(|long| !NOT_IN_FILE.contains(long)) else {
            return Ok(None);
        };
        let of_command = path.first().and_then(|name| self.table.get(*name));
        let of_command = of_command.and_then(Value::as_table);
        let found = of_command.and_then(|table| table.get(long));
        let Some(value) = found.or_else(|| self.table.get(long)) else {
            return Ok(None);
        };
        let source = format!("`{long}` in {}", self.file.display());
        let values = match value {
            // Of an option that is given once, a list for all commands has one; clap refuses more.
            Value::Array(values) if takes_value(arg) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let mut words = Vec::new();
        for value in values {
            let word = match (value, takes_value(arg)) {
                (Value::Boolean(true), false) => format!("--{long}"),
                (Value::Boolean(false), false) => continue,
                (Value::String(text), true) => format!("--{long}={}", self.resolved(arg, text)),
                (Value::Integer(number), true) => format!("--{long}={number}"),
                (_, true) => bail!("{source}: it takes a text or a number, not {value}"),
                (_, false) => bail!("{source}: it is true or false, not {value}"),
            };
            words.push(word.into());
        }
        Ok(Some(Added { words, source }))
    }

    /// Returns a value with its path relative to the file, where it is a path.
    fn resolved(&self, arg: &Arg, text: &str) -> String {
        let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
            || text.starts_with("./")
            || text.starts_with("../");
        match self.file.parent() {
            Some(folder) if is_path => folder.join(text).display().to_string(),
            _ => text.to_owned(),
        }
    }
}

/// Returns the names that a table of a command may have.
fn names(command: &Command) -> impl Iterator<Item = &str> {
    let longs = options(command).filter_map(Arg::get_long);
    longs.filter(|long| !NOT_IN_FILE.contains(long))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn a_variable_is_misspelt_if_its_name_is_near_that_of_an_option() {
        let said = |name: &str| misspelt(&mut Cli::command(), &[name.to_owned()]);
        for (name, wanted) in [
            ("MIGCOMPAT_STRCIT", "MIGCOMPAT_STRICT"),
            ("MIGCOMPAT_MACHNE", "MIGCOMPAT_MACHINE"),
            ("MIGCOMPAT_MIN-COVERAGE", "MIGCOMPAT_MIN_COVERAGE"),
        ] {
            let said = said(name);
            assert_eq!(said.len(), 1, "{name}");
            assert_eq!(said[0].1[0], wanted);
        }
        for name in [
            "MIGCOMPAT_STRICT",
            "MIGCOMPAT_LOG",
            "MIGCOMPAT_BEFORE",
            "MIGCOMPAT_FAULTS",
            "MIGCOMPAT_MOMENTS",
            "MIGCOMPAT_SEED",
            "MIGCOMPAT_LEGS",
            "MIGCOMPAT_RUN",
            "MIGCOMPAT_SOURCE",
            "MIGCOMPAT_TEST_ARGS",
            "MIGCOMPAT_VERSION",
            "STRCIT",
        ] {
            assert_eq!(said(name), [], "{name}");
        }
    }
}
