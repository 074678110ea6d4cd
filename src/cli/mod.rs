//! The command line: arguments to a configuration of the library, progress on a terminal, the report to a
//! renderer, its verdict to an exit status. What a command does is the library's.

mod args;
mod bisect;
mod builds;
mod config;
mod definitions;
mod dump;
mod events;
mod here;
mod history;
mod in_tree;
mod interruption;
mod log;
mod mistyped;
mod output;
mod progress;
mod questions;
mod rules;
mod self_test;
mod settings;
mod signals;
mod stand_in;
mod stream;
mod target;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};
use nix::sys::signal::Signal;

use args::{Cli, Command};

use crate::api::ObtainError;
use crate::model::{in_brief, joined, visible_lines, visible_output};
use crate::qemu::QemuError;
use crate::report::Verdict;
use crate::{api, cleanup};

/// Time limit for the last messages of an interrupted run, which nobody may read; a busy host needs some of it.
const TELLING: Duration = Duration::from_secs(1);

/// Time limit for the report of what is known when a run is interrupted: an output may be a pipe that nobody reads.
/// The map of many builds has tens of megabytes, and CI systems wait for ten seconds or more before they kill.
const WRITING: Duration = Duration::from_secs(5);

/// The way in which a command ends. CI jobs and `git bisect run` rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Compatible,
    Incompatible,
    /// A report was made, but nothing in it was tested: exit status 125, as for a failure to start.
    Untested,
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Compatible => Exit::Compatible,
            Verdict::Incompatible => Exit::Incompatible,
            Verdict::Untested => Exit::Untested,
        }
    }
}

impl Exit {
    /// Returns the way in which a command ends that looks for something wrong.
    fn of(is_sound: bool) -> Exit {
        match is_sound {
            true => Exit::Compatible,
            false => Exit::Incompatible,
        }
    }

    fn status(self) -> u8 {
        match self {
            Exit::Compatible => 0,
            Exit::Incompatible => 1,
            Exit::Untested => 125,
        }
    }
}

/// A failure of a command to give an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong usage or unreadable input: exit status 2.
    #[error("{}", causes(.0))]
    Usage(anyhow::Error),
    /// The question is sound, but a build will not start or has no such machine: exit status 125.
    #[error("{}", causes(.0))]
    Untestable(anyhow::Error),
    /// Ended by a signal: exit status 128 and its number.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
}

impl Failure {
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Failure::Usage(error.into())
    }

    pub(crate) fn untestable(error: impl Into<anyhow::Error>) -> Self {
        Failure::Untestable(error.into())
    }

    fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Untestable(_) => 125,
            // A shell gives the same status for a process that a signal has killed.
            Failure::Interrupted(signal) => 128 + *signal as u8,
        }
    }
}

/// Returns an error with its causes. A cause that the sentence of its error contains is not
/// repeated.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    in_brief(text)
}

impl From<anyhow::Error> for Failure {
    /// What the command line itself finds wrong is wrong usage; the library says which of its errors are.
    fn from(error: anyhow::Error) -> Self {
        Failure::Usage(error)
    }
}

impl From<api::Error> for Failure {
    fn from(error: api::Error) -> Self {
        match error {
            api::Error::Usage(reason) => Failure::usage(reason),
            api::Error::Untestable(reason) => Failure::untestable(reason),
        }
    }
}

impl From<QemuError> for Failure {
    fn from(error: QemuError) -> Self {
        api::Error::from(error).into()
    }
}

impl From<ObtainError> for Failure {
    fn from(error: ObtainError) -> Self {
        api::Error::from(error).into()
    }
}

/// Runs the command line, and returns the process's exit status.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    cli.color.write_global();
    cleanup::adopt_orphans();
    let result = log::start(cli.log.as_deref())
        .and_then(|()| {
            signals::listen(interrupted)
                .context("cannot listen for signals")
                .map_err(Failure::untestable)
        })
        .and_then(|()| run(&cli.command));
    // A signal that came before the end decides how it ends.
    cleanup::uninterrupted(|| ());
    cleanup::end_leftovers();
    match result {
        Ok(exit) => {
            tracing::info!(?exit, "ended");
            ExitCode::from(exit.status())
        }
        Err(failure) => ExitCode::from(fail(&failure)),
    }
}

/// Reads the arguments, with the options that variables and a file set. What is wrong is printed.
fn parse() -> Result<Cli, ExitCode> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let mut command = Cli::command();
    let typed = command.try_get_matches_from_mut(&args);
    let typed = typed.or_else(|error| match in_tree::meant(&error, &args) {
        Some(meant) => {
            args = meant;
            command.try_get_matches_from_mut(&args)
        }
        None => Err(error),
    });
    let typed = typed.map_err(|error| {
        let words: Vec<String> = args
            .iter()
            .filter_map(|arg| arg.clone().into_string().ok())
            .collect();
        let error = mistyped::explained(error, &command, &words);
        let status = refused(&error);
        match in_tree::is_without_command(&error, &args) {
            true => ExitCode::from(fail(&here::no_command())),
            false => status,
        }
    })?;
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, near) in settings::misspelt(&mut command, &variables.collect::<Vec<_>>()) {
        hint(&format!(
            "the variable {name} sets no option; near it: {}",
            near.join(", ")
        ));
    }
    let (args, sources) = settings::complete(&mut command, &typed, &args)
        .map_err(|error| ExitCode::from(fail(&Failure::Usage(error))))?;
    let matches = match sources.is_empty() {
        true => Ok(typed),
        false => command.try_get_matches_from(args),
    };
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let status = refused(&error);
        if !sources.is_empty() {
            let sources = joined(sources, ", ");
            let line = format!("not typed, but set: {sources}");
            let _nobody_reads = writeln!(anstream::stderr(), "{}", visible_lines(&line));
        }
        status
    })
}

/// Prints what clap says of the arguments, or the help that they ask for, and gives its exit status.
fn refused(error: &clap::Error) -> ExitCode {
    let text = error.render().ansi().to_string();
    let text = visible_output(&text);
    // The exit status says it where the message cannot be written.
    let _nobody_reads = match error.use_stderr() {
        true => write!(anstream::stderr(), "{text}"),
        false => write!(anstream::stdout(), "{text}"),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Says by which signal the run is ended and gives the exit status for it.
fn interrupted(signal: Signal) -> u8 {
    let failure = Failure::Interrupted(signal);
    let status = failure.status();
    cleanup::after_the_end(WRITING, move || interruption::write(signal));
    // The reader of the error output may have gone.
    cleanup::within(TELLING, move || {
        fail(&failure);
    });
    status
}

fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Bisect(args) => bisect::run(args),
        Command::Check(args) if in_tree::is_meant(args) => in_tree::check(args),
        Command::Check(args) => questions::ask(&args.output, || config::check(args), api::check),
        Command::Live(args) => questions::ask(&args.output, || config::live(args), api::live),
        Command::Load(args) => questions::ask(&args.output, || config::load(args), api::load),
        Command::Map(args) => questions::map(args),
        Command::Merge(args) => questions::merge(args),
        Command::Render(args) => questions::render(args),
        Command::Sweep(args) => questions::ask(&args.output, || config::sweep(args), api::sweep),
        Command::Static(args) => questions::ask(
            &args.output,
            || config::static_check(args),
            api::static_check,
        ),
        Command::Dump(args) => dump::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Stream(args) => stream::run(args),
        Command::Builds(args) => builds::run(args),
        Command::History(args) => history::run(args),
        Command::SelfTest(args) => self_test::run(args),
        Command::StandIn(args) => stand_in::run(args),
        Command::Completions { shell } => definitions::completions(*shell),
        Command::Man { folder } => definitions::man(folder),
    }
}

/// Says what the user may not have meant.
fn hint(text: &str) {
    // The answer does not depend on it.
    let _nobody_reads = writeln!(anstream::stderr(), "hint: {}", visible_lines(text));
}

/// Says why there is no answer and gives the exit status for it.
fn fail(failure: &Failure) -> u8 {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let word = match failure {
        Failure::Usage(_) => "error",
        Failure::Untestable(_) | Failure::Interrupted(_) => "untested",
    };
    // A line that moves is still there when a signal comes.
    let clear = match failure {
        Failure::Interrupted(_) if io::stderr().is_terminal() => "\r\x1b[2K",
        _ => "",
    };
    tracing::info!(%failure, "ended");
    let mut out = anstream::stderr();
    // The exit status says it where the message cannot be written.
    let failure_text = failure.to_string();
    let text = visible_lines(&failure_text);
    let _nobody_reads = writeln!(out, "{clear}{style}{word}{style:#}: {text}");
    failure.status()
}
