//! The internals that the tests, benches and fuzz targets need. They are no part of the library's
//! interface, and change without notice.

/// Comparing dumps and streams: the record, the rule fixtures, the property tests, the bench of `static`
/// and the fuzz target of differences.
pub mod compare {
    pub use crate::compare::diff::diff;
    pub use crate::compare::dump::compare::compare;
    pub use crate::compare::renames::NoRenames;
}

/// Confining processes: the tests of each barrier, which not every host has.
pub mod confinement {
    use std::io;
    use std::path::Path;
    use std::process::Command;

    use crate::model::Barrier;
    use crate::qemu::{NetworkNamespace, confine};

    /// Has a command run behind these barriers alone, and write into a folder.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn behind(command: &mut Command, by: &[Barrier], folder: &Path) -> io::Result<()> {
        confine(command, by, folder)
    }

    /// Has a command run in a network namespace of its own.
    pub fn in_own_network(command: &mut Command) {
        NetworkNamespace::of_own().enter(command);
    }
}

/// Composing device sets: the tests of the shipped sets, and the bench of a leg.
pub mod devices {
    pub use crate::devices::{DeviceError, DeviceSet, Drivers, Known, Reason, Target};
}

/// Reading descriptions of guests and checking device sets: their fuzz targets.
pub mod guest {
    use crate::devices::DeviceSet;
    use crate::guest::{GuestSpec, confine};
    use crate::report::GuestFile;

    /// A guest that was described.
    pub struct Guest {
        /// The arguments of its board.
        pub arguments: Vec<String>,
        /// The treatment of each part of the description.
        pub report: GuestFile,
    }

    /// Reads a description.
    ///
    /// # Errors
    /// The reason why no guest can be made of it.
    pub fn describe(bytes: &[u8]) -> Result<Guest, String> {
        let read = GuestSpec::read(bytes).map_err(|error| error.to_string())?;
        Ok(Guest {
            arguments: read.board.args,
            report: read.report,
        })
    }

    /// Tells whether a device set may be a stranger's.
    pub fn concerns_the_guest_alone(set: &DeviceSet, arch: &str) -> bool {
        confine(set, arch).is_ok()
    }
}

/// Recording runs and judging results: the bench of a long history.
pub mod history {
    pub use crate::history::{
        Access, BuildId, Entry, History, HistoryError, Kind, Purpose, Row, Run, Stats, Tester,
        TierRules, Trial, Written, judge,
    };
}

/// Moving a guest: the bench of a leg, and the tests of how builds set up a machine.
pub mod migration {
    pub use crate::migration::boot::PlainBoots;
    pub use crate::migration::case;
    pub use crate::migration::checks::state::Names;
    pub use crate::migration::config::{CaseSpec, MigrationConfig, Part};
    pub use crate::migration::diagnosis::property_diff::{Compared, Snapshots, compare, findings};
    pub use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
    pub use crate::migration::saved::SavedGuests;
    pub use crate::migration::timeouts::Timeouts;
}

/// Opening builds: the tests of fetching and starting them, and all tests on real ones.
pub mod qemu {
    pub use crate::qemu::{
        Build, BuildArg, Cache, ConfinePolicy, Deadlines, Means, Pair, Problem, QemuError, machine,
        open, parse, private_dir, qmp,
    };
    pub use crate::qemu::{object, properties};
}

/// Reading reports: the fuzz target of all that writes them.
pub mod report {
    use crate::model;
    use crate::report::{Report, read};

    /// Tells whether a character hides, or hides what is beside it.
    pub fn is_hidden(character: char) -> bool {
        model::is_hidden(character)
    }

    /// Reads the text of a report as `merge` and `render` do.
    ///
    /// # Errors
    /// The reason why it is none.
    pub fn read_text(text: &[u8]) -> Result<Report, String> {
        read::read_text(text, "text").map_err(|error| error.to_string())
    }
}

/// Judging findings: the record, the benches and the fuzz target of differences.
pub mod rules {
    pub use crate::rules::judge::judge;
    pub use crate::rules::known_issues::{KnownIssues, Scope};
}

/// Reading streams: the tests of the reader, its bench and its fuzz targets.
pub mod stream {
    pub use crate::stream::*;
}

/// Reading dumps: the record, the rule fixtures, the property tests and the bench of `static`.
pub mod vmstate {
    pub use crate::vmstate::dump::{Dump, Section, Vmsd, VmsdField};
    pub use crate::vmstate::read::{parse_dump, read_dump};
}

/// The workload guests: the tests that build and check them.
pub mod workload {
    pub use crate::workload::linux::LinuxGuest;
    pub use crate::workload::{Guest, guest, guests};
}
