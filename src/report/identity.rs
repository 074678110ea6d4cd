//! The identity of findings and cases: the facts by which one of a report is the same as one of
//! another report, whatever the builds are called, where they are and how a sentence is worded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Direction, Rule, joined};
use crate::report::{Case, Cause, Finding, Outcome, Shape};

/// The device set's name of devices that were given one by one.
pub(crate) const AD_HOC: &str = "ad-hoc";
/// The device set's name of devices that fail only together.
pub(crate) const TOGETHER: &str = "together";

/// One difference in one section on one machine. A finding that is about several has a key of each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FindingKey<'f> {
    rule: Rule,
    direction: Direction,
    machine: Option<&'f str>,
    section: &'f str,
    /// The path below the vmsd name, which another section that embeds the description does not share.
    place: &'f [String],
    old: Option<&'f Shape>,
    new: Option<&'f Shape>,
}

/// Returns the keys of a finding; `machine` is the one of the whole report.
pub(crate) fn keys_of<'f>(
    finding: &'f Finding,
    machine: Option<&'f str>,
) -> BTreeSet<FindingKey<'f>> {
    let machines: Vec<Option<&str>> = match finding.machines.as_slice() {
        [] => vec![machine],
        several => several.iter().map(|name| Some(name.as_str())).collect(),
    };
    let place = match finding.path.as_slice() {
        [_, below @ ..] if !below.is_empty() => below,
        whole => whole,
    };
    finding
        .sections()
        .flat_map(|section| {
            machines.iter().map(move |&machine| FindingKey {
                rule: finding.rule,
                direction: finding.direction,
                machine,
                section,
                place,
                old: finding.old.as_ref(),
                new: finding.new.as_ref(),
            })
        })
        .collect()
}

/// Returns the machines of a finding, each with a text that is equal for equal keys at one level, and for no others.
pub(crate) fn history_keys<'f>(
    finding: &'f Finding,
    machine: Option<&'f str>,
) -> Vec<(Option<&'f str>, String)> {
    let text = |key: FindingKey<'f>| {
        // Only what is known of a shape is written.
        let shape = |shape: Option<&Shape>| serde_json::to_string(&shape).unwrap_or_default();
        let text = format!(
            "{} {} {} {} {} {}",
            finding.level,
            key.rule,
            key.section,
            key.place.join("/"),
            shape(key.old),
            shape(key.new)
        );
        (key.machine, text)
    };
    keys_of(finding, machine).into_iter().map(text).collect()
}

/// The name of a finding that stays from run to run: `forward/field-added/am53c974/pciespscsi/esp/drq_state`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FindingId<'f>(pub &'f Finding);

impl fmt::Display for FindingId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FindingId(finding) = self;
        let (direction, rule) = (finding.direction, finding.rule);
        write!(f, "{direction}/{rule}/{}", finding.place("/"))
    }
}

/// Returns the name of a case that is one between all pairs of builds: its id, with the devices themselves where that has
/// a number for those that fail only together, which is another one in another run.
pub(crate) fn name_in_runs(case: &Case) -> Cow<'_, str> {
    if case.device_set != TOGETHER {
        return Cow::Borrowed(&case.id);
    }
    let devices: BTreeSet<&str> = case.devices.iter().map(String::as_str).collect();
    let devices = Vec::from_iter(devices).join("+");
    let is_numbered = |part: &str| {
        let number = part.strip_prefix(TOGETHER);
        number.is_some_and(|number| number.starts_with('-'))
    };
    let parts = case.id.split('/').map(|part| match is_numbered(part) {
        true => format!("{TOGETHER}:{devices}"),
        false => part.to_owned(),
    });
    Cow::Owned(joined(parts, "/"))
}

/// A machine, devices, transport and direction that were tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CaseKey<'c> {
    machine: &'c str,
    subject: Subject<'c>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject<'c> {
    /// The name says all.
    Named(&'c str),
    /// The name is the same for any devices.
    Given {
        id: &'c str,
        devices: BTreeSet<&'c str>,
    },
    /// The name has a number, which is another one where another group is found before it.
    Together {
        transport: &'c str,
        direction: Direction,
        devices: BTreeSet<&'c str>,
    },
}

impl<'c> CaseKey<'c> {
    pub(crate) fn of(case: &'c Case) -> CaseKey<'c> {
        let devices = || case.devices.iter().map(String::as_str).collect();
        let subject = match case.device_set.as_str() {
            TOGETHER => Subject::Together {
                transport: &case.transport,
                direction: case.direction,
                devices: devices(),
            },
            AD_HOC => Subject::Given {
                id: &case.id,
                devices: devices(),
            },
            _ => Subject::Named(&case.id),
        };
        CaseKey {
            machine: &case.machine,
            subject,
        }
    }
}

impl fmt::Display for CaseKey<'_> {
    /// Writes a text that is equal for equal keys, and for no others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |devices: &BTreeSet<&str>| joined(devices, ",");
        write!(f, "{} ", self.machine)?;
        match &self.subject {
            Subject::Named(id) => f.write_str(id),
            Subject::Given { id, devices } => write!(f, "{id} of {}", list(devices)),
            Subject::Together {
                transport,
                direction,
                devices,
            } => write!(f, "{TOGETHER}/{transport}/{direction} of {}", list(devices)),
        }
    }
}

/// The way in which a case did not pass: two cases with equal ones need not have one cause, those
/// with different ones have different causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailureKey<'c> {
    outcome: Outcome,
    /// The vmsd name of the section to blame, as far as one is known.
    vmsd: Option<&'c str>,
}

impl<'c> FailureKey<'c> {
    /// Returns the failure of a case that did not pass.
    pub(crate) fn of(case: &'c Case) -> Option<FailureKey<'c>> {
        (case.outcome != Outcome::Pass).then(|| FailureKey {
            outcome: case.outcome,
            vmsd: case.cause.as_ref().and_then(Cause::vmsd_name),
        })
    }

    /// Tells whether nothing speaks against both being one failure.
    pub(crate) fn is_like(self, other: FailureKey<'_>) -> bool {
        let same_section = match (self.vmsd, other.vmsd) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.outcome == other.outcome && same_section
    }
}
