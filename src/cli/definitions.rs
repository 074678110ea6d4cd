//! Completions for a shell and man pages, made of the definitions of the arguments.

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};

const NAME: &str = "migcompat";

/// Writes the completions for a shell to standard output.
pub(super) fn completions(shell: Shell) -> Result<Exit, Failure> {
    Target::STDOUT.write_bytes(|| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
        Ok(text)
    })?;
    Ok(Exit::Compatible)
}

/// Writes a man page for the program and for each command into a folder, which is made if it is not there.
pub(super) fn man(folder: &Path) -> Result<Exit, Failure> {
    let mut parents = folder.ancestors();
    if let Some(file) = parents.find(|parent| parent.exists() && !parent.is_dir()) {
        return Err(Failure::usage(anyhow!(
            "cannot write man pages into {}: {} is a file, and they need a folder, for there is one for each command",
            folder.display(),
            file.display()
        )));
    }
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.with_context(|| format!("cannot write man pages into {}", folder.display()))?;
    Ok(Exit::Compatible)
}
