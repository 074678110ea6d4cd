//! Comparing the state that devices have with what was sent to them, over all legs of a case.

use std::collections::BTreeSet;

use crate::compare::fidelity::{Filling, Loss};
use crate::migration::checks::changes::{LoadChange, LoadChanges};
use crate::model::{Accelerator, Direction, SectionName, joined};
use crate::report::{Change, StateChecked, StateDiff};
use crate::rules::known_issues::{Scope, StateNames};
use crate::stream::text::text_of;
use crate::stream::{Kind, Leaf, Stream};

/// Bytes of a buffer that a report shows.
const SHOWN: usize = 16;
/// Fields that a report lists of one leg: what goes wrong early displaces everything after it.
const LISTED: usize = 64;

/// The names of fields and sections between the two builds, in either direction, as the lists know
/// them.
#[derive(Debug, Clone, Default)]
pub struct Names {
    forward: StateNames,
    backward: StateNames,
}

impl Names {
    pub fn of(scope: &Scope, arch: &str) -> Names {
        Names {
            forward: scope.state_names(Direction::Forward, Some(arch)),
            backward: scope.state_names(Direction::Backward, Some(arch)),
        }
    }

    /// Sets the accelerator of the guests; without it they are emulated.
    pub(crate) fn set_accelerator(&mut self, accelerator: Accelerator) {
        self.forward.set_accelerator(accelerator);
        self.backward.set_accelerator(accelerator);
    }

    pub(crate) fn of_leg(&self, direction: Direction) -> &StateNames {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        }
    }
}

/// Device state as far as it was compared, with the streams that explain a failure.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateChecks {
    /// The first fields that did not arrive.
    pub diffs: Vec<StateDiff>,
    /// All fields that did not arrive.
    pub differing: BTreeSet<LoadChange>,
    /// Fields that did not arrive, as a load is known to change them.
    pub tolerated: Vec<StateDiff>,
    pub checked: StateChecked,
    /// The first reason why something was not compared.
    pub unchecked: Option<String>,
    /// The stream of the first leg.
    pub first: Option<Stream>,
    /// The sections of it in which the source sent addresses of its own process, which mean nothing to any other.
    pub own_addresses: BTreeSet<SectionName>,
    /// The stream of the leg that failed.
    pub refused: Option<Stream>,
    /// The stream that the last destination saved of what it was given.
    pub arrived: Option<Stream>,
}

impl StateChecks {
    /// Takes what a comparison of the state that was sent in a leg with what the destination has found lost.
    pub(crate) fn take(
        &mut self,
        tolerated: &LoadChanges,
        leg: usize,
        (sent, arrived): (&Stream, &Stream),
        losses: &[Loss],
    ) {
        self.checked.legs += 1;
        if self.checked.legs == 1 {
            self.checked.sections = sent.devices().count();
            self.checked.bytes = sent.devices().map(|section| section.size).sum();
        }
        let broken = sent.broken().chain(arrived.broken()).next();
        if let Some((section, error)) = broken {
            self.not_compared(format!("{}: {error}", section.name));
        }
        let diffs = losses.iter().map(|loss| diff(leg, loss)).collect();
        let more = self.add(diffs, tolerated);
        if more > 0 {
            self.not_compared(format!("{more} more fields differ than are listed"));
        }
    }

    /// Adds fields that did not arrive; returns how many are not listed.
    fn add(&mut self, diffs: Vec<StateDiff>, tolerated: &LoadChanges) -> usize {
        let (known, lost): (Vec<_>, Vec<_>) = diffs
            .into_iter()
            .partition(|diff| tolerated.has_field(diff));
        self.tolerated.extend(known);
        self.differing.extend(lost.iter().map(LoadChange::of_field));
        let more = lost.len().saturating_sub(LISTED);
        self.diffs.extend(lost.into_iter().take(LISTED));
        more
    }

    /// Compares fields that the destination took from padding in a leg with those of a machine that
    /// never ran: one that has another value there is lost.
    pub(crate) fn compare_padded(
        &mut self,
        tolerated: &LoadChanges,
        leg: usize,
        fillings: &[Filling],
        never_ran: &Stream,
    ) {
        let fresh = |filling: &Filling| filling.on(never_ran);
        let other = |filling: &Filling| fresh(filling).is_some_and(|bytes| bytes != filling.held);
        let lost: Vec<&Filling> = fillings.iter().filter(|filling| other(filling)).collect();
        let diffs = lost.iter().map(|filling| StateDiff {
            leg,
            section: filling.section.clone(),
            instance: filling.instance_id.into(),
            field: filling.path.clone(),
            change: Change::Filled,
            sent: shown(Kind::Padding, &filling.held),
            held: Some(shown(filling.kind, &filling.held)),
            landed_in: None,
            fresh: fresh(filling).map(|bytes| shown(filling.kind, &bytes)),
        });
        let diffs = diffs.collect();
        self.add(diffs, tolerated);
    }

    /// Returns all that did not arrive, by the names of sections and of these blocks of memory. `None`
    /// where not everything was compared.
    pub(crate) fn damaged(&self, blocks: Vec<String>) -> Option<BTreeSet<String>> {
        let whole = self.checked.legs > 0 && self.unchecked.is_none();
        let sections = self.diffs.iter().map(|diff| diff.section.to_string());
        whole.then(|| sections.chain(blocks).collect())
    }

    /// Records why something was not compared; the first reason stays.
    pub(crate) fn not_compared(&mut self, why: String) {
        self.unchecked.get_or_insert(why);
    }
}

fn diff(leg: usize, loss: &Loss) -> StateDiff {
    StateDiff {
        leg,
        section: loss.section.clone(),
        instance: loss.instance_id.into(),
        field: loss.path.clone(),
        change: loss.change,
        sent: shown(loss.kind, &loss.sent),
        held: loss.held.as_ref().map(|bytes| shown(loss.kind, bytes)),
        landed_in: loss.landed_in.clone(),
        fresh: None,
    }
}

/// Formats a value for people: a number where the whole field is one, else bytes.
fn shown(kind: Kind, bytes: &[u8]) -> String {
    let number = matches!(bytes.len(), 1 | 2 | 4 | 8);
    match kind.leaf(bytes) {
        Leaf::Bool(value) if bytes.len() == 1 => value.to_string(),
        Leaf::Signed(value) if number => value.to_string(),
        Leaf::Unsigned(value) if number => format!("{value:#x}"),
        Leaf::Float(value) if number => value.to_string(),
        Leaf::Text(text) => text.to_owned(),
        _ => text_of(bytes).unwrap_or_else(|| {
            let hex = joined(bytes.iter().take(SHOWN).map(|b| format!("{b:02x}")), " ");
            let rest = bytes.len().saturating_sub(SHOWN);
            let more = match rest {
                0 => String::new(),
                rest => format!(" … {rest} more bytes"),
            };
            format!("{hex}{more}")
        }),
    }
}

/// Formats the first of so many fields that did not arrive.
pub(crate) fn sentence(diff: &StateDiff, count: usize) -> String {
    let StateDiff {
        section,
        field,
        sent,
        ..
    } = diff;
    let others = match count {
        0 | 1 => String::new(),
        2 => "; 1 other field differs".to_owned(),
        n => format!("; {} other fields differ", n - 1),
    };
    let change = match (diff.change, &diff.held, &diff.landed_in) {
        (Change::Displaced, _, Some(landed)) => {
            format!("{field}, sent as {sent}, went into {landed}")
        }
        (Change::Displaced, ..) => format!("{field}, sent as {sent}, went elsewhere"),
        (Change::Vanished, _, Some(landed)) => {
            format!("{field} was sent as {sent} and is gone; its bytes went into {landed}")
        }
        (Change::Vanished, ..) => format!("{field} was sent as {sent} and is gone"),
        (Change::Changed, held, _) => {
            let held = held.as_deref().unwrap_or("nothing");
            format!("{field} was sent as {sent} and is {held}")
        }
        (Change::Filled, held, _) => {
            let held = held.as_deref().unwrap_or("nothing");
            let fresh = diff.fresh.as_deref().unwrap_or("nothing");
            return format!(
                "it loaded, but {section} took padding for a value: the source does not send {field}, which \
                 is {held} now and {fresh} on a machine of this build that never ran{others}"
            );
        }
    };
    format!("it loaded, but {section} does not hold what was sent: {change}{others}")
}
