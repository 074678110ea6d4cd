//! The parts of an explanation.

use crate::compare::explain::reason::{Reason, Weight};
use crate::compare::registers::COUNT;
use crate::model::{Rule, SectionName};
use crate::stream::tree::Section;

/// The place where a stream does not load, and the reason. `Display` prints it as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub section: SectionName,
    pub instance_id: u32,
    /// The path from the section's description down to the field, names joined by `/`.
    pub field: Option<String>,
    /// Bytes from the start of the source's stream.
    pub offset: Option<u64>,
    pub rule: Option<Rule>,
    pub reason: Reason,
    /// The build named no section, and no other one gives a reason to refuse the stream.
    pub only_one: bool,
}

impl Explanation {
    /// Tells whether it is a length that the state of the guest chooses.
    pub(crate) fn is_of_state(&self) -> bool {
        matches!(
            self.reason,
            Reason::Layout {
                weight: Weight::Length,
                ..
            }
        )
    }

    /// Tells whether a field that was read before has the number of what it is about.
    pub(crate) fn is_counted_in(&self, field: &str) -> bool {
        field == COUNT && matches!(self.reason, Reason::LacksRegisters { .. })
    }

    /// Tells whether it is about the subsection of this name.
    pub(crate) fn is_of_subsection(&self, wanted: &str) -> bool {
        matches!(&self.reason, Reason::Subsection { name, .. } if name == wanted)
    }

    /// Tells whether nothing in the layout of the section speaks against it.
    pub(crate) fn is_same_layout(&self) -> bool {
        matches!(self.reason, Reason::SameLayout { .. })
    }

    /// Returns it as an explanation of a guest that ran, whose state makes it differ from a machine that never ran.
    pub(crate) fn after_a_run(mut self) -> Explanation {
        if let Reason::SameLayout { differing, .. } = &mut self.reason {
            differing.clear();
        }
        self
    }

    /// Returns it as an explanation of a machine that never ran: the place in another stream means
    /// nothing, and no state has made the difference.
    pub(crate) fn after_reset(mut self) -> Explanation {
        self.offset = None;
        if let Reason::Layout { weight, .. } = &mut self.reason {
            *weight = Weight::AfterReset;
        }
        self
    }

    /// An explanation of a section as a whole.
    pub(crate) fn of(section: &Section, reason: Reason) -> Explanation {
        Explanation {
            section: section.name.clone(),
            instance_id: section.instance_id,
            field: None,
            offset: None,
            rule: None,
            reason,
            only_one: false,
        }
    }
}
