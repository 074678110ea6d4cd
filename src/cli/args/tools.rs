//! Commands that fetch, show and keep.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::builds::{AccelArgs, BuildArgs, CacheArgs};
use crate::cli::args::judging::{TierArgs, rule};
use crate::cli::args::migration::Workload;
use crate::cli::args::output::DataFormat;
use crate::model::{Date, Pattern, Rule, Version};

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
    #[command(flatten)]
    pub cache: CacheArgs,
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
pub(crate) struct StandInArgs {
    /// The type of the device: vhost-user-blk, vhost-user-scsi or vhost-user-fs, on any bus
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// The socket to make, for `-chardev socket,id=ID,path=SOCKET`; the first build that connects is served until it ends, and a socket that nobody listens at is replaced
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,
    /// File of a disk, which is made if it is not there, for vhost-user-blk [default: SOCKET.disk]
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// End if no build has connected after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub within: Option<u64>,
}

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
    /// Format of the result [default: by the suffix of FILE, else text]
    #[arg(long, value_enum)]
    pub format: Option<DataFormat>,
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
    /// Format of the output [default: by the suffix of FILE, else text]
    #[arg(long, value_enum)]
    pub format: Option<DataFormat>,
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
