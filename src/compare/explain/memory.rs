//! Blocks of guest memory that one side does not have.

use crate::compare::explain::explanation::Explanation;
use crate::compare::explain::reason::Reason;
use crate::stream::tree::{RamBlock, Section, Stream};

/// Explains why the destination refuses the memory of a guest. `named` is the block in its message.
/// A length alone is reported of that one only: others may grow.
pub(crate) fn memory(
    section: &Section,
    sent: &Stream,
    expected: &Stream,
    named: Option<&str>,
) -> Option<Explanation> {
    let own = |block: &RamBlock| {
        let mut blocks = expected.ram.blocks.iter();
        blocks.find(|own| own.name == block.name)
    };
    let blocks = &sent.ram.blocks;
    let complained = blocks.iter().find(|block| Some(&*block.name) == named);
    let block = complained.or_else(|| blocks.iter().find(|block| own(block).is_none()))?;
    let own = own(block).map(|own| own.length);
    if own == Some(block.length) {
        return None;
    }
    let is_sent = |name: &str| blocks.iter().any(|block| *block.name == *name);
    let mut in_its_place = expected
        .ram
        .blocks
        .iter()
        .filter(|other| own.is_none() && other.length == block.length && !is_sent(&other.name));
    let renamed = in_its_place
        .next()
        .filter(|_| in_its_place.next().is_none())
        .map(|other| other.name.clone());
    let reason = Reason::Memory {
        block: block.name.clone(),
        sent: block.length,
        own,
        renamed,
    };
    Some(Explanation {
        field: Some(block.name.to_string()),
        ..Explanation::of(section, reason)
    })
}
