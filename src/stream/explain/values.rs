//! Values that a loader holds against its own.

use super::explanation::{Explanation, Grade, blank};
use crate::stream::layout::{self, leaves};
use crate::stream::tree::Section;

/// Values that a loader is known to hold against its own.
pub(super) fn values(section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
    let (sent, own) = (leaves(section), leaves(expected));
    let mut found = Vec::new();
    for leaf in &sent {
        let mut twins = own.iter().filter(|other| other.label == leaf.label);
        let Some(twin) = twins.next() else {
            continue;
        };
        if leaf.bytes == twin.bytes || leaf.bytes.len() != twin.bytes.len() {
            continue;
        }
        if leaf.type_name.ends_with(" equal") {
            let explanation = Explanation {
                field: Some(leaf.label.clone()),
                offset: Some(leaf.offset),
                sent: Some(leaf.with_value()),
                expected: Some(twin.with_value()),
                message: format!(
                    "{} must hold in {} what the destination's own device has: {} was sent, it has {}",
                    leaf.label,
                    layout::label(section),
                    leaf.value(),
                    twin.value()
                ),
                ..blank(section)
            };
            found.push((Grade::Certain, explanation));
        }
        if leaf.type_name == "pci config"
            && let Some(at) = fixed_config(leaf.bytes, twin.bytes)
        {
            let byte = |bytes: &[u8]| format!("0x{:02x}", bytes.get(at).copied().unwrap_or(0));
            let (ours, theirs) = (byte(leaf.bytes), byte(twin.bytes));
            let explanation = Explanation {
                field: Some(leaf.label.clone()),
                offset: Some(leaf.offset + at as u64),
                sent: Some(format!("{} byte 0x{at:x} = {ours}", leaf.label)),
                expected: Some(theirs.clone()),
                message: format!(
                    "the PCI configuration space of {} differs where a guest cannot write, first at \
                     0x{at:x}: {ours} was sent, the destination's own device has {theirs}",
                    layout::label(section)
                ),
                ..blank(section)
            };
            found.push((Grade::Likely, explanation));
        }
    }
    found
}

/// The first byte of two configuration spaces that differs and is the device's own: the identity of
/// the device and the start of its capabilities. QEMU holds these against its own at every load
/// (`pci_init_cmask()` in `hw/pci/pci.c`).
fn fixed_config(sent: &[u8], own: &[u8]) -> Option<usize> {
    let fixed = |at: &usize| matches!(at, 0x00..=0x03 | 0x08..=0x0b | 0x0e | 0x34);
    (0..sent.len().min(own.len()))
        .filter(fixed)
        .find(|&at| sent.get(at) != own.get(at))
}
