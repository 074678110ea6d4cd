//! Values that a loader is known to compare with its own.

use crate::compare::explain::explanation::Explanation;
use crate::compare::explain::pci_config::ConfigPart;
use crate::compare::explain::reason::Grade;
use crate::compare::explain::reason::{Reason, Register};
use crate::compare::registers::{COUNT, NUMBERS, VALUES, WIDTH, entries};
use crate::compare::streams::{Leaf, leaves};
use crate::stream::tree::{Leaf as Held, Section};

/// Returns the values of a section that a loader refuses, each with its own value.
pub(crate) fn values(section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
    let (sent, own) = (leaves(section), leaves(expected));
    let mut found = Vec::new();
    for leaf in &sent {
        let Some(twin) = own.iter().find(|other| other.label == leaf.label) else {
            continue;
        };
        if leaf.bytes != twin.bytes && leaf.bytes.len() == twin.bytes.len() {
            found.extend(unequal(section, leaf, twin));
            found.extend(too_many(section, leaf, twin));
            found.extend(other_config(section, leaf, twin));
        }
    }
    if let Some((grade, of_registers)) = registers(section, &sent, &own) {
        // The registers that the destination lacks are what is too many.
        let lacks = matches!(of_registers.reason, Reason::LacksRegisters { .. });
        found.retain(|(_, one)| !lacks || one.field.as_deref() != Some(COUNT));
        found.push((grade, of_registers));
    }
    found
}

/// The destination's own type decides whether it compares.
fn unequal(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    if !own.type_name.ends_with(" equal") {
        return None;
    }
    let reason = Reason::Unequal {
        sent: sent.clone(),
        own: own.clone(),
    };
    Some((
        Grade::Certain,
        at(section, &sent.label, sent.offset, reason),
    ))
}

/// A length may be at most that of the device's own array (`get_int32_le()` in
/// `migration/vmstate-types.c`).
fn too_many(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    if *own.type_name != *"int32 le" {
        return None;
    }
    let number = |leaf: &Leaf| match leaf.kind.leaf(&leaf.bytes) {
        Held::Signed(number) => Some(number),
        _ => None,
    };
    let (length, most) = (number(sent)?, number(own)?);
    if (0..=most).contains(&length) {
        return None;
    }
    let reason = Reason::TooMany {
        sent: sent.clone(),
        own: own.clone(),
        length,
        most,
    };
    Some((
        Grade::Certain,
        at(section, &sent.label, sent.offset, reason),
    ))
}

/// An explanation at a field, at this place in the stream.
fn at(section: &Section, field: &str, offset: u64, reason: Reason) -> Explanation {
    Explanation {
        field: Some(field.to_owned()),
        offset: Some(offset),
        ..Explanation::of(section, reason)
    }
}

/// A system register of an Arm CPU, as the lists in its section have it.
struct Listed {
    register: Register,
    /// The offsets of the number and of the value in the stream.
    offsets: (u64, u64),
}

impl Listed {
    fn all(leaves: &[Leaf]) -> Option<Vec<Listed>> {
        let list = |label| leaves.iter().find(|leaf| leaf.label == label);
        let (numbers, values) = (list(NUMBERS)?, list(VALUES)?);
        let pairs = entries(&numbers.bytes).zip(entries(&values.bytes));
        let listed = |(index, (number, value))| {
            let at = (WIDTH * index) as u64;
            Listed {
                register: Register {
                    index,
                    number,
                    value,
                },
                offsets: (numbers.offset + at, values.offset + at),
            }
        };
        Some(pairs.enumerate().map(listed).collect())
    }
}

/// A load ends at a register that the destination's CPU does not have, and at one that does not read back
/// what was written to it, as a constant one does not: `write_list_to_cpustate()` in `target/arm/helper.c`.
fn registers(section: &Section, sent: &[Leaf], own: &[Leaf]) -> Option<(Grade, Explanation)> {
    /// A guest that ran has written to more than these.
    const CONSTANT: usize = 16;
    if section.name.vmsd_name() != "cpu" {
        return None;
    }
    let (sent, own) = (Listed::all(sent)?, Listed::all(own)?);
    let twin = |listed: &Listed| {
        let mut own = own.iter().map(|own| own.register);
        own.find(|own| own.number == listed.register.number)
    };
    let lacking: Vec<&Listed> = sent.iter().filter(|r| twin(r).is_none()).collect();
    if let Some(first) = lacking.first() {
        let reason = Reason::LacksRegisters {
            list: NUMBERS,
            registers: lacking.iter().map(|listed| listed.register).collect(),
        };
        let offset = first.offsets.0;
        return Some((Grade::Late, at(section, NUMBERS, offset, reason)));
    }
    let pairs = sent
        .iter()
        .filter_map(|listed| Some((listed, twin(listed)?.value)));
    let other: Vec<(&Listed, u64)> = pairs
        .filter(|(sent, own)| sent.register.value != *own)
        .collect();
    let (first, _) = other.first().filter(|_| other.len() <= CONSTANT)?;
    let registers = other.iter().map(|(sent, own)| (sent.register, *own));
    let reason = Reason::OtherRegisters {
        list: VALUES,
        registers: registers.collect(),
    };
    let offset = first.offsets.1;
    Some((Grade::Late, at(section, VALUES, offset, reason)))
}

fn other_config(section: &Section, sent: &Leaf, own: &Leaf) -> Option<(Grade, Explanation)> {
    if *sent.type_name != *"pci config" {
        return None;
    }
    let byte_at = fixed_config(&sent.bytes, &own.bytes)?;
    let byte = |bytes: &[u8]| bytes.get(byte_at).copied().unwrap_or(0);
    let reason = Reason::PciConfig {
        field: sent.label.clone(),
        at: byte_at,
        part: ConfigPart::of(byte_at, &sent.bytes),
        sent: byte(&sent.bytes),
        own: byte(&own.bytes),
    };
    let offset = sent.offset + byte_at as u64;
    Some((Grade::Likely, at(section, &sent.label, offset, reason)))
}

/// The version of a PCI device, the first number of its state in what a virtio device sends
/// (`virtio_pci_save_config()` in `hw/virtio/virtio-pci.c`).
const PCI_IN_VIRTIO: [u8; 4] = [0, 0, 0, 2];

/// Returns the configuration spaces of a section: the bytes, and the field that they are in with their place in
/// it.
fn config_spaces(leaves: &[Leaf]) -> impl Iterator<Item = (&Leaf, usize)> {
    leaves.iter().filter_map(|leaf| match &*leaf.type_name {
        "pci config" => Some((leaf, 0)),
        "virtio" if leaf.bytes.starts_with(&PCI_IN_VIRTIO) => Some((leaf, PCI_IN_VIRTIO.len())),
        _ => None,
    })
}

/// Explains a byte of the PCI configuration space that a build named as refused.
pub(crate) fn refused_config(
    section: &Section,
    expected: Option<&Section>,
    (byte_at, sent, own): (usize, u8, u8),
) -> Option<Explanation> {
    let sent_leaves = leaves(section);
    let mut spaces = config_spaces(&sent_leaves);
    // The byte at that offset is the one that the message quotes.
    let (leaf, before) =
        spaces.find(|(leaf, before)| leaf.bytes.get(before + byte_at).copied() == Some(sent))?;
    let config = leaf.bytes.get(before..)?;
    // A capability that the destination alone has is in its own configuration space.
    let on_destination = || {
        let own_leaves = leaves(expected?);
        let (leaf, before) = config_spaces(&own_leaves).find(|(own, _)| own.label == leaf.label)?;
        match ConfigPart::of(byte_at, leaf.bytes.get(before..)?) {
            ConfigPart::Capability(name) => Some(ConfigPart::OnDestination(name)),
            _ => None,
        }
    };
    let part = match ConfigPart::of(byte_at, config) {
        ConfigPart::Unlisted => on_destination().unwrap_or(ConfigPart::Unlisted),
        part => part,
    };
    let reason = Reason::PciConfig {
        field: leaf.label.clone(),
        at: byte_at,
        part,
        sent,
        own,
    };
    let offset = leaf.offset + (before + byte_at) as u64;
    Some(at(section, &leaf.label, offset, reason))
}

/// Returns the first byte of two configuration spaces that differs and is the device's own: the
/// identity of the device and the start of its capabilities. QEMU compares these with its own at
/// every load (`pci_init_cmask()` in `hw/pci/pci.c`).
fn fixed_config(sent: &[u8], own: &[u8]) -> Option<usize> {
    let fixed = |at: &usize| matches!(at, 0x00..=0x03 | 0x08..=0x0b | 0x0e | 0x34);
    (0..sent.len().min(own.len()))
        .filter(fixed)
        .find(|&at| sent.get(at) != own.get(at))
}
