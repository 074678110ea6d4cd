//! Blocks of guest memory that one side does not have.

use crate::compare::explain::explanation::{Explanation, ExplanationKind, blank};
use crate::stream::tree::{RamBlock, Section, Stream};

/// Why the destination refuses the memory of a guest. `named` is the block that it complained of. A
/// length alone is told of that one only: others may grow.
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
    let (has, message) = match own(block) {
        None => {
            let message = format!(
                "the source sends the memory block {} of {} bytes, which the destination's build does \
                 not have for the same configuration",
                block.name, block.length
            );
            ("no such block".to_owned(), message)
        }
        Some(own) if own.length != block.length => {
            let message = format!(
                "the memory block {} has {} bytes in what was sent and {} in the destination's build",
                block.name, block.length, own.length
            );
            (format!("{} bytes", own.length), message)
        }
        Some(_) => return None,
    };
    Some(Explanation {
        kind: ExplanationKind::Memory,
        field: Some(block.name.to_string()),
        sent: Some(format!("{} of {} bytes", block.name, block.length)),
        expected: Some(has),
        message,
        ..blank(section)
    })
}
