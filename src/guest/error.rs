//! The reasons why a description cannot be read.

use crate::guest::MOST_BYTES;

/// A description that no guest can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("it has more than {} KiB, and a command line has some kilobytes", MOST_BYTES >> 10)]
    TooLong,
    #[error("it is empty")]
    Empty,
    #[error("line {line}: it is no text in UTF-8")]
    NotText { line: usize },
    #[error("line {line}: it begins like XML, and is none: {error}")]
    Xml { line: usize, error: String },
    #[error("it is XML, and has no domain of libvirt")]
    NoDomain,
    #[error("line {line}: a quote is not closed")]
    OpenQuote { line: usize },
    #[error(
        "line {line}: a shell would put something in the place of `{what}`: give the line as it is run, for \
         instance from /proc/PID/cmdline"
    )]
    Expands { line: usize, what: char },
    #[error(
        "it names no program called qemu-system-ARCH, qemu-kvm or kvm, and does not begin with an option; a command \
         line of QEMU, /proc/PID/cmdline, a configuration file of QEMU, a log or a domain of libvirt is needed"
    )]
    NoCommand,
    #[error("line {line}: -{option} has no argument")]
    NoArgument { line: usize, option: String },
}
