//! The command line: arguments to a configuration of the library, progress on a terminal, the report to a
//! renderer, its verdict to an exit status. What a command does is the library's.

mod args;
mod builds;
mod config;
mod dump;
mod log;
mod output;
mod progress;
mod questions;
mod rules;
mod stream;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

use crate::api;
use crate::api::dumps::ObtainError;
use crate::qemu::QemuError;

/// How a command ends. The numbers are what CI jobs and `git bisect run` rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Compatible,
    Incompatible,
    /// A report was made, but nothing in it was tested: exit status 125, as for a failure to start.
    Untested,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Compatible => ExitCode::SUCCESS,
            Exit::Incompatible => ExitCode::from(1),
            Exit::Untested => ExitCode::from(125),
        }
    }
}

/// Why a command could not give an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong usage or unreadable input: exit status 2.
    #[error("{0:#}")]
    Usage(anyhow::Error),
    /// The question is sound, but a build will not start or has no such machine: exit status 125.
    #[error("{0:#}")]
    Untestable(anyhow::Error),
    /// Ended by a signal: exit status 130.
    #[error("interrupted")]
    Interrupted,
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
            Failure::Interrupted => 130,
        }
    }
}

impl From<api::Error> for Failure {
    fn from(error: api::Error) -> Self {
        match error {
            api::Error::Usage(reason) => Failure::usage(reason),
            api::Error::Untestable(reason) => Failure::untestable(reason),
            api::Error::Interrupted => Failure::Interrupted,
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    cli.color.write_global();
    let result = log::start(cli.log.as_deref()).and_then(|()| run(cli.command));
    finish(result)
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Check(args) => questions::check(&args),
        Command::Live(args) => questions::live(&args),
        Command::Merge(args) => questions::merge(&args),
        Command::Sweep(args) => questions::sweep(&args),
        Command::Static(args) => questions::static_(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Stream(args) => stream::run(&args),
        Command::Builds(args) => builds::run(&args),
    }
}

/// Tells a failure, and returns the exit status.
fn finish(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => {
            tracing::info!(?exit, "ended");
            exit.into()
        }
        Err(failure) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            let word = match failure {
                Failure::Usage(_) => "error",
                Failure::Untestable(_) | Failure::Interrupted => "untested",
            };
            tracing::info!(%failure, "ended");
            anstream::eprintln!("{style}{word}{style:#}: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
