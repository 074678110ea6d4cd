//! Findings about devices that a board has no place for.
//!
//! A dump lists the devices of every board that a binary was built with, whatever machine it is of. Those of a system bus
//! are the work of a board alone, unless `-device` takes them: a board on which no build puts one has none. Of the others
//! a board has those that it has a bus for. Machine types with a version are left to the lists
//! (`rename-lists/absent-devices.toml`): which interrupt controller such a machine has, say, is an option that its users
//! choose.

use std::collections::BTreeSet;

use crate::devices::Reason;
use crate::migration::config::MigrationConfig;
use crate::migration::default_devices::Trees;
use crate::migration::endpoint::buses::Buses;
use crate::parallel::side_by_side;
use crate::qemu::machine::is_one_of_family;
use crate::report::{Evidence, Finding, Level};

/// The type from which all devices are derived that a board wires up.
const OF_BOARDS: &str = "sys-bus-device";

/// Allows the findings about devices that the machine does not have and cannot be given. Where a build does not say what
/// it has, they are left as they are. `by_default` is the machine as both make it by themselves, which is asked for only
/// where it decides.
pub(crate) fn rule_out<'t>(
    config: &MigrationConfig,
    by_default: impl FnOnce() -> Option<&'t Trees>,
    findings: &mut [Finding],
) {
    let machines = [&config.old, &config.new].map(|side| side.machine(&config.machine));
    if machines.into_iter().any(is_one_of_family) {
        return;
    }
    let mut open = findings
        .iter_mut()
        .filter(|finding| is_open(finding))
        .peekable();
    if open.peek().is_none() {
        return;
    }
    let Some(board) = by_default().and_then(|trees| BoardParts::of(config, trees)) else {
        return;
    };
    for finding in open {
        let types = finding.sections();
        let lacking: Option<Vec<Lack>> = types.map(|name| board.lacks(name)).collect();
        if let Some(lack) = lacking.and_then(|all| all.into_iter().next()) {
            // Without the name of the machine, so that those of one mind about it share a finding.
            finding.allowed_by = Some(match lack {
                Lack::Elsewhere => ELSEWHERE.to_owned(),
                Lack::NoPlace(reason) => format!("the board cannot be given it: {reason}"),
            });
        }
    }
}

/// The words for a device of another board.
const ELSEWHERE: &str =
    "the board does not have it: neither build puts it there, and -device of neither takes it";

/// A machine as far as it decides on what it can have.
struct BoardParts<'c> {
    config: &'c MigrationConfig,
    /// Types of devices that boards wire up and this one does not, in either build.
    elsewhere: BTreeSet<String>,
    buses: Buses,
}

/// The reason why a machine cannot have a device.
enum Lack {
    /// It is a part of other boards.
    Elsewhere,
    /// It can be plugged in, and not here.
    NoPlace(Reason),
}

impl BoardParts<'_> {
    /// Asks both builds what boards wire up; `None` where one does not say. No device is of an abstract type, which a dump lists like the
    /// others.
    fn of<'c>(config: &'c MigrationConfig, trees: &Trees) -> Option<BoardParts<'c>> {
        let (old, new) = (&config.old.build, &config.new.build);
        let derived = side_by_side(
            || old.derived_from(OF_BOARDS),
            || new.derived_from(OF_BOARDS),
        );
        let wired = &derived.0.ok()? | &derived.1.ok()?;
        Some(BoardParts {
            config,
            elsewhere: &wired - &trees.types(),
            buses: trees.buses(),
        })
    }

    /// Returns why the machine cannot have a device of a type, if it cannot.
    fn lacks(&self, name: &str) -> Option<Lack> {
        let mut plugged = None;
        for side in [&self.config.old, &self.config.new] {
            let drivers = side.drivers.as_ref()?;
            if drivers.contains(name) {
                plugged = Some(self.buses.no_place(name, drivers, &self.config.arch)?);
            }
        }
        let wired = || self.elsewhere.contains(name).then_some(Lack::Elsewhere);
        plugged.map(Lack::NoPlace).or_else(wired)
    }
}

/// Tells whether a finding rests on the dumps alone and is not allowed yet.
fn is_open(finding: &Finding) -> bool {
    finding.evidence == Evidence::Dump
        && finding.level != Level::Note
        && finding.allowed_by.is_none()
        && finding.confirmed_by.is_none()
}
