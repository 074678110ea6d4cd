//! Every argument, defined and documented in one place.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::api::TierRules;
use crate::migration::channel::transport::Transport;
use crate::migration::endpoint::capability::Capability;
use crate::model::Rule;
use crate::model::{AcceleratorPreference, CaseName, Date, Direction, Pattern, Version};
use crate::report::RequiredCoverage;
use crate::sweep::shard::Shard;

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

const EXIT_STATUS: &str = "\
A BUILD is a vmstate dump (.json, .json.gz, .json.zst), a QEMU binary or wrapper script, a folder that
QEMU is built in or its tree, debian:SUITE (for instance debian:bookworm-backports), fetched once into a
cache and run from there, or last-release: of the fetched builds the newest before the other BUILD.

An option is a variable too (--min-coverage: MIGCOMPAT_MIN_COVERAGE), and may stand in a migcompat.toml.

Exit status: 0 compatible; 1 incompatible; 2 wrong usage or unreadable input; 125 could not be
tested (a build will not start, no common machine), which git bisect run takes for \"skip\";
128 + N ended by signal N.";

const REPORT_EXIT_STATUS: &str = "\
Exit status: 0 compatible; 1 incompatible; 2 wrong usage or unreadable input; 125 could not be tested;
128 + N ended by signal N, with what is known by then in every output.";

/// Examples, each of which a test reads as arguments, and the exit statuses of a report.
macro_rules! with_examples {
    ($($example:literal),+) => {
        concat!(
            "Examples:\n",
            $("  migcompat ", $example, "\n",)+
            "\nExit status: 0 compatible; 1 incompatible; 2 wrong usage or unreadable input; 125 could not be tested;\n\
             128 + N ended by signal N, with what is known by then in every output."
        )
    };
}

const BISECT_EXIT_STATUS: &str = "\
Exit status: 0 one build is found; 1 the case is the same at both ends; 2 wrong usage; 125 an end, or a
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Directions {
    Forward,
    Backward,
    Both,
}

impl Directions {
    pub(crate) fn list(self) -> &'static [Direction] {
        match self {
            Directions::Forward => &[Direction::Forward],
            Directions::Backward => &[Direction::Backward],
            Directions::Both => &Direction::BOTH,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Text,
    /// For programs: everything, as report-schema.json describes it
    Json,
    /// For CI systems
    Junit,
    /// One page for a browser, which loads nothing from elsewhere
    Html,
    /// For GitLab's code quality reports, in JSON
    #[value(name = "codequality")]
    CodeQuality,
    /// For code scanning: SARIF 2.1, in JSON
    Sarif,
    /// For the log of a GitHub job, which makes annotations of it
    Github,
    /// A summary for a comment, or a page of a CI system
    Markdown,
}

impl Format {
    /// Returns the format that the name of a file asks for, if it does.
    pub(crate) fn of_file(file: &Path) -> Option<Format> {
        let name = file.file_name()?.to_str()?.to_ascii_lowercase();
        // As GitLab's own documentation calls it.
        if name == "gl-code-quality-report.json" {
            return Some(Format::CodeQuality);
        }
        Format::BY_SUFFIX
            .into_iter()
            .find_map(|(suffix, format)| name.ends_with(suffix).then_some(format))
    }

    /// The endings of files; the longer of two comes first.
    const BY_SUFFIX: [(&str, Format); 8] = [
        (".codequality.json", Format::CodeQuality),
        (".sarif.json", Format::Sarif),
        (".sarif", Format::Sarif),
        (".json", Format::Json),
        (".xml", Format::Junit),
        (".html", Format::Html),
        (".md", Format::Markdown),
        (".txt", Format::Text),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MapFormat {
    /// For a terminal
    Text,
    /// For programs: everything, as map-schema.json describes it
    Json,
    /// One page for a browser, which loads nothing from elsewhere
    Html,
}

/// The form of a report, and its place.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Format of the report; one for all outputs, or one for each -o in turn [default: by the suffix of FILE, else
    /// text]
    #[arg(long, value_enum)]
    pub format: Vec<Format>,
    /// Write the report to FILE instead of standard output, which - is (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Write a line of JSON to FILE for each thing that happens, as it happens; - is standard output
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Print list entries that would settle what failed, ready to fill in and paste
    #[arg(long, conflicts_with = "format")]
    pub suggest: bool,
    /// Print errors, notices and the closing line only, and no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print notes too, and the explanation of every finding
    #[arg(short, long)]
    pub verbose: bool,
}

/// Earlier results, and the breaks that count beside them.
#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    /// Say of every finding and case how it stands to an earlier report in JSON: new, same, fixed or gone
    #[arg(long, value_name = "REPORT")]
    pub baseline: Option<PathBuf>,
    /// File with the results of earlier runs, made if there is none: say of every case what they make of it,
    /// and add this run
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// File that holds migcompat, the lists and the device sets as they are, made if there is none: a run that
    /// differs is refused
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Run although something differs from the lock; the report shows the reason
    #[arg(long, value_name = "REASON", requires = "lock")]
    pub ack: Option<String>,
    /// Breaks that decide the exit status
    #[arg(long, value_enum, default_value_t = GateArg::All, value_name = "GATE")]
    pub gate: GateArg,
    /// File that says who owns which devices, in the style of QEMU's MAINTAINERS: the report names the people to tell
    #[arg(long, value_name = "FILE")]
    pub owners: Option<PathBuf>,
    /// Tree of QEMU's sources, in which the files of a device are looked for [default of --owners: its MAINTAINERS]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub tree: Option<PathBuf>,
    #[command(flatten)]
    pub tiers: TierArgs,
}

/// Cases that are left out on purpose.
#[derive(Debug, Args)]
pub(crate) struct ExcludeArgs {
    /// Leave out the cases whose ids fit GLOB, as a report has them; it shows them as excluded (repeatable)
    #[arg(
        long,
        value_name = "CASE-GLOB",
        requires = "reason",
        hide_short_help = true
    )]
    pub exclude: Vec<String>,
    /// Why they are left out; one for all, or one for each --exclude in turn
    #[arg(
        long,
        value_name = "TEXT",
        requires = "exclude",
        hide_short_help = true
    )]
    pub reason: Vec<String>,
}

/// The rules by which the history gives each case its tier.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tiers")]
pub(crate) struct TierArgs {
    /// Runs in a row that a case has to pass before it is in the gate tier
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_PASSES", default_value_t = TierRules::default().passes,
        value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub tier_passes: u32,
    /// Days for which it has to be observed before that
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_DAYS", default_value_t = TierRules::default().days,
        hide_short_help = true)]
    pub tier_days: u32,
    /// Failures in a row after which it is observed again
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_FAILURES", default_value_t = TierRules::default().failures,
        value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub tier_failures: u32,
    /// Hours in which it may be repaired before that
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_HOURS", default_value_t = TierRules::default().hours,
        hide_short_help = true)]
    pub tier_hours: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateArg {
    /// Every one that no list allows
    All,
    /// Those that the baseline does not have; only they are shown, but for -v
    New,
    /// Cases that passed with an earlier new build, and findings that were not there with it, by the history
    Regression,
    /// Cases in the gate tier, by the history: those that have passed for long enough
    Tier,
}

/// The case that a run is about.
#[derive(Debug, Args)]
pub(crate) struct CaseArgs {
    /// Run one case alone, as far as that can be, and have it alone decide the exit status, whatever the lists make
    /// of it: 0 it passes, 1 it fails, 125 it could not be tested. `git bisect run` takes a command with it
    #[arg(long, value_name = "CASE", conflicts_with = "direction")]
    pub case: Option<CaseName>,
}

/// The lists and options by which findings are judged.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// Folder with your own lists of known issues, beside the shipped ones (repeatable)
    #[arg(long, alias = "rules", value_name = "DIR")]
    pub lists: Vec<PathBuf>,
    /// Treat findings of RULE as errors (repeatable, like the next two)
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub deny: Vec<Rule>,
    /// Treat findings of RULE as warnings
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub warn: Vec<Rule>,
    /// Report findings of RULE, but do not fail for them
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub allow: Vec<Rule>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// What executes a guest's instructions.
#[derive(Debug, Args)]
pub(crate) struct AccelArgs {
    /// Accelerator of the guests: tcg, kvm, or a list in the order of preference, of which the first is taken that both
    /// builds and this host can use; auto means kvm,tcg
    #[arg(long, value_name = "LIST", default_value_t)]
    pub accel: AcceleratorPreference,
}

/// The machine type, and the folder for fetched builds.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Machine type; an alias like q35 is the newest versioned one that the builds share, and OLD=NEW pairs two names
    #[arg(short = 'M', long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Architecture of the guest; by default what the machine type implies, else x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Folder for fetched builds [default: $XDG_CACHE_HOME/migcompat]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// The builds, and the direction.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Build that guests start on [default in a tree of QEMU: last-release]
    #[arg(value_name = "OLD")]
    pub old: Option<String>,
    /// Build that they migrate to, and back from; with --against the only one [default in a tree of QEMU: its build]
    #[arg(value_name = "NEW")]
    pub new: Option<String>,
    /// Build that guests start on, in the place of OLD
    #[arg(long, value_name = "BUILD", conflicts_with = "new")]
    pub against: Option<String>,
    #[command(flatten)]
    pub build: BuildArgs,
    /// Direction of the migration
    #[arg(long, value_enum, default_value_t = Directions::Both)]
    pub direction: Directions,
}

#[derive(Debug, Args)]
pub(crate) struct StaticArgs {
    #[command(flatten)]
    pub pair: PairArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum First {
    Old,
    New,
}

impl First {
    pub(crate) fn direction(self) -> Direction {
        match self {
            First::Old => Direction::Forward,
            First::New => Direction::Backward,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Workload {
    Tiny,
    Linux,
}

/// Round trips.
#[derive(Debug, Args)]
pub(crate) struct LoopArgs {
    /// Migrate one guest back and forth N times, instead of once in each direction
    #[arg(long, value_name = "N", conflicts_with = "direction", value_parser = clap::value_parser!(u16).range(1..))]
    pub loops: Option<u16>,
    /// Build on which the guest of --loops starts
    #[arg(long, value_enum, default_value_t = First::Old, requires = "loops", value_name = "BUILD")]
    pub first: First,
}

/// The guests, and how they migrate.
#[derive(Debug, Args)]
pub(crate) struct MigrationArgs {
    /// Your own guest instead of device sets: libvirt's domain XML or log, a QEMU command line,
    /// /proc/PID/cmdline or the output of `qm showcmd`; - for standard input. Nothing that it names is opened or reached
    #[arg(long, value_name = "FILE", conflicts_with_all = ["device_set", "device"])]
    pub guest: Option<PathBuf>,
    /// Devices in the guest: a shipped set, or a file of your own (repeatable) [default: default]
    #[arg(long, value_name = "NAME")]
    pub device_set: Vec<String>,
    /// Device as `-device` takes it, or the name of a driver (repeatable; one guest has all of them)
    #[arg(long, value_name = "ARGS")]
    pub device: Vec<String>,
    /// Folder of your own: the device sets in it may have any option of QEMU, also one that runs a program or opens a
    /// file (repeatable). Other files are refused if they have more than what concerns the guest
    #[arg(long, value_name = "DIR")]
    pub trust: Vec<PathBuf>,
    /// Never start the machine, and migrate its state after reset; by default a guest runs meanwhile
    #[arg(long)]
    pub paused: bool,
    /// Never start the machine either, but do from outside what drivers do: give its devices addresses and
    /// interrupts, accept every virtio feature and set all queues up
    #[arg(long, conflicts_with = "paused")]
    pub driven: bool,
    /// Guest that runs: tiny, of our own, works in memory while it is sent; linux, fetched from Debian once, has a
    /// driver for every device and uses it before and after each migration
    #[arg(long, value_enum, default_value_t = Workload::Tiny, conflicts_with_all = ["paused", "driven"])]
    pub workload: Workload,
    #[command(flatten)]
    pub accel: AccelArgs,
    /// CPU model of the guest [default: the machine's]; host is for --accel kvm
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// Options of QEMU for the old build alone, in one word: --old-arg='-global virtio-net-pci.mrg_rxbuf=off'
    /// (repeatable, like the next three)
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub old_arg: Vec<String>,
    /// Options of QEMU for the new build alone
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub new_arg: Vec<String>,
    /// Options of QEMU for the side alone on which a guest starts, whichever build that is
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub src_arg: Vec<String>,
    /// Options of QEMU for the sides alone that a guest moves to
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub dst_arg: Vec<String>,
    /// Transport of the stream: unix, tcp (loopback), fd (a pair of sockets), exec, or file (from
    /// QEMU 8.2 on)
    #[arg(long, default_value_t = Transport::Unix)]
    pub transport: Transport,
    /// Migrate with multifd, postcopy-ram, postcopy-preempt, mapped-ram, zero-copy-send, xbzrle, auto-converge or tls
    /// (repeatable)
    #[arg(long, value_name = "NAME")]
    pub capability: Vec<Capability>,
    /// Number of cases at once [default: one per CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Number of times to repeat a case that failed, to see whether it always fails
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub retries: u16,
    /// Number of times to run a case again, to see whether it always passes; the report has the rate
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub repeat: u16,
    /// Time limit of one migration, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Keep the logs of cases that do not pass in DIR [default: a new folder in the temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    #[command(flatten)]
    pub pair: PairArgs,
    #[command(flatten)]
    pub loops: LoopArgs,
    #[command(flatten)]
    pub migration: MigrationArgs,
    /// Folder with your own lists of known issues, beside the shipped ones (repeatable)
    #[arg(long, alias = "rules", value_name = "DIR")]
    pub lists: Vec<PathBuf>,
    #[command(flatten)]
    pub case: CaseArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// State of a guest: a migration stream, an image saved by libvirt, or a qcow2 image with a snapshot
    #[arg(value_name = "STATE")]
    pub state: PathBuf,
    /// Build that is to load it
    #[arg(value_name = "BUILD")]
    pub build: String,
    /// Machine type, with architecture and cache [default: the machine that STATE names]
    #[command(flatten)]
    pub of: BuildArgs,
    /// The guest that STATE is of: libvirt's domain XML or log, a QEMU command line, /proc/PID/cmdline or the output of
    /// `qm showcmd`; - for standard input. Nothing that it names is opened or reached [default: the domain in an image
    /// saved by libvirt, else a machine without further devices]
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
    /// Options of QEMU for the build, in one word: --arg='-global virtio-net-pci.mrg_rxbuf=off' (repeatable)
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub arg: Vec<String>,
    #[command(flatten)]
    pub accel: AccelArgs,
    /// Bytes of STATE before the stream, as in `file:FILE,offset=BYTES`
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub offset: u64,
    /// Name or id of the snapshot, where STATE is a qcow2 image with several
    #[arg(long, value_name = "NAME", conflicts_with = "offset")]
    pub snapshot: Option<String>,
    /// Number of times to repeat a load that failed, to see whether it always fails
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub retries: u16,
    /// Time limit of one load, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Keep the logs of a load that does not pass in DIR [default: a new folder in the temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
    /// Folder with your own lists of known issues, beside the shipped ones (repeatable)
    #[arg(long, value_name = "DIR")]
    pub lists: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BisectArgs {
    /// Builds in their order, the first and the last as ends; with --build-command, GOOD..BAD of a git repository
    #[arg(value_name = "BUILD", required = true)]
    pub builds: Vec<String>,
    /// Id of the case, as `check` and `sweep` report it: q35/am53c974/unix/forward
    #[arg(long, value_name = "CASE")]
    pub case: CaseName,
    /// Build that guests come from, and move back to [default: the first of those that are searched]
    #[arg(long, value_name = "BUILD")]
    pub old: Option<String>,
    #[command(flatten)]
    pub build: BuildArgs,
    /// Check out each revision into a worktree of its own, and run CMD there in a shell: it builds QEMU
    #[arg(long, value_name = "CMD")]
    pub build_command: Option<String>,
    /// Place of the QEMU program that CMD makes, or of a folder with a qemu-system-ARCH, in the worktree
    #[arg(
        long,
        value_name = "PATH",
        default_value = "build",
        requires = "build_command"
    )]
    pub program: PathBuf,
    /// Git repository of the revisions
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        requires = "build_command"
    )]
    pub repository: PathBuf,
    /// Folder for the worktrees, which need much room [default: that for temporary files]
    #[arg(long, value_name = "DIR", requires = "build_command")]
    pub worktrees: Option<PathBuf>,
    /// Number of times that the case has to pass with a build; the history asks for more where it is flaky
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub tries: u16,
    /// File with the results of earlier runs, to which each try is added: it says whether the case is flaky
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    #[command(flatten)]
    pub migration: MigrationArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Format of the report
    #[arg(long, value_enum, default_value_t = DataFormat::Text)]
    pub format: DataFormat,
    /// Write the report to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the answer alone, and no progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    /// Builds in the order of their releases, the oldest first
    #[arg(value_name = "BUILD", required = true)]
    pub builds: Vec<String>,
    /// Every build with every later one, and not only with the next
    #[arg(long)]
    pub all_pairs: bool,
    /// Machine type, with the architecture where the name alone means another (repeatable); an alias like q35 is the
    /// newest versioned one that both builds of a pair have [default: the usual one of the architecture]
    #[arg(short = 'M', long, value_name = "[ARCH/]MACHINE")]
    pub machine: Vec<String>,
    /// Architecture of the guest (repeatable); a plain -M MACHINE is then swept on each of them
    #[arg(long, value_name = "ARCH")]
    pub arch: Vec<String>,
    /// Device types to try, with * for any text (repeatable) [default: all]
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Direction of the migration
    #[arg(long, value_enum, default_value_t = Directions::Both)]
    pub direction: Directions,
    /// Run shard K of N, for instance 1/4; `migcompat merge` joins the maps of all shards
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    #[command(flatten)]
    pub accel: AccelArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Number of guests at once [default: one per CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Time limit of one migration, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Keep the logs of cases that do not pass in DIR [default: a new folder in the temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
    /// Folder for fetched builds [default: $XDG_CACHE_HOME/migcompat]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// File with the results of earlier runs, to which each pair is added
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Format of the map
    #[arg(long, value_enum, default_value_t = MapFormat::Text)]
    pub format: MapFormat,
    /// Write the map to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the table and the closing line only, and no progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Build that guests start on
    #[arg(value_name = "OLD")]
    pub old: String,
    /// Build that they migrate to, and back from
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Machine type, with the architecture where the name alone means another: q35, riscv64/virt
    /// (repeatable) [default: the usual one of the architecture]
    #[arg(
        short = 'M',
        long,
        value_name = "[ARCH/]MACHINE",
        conflicts_with = "all_machines"
    )]
    pub machine: Vec<String>,
    /// Every versioned machine type that both builds list
    #[arg(long)]
    pub all_machines: bool,
    /// Architecture of the guest (repeatable); a plain -M MACHINE is then swept on each of them
    #[arg(long, value_name = "ARCH", conflicts_with = "all_arches")]
    pub arch: Vec<String>,
    /// Every architecture: x86_64, i386, aarch64, ppc64, s390x, riscv64, m68k and loongarch64
    #[arg(long)]
    pub all_arches: bool,
    /// Device types to try, with * for any text (repeatable) [default: all]
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Direction of the migration
    #[arg(long, value_enum, default_value_t = Directions::Both)]
    pub direction: Directions,
    /// Give every device a guest of its own: the same results, slowly
    #[arg(long, hide_short_help = true)]
    pub one_by_one: bool,
    /// Migrate what passes once more with drivers at work: what they do is done from outside, as check --driven does
    #[arg(long)]
    pub driven: bool,
    #[command(flatten)]
    pub accel: AccelArgs,
    /// Run shard K of N, for instance 1/4; `migcompat merge` joins the reports of all shards
    #[arg(long, value_name = "K/N", conflicts_with_all = ["min_coverage", "case"])]
    pub shard: Option<Shard>,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub coverage: CoverageArgs,
    /// Number of guests at once [default: one per CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Time limit of one migration, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Keep the logs of cases that do not pass in DIR [default: a new folder in the temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
    /// Folder for fetched builds [default: $XDG_CACHE_HOME/migcompat]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    #[command(flatten)]
    pub case: CaseArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The work in a tree of QEMU, whose build is not named.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// In a tree of QEMU: check again each time that its build is linked, until a signal ends it
    #[arg(long, conflicts_with = "old")]
    pub watch: bool,
    /// In a tree of QEMU: make the tree as it is now the baseline, instead of the one that is saved in its build
    #[arg(long, conflicts_with = "old")]
    pub reset: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckBuildsArgs {
    #[command(flatten)]
    pub pair: PairArgs,
    #[command(flatten)]
    pub tree: TreeArgs,
    #[command(flatten)]
    pub loops: LoopArgs,
    #[command(flatten)]
    pub migration: MigrationArgs,
    #[command(flatten)]
    pub coverage: CoverageArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub case: CaseArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The coverage that is required.
#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    /// Percentage of sections that guests have to send, or of what depends on their state, too:
    /// sections=90,subsections=40,fields=60; with less, a run is never compatible, but untested (125)
    #[arg(long, value_name = "PERCENT")]
    pub min_coverage: Option<RequiredCoverage>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Reports or maps in JSON of runs with --shard, plain, .gz or .zst
    #[arg(value_name = "REPORT", required = true)]
    pub reports: Vec<PathBuf>,
    /// Merge although shards are missing; the verdict is then never compatible
    #[arg(long)]
    pub partial: bool,
    #[command(flatten)]
    pub coverage: CoverageArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Report in JSON, plain, .gz or .zst
    #[arg(value_name = "REPORT")]
    pub report: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// A QEMU binary or wrapper script, or debian:SUITE
    #[arg(value_name = "BUILD")]
    pub build_arg: String,
    #[command(flatten)]
    pub build: BuildArgs,
    /// File to write; .gz and .zst compress, - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BuildsArgs {
    #[command(subcommand)]
    pub command: BuildsCommand,
    /// Folder for fetched builds [default: $XDG_CACHE_HOME/migcompat]
    #[arg(long, value_name = "DIR", global = true)]
    pub cache: Option<PathBuf>,
    /// Print no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuildsCommand {
    /// List the builds in the cache
    List,
    /// Fetch builds into the cache, and print their versions
    Fetch {
        /// debian:SUITE
        #[arg(value_name = "BUILD", required_unless_present = "workload")]
        builds: Vec<String>,
        /// Fetch what the guest of this name runs, too: for linux, its kernels
        #[arg(long, value_enum, value_name = "GUEST")]
        workload: Option<Workload>,
        /// Architecture of the guest
        #[arg(long, value_name = "ARCH", default_value = "x86_64")]
        arch: String,
        /// Fetch again even if it is in the cache: suites get point releases
        #[arg(long)]
        refresh: bool,
    },
    /// Remove builds from the cache
    Remove {
        /// debian:SUITE
        #[arg(value_name = "BUILD", required = true)]
        builds: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// List the rules with their levels
    List,
    /// Explain a rule: what it means, why it breaks a migration and how to fix it
    Explain {
        #[arg(value_name = "RULE", value_parser = rule)]
        rule: Rule,
    },
    /// Look for entries of the lists that are stale or too wide
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Folder with your own lists of known issues, beside the shipped ones (repeatable)
    #[arg(long, alias = "rules", value_name = "DIR")]
    pub lists: Vec<PathBuf>,
    /// Folder of dumps to try the entries on, as VERSION/NAME.json[.gz|.zst]; dumps of one NAME are
    /// compared with each other
    #[arg(long, value_name = "DIR")]
    pub dumps: Option<PathBuf>,
    /// Name the shipped entries that matched as well as your own
    #[arg(short, long)]
    pub verbose: bool,
}

/// Exit status: 0 trusted; 1 not trusted; 125 no build to test with.
#[derive(Debug, Args)]
pub(crate) struct SelfTestArgs {
    /// A QEMU binary or wrapper script, or debian:SUITE [default: the suite that was fetched last, or else
    /// qemu-system-ARCH in the path]
    #[arg(value_name = "BUILD")]
    pub build_arg: Option<String>,
    #[command(flatten)]
    pub build: BuildArgs,
    #[command(flatten)]
    pub accel: AccelArgs,
    /// Format of the result
    #[arg(long, value_enum, default_value_t = DataFormat::Text)]
    pub format: DataFormat,
    /// Write the result to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print what is wrong and the closing line only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(subcommand)]
    pub command: HistoryCommand,
}

/// The history.
#[derive(Debug, Args)]
pub(crate) struct HistoryFileArgs {
    /// File that runs were recorded in with --history
    #[arg(long, value_name = "FILE")]
    pub history: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Print the results of cases and findings, what they say of the last one, and the changes of tier
    Show {
        #[command(flatten)]
        file: HistoryFileArgs,
        /// Id of a case or a finding, with * for any text
        #[arg(value_name = "CASE")]
        case: Pattern,
    },
    /// Count the runs, cases and results
    Stats {
        #[command(flatten)]
        file: HistoryFileArgs,
    },
    /// Add the runs of saved reports; one that is there already is not added again
    Import {
        #[command(flatten)]
        file: HistoryFileArgs,
        /// Reports in JSON, plain, .gz or .zst; the oldest first, where tiers count
        #[arg(value_name = "REPORT", required = true)]
        reports: Vec<PathBuf>,
        #[command(flatten)]
        tiers: TierArgs,
    },
    /// Write every result as a line of JSON; kind is case, finding, or look: where findings were looked for
    Export {
        #[command(flatten)]
        file: HistoryFileArgs,
        /// Write to FILE instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Remove old runs
    Prune {
        #[command(flatten)]
        file: HistoryFileArgs,
        /// Day before which runs are removed: 2027-03-31
        #[arg(long, value_name = "DATE")]
        before: Date,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    #[command(subcommand)]
    pub command: StreamCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Print sections, fields, types, sizes and values of a stream
    Show(ShowArgs),
    /// Print differences in layout and in value; exit status 1 if there are any
    Diff(DiffArgs),
}

/// The sections to print, and the form.
#[derive(Debug, Args)]
pub(crate) struct StreamOutputArgs {
    /// Only sections whose name, or its part behind the last slash, fits GLOB (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub section: Vec<String>,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = DataFormat::Text)]
    pub format: DataFormat,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Bytes of the file before the stream, as in `file:FILE,offset=BYTES`
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub offset: u64,
    /// Name or id of the snapshot, where FILE is a qcow2 image with several
    #[arg(long, value_name = "NAME", conflicts_with = "offset")]
    pub snapshot: Option<String>,
    /// Bytes of a guest page, where the stream does not contain it
    #[arg(long, value_name = "BYTES", value_parser = page_size)]
    pub page_size: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Stream: plain, gzip or zstd, an image saved by libvirt, a qcow2 image with a snapshot; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub output: StreamOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The stream of the old build
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The stream of the new build
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// QEMU release that wrote OLD; without it, renames of any release apply
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub old_version: Option<Version>,
    /// QEMU release that wrote NEW
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub new_version: Option<Version>,
    /// Folder with your own lists of known issues, beside the shipped ones (repeatable)
    #[arg(long, alias = "rules", value_name = "DIR")]
    pub lists: Vec<PathBuf>,
    #[command(flatten)]
    pub output: StreamOutputArgs,
}

fn page_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if size.is_power_of_two() && (1024..=65536).contains(&size) => Ok(size),
        _ => Err("it must be a power of two from 1024 to 65536".to_owned()),
    }
}

fn version(text: &str) -> Result<Version, String> {
    text.parse()
        .map_err(|_| "it must be a release like 7.2 or 10.0.2".to_owned())
}

/// The least likeness, from 0 to 1, of a rule that is suggested for the one that was typed.
const LIKE: f64 = 0.6;

fn rule(id: &str) -> Result<Rule, String> {
    Rule::from_id(id).ok_or_else(|| {
        let likeness = |rule: &Rule| strsim::normalized_damerau_levenshtein(rule.id(), id);
        let nearest = Rule::ALL
            .iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .filter(|rule| likeness(rule) >= LIKE);
        let meant = nearest.map_or_else(String::new, |rule| format!(" did you mean `{rule}`?"));
        format!("no such rule;{meant} `migcompat rules list` shows all")
    })
}
