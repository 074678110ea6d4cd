//! Arguments in, exit status out. One module a command; what they do lives in the other rooms.

mod args;
mod board;
mod builds;
mod check;
mod dump;
mod live;
mod merge;
mod output;
mod rules;
mod static_;
mod stream;
mod sweep;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

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

impl From<QemuError> for Failure {
    fn from(error: QemuError) -> Self {
        if error.is_usage() {
            Failure::usage(error)
        } else {
            Failure::untestable(error)
        }
    }
}

impl From<ObtainError> for Failure {
    fn from(error: ObtainError) -> Self {
        if error.is_usage() {
            Failure::usage(error)
        } else {
            Failure::untestable(error)
        }
    }
}

/// Runs the command line; the process's exit status comes back.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    cli.color.write_global();
    let result = match cli.command {
        Command::Check(args) => check::run(&args),
        Command::Live(args) => live::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Static(args) => static_::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Stream(args) => stream::run(&args),
        Command::Builds(args) => builds::run(&args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            let word = match failure {
                Failure::Usage(_) => "error",
                Failure::Untestable(_) | Failure::Interrupted => "untested",
            };
            anstream::eprintln!("{style}{word}{style:#}: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
