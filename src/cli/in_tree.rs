//! `migcompat` in a tree of QEMU: the build in it held against the last release, and against itself as it was before
//! the change.
//!
//! Where a build of the commit is at hand that the work began from, its report is what the tree is held against. Otherwise the
//! first run saves its report in the build folder. Those after it show what is new since then, and move the devices that
//! it is about.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::api::{self, CheckConfig, Doubts, Question};
use crate::bisect::base::{Base, is_committed};
use crate::cli::args::{CheckBuildsArgs, Cli, GateArg};
use crate::cli::output::Outputs;
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, config, fail, here, questions};
use crate::model::{joined, visible_lines};
use crate::qemu::{Tree, machine};
use crate::report::render::json;
use crate::report::{Gate, Report};
use crate::whole_file::{folder_of, neighbour};

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
    // A command that comes behind its options is one nonetheless, which clap says better.
    let commands = Cli::command();
    let has_command = args
        .iter()
        .skip(1)
        .any(|arg| commands.find_subcommand(arg).is_some());
    if !is_bare || has_command || !args.get(1).is_none_or(is_option) {
        return None;
    }
    here::tree()?;
    let mut args = args.to_vec();
    args.insert(args.len().min(1), "check".into());
    Some(args)
}

/// Tells whether no command is typed, so that the help alone would not say what was looked for.
pub(super) fn is_without_command(error: &clap::Error, args: &[OsString]) -> bool {
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && args.len() <= 1
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
    let config = config_of(args, &tree)?;
    // The first time alone, what is there is made anew.
    let mut is_first = true;
    let mut linked = Link::of(&program);
    let mut exit = once(args, &tree, &config, is_first);
    if !args.tree.watch || matches!(exit, Err(Failure::Usage(_))) {
        return exit;
    }
    loop {
        match exit {
            Ok(_) => is_first = false,
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
        exit = once(args, &tree, &config, is_first);
    }
}

/// Returns the check that is asked for, with the owners that the tree names.
fn config_of(args: &CheckBuildsArgs, tree: &Tree) -> Result<CheckConfig, Failure> {
    let mut config = config::check(args)?;
    if config.memory.tree.is_none() && tree.top.join(MAINTAINERS).is_file() {
        config.memory.tree = Some(tree.top.clone());
    }
    Ok(config)
}

/// Checks the tree, and saves the report where it is to be the baseline.
fn once(
    args: &CheckBuildsArgs,
    tree: &Tree,
    config: &CheckConfig,
    is_first: bool,
) -> Result<Exit, Failure> {
    let mut outputs = Outputs::new(&args.output)?;
    let display = Display::new(args.output.quiet);
    let question = Question::of(config, &display)?;
    drop(display);
    let since = Since::find(args, tree, &question, is_first)?;
    let baseline = &since.file;
    let mut config = question.config;
    let is_saved = args.tree.reset && is_first || !baseline.exists();
    if !is_saved {
        // Of a device that breaks already, the baseline says how.
        config.doubts = Doubts::New;
        config.memory.baseline = Some(baseline.clone());
        config.memory.gate = Gate::New;
    }
    let mut known = None;
    outputs.code = !is_saved;
    let exit = questions::report_to(outputs, &args.output, |progress| {
        let report = api::check(&config, progress)?.report;
        if is_saved {
            save(&report, baseline)?;
        }
        known = report.baseline.as_ref().map(|held| held.counts.same);
        Ok(Box::new(report))
    })?;
    if args.output.quiet {
        return Ok(exit);
    }
    let file = here::shown(baseline);
    say(&match known {
        None => format!(
            "this is the baseline now ({file}): from here on only what is new is shown; `migcompat --reset` makes the tree \
             as it is then the baseline{}",
            since.wanted()
        ),
        Some(known) => format!(
            "shown is what is new since {}, and not what was there before ({known}; -v shows it); `migcompat --reset` makes \
             the tree as it is now the baseline ({file})",
            since.name()
        ),
    });
    Ok(exit)
}

/// The report that the tree is held against.
struct Since {
    /// The report of it. It need not be there.
    file: PathBuf,
    /// The commit that the work began from, in a git repository.
    base: Option<Base>,
    /// The report is of a build of that commit.
    is_base: bool,
}

impl Since {
    /// Finds the report of the commit that the work began from, which is made where a build of it is at hand, or else
    /// that of the tree as it was; of both, the newer one.
    ///
    /// # Errors
    /// The build of the commit cannot be checked.
    fn find(
        args: &CheckBuildsArgs,
        tree: &Tree,
        question: &Question,
        is_first: bool,
    ) -> Result<Since, Failure> {
        let is_reset = args.tree.reset && is_first;
        let named = args.tree.base.as_ref();
        let own = baseline_file(tree, question, None);
        let base = Base::of(&tree.top);
        let commit = base.as_ref().map_or("base", Base::short);
        let file = baseline_file(tree, question, Some(commit));
        let known = base.is_some() || named.is_some();
        if known && !is_reset && (!file.exists() || named.is_some() && is_first) {
            let built = || {
                base.as_ref()
                    .and_then(|base| built(base, tree, &question.arch))
            };
            if let Some(build) = named.cloned().or_else(built) {
                match save_base(args, question, &build, &file) {
                    // Nobody asked for it.
                    Err(failure) if named.is_none() => say(&format!(
                        "the tree is not held against {build}, which the work began from: {failure}"
                    )),
                    saved => saved?,
                }
            }
        }
        let written = |file: &Path| fs::metadata(file).and_then(|found| found.modified()).ok();
        // A reset, or a build of the commit after it.
        let is_base = known && !is_reset && written(&file) > written(&own);
        Ok(Since {
            file: if is_base { file } else { own },
            base,
            is_base,
        })
    }

    /// Returns what it is, for a reader.
    fn name(&self) -> String {
        match &self.base {
            Some(base) if self.is_base => {
                format!("{}, where the work left {}", base.short(), base.left)
            }
            None if self.is_base => "the build that the work began from".to_owned(),
            Some(_) | None => age(&self.file),
        }
    }

    /// Says what is needed to be held against the commit that the work began from.
    fn wanted(&self) -> String {
        self.base.as_ref().map_or_else(String::new, |base| {
            let Base { left, .. } = base;
            let commit = base.short();
            format!(
                "; to see all that is new since {commit}, where the work left {left}, build that commit (`git worktree add \
                 ../qemu-base {commit}`) or name a build of it (--base BUILD)"
            )
        })
    }
}

/// Returns the build of a commit in another worktree of the tree's repository. One that has changes is of another
/// state, and what they break would count as known.
fn built(base: &Base, tree: &Tree, arch: &str) -> Option<String> {
    let trees = base.worktrees(&tree.top).into_iter();
    let trees = trees.filter_map(|folder| Tree::find(&folder));
    let trees = trees.filter(|other| other.top != tree.top && other.program(arch).is_ok());
    let (committed, changed): (Vec<Tree>, Vec<Tree>) =
        trees.partition(|other| is_committed(&other.top));
    if let (None, Some(other)) = (committed.first(), changed.first()) {
        say(&format!(
            "the tree is not held against {}, a worktree of {}, which the work began from: files in it are not as they were committed",
            here::shown(&other.top),
            base.short()
        ));
    }
    Some(here::shown(&committed.first()?.build))
}

/// Checks a build of the commit that the work began from as the tree is checked, and saves the report.
fn save_base(
    args: &CheckBuildsArgs,
    question: &Question,
    build: &str,
    file: &Path,
) -> Result<(), Failure> {
    let mut config = question.config.clone();
    build.clone_into(&mut config.builds.new);
    if !args.output.quiet {
        say(&format!("checking {build}, which the work began from"));
    }
    let report = api::check(&config, &Display::new(args.output.quiet))?.report;
    Ok(save(&report, file)?)
}

/// Returns the file for the baseline of a question: another question has another one.
fn baseline_file(tree: &Tree, question: &Question, commit: Option<&str>) -> PathBuf {
    let config = &question.config;
    let parts = [
        Some(&*config.builds.old),
        config.machine.as_deref(),
        commit,
        Some(&question.key),
    ];
    let parts = joined(parts.into_iter().flatten().map(plain), "+");
    let name = format!("{parts}.json");
    tree.build.join(FOLDER).join(name)
}

/// Returns a text as a part of a file's name.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.=".contains(c);
    let plain = text.chars().map(|c| if is_plain(c) { c } else { '_' });
    plain.collect()
}

fn save(report: &Report, file: &Path) -> anyhow::Result<()> {
    let write = || {
        fs::create_dir_all(folder_of(file))?;
        let mut whole = neighbour(file)?;
        json::write(report, &mut whole)?;
        Ok::<_, std::io::Error>(whole.persist(file)?)
    };
    write().with_context(|| format!("cannot save the baseline {}", file.display()))?;
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
