//! Values that a loader is known to hold against its own.

use crate::compare::explain::explanation::{Explanation, Grade, blank};
use crate::compare::layouts;
use crate::compare::layouts::{Leaf, leaves};
use crate::stream::tree::{Leaf as Held, Section};

/// The values of a section that a loader does not take, with its own ones beside them.
pub(crate) fn values(section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
    let (sent, own) = (leaves(section), leaves(expected));
    let mut found = Vec::new();
    for leaf in &sent {
        let Some(twin) = own.iter().find(|other| other.label == leaf.label) else {
            continue;
        };
        if leaf.bytes == twin.bytes {
            continue;
        }
        if leaf.bytes.len() == twin.bytes.len() {
            found.extend(unequal(section, leaf, twin));
            found.extend(too_many(section, leaf, twin));
            found.extend(other_config(section, leaf, twin));
        }
    }
    found.extend(registers(section, &sent, &own));
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
            layouts::label(section),
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
            layouts::label(section),
        ),
        ..blank(section)
    };
    Some((Grade::Certain, explanation))
}

/// A system register of an Arm CPU, as the lists in its section have it.
struct Register {
    number: u64,
    value: u64,
    /// Where the number and the value stand in the stream.
    offsets: (u64, u64),
    index: usize,
}

const NUMBERS: &str = "cpreg_vmstate_indexes";
const VALUES: &str = "cpreg_vmstate_values";

impl Register {
    fn all(leaves: &[Leaf]) -> Option<Vec<Register>> {
        let list = |label| leaves.iter().find(|leaf| leaf.label == label);
        let (numbers, values) = (list(NUMBERS)?, list(VALUES)?);
        let read = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
        let pairs = numbers
            .bytes
            .chunks_exact(8)
            .zip(values.bytes.chunks_exact(8));
        let register = |(index, (number, value))| Register {
            number: read(number),
            value: read(value),
            offsets: (
                numbers.offset + 8 * index as u64,
                values.offset + 8 * index as u64,
            ),
            index,
        };
        Some(pairs.enumerate().map(register).collect())
    }
}

/// An Arm CPU sends the numbers and the values of its system registers. A load ends at one that the
/// destination's CPU does not have (QEMU 11.1 lets a few pass), and at one that does not read back what
/// was written to it, as a constant one does not: `cpu_post_load()` in `target/arm/machine.c`,
/// `write_list_to_cpustate()` in `target/arm/helper.c`. One that only the destination has is left as it is.
fn registers(section: &Section, sent: &[Leaf], own: &[Leaf]) -> Option<(Grade, Explanation)> {
    /// A guest that ran has written to more than these.
    const CONSTANT: usize = 16;
    if section.name.vmsd_name() != "cpu" {
        return None;
    }
    let (sent, own) = (Register::all(sent)?, Register::all(own)?);
    let has = |register: &Register| own.iter().find(|own| own.number == register.number);
    let lacking: Vec<&Register> = sent.iter().filter(|r| has(r).is_none()).collect();
    let place = layouts::label(section);
    if let Some(first) = lacking.first() {
        let explanation = Explanation {
            field: Some(NUMBERS.to_owned()),
            offset: Some(first.offsets.0),
            sent: Some(format!("{NUMBERS}[{}] = 0x{:x}", first.index, first.number)),
            expected: Some("a system register that the CPU has".to_owned()),
            message: format!(
                "the source sends system registers in {place} that the destination's CPU does not have: {}",
                some(lacking.iter().map(|r| format!("0x{:x}", r.number)))
            ),
            ..blank(section)
        };
        return Some((Grade::Late, explanation));
    }
    let pairs = sent
        .iter()
        .filter_map(|register| Some((register, has(register)?)));
    let other: Vec<(&Register, &Register)> = pairs
        .filter(|(sent, own)| sent.value != own.value)
        .collect();
    let (first, theirs) = other.first().filter(|_| other.len() <= CONSTANT)?;
    let told = other.iter().map(|(sent, own)| {
        format!(
            "0x{:x} (0x{:x}, there 0x{:x})",
            sent.number, sent.value, own.value
        )
    });
    let explanation = Explanation {
        field: Some(VALUES.to_owned()),
        offset: Some(first.offsets.1),
        sent: Some(format!("{VALUES}[{}] = 0x{:x}", first.index, first.value)),
        expected: Some(format!("0x{:x}", theirs.value)),
        message: format!(
            "system registers in {place} have other values than on a machine of the destination's build \
             that never ran, and a load ends at one that cannot be written: {}",
            some(told)
        ),
        ..blank(section)
    };
    Some((Grade::Late, explanation))
}

/// The first ones, and how many more there are.
fn some(all: impl Iterator<Item = String>) -> String {
    const NAMED: usize = 3;
    let all: Vec<String> = all.collect();
    let named = all
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
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
            layouts::label(section)
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
