//! Migration capabilities and parameters, which both sides have to be given.

use std::str::FromStr;

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::migration::channel::transport::Transport;
use crate::migration::endpoint::commands::SetParameters;
use crate::migration::endpoint::tls;
use crate::model::{display_as_serialized, from_word};
use crate::report::LegSide;

/// No limit, in effect: a copy of the guest's memory then takes milliseconds; by default 5.2 sends
/// 32 MiB/s.
const BANDWIDTH: u64 = 64 << 30;
/// The rate for a guest that works, slow enough that the first pass over what it writes, 4 MiB and
/// more, takes more than 100 ms: a source has not measured before how fast it is, does not know yet
/// that what is left fits the limit below, and makes up to a dozen more passes. What is not a pass
/// is not limited.
const WORKING_BANDWIDTH: u64 = 32 << 20;
/// The first pass over memory is to be the last one, unless the accelerator can have more (see
/// [`crate::model::Accelerator`]). With this limit, in milliseconds, the guest is stopped before a
/// second pass, and what it dirtied until then goes with the rest.
const DOWNTIME_LIMIT: u64 = 60_000;
/// As little as a build that estimates what is left takes for a limit: with none at all, QEMU 8.0 to 10.0 never looks at
/// what was written meanwhile, and is through after one pass.
const LEAST_DOWNTIME: u64 = 1;
/// The passes over memory before a guest that works may be stopped, where there is more than one: what it writes
/// meanwhile is sent again in each.
pub(crate) const PASSES: u64 = 4;
/// The rate for postcopy, where the first pass has to last until it is ended: with so few bytes a
/// second, hardly a page arrives before, and no downtime would be short enough to complete instead. The zeroes of a
/// small machine take some seconds so, which is longer than a busy host needs to say that postcopy begins.
/// Postcopy itself has another limit, by default none.
const POSTCOPY_BANDWIDTH: u64 = 4 << 10;
/// The builds' defaults differ.
const MULTIFD_CHANNELS: u8 = 4;

/// Memory that may be under way at once, in bytes: all of a small guest.
const LOCKED_BY_ZERO_COPY: u64 = 64 << 20;

/// A migration capability that a case can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// Pages go over connections of their own.
    Multifd,
    /// The guest's memory follows after the guest.
    PostcopyRam,
    /// Pages that the guest waits for go over a connection of their own.
    PostcopyPreempt,
    /// Pages go to fixed places of a file.
    MappedRam,
    /// Pages are sent from where they are, without a copy.
    ZeroCopySend,
    /// A page that is sent again is sent as what changed.
    Xbzrle,
    /// The guest is slowed down where it writes faster than it can be sent.
    AutoConverge,
    /// The stream is encrypted, with a key of the case's own. To QEMU this is a parameter.
    Tls,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 8] = [
        Capability::Multifd,
        Capability::PostcopyRam,
        Capability::PostcopyPreempt,
        Capability::MappedRam,
        Capability::ZeroCopySend,
        Capability::Xbzrle,
        Capability::AutoConverge,
        Capability::Tls,
    ];

    /// Tells whether QEMU lists it among its capabilities.
    pub(crate) fn is_listed(self) -> bool {
        self != Capability::Tls
    }

    /// Returns the capability without which a build refuses it.
    pub(crate) fn needs(self) -> Option<Capability> {
        match self {
            Capability::PostcopyPreempt => Some(Capability::PostcopyRam),
            Capability::ZeroCopySend => Some(Capability::Multifd),
            Capability::Multifd
            | Capability::PostcopyRam
            | Capability::MappedRam
            | Capability::Xbzrle
            | Capability::AutoConverge
            | Capability::Tls => None,
        }
    }

    /// Tells whether it does something from the second pass over memory on alone.
    pub(crate) fn needs_passes(self) -> bool {
        matches!(self, Capability::Xbzrle | Capability::AutoConverge)
    }

    /// Tells whether several threads of a side send or take memory with it at once, so that what comes of a migration may
    /// depend on chance.
    pub(crate) fn races(self) -> bool {
        match self {
            Capability::Multifd
            | Capability::PostcopyRam
            | Capability::PostcopyPreempt
            | Capability::ZeroCopySend => true,
            Capability::MappedRam
            | Capability::Xbzrle
            | Capability::AutoConverge
            | Capability::Tls => false,
        }
    }

    /// Tells whether all that is sent goes one way over one connection with it, so that it can be relayed.
    pub(crate) fn is_one_way(self) -> bool {
        self.needs_passes()
    }

    /// Returns why it cannot be used on this host, if it cannot. What is sent without a copy is locked meanwhile,
    /// which root may do without a limit.
    pub(crate) fn obstacle_of_host(self) -> Option<String> {
        if self != Capability::ZeroCopySend || nix::unistd::geteuid().is_root() {
            return None;
        }
        let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
        (soft < LOCKED_BY_ZERO_COPY).then(|| {
            format!(
                "{self} locks the memory that is sent: {} MiB have to be allowed (ulimit -l), and {} KiB are",
                LOCKED_BY_ZERO_COPY >> 20,
                soft >> 10
            )
        })
    }

    /// Returns why it cannot be used with a transport and beside others, whatever the builds, if it cannot.
    pub fn obstacle(self, transport: Transport, beside: &[Capability]) -> Option<String> {
        use Transport::{Exec, Fd, File, Tcp, Unix};
        if let Some(needed) = self.needs().filter(|needed| !beside.contains(needed)) {
            return Some(format!("{self} needs {needed} beside it"));
        }
        let is_plain =
            |of: &&Capability| matches!(of, Capability::MappedRam | Capability::ZeroCopySend);
        if let (Capability::Tls, Some(plain)) = (self, beside.iter().find(is_plain)) {
            return Some(format!(
                "{self} encrypts memory, and {plain} sends it as it is"
            ));
        }
        let why = match (self, transport) {
            (Capability::Xbzrle | Capability::AutoConverge, _)
            | (Capability::MappedRam, File)
            | (Capability::ZeroCopySend, Tcp)
            | (Capability::PostcopyRam | Capability::Tls, Unix | Tcp | Fd)
            | (Capability::Multifd | Capability::PostcopyPreempt, Unix | Tcp) => return None,
            (Capability::Multifd, File) if beside.contains(&Capability::MappedRam) => return None,
            (Capability::Multifd | Capability::PostcopyPreempt, Fd | Exec) => {
                "opens several connections, and this is one"
            }
            (Capability::Multifd, File) => "writes a file in a layout of its own, with mapped-ram",
            (Capability::PostcopyRam | Capability::PostcopyPreempt, Exec | File) => {
                "asks the source for pages, and this leads one way"
            }
            (Capability::Tls, Exec | File) => {
                "has both sides agree on a key first, and this leads one way"
            }
            (Capability::MappedRam, Unix | Tcp | Fd | Exec) => {
                "writes to places of a file, and this is none"
            }
            (Capability::ZeroCopySend, Unix | Fd | Exec | File) => {
                "has the kernel send memory by TCP, and this is something else"
            }
        };
        Some(format!("{self} {why}: {transport}"))
    }
}

display_as_serialized!(Capability);

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        from_word(text).ok_or_else(|| {
            let names = Capability::ALL.map(|capability| capability.to_string());
            format!("there are {}", names.join(", "))
        })
    }
}

/// The pace at which a side may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Full,
    /// A pace at which one pass over the memory of a guest that works is all.
    OnePass,
    /// A pace at which there are several, until the downtime is limited no more.
    SeveralPasses,
}

pub(crate) fn parameters(capabilities: &[Capability], pace: Pace, side: LegSide) -> SetParameters {
    let tls = capabilities.contains(&Capability::Tls);
    let postcopy = capabilities.contains(&Capability::PostcopyRam);
    let multifd = capabilities.contains(&Capability::Multifd);
    SetParameters {
        downtime_limit: match pace {
            Pace::SeveralPasses => LEAST_DOWNTIME,
            _ if postcopy => 0,
            Pace::Full | Pace::OnePass => DOWNTIME_LIMIT,
        },
        max_bandwidth: match pace {
            _ if postcopy => POSTCOPY_BANDWIDTH,
            Pace::Full => BANDWIDTH,
            Pace::OnePass | Pace::SeveralPasses => WORKING_BANDWIDTH,
        },
        multifd_channels: multifd.then_some(MULTIFD_CHANNELS),
        tls_creds: tls.then(|| tls::credentials(side)),
        tls_hostname: tls.then_some(tls::HOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_has_what_it_needs_or_says_what_it_lacks() {
        // A capability, the transport, what is beside it, and what it lacks.
        for row in [
            "postcopy-preempt unix postcopy-ram:",
            "postcopy-preempt unix: needs postcopy-ram beside it",
            "postcopy-preempt fd postcopy-ram: opens several connections",
            "zero-copy-send tcp multifd:",
            "zero-copy-send unix multifd: send memory by TCP",
            "zero-copy-send tcp: needs multifd beside it",
            "mapped-ram file:",
            "mapped-ram unix: places of a file",
            "multifd file mapped-ram:",
            "multifd file: with mapped-ram",
            "xbzrle exec auto-converge:",
            "tls tcp multifd postcopy-ram:",
            "tls file: agree on a key first",
            "tls tcp zero-copy-send: zero-copy-send sends it as it is",
        ] {
            let (what, lacking) = row.split_once(':').unwrap();
            let mut names = what.split(' ');
            let capability: Capability = names.next().unwrap().parse().unwrap();
            let transport = names.next().unwrap().parse().unwrap();
            let beside: Vec<Capability> = names.map(|name| name.parse().unwrap()).collect();
            let found = capability.obstacle(transport, &beside);
            assert_eq!(found.is_some(), !lacking.is_empty(), "{row}: {found:?}");
            let found = found.unwrap_or_default();
            assert!(found.contains(lacking.trim()), "{row}: {found}");
        }
        for capability in Capability::ALL {
            assert_eq!(capability.to_string().parse(), Ok(capability));
        }
        let unknown = "multi".parse::<Capability>().unwrap_err();
        assert!(unknown.contains("multifd, postcopy-ram"), "{unknown}");
    }
}
