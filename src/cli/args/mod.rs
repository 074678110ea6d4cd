//! Every argument, defined and documented in one place.

mod builds;
mod commands;
mod judging;
mod migration;
mod output;
mod tools;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use builds::{CacheArgs, PairArgs};
pub(crate) use commands::{
    BisectArgs, CheckBuildsArgs, GuestOfMany, LiveArgs, LoadArgs, MapArgs, MergeArgs, RenderArgs,
    StaticArgs, SweepArgs,
};
pub(crate) use judging::{CoverageArgs, ExcludeArgs, GateArg, JudgeArgs, MemoryArgs, TierArgs};
pub(crate) use migration::{LoopArgs, MigrationArgs, Workload};
pub(crate) use output::{BySuffix, DataFormat, Format, OutputArgs};
pub(crate) use tools::{
    BuildsArgs, BuildsCommand, CheckArgs, DiffArgs, DumpArgs, HistoryArgs, HistoryCommand,
    RulesArgs, RulesCommand, SelfTestArgs, ShowArgs, StandInArgs, StreamArgs, StreamCommand,
    StreamOutputArgs,
};

/// Finds out whether a virtual machine can migrate between two builds of QEMU, and if not, exactly why
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    /// Colour in the output
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    pub color: Color,
    /// Write a debug log: every QEMU started, with its arguments and its end, every leg, every fetch;
    /// MIGCOMPAT_LOG=trace adds the traffic on the monitors
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub log: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

// A paragraph is one line: it is broken to the width of the terminal.
const EXIT_STATUS: &str = "\
A BUILD is a vmstate dump (.json, .json.gz, .json.zst), a QEMU binary or wrapper script, a folder that \
QEMU is built in or its tree, debian:SUITE (for instance debian:bookworm-backports), fetched once into a \
cache and run from there, or last-release: of the fetched builds the newest before the other BUILD.

Without a command, in a tree of QEMU or where it is built, its build is checked against the last release.

An option is a variable too (--min-coverage: MIGCOMPAT_MIN_COVERAGE), and may stand in a migcompat.toml.

Exit status: 0 compatible; 1 incompatible; 2 wrong usage or unreadable input; 125 could not be \
tested (a build will not start, no common machine), which git bisect run takes for \"skip\"; \
128 + N ended by signal N.";

const REPORT_EXIT_STATUS: &str = "\
Exit status: 0 compatible; 1 incompatible; 2 wrong usage or unreadable input; 125 could not be tested; \
128 + N ended by signal N, with what is known by then in every output.";

/// Examples, each of which a test reads as arguments, and the exit statuses of a report.
macro_rules! with_examples {
    ($($example:literal),+) => {
        concat!(
            "Examples:\n",
            $("  migcompat ", $example, "\n",)+
            "\nExit status: 0 compatible; 1 incompatible; 2 wrong usage or unreadable input; 125 could not be tested; \
             128 + N ended by signal N, with what is known by then in every output."
        )
    };
}

const BISECT_EXIT_STATUS: &str = "\
Exit status: 0 one build is found; 1 the case is the same at both ends; 2 wrong usage; 125 an end, or a \
build next to the one that is looked for, could not be tested; 128 + N ended by signal N.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare the dumps, migrate a guest with the usual devices in both directions, and draw one verdict
    #[command(after_help = with_examples!(
        "check debian:bookworm debian:trixie -M q35",
        "check old/qemu-system-x86_64 new/qemu-system-x86_64 -M q35 -o report.json -o page.html"
    ))]
    Check(CheckBuildsArgs),
    /// Migrate guests between two builds, and check that nothing is lost
    #[command(after_help = with_examples!(
        "live debian:bookworm debian:trixie -M q35 --device am53c974 --paused",
        "live debian:bookworm debian:trixie -M q35 --device-set default --loops 10"
    ))]
    Live(LiveArgs),
    /// Load a saved guest into a build, without running it, and say what would be lost
    #[command(after_help = with_examples!(
        "load guest.save debian:trixie --guest guest.xml"
    ))]
    Load(LoadArgs),
    /// Find the first of many builds, or of the revisions of a git repository, with which a case breaks
    #[command(after_help = BISECT_EXIT_STATUS)]
    Bisect(BisectArgs),
    /// Sweep neighbouring pairs of many builds, and show with which one each device breaks
    Map(MapArgs),
    /// Join the reports of a sweep that was split into shards
    #[command(after_help = REPORT_EXIT_STATUS)]
    Merge(MergeArgs),
    /// Write a saved report in other formats
    #[command(after_help = with_examples!(
        "render report.json --format markdown",
        "render report.json -o page.html -o junit.xml"
    ))]
    Render(RenderArgs),
    /// Migrate every device that both builds have, on every machine that is named
    #[command(after_help = with_examples!(
        "sweep debian:bookworm debian:trixie -M q35 --only 'virtio-*'",
        "sweep debian:bookworm debian:trixie -M q35 -M pc -o page.html"
    ))]
    Sweep(SweepArgs),
    /// Compare the vmstate dumps of two builds as they go over the wire
    #[command(after_help = with_examples!(
        "static old.json new.json",
        "static debian:bookworm debian:trixie -M q35 --suggest"
    ))]
    Static(StaticArgs),
    /// Write the vmstate dump of a build, compressed by the file's name
    Dump(DumpArgs),
    /// List and explain the rules, and check the lists of known issues
    Rules(RulesArgs),
    /// Show a migration stream, or compare two
    Stream(StreamArgs),
    /// List, fetch and remove builds in the cache
    Builds(BuildsArgs),
    /// Show, count, fill and cut the history of earlier runs
    History(HistoryArgs),
    /// Migrate guests whose outcomes are known, and look at the host: can its results be trusted?
    SelfTest(SelfTestArgs),
    /// Stand in for the backend of a vhost-user device, for a build that is started by hand
    #[command(after_help = with_examples!("stand-in vhost-user-fs /tmp/fs.sock"))]
    StandIn(StandInArgs),
    /// Print the completions for a shell
    #[command(
        after_help = "Example:\n  migcompat completions bash > /etc/bash_completion.d/migcompat"
    )]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command into a folder
    #[command(after_help = "Example:\n  migcompat man /usr/local/share/man/man1")]
    Man {
        /// The folder, which is made if it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Sets it for every stream of this process.
    pub(super) fn write_global(self) {
        match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}
