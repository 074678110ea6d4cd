//! Tips for words that are not on the command line where they were typed, and are somewhere else.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::model::Rule;

/// Returns an error with a tip where what was typed is known by another place; `typed` are the arguments.
pub(super) fn explained(error: Error, command: &Command, typed: &[String]) -> Error {
    // Commands of commands have their names only then.
    let mut command = command.clone();
    command.build();
    let word = |of| match error.get(of) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            word(ContextKind::InvalidSubcommand).and_then(|word| elsewhere(&command, word))
        }
        ErrorKind::UnknownArgument => {
            word(ContextKind::InvalidArg).and_then(|word| by_place(meant(&command, typed), word))
        }
        _ => None,
    };
    let Some(tip) = tip else {
        return error;
    };
    // An option that is spelt alike is not what was meant.
    let known = error
        .context()
        .filter(|(of, _)| *of != ContextKind::SuggestedArg);
    let mut explained = Error::new(error.kind()).with_cmd(&command);
    for (of, value) in known {
        explained.insert(of, value.clone());
    }
    let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
    explained.insert(ContextKind::Suggested, tips);
    explained
}

/// Returns the command that was typed: the deepest one that the arguments name.
fn meant<'c>(command: &'c Command, typed: &[String]) -> &'c Command {
    let mut words = typed.iter().skip(1);
    match words.find_map(|word| command.find_subcommand(word)) {
        Some(below) => meant(below, typed),
        None => command,
    }
}

/// Returns the tip for a word that is a command of another command, or a rule.
fn elsewhere(command: &Command, word: &str) -> Option<String> {
    let parents = std::iter::once(command).chain(command.get_subcommands());
    let mut commands = parents.flat_map(Command::get_subcommands);
    let is_command = commands.find(|known| known.get_name() == word).map(name);
    let rule = || {
        Some(format!(
            "{} rules explain {}",
            name(command),
            Rule::from_id(word)?
        ))
    };
    Some(format!("there is '{}'", is_command.or_else(rule)?))
}

/// Returns the tip for an option that is an argument without one.
fn by_place(command: &Command, option: &str) -> Option<String> {
    let wanted = option.strip_prefix("--")?;
    let arguments: Vec<&str> = command
        .get_positionals()
        .filter_map(|argument| Some(argument.get_value_names()?.first()?.as_str()))
        .collect();
    let found = arguments
        .iter()
        .find(|known| known.eq_ignore_ascii_case(wanted))?;
    let order = arguments.join(" ");
    Some(format!(
        "{found} has no option before it: '{} {order}'",
        name(command)
    ))
}

/// Returns a command as it is typed.
fn name(command: &Command) -> String {
    command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn what_is_known_by_another_place_has_a_tip() {
        for (typed, tip) in [
            (
                "rules field-added",
                Some("there is 'migcompat rules explain field-added'"),
            ),
            (
                "explain field-added",
                Some("there is 'migcompat rules explain'"),
            ),
            ("builds static", Some("there is 'migcompat static'")),
            (
                "check --old a",
                Some("OLD has no option before it: 'migcompat check OLD NEW'"),
            ),
            (
                "rules explain --rule a",
                Some("'migcompat rules explain RULE'"),
            ),
            ("nosuch", None),
            ("check --machin q35", None),
        ] {
            let words = std::iter::once("migcompat").chain(typed.split(' '));
            let words: Vec<String> = words.map(str::to_owned).collect();
            let mut command = Cli::command();
            let error = command.try_get_matches_from_mut(&words).unwrap_err();
            let plain = error.to_string();
            let said = explained(error, &command, &words).to_string();
            match tip {
                Some(tip) => {
                    assert!(said.contains(tip), "{typed}: {said}");
                    assert!(!said.contains("similar"), "{typed}: {said}");
                }
                None => assert_eq!(said, plain, "{typed}"),
            }
        }
    }
}
