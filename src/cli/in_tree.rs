//! `migcompat` in a tree of QEMU: the build in it held against the last release, and against itself as it was before
//! the change.
//!
//! The first run saves its report in the build folder. Those after it show what is new since then, and move the devices
//! that it is about.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::error::ErrorKind;

use crate::api;
use crate::api::{CheckConfig, Doubts};
use crate::cli::args::{CheckBuildsArgs, GateArg};
use crate::cli::output::Outputs;
use crate::cli::{Exit, Failure, fail, here, questions};
use crate::model::visible_lines;
use crate::qemu::{LAST_RELEASE, Tree, machine};
use crate::report::render::json;
use crate::report::{Gate, Report};

/// The folder in a build that baselines are kept in.
const FOLDER: &str = "migcompat";
/// The file of a tree that says who looks after it.
const MAINTAINERS: &str = "MAINTAINERS";
/// The time between two looks at the build.
const LOOK: Duration = Duration::from_millis(200);

/// Returns the arguments that are meant where no command is typed in a tree of QEMU: those of `check`.
pub(super) fn meant(error: &clap::Error, args: &[OsString]) -> Option<Vec<OsString>> {
    let is_bare = matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
            | ErrorKind::UnknownArgument
    );
    let is_option = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"-");
    if !is_bare || !args.get(1).is_none_or(is_option) {
        return None;
    }
    here::tree()?;
    let mut args = args.to_vec();
    args.insert(args.len().min(1), "check".into());
    Some(args)
}

/// Tells whether a check is about the tree that the user stands in, and is not held against anything that he names.
pub(super) fn is_meant(args: &CheckBuildsArgs) -> bool {
    let memory = &args.memory;
    args.pair.old.is_none()
        && args.case.case.is_none()
        && memory.baseline.is_none()
        && memory.gate == GateArg::All
        && here::tree().is_some()
}

/// Checks the tree, once or each time that it is built.
///
/// # Errors
/// It is not built, there is no release to compare it with, or the baseline cannot be read or saved. While it is
/// watched, what is wrong after the first time is printed.
pub(super) fn check(args: &CheckBuildsArgs) -> Result<Exit, Failure> {
    let build = here::build()?;
    let Some(tree) = here::tree() else {
        let gone = anyhow::anyhow!("{build} is in no tree of QEMU any more");
        return Err(Failure::usage(gone));
    };
    let machine = args.pair.build.machine.as_deref();
    let arch = machine::architecture(args.pair.build.arch.as_deref(), machine);
    let program = tree.program(arch).map_err(Failure::usage)?;
    let baseline = baseline_file(&tree, args);
    let mut reset = args.tree.reset;
    let mut linked = Link::of(&program);
    let mut exit = once(args, &tree, &baseline, reset);
    if !args.tree.watch || matches!(exit, Err(Failure::Usage(_))) {
        return exit;
    }
    loop {
        match exit {
            Ok(_) => reset = false,
            // The next build may start again.
            Err(failure) => {
                fail(&failure);
            }
        }
        say(&format!(
            "watching {}: it is checked again when it is linked; Ctrl-C ends it",
            here::shown(&program)
        ));
        linked = Link::next(&program, linked.as_ref());
        exit = once(args, &tree, &baseline, reset);
    }
}

/// Checks the tree, and saves the report where it is to be the baseline.
fn once(
    args: &CheckBuildsArgs,
    tree: &Tree,
    baseline: &Path,
    reset: bool,
) -> Result<Exit, Failure> {
    let mut config = CheckConfig::try_from(args)?;
    let is_first = reset || !baseline.exists();
    if !is_first {
        // Of a device that breaks already, the baseline says how.
        config.doubts = Doubts::New;
        config.memory = config.memory.baseline(baseline).gate(Gate::New);
    }
    if config.memory.tree.is_none() && tree.top.join(MAINTAINERS).is_file() {
        config.memory.tree = Some(tree.top.clone());
    }
    let mut known = None;
    let mut outputs = Outputs::new(&args.output)?;
    if !is_first {
        outputs = outputs.with_code();
    }
    let exit = questions::report_to(outputs, &args.output, |progress| {
        let report = api::check(&config, progress)?.report;
        if is_first {
            save(&report, baseline)
                .with_context(|| format!("cannot save the baseline {}", baseline.display()))
                .map_err(Failure::usage)?;
        }
        known = report.baseline.as_ref().map(|held| held.counts.same);
        Ok(report)
    })?;
    if args.output.quiet {
        return Ok(exit);
    }
    let file = here::shown(baseline);
    say(&match known {
        None => format!(
            "this is the baseline now ({file}): from here on only what is new is shown; `migcompat --reset` makes the tree \
             as it is then the baseline"
        ),
        Some(known) => format!(
            "shown is what is new since {}, and not what was there before ({known}; -v shows it); `migcompat --reset` makes \
             the tree as it is now the baseline ({file})",
            age(baseline)
        ),
    });
    Ok(exit)
}

/// Returns the file for the baseline of a question: of another machine or another old build it is another one.
fn baseline_file(tree: &Tree, args: &CheckBuildsArgs) -> PathBuf {
    let build = &args.pair.build;
    let against = args.pair.against.as_deref().unwrap_or(LAST_RELEASE);
    let parts = [
        Some(against),
        build.arch.as_deref(),
        build.machine.as_deref(),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().map(plain).collect();
    let name = format!("{}.json", parts.join("+"));
    tree.build.join(FOLDER).join(name)
}

/// Returns a text as a part of a file's name.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.=".contains(c);
    let plain = text.chars().map(|c| if is_plain(c) { c } else { '_' });
    plain.collect()
}

fn save(report: &Report, file: &Path) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    json::write(report, &mut whole)?;
    whole.persist(file)?;
    Ok(())
}

/// Returns which baseline a file is, by when it was written.
fn age(file: &Path) -> String {
    let written = fs::metadata(file).and_then(|found| found.modified());
    let passed = written
        .ok()
        .and_then(|then| SystemTime::now().duration_since(then).ok());
    match passed.map(|passed| passed.as_secs() / 60) {
        None => "the baseline".to_owned(),
        Some(minutes @ 0..120) => format!("the baseline of {minutes} min ago"),
        Some(minutes @ 120..2880) => format!("the baseline of {} h ago", minutes / 60),
        Some(minutes) => format!("the baseline of {} days ago", minutes / 1440),
    }
}

/// Says something beside the report.
fn say(line: &str) {
    // The report says what counts where it cannot be written.
    let _nobody_reads = writeln!(anstream::stderr(), "{}", visible_lines(line));
}

/// A program as it was linked.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Link {
    /// Returns what can be told of a program without reading it, if it is there.
    fn of(program: &Path) -> Option<Link> {
        let found = fs::metadata(program).ok()?;
        Some(Link {
            inode: found.ino(),
            size: found.size(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
        })
    }

    /// Waits until it is another one, and stays the same from one look to the next: a linker writes for a while.
    fn next(program: &Path, last: Option<&Link>) -> Option<Link> {
        let mut seen = None;
        loop {
            let now = Link::of(program);
            if now.is_some() && now == seen && now.as_ref() != last {
                return now;
            }
            seen = now;
            sleep(LOOK);
        }
    }
}
