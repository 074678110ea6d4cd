//! The parts of a description that the guest here has not, or has something else for.

use std::collections::BTreeMap;
use std::fmt;

use crate::guest::board::takes_work_off;
use crate::guest::given::Given;
use crate::guest::lines::{Treated, shown};
use crate::guest::opts::Opts;
use crate::report::{GuestReason, Treatment};

/// A part of a description that the guest here has not as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// The line of the file.
    pub line: usize,
    /// The option, as a report shows it.
    pub given: String,
    pub treatment: Treatment,
    pub what: What,
}

/// The part of the guest's state that may be another one for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// That of a device or an object of this type.
    Type(String),
    /// That of a card with this driver, on a network that takes work off it.
    Card(String),
    /// That of a processor.
    Processor,
    /// That of a network backend, which no device type has.
    Network,
    /// Any: a file of devices, an option that is not known.
    Anything,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let treatment = match self.treatment {
            Treatment::Kept => "kept in part",
            Treatment::Replaced => "replaced",
            Treatment::LeftOut => "left out",
        };
        write!(f, "line {} is {treatment}: {}", self.line, self.given)
    }
}

impl Lacking {
    /// Returns what a guest lacks for what became of an option, if it lacks anything of its own.
    pub(super) fn of(given: &Given, treated: &Treated) -> Option<Lacking> {
        let what = match (driver(given), treated.treatment) {
            // What stands for a device of the host has the same state.
            (Some(_), Treatment::Replaced) => None,
            (Some(driver), _) => {
                let reasons = treated.without.iter().map(|gone| gone.reason);
                let mut reasons = reasons.chain(treated.reason);
                let is_seen = reasons.any(|reason| !reason.is_unseen());
                is_seen.then_some(What::Type(driver))
            }
            (None, Treatment::Kept) => {
                let mut reasons = treated.without.iter().map(|gone| gone.reason);
                reasons
                    .any(GuestReason::may_be_a_device)
                    .then_some(What::Anything)
            }
            (None, _) => treated.reason.and_then(What::left_out_for),
        }?;
        Some(Lacking {
            line: given.line,
            given: shown(given),
            treatment: treated.treatment,
            what,
        })
    }

    /// Returns the cards of a guest on networks that take work off them.
    pub(super) fn cards(options: &[Given], interfaces: &BTreeMap<String, u16>) -> Vec<Lacking> {
        let read = |given: &Given, implied| {
            let value = given.value.as_deref().unwrap_or_default();
            Opts::parse(value, implied).unwrap_or_default()
        };
        let cards = options.iter().filter_map(|card| {
            let (implied, model) = match card.name.as_str() {
                "device" => ("driver", "driver"),
                "nic" | "net" => ("type", "model"),
                _ => return None,
            };
            let opts = read(card, implied);
            let netdev = opts.get("netdev");
            let is_its = |given: &&Given| {
                let of = read(given, "type");
                given.name == "netdev" && netdev.is_some() && of.get("id") == netdev
            };
            let backend = match card.name == "nic" && takes_work_off(&opts) {
                true => card,
                false => {
                    netdev.filter(|id| interfaces.contains_key(*id))?;
                    options.iter().find(is_its)?
                }
            };
            Some(Lacking {
                line: backend.line,
                given: shown(backend),
                treatment: Treatment::Replaced,
                what: What::Card(opts.get(model)?.to_owned()),
            })
        });
        cards.collect()
    }
}

impl What {
    /// Returns what an option or an element may have had that is left out for a reason.
    pub(super) fn left_out_for(reason: GuestReason) -> Option<What> {
        match reason {
            _ if reason.may_be_a_device() => Some(What::Anything),
            GuestReason::HostNetwork | GuestReason::HostNetworkQueues => Some(What::Network),
            GuestReason::HostCpu => Some(What::Processor),
            _ => None,
        }
    }
}

/// Returns the type of the device or the object that an option is about.
fn driver(given: &Given) -> Option<String> {
    let implied = match given.name.as_str() {
        "device" | "watchdog" => "driver",
        "object" => "qom-type",
        _ => return None,
    };
    let opts = Opts::parse(given.value.as_deref()?, implied).ok()?;
    opts.get(implied).map(str::to_owned)
}
