//! What an explanation is made of.

use crate::model::{Rule, SectionName};
use crate::stream::tree::Section;

/// Where and why a stream does not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub kind: ExplanationKind,
    pub section: SectionName,
    pub instance_id: u32,
    /// From the section's description down to the field, names joined by `/`.
    pub field: Option<String>,
    /// Bytes from the start of the source's stream.
    pub offset: Option<u64>,
    /// What stands there: name, type, size and value.
    pub sent: Option<String>,
    /// What the destination's build has there.
    pub expected: Option<String>,
    pub rule: Option<Rule>,
    pub message: String,
}

/// What stands against a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplanationKind {
    /// The destination has no such section.
    Section,
    /// A block of guest memory that the destination does not have, or not in this length.
    Memory,
    /// The version in the header.
    Version,
    /// A subsection that the destination does not know, or not in this version.
    Subsection,
    /// The fields do not lie alike.
    Layout,
    /// The layouts agree: a check after or during the load refused what a field holds.
    ValueCheck,
}

/// How sure an explanation is, surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// No state makes it load.
    Certain,
    /// It explains a refusal, which is known to have happened in this section.
    Likely,
    /// The same, by a check that comes when all of the section has been read.
    Late,
    /// The state, or a test that cannot be seen, may make up for it.
    Perhaps,
    /// A length that depends on state.
    Elastic,
}

pub(crate) fn blank(section: &Section) -> Explanation {
    Explanation {
        kind: ExplanationKind::ValueCheck,
        section: section.name.clone(),
        instance_id: section.instance_id,
        field: None,
        offset: None,
        sent: None,
        expected: None,
        rule: None,
        message: String::new(),
    }
}
