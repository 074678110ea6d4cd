//! The bytes that a build puts on the wire behind the header of a section or of a subsection: a
//! flat sequence of items in the order in which they are sent.
//!
//! A dump lists what a build could send, a stream what it did send; laid out, both are the same
//! [`Item`]s, and the comparison does not ask where they came from.

mod interner;
mod item;
mod sent;
mod vmsd;

use crate::report::Evidence;
use crate::vmstate::dump::Vmsd;

pub(crate) use interner::{Id, Interner};
pub(crate) use item::{Item, Kind};
pub(crate) use sent::{SentLayout, empty_in, layout_name};

/// The content of a section or a subsection, as the evidence has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout<'d> {
    Dumped(Dumped<'d>),
    Sent(&'d SentLayout),
}

/// A description out of a dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dumped<'d> {
    pub vmsd: &'d Vmsd,
    /// The build prints the lengths of arrays.
    pub states_lengths: bool,
}

impl<'d> Layout<'d> {
    pub(crate) fn name(self) -> &'d str {
        match self {
            Layout::Dumped(dumped) => &dumped.vmsd.name,
            Layout::Sent(sent) => &sent.name,
        }
    }

    /// Returns the version that the build sends.
    pub(crate) fn version_id(self) -> i64 {
        match self {
            Layout::Dumped(dumped) => dumped.vmsd.version_id,
            Layout::Sent(sent) => sent.version_id.into(),
        }
    }

    /// Returns the lowest version that the build takes, which a stream alone does not show.
    pub(crate) fn minimum_version_id(self) -> Option<i64> {
        match self {
            Layout::Dumped(dumped) => Some(dumped.vmsd.minimum_version_id),
            Layout::Sent(sent) => sent.minimum_version_id,
        }
    }

    /// Tells whether there is a table of fields at all.
    pub(crate) fn is_migratable(self) -> bool {
        match self {
            Layout::Dumped(dumped) => dumped.vmsd.fields.is_some(),
            Layout::Sent(_) => true,
        }
    }

    /// Tells whether nothing differs on the wire, as far as that is seen without laying it out.
    pub(crate) fn is_same(self, other: Layout) -> bool {
        match (self, other) {
            (Layout::Dumped(ours), Layout::Dumped(theirs)) => {
                ours.vmsd == theirs.vmsd
                    || match (ours.states_lengths, theirs.states_lengths) {
                        (true, false) => vmsd::is_same_but_for_lengths(ours.vmsd, theirs.vmsd),
                        (false, true) => vmsd::is_same_but_for_lengths(theirs.vmsd, ours.vmsd),
                        (true, true) | (false, false) => false,
                    }
            }
            (Layout::Sent(ours), Layout::Sent(theirs)) => ours == theirs,
            _ => false,
        }
    }

    pub(crate) fn evidence(self) -> Evidence {
        match self {
            Layout::Dumped(_) => Evidence::Dump,
            Layout::Sent(_) => Evidence::Stream,
        }
    }

    /// Lays it out as it is sent or read behind a header of this version, which is the source's
    /// own. `other` is its counterpart in the other build.
    pub(crate) fn lay_out(
        self,
        interner: &mut Interner<'d>,
        header_version: i64,
        other: Layout<'d>,
    ) -> Vec<Item<'d>> {
        match self {
            Layout::Dumped(dumped) => {
                let counterpart = match other {
                    Layout::Dumped(other) if other.states_lengths => Some(other.vmsd),
                    _ => None,
                };
                vmsd::items(interner, dumped, header_version, counterpart)
            }
            Layout::Sent(sent) => sent::items(interner, sent),
        }
    }
}
