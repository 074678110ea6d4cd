//! Values that a loader is known to hold against its own.

use super::explanation::{Explanation, Grade, blank};
use crate::stream::layout::{self, Leaf, leaves, vmsd_name};
use crate::stream::tree::{Leaf as Held, Section};

/// The values of a section that a loader does not take, with its own ones beside them.
pub(super) fn values(section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
    let (sent, own) = (leaves(section), leaves(expected));
    let mut found = Vec::new();
    for leaf in &sent {
        let Some(twin) = own.iter().find(|other| other.label == leaf.label) else {
            continue;
        };
        if leaf.bytes == twin.bytes {
            continue;
        }
        found.extend(unknown_registers(section, leaf, twin));
        if leaf.bytes.len() == twin.bytes.len() {
            found.extend(unequal(section, leaf, twin));
            found.extend(too_many(section, leaf, twin));
            found.extend(other_config(section, leaf, twin));
        }
    }
    found
}

/// The destination's own type decides whether it compares.
fn unequal(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    if !own.type_name.ends_with(" equal") {
        return None;
    }
    let explanation = Explanation {
        field: Some(sent.label.clone()),
        offset: Some(sent.offset),
        sent: Some(sent.with_value()),
        expected: Some(own.with_value()),
        message: format!(
            "{} must hold in {} what the destination's own device has: {} was sent, it has {}",
            sent.label,
            layout::label(section),
            sent.value(),
            own.value()
        ),
        ..blank(section)
    };
    Some((Grade::Certain, explanation))
}

/// A length may be at most that of the device's own array (`get_int32_le()` in
/// `migration/vmstate-types.c`).
fn too_many(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    if own.type_name != "int32 le" {
        return None;
    }
    let number = |leaf: &Leaf| match leaf.kind.leaf(leaf.bytes) {
        Held::Signed(number) => Some(number),
        _ => None,
    };
    let (length, most) = (number(sent)?, number(own)?);
    if (0..=most).contains(&length) {
        return None;
    }
    let explanation = Explanation {
        field: Some(sent.label.clone()),
        offset: Some(sent.offset),
        sent: Some(sent.with_value()),
        expected: Some(format!("{}, at most {most}", own.shape())),
        message: format!(
            "{} may be at most {most} in {}, as the destination's own device has it: {length} was sent",
            sent.label,
            layout::label(section),
        ),
        ..blank(section)
    };
    Some((Grade::Certain, explanation))
}

/// An Arm CPU sends the numbers of its system registers, and a load ends at one that the destination's
/// CPU does not have (`cpu_post_load()` in `target/arm/machine.c`; QEMU 11.1 lets a few pass). One that
/// only the destination has is left as it is.
fn unknown_registers(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    const LIST: &str = "cpreg_vmstate_indexes";
    const NAMED: usize = 3;
    if vmsd_name(section) != "cpu" || sent.label != LIST {
        return None;
    }
    let numbers = |leaf: &Leaf| -> Vec<u64> {
        let all = leaf.bytes.chunks_exact(8);
        all.map(|bytes| bytes.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)))
            .collect()
    };
    let has = numbers(own);
    let (at, lacking): (Vec<usize>, Vec<u64>) = numbers(sent)
        .into_iter()
        .enumerate()
        .filter(|(_, number)| !has.contains(number))
        .unzip();
    let first = lacking.first()?;
    let named: Vec<String> = lacking
        .iter()
        .take(NAMED)
        .map(|n| format!("0x{n:x}"))
        .collect();
    let more = match lacking.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let explanation = Explanation {
        field: Some(sent.label.clone()),
        offset: at.first().map(|&at| sent.offset + 8 * at as u64),
        sent: Some(format!("{LIST}[{}] = 0x{first:x}", at.first()?)),
        expected: Some("a system register that the CPU has".to_owned()),
        message: format!(
            "the source sends system registers in {} that the destination's CPU does not have: {}{more}",
            layout::label(section),
            named.join(", ")
        ),
        ..blank(section)
    };
    Some((Grade::Late, explanation))
}

fn other_config(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    if sent.type_name != "pci config" {
        return None;
    }
    let at = fixed_config(sent.bytes, own.bytes)?;
    let byte = |bytes: &[u8]| format!("0x{:02x}", bytes.get(at).copied().unwrap_or(0));
    let (ours, theirs) = (byte(sent.bytes), byte(own.bytes));
    let explanation = Explanation {
        field: Some(sent.label.clone()),
        offset: Some(sent.offset + at as u64),
        sent: Some(format!("{} byte 0x{at:x} = {ours}", sent.label)),
        expected: Some(theirs.clone()),
        message: format!(
            "the PCI configuration space of {} differs where a guest cannot write, first at \
             0x{at:x}: {ours} was sent, the destination's own device has {theirs}",
            layout::label(section)
        ),
        ..blank(section)
    };
    Some((Grade::Likely, explanation))
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
