//! Options of the migrations that are tried.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::builds::AccelArgs;
use crate::migration::channel::transport::Transport;
use crate::migration::endpoint::capability::Capability;
use crate::model::Direction;

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
    /// Number of times to run a case again, to see whether it always passes; the report has the rate [default: 0; with
    /// multifd, zero-copy-send and postcopy, in which threads race, until a case fails or has migrated ten times]
    #[arg(long, value_name = "N")]
    pub repeat: Option<u16>,
    /// Time limit of one migration, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Keep the logs of cases that do not pass in DIR [default: a new folder in the temporary one]
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
}
