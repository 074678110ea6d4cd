//! Names of cases, made of their parts.

use std::fmt;

use crate::migration::channel::transport::Transport;
use crate::model::{CaseName, Direction};
use crate::report::TOGETHER;
use crate::sweep::shard::Shard;

/// The set's name of a case without devices.
pub(crate) const BARE: &str = "bare";

/// Tells whether a case may be one of devices that fail only together, which a sweep of all devices finds.
pub(crate) fn is_of_group(case: &CaseName) -> bool {
    let rest = case.subject().strip_prefix(TOGETHER);
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// The name of the cases of one subject on one machine, without their direction. It decides their
/// shard: both directions are in one, for a device that starts in neither has no case at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaseFamily {
    /// The machine as ids call it.
    pub machine: String,
    pub subject: Subject,
    pub transport: Transport,
    pub state: State,
}

/// The state of the devices when the machine is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// As after reset.
    #[default]
    Reset,
    /// As a driver from outside left them.
    Driven,
    /// With the drivers of Linux at work.
    Linux,
}

impl State {
    /// Returns the end of a case's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            State::Reset => "",
            State::Driven => "/driven",
            State::Linux => "/linux",
        }
    }
}

/// The subject of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The machine alone.
    Bare,
    /// A device type.
    Device(String),
    /// Devices that fail only together. Each shard counts its own, from 1.
    Group { shard: Option<Shard>, number: usize },
}

impl CaseFamily {
    /// Tells whether these cases are in a part of the run, or in the whole.
    pub(crate) fn is_in(&self, shard: Option<Shard>) -> bool {
        shard.is_none_or(|shard| shard.includes(&self.to_string()))
    }

    /// Names the case of one direction.
    pub(crate) fn case(&self, direction: Direction) -> CaseId {
        CaseId {
            family: self.clone(),
            direction,
        }
    }
}

impl fmt::Display for CaseFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaseFamily {
            machine,
            subject,
            transport,
            // All states of one subject are in one shard.
            state: _,
        } = self;
        write!(f, "{machine}/{subject}/{transport}")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Bare => f.write_str(BARE),
            Subject::Device(driver) => f.write_str(driver),
            Subject::Group {
                shard: Some(shard),
                number,
            } => write!(f, "{TOGETHER}-{}-{number}", shard.index()),
            Subject::Group {
                shard: None,
                number,
            } => write!(f, "{TOGETHER}-{number}"),
        }
    }
}

/// The name of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaseId {
    pub family: CaseFamily,
    pub direction: Direction,
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaseFamily { state, .. } = self.family;
        write!(f, "{}/{}{}", self.family, self.direction, state.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(machine: &str, subject: Subject) -> CaseFamily {
        CaseFamily {
            machine: machine.to_owned(),
            subject,
            transport: Transport::Unix,
            state: State::Reset,
        }
    }

    fn device(machine: &str, driver: &str) -> CaseFamily {
        family(machine, Subject::Device(driver.to_owned()))
    }

    fn group(shard: Option<Shard>) -> CaseFamily {
        family("q35", Subject::Group { shard, number: 1 })
    }

    #[test]
    fn an_id_names_machine_subject_transport_and_direction() {
        let ids = [
            family("q35", Subject::Bare),
            device("m68k/virt", "virtio-rng-device"),
            group(None),
            group(Some("2/3".parse().expect("a shard"))),
        ]
        .map(|family| family.case(Direction::Forward).to_string());
        let wanted = [
            "q35/bare/unix/forward",
            "m68k/virt/virtio-rng-device/unix/forward",
            "q35/together-1/unix/forward",
            "q35/together-2-1/unix/forward",
        ];
        assert_eq!(ids, wanted);
    }

    #[test]
    fn a_state_is_named_last_and_changes_no_shard() {
        let family = device("q35", "nvme");
        for (state, last) in [(State::Driven, "driven"), (State::Linux, "linux")] {
            let at_work = CaseFamily {
                state,
                ..family.clone()
            };
            let id = at_work.case(Direction::Backward).to_string();
            assert_eq!(id, format!("q35/nvme/unix/backward/{last}"));
            let name: CaseName = id.parse().expect("the name of a case");
            assert_eq!(name.is_driven(), state == State::Driven);
            assert_eq!(name.is_with_linux(), state == State::Linux);
            for shard in ["1/3", "2/3", "3/3"] {
                let shard = Some(shard.parse().expect("a shard"));
                assert_eq!(family.is_in(shard), at_work.is_in(shard));
            }
        }
    }

    #[test]
    fn both_directions_are_in_one_shard() {
        let shards = ["1/3", "2/3", "3/3"].map(|shard| shard.parse().expect("a shard"));
        for driver in ["e1000", "am53c974", "nvme", "virtio-net-pci"] {
            let family = device("q35", driver);
            let owners = shards.iter().filter(|shard| family.is_in(Some(**shard)));
            assert_eq!(owners.count(), 1, "{driver}");
            assert!(family.is_in(None));
        }
    }
}
