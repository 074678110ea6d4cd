//! The reasons why a stream does not load, as values.

use std::sync::Arc;

use crate::compare::explain::Objection;
use crate::compare::explain::pci_config::ConfigPart;
use crate::compare::streams::Leaf;
use crate::model::Rule;

/// The certainty of an explanation, surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// No state makes it load.
    Certain,
    /// An explanation of a refusal that is known to have happened in this section.
    Likely,
    /// The same, by a check after all of the section has been read.
    Late,
    /// The state, or a test that cannot be seen, may make up for it.
    Perhaps,
    /// A length that depends on state.
    Elastic,
}

/// A reason against a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The destination's build does not send such a section for the same configuration.
    Section {
        version_id: u32,
        /// The only section that it sends and the source does not.
        instead: Option<String>,
        /// Set if the dump of the destination's build has the description.
        described: bool,
    },
    /// The version in the header.
    Version { sent: u32, takes: Takes },
    /// A block of guest memory.
    Memory {
        block: Arc<str>,
        /// Bytes of the block, as sent and in the destination's build, if that has it.
        sent: u64,
        own: Option<u64>,
        /// The one block of that length that the destination has in its place, under another name.
        renamed: Option<Arc<str>>,
    },
    /// A subsection that is not known, or not in this version.
    Subsection {
        name: String,
        /// The destination's own form of it, where that is known.
        own: Option<OwnSubsection>,
        /// The difference between the builds, in words.
        difference: String,
    },
    /// The layouts part.
    Layout {
        /// The item at that place on either side, where the place is known.
        sent: Option<Spot>,
        expected: Option<Spot>,
        lacking: Lacking,
        /// Further fields of the difference, behind the first.
        more: usize,
        weight: Weight,
        /// The difference between the builds, in words, where the fields do not show it.
        difference: String,
    },
    /// The layouts part in several places, and a version or a test picks the one.
    Several {
        first: Box<Reason>,
        places: Vec<Parting>,
    },
    /// A field must have the value of the destination's own device.
    Unequal { sent: Leaf, own: Leaf },
    /// A length is more than the destination's own array has.
    TooMany {
        sent: Leaf,
        own: Leaf,
        length: i64,
        most: i64,
    },
    /// System registers that the destination's CPU does not have: their numbers.
    LacksRegisters {
        list: &'static str,
        registers: Vec<Register>,
    },
    /// System registers that have other values on a machine that never ran.
    OtherRegisters {
        list: &'static str,
        registers: Vec<(Register, u64)>,
    },
    /// A byte of the PCI configuration space that a guest cannot write.
    PciConfig {
        field: String,
        at: usize,
        /// The register or the capability that it belongs to, in what was sent.
        part: ConfigPart,
        sent: u8,
        own: u8,
    },
    /// Nothing in the layout speaks against it.
    SameLayout {
        /// Fields whose insides the streams do not show.
        unseen: Vec<String>,
        /// One of them is what was refused.
        is_unseen: bool,
        /// The layout is known to agree up to this field.
        up_to: Option<String>,
        objection: Option<Objection>,
        /// A field that a test decides on and that one build alone has, in words.
        tested: Option<String>,
        /// Fields that have other values in a machine of the destination's build that never ran.
        differing: Vec<String>,
    },
}

/// The versions of a section that a build takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    AtMost(u32),
    AtLeast(i64),
    /// This one, and nothing says which older ones.
    Own(u32),
}

/// The destination's own form of a subsection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnSubsection {
    None,
    /// It is known, and not sent in the build's own state.
    NotNeeded,
    /// Another version than was sent.
    Version {
        sent: i64,
        own: i64,
    },
    /// A later version than was sent, and no older one than that.
    AtLeast {
        sent: u32,
        minimum: i64,
    },
}

/// A place in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    Field(Leaf),
    End,
}

/// The side that lacks the fields in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacking {
    Source,
    Destination,
    /// Both have some, but others.
    Neither,
    /// It is not about fields.
    Unknown,
}

/// The evidence that the difference matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nothing more.
    Given,
    /// A version or a test.
    Test,
    /// The length is the state's.
    Length,
    /// It shows in machines that never ran.
    AfterReset,
}

impl From<Grade> for Weight {
    fn from(grade: Grade) -> Self {
        match grade {
            Grade::Certain | Grade::Likely | Grade::Late => Weight::Given,
            Grade::Perhaps => Weight::Test,
            Grade::Elastic => Weight::Length,
        }
    }
}

/// One of several places where layouts part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parting {
    pub field: String,
    pub rule: Rule,
    pub offset: u64,
}

/// A system register in the list of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register {
    pub index: usize,
    pub number: u64,
    pub value: u64,
}
