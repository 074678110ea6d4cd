//! Commands that judge builds.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::builds::{
    AccelArgs, BuildArgs, CacheArgs, ConfineArgs, Directions, PairArgs, TreeArgs,
};
use crate::cli::args::judging::{CaseArgs, CoverageArgs, ExcludeArgs, JudgeArgs, MemoryArgs};
use crate::cli::args::migration::{LoopArgs, MigrationArgs};
use crate::cli::args::output::{DataFormat, OutputArgs};
use crate::model::{AcceleratorPreference, CaseName};
use crate::sweep::shard::Shard;

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
    /// Accelerator of the guest: tcg, kvm, or a list in the order of preference, of which the first is taken that the
    /// build and this host can use; auto means kvm,tcg [default: tcg, and auto where the state shows that it is of KVM]
    #[arg(long, value_name = "LIST")]
    pub accel: Option<AcceleratorPreference>,
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
    /// Format of the report [default: by the suffix of FILE, else text]
    #[arg(long, value_enum)]
    pub format: Option<DataFormat>,
    /// Write the report to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a line of JSON to FILE for each thing that happens, as it happens; - is standard output
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
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
    /// newest versioned one that both builds of a pair have, and OLD=NEW pairs two names [default: the usual one of the
    /// architecture]
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
    #[command(flatten)]
    pub work: SweepWorkArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The guests of a sweep that are moved at once, and what they need.
#[derive(Debug, Args)]
pub(crate) struct SweepWorkArgs {
    /// Number of guests at once [default: one per CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Time limit of one migration, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Keep the logs of cases that do not pass in DIR [default: a new folder in the temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub confine: ConfineArgs,
}

/// A guest that drives many devices at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum GuestOfMany {
    Linux,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Build that guests start on
    #[arg(value_name = "OLD")]
    pub old: String,
    /// Build that they migrate to, and back from
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Machine type, with the architecture where the name alone means another: q35, riscv64/virt (repeatable); OLD=NEW
    /// pairs two names [default: the usual one of the architecture]
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
    /// Migrate what passes once more in a guest that drives many devices at once: linux, fetched from Debian once, uses
    /// each before and after each migration
    #[arg(long, value_enum)]
    pub workload: Option<GuestOfMany>,
    #[command(flatten)]
    pub accel: AccelArgs,
    /// Run shard K of N, for instance 1/4; `migcompat merge` joins the reports of all shards
    #[arg(long, value_name = "K/N", conflicts_with_all = ["min_coverage", "case"])]
    pub shard: Option<Shard>,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub coverage: CoverageArgs,
    #[command(flatten)]
    pub work: SweepWorkArgs,
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
    /// Report or map in JSON, plain, .gz or .zst
    #[arg(value_name = "REPORT")]
    pub report: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}
