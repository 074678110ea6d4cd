//! The facts that a build tells of itself.

use crate::model::Version;
use crate::qemu::MachineType;
use crate::qemu::identity::RunningProgram;

/// The answers of a build about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    pub version: Version,
    /// The distribution's name for it, for instance `Debian 1:7.2+dfsg-7+deb12u18`; often empty.
    pub package: String,
    /// The target, for instance `x86_64`.
    pub target: String,
    /// The machine types by name.
    pub machines: Vec<MachineType>,
    /// Set if it answered with KVM, which comes after TCG: it has no TCG.
    pub lacks_tcg: bool,
    /// The program that answered, if the system shows it.
    pub program: Option<RunningProgram>,
}
