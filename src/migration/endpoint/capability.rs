//! Migration capabilities and parameters, which both sides have to be given.

use std::fmt;
use std::str::FromStr;

use crate::migration::channel::transport::Transport;
use crate::migration::endpoint::commands::SetParameters;

/// No limit, in effect: a copy of the guest's memory then takes milliseconds; by default 5.2 sends
/// 32 MiB/s.
const BANDWIDTH: u64 = 64 << 30;
/// The rate for a guest that works, slow enough that the first pass over what it writes, 4 MiB and
/// more, takes more than 100 ms: a source has not measured before how fast it is, does not know yet
/// that what is left fits the limit below, and makes up to a dozen more passes. What is not a pass
/// is not limited.
const WORKING_BANDWIDTH: u64 = 32 << 20;
/// The first pass over memory is to be the last one. Under TCG a QEMU before 8.0 clears the dirty
/// bits for a second pass without informing the translated code, which then writes pages unnoticed:
/// they arrive stale, also from such a build to itself; 11.1 sometimes loses a page, too, the more
/// often the busier the host is. With this limit, in milliseconds, the guest is stopped before a
/// second pass, and what it dirtied until then goes with the rest.
const DOWNTIME_LIMIT: u64 = 60_000;
/// The rate for postcopy, where the first pass has to last until it is ended: with so few bytes a
/// second, hardly a page arrives before, and no downtime would be short enough to complete instead.
/// Postcopy itself has another limit, by default none.
const POSTCOPY_BANDWIDTH: u64 = 256 << 10;
/// The builds' defaults differ.
const MULTIFD_CHANNELS: u8 = 4;

/// A migration capability that a case can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Pages go over connections of their own.
    Multifd,
    /// The guest's memory follows after the guest.
    PostcopyRam,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 2] = [Capability::Multifd, Capability::PostcopyRam];

    /// Returns why it cannot be used with a transport, whatever the builds, if it cannot.
    pub fn obstacle(self, transport: Transport) -> Option<String> {
        let why = match (self, transport) {
            (_, Transport::Unix | Transport::Tcp) | (Capability::PostcopyRam, Transport::Fd) => {
                return None;
            }
            (Capability::Multifd, Transport::Fd | Transport::Exec) => {
                "opens several connections, and this is one"
            }
            (Capability::Multifd, Transport::File) => {
                "writes a file in a layout of its own, with mapped-ram"
            }
            (Capability::PostcopyRam, Transport::Exec | Transport::File) => {
                "asks the source for pages, and this leads one way"
            }
        };
        Some(format!("{self} {why}: {transport}"))
    }
}

impl fmt::Display for Capability {
    /// Writes QEMU's name of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Capability::Multifd => "multifd",
            Capability::PostcopyRam => "postcopy-ram",
        })
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Capability::ALL.into_iter().find(|c| c.to_string() == text);
        known.ok_or_else(|| "there are multifd and postcopy-ram".to_owned())
    }
}

/// The pace at which a side may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Full,
    /// A pace at which one pass over the memory of a guest that works is all.
    OnePass,
}

/// Returns the parameters that a side is set to.
pub(crate) fn parameters(capabilities: &[Capability], pace: Pace) -> SetParameters {
    let postcopy = capabilities.contains(&Capability::PostcopyRam);
    let multifd = capabilities.contains(&Capability::Multifd);
    SetParameters {
        downtime_limit: if postcopy { 0 } else { DOWNTIME_LIMIT },
        max_bandwidth: match pace {
            _ if postcopy => POSTCOPY_BANDWIDTH,
            Pace::Full => BANDWIDTH,
            Pace::OnePass => WORKING_BANDWIDTH,
        },
        multifd_channels: multifd.then_some(MULTIFD_CHANNELS),
    }
}
