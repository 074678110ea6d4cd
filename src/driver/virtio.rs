//! A driver of virtio devices, as the specification (version 1.3, sections 3.1 and 4) has it begin: it accepts every
//! feature that is offered, and sets every queue up.

use crate::driver::access::{Access, Space, Width};
use crate::driver::layout::Free;
use crate::driver::qtest::{DriveError, Qtest};

const ACKNOWLEDGE: u64 = 1;
const DRIVER: u64 = 2;
const DRIVER_OK: u64 = 4;
const FEATURES_OK: u64 = 8;

/// A driver that accepts it shows that it does not look at what it accepts: a legacy device then acts as if
/// nothing had been accepted.
const BAD_FEATURE: u64 = 1 << 30;
/// Queues of one device that are set up; more would be a device that answers anything.
const MOST_QUEUES: u64 = 1024;
/// A queue that has no interrupt.
const NO_VECTOR: u64 = 0xffff;
/// The alignment of a legacy queue, and the unit of its address.
const LEGACY_PAGE: u64 = 4096;

/// The registers of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registers {
    /// Those of version 1 on PCI, in memory.
    Modern { common: u64 },
    /// Those of before on PCI, in the ports or the memory of its first BAR.
    Legacy { space: Space, at: u64 },
    /// A transport in memory, of version 1.
    Mmio { at: u64 },
    /// A transport in memory, of before.
    LegacyMmio { at: u64 },
}

/// A device that has its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Driven {
    /// The features that were offered and accepted, bit by bit.
    pub features: u128,
    /// The device does not take these features together: it has no queues then.
    pub refused: bool,
}

/// The parts of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ring {
    descriptors: u64,
    available: u64,
    used: u64,
}

impl Ring {
    /// Takes memory for a queue of so many elements.
    fn take(ram: &mut Free, size: u64, used_unit: u64) -> Option<Ring> {
        let available = 16 * size;
        let used = (available + 6 + 2 * size).next_multiple_of(used_unit);
        let descriptors = ram.take(used + 6 + 8 * size, used_unit.max(16))?;
        Some(Ring {
            descriptors,
            available: descriptors + available,
            used: descriptors + used,
        })
    }
}

impl Registers {
    fn status(self, value: u64) -> Access {
        match self {
            Registers::Modern { common } => Access::store(common + 0x14, Width::Byte, value),
            Registers::Legacy { space, at } => Access::write(space, at + 18, Width::Byte, value),
            Registers::Mmio { at } | Registers::LegacyMmio { at } => {
                Access::store(at + 0x70, Width::Long, value)
            }
        }
    }

    /// Returns the places of: the choice of a word of features, that word as it is offered, the choice of a word
    /// that is accepted, that word. Legacy devices on PCI have one word.
    fn features(self) -> [Access; 4] {
        let load = |at| Access::load(at, Width::Long);
        match self {
            Registers::Modern { common } => [0, 4, 8, 12].map(|offset| load(common + offset)),
            Registers::Legacy { space, at } => {
                [0, 0, 4, 4].map(|offset| Access::read(space, at + offset, Width::Long))
            }
            Registers::Mmio { at } | Registers::LegacyMmio { at } => {
                [0x14, 0x10, 0x24, 0x20].map(|offset| load(at + offset))
            }
        }
    }

    /// Returns how many words of features there are.
    fn words(self) -> u64 {
        match self {
            Registers::Modern { .. } => 4,
            Registers::Mmio { .. } => 2,
            Registers::Legacy { .. } | Registers::LegacyMmio { .. } => 1,
        }
    }

    fn is_legacy(self) -> bool {
        self.words() == 1
    }

    /// Returns the accesses that choose a queue and read how many elements it may have.
    fn queue_size(self, queue: u64) -> [Access; 2] {
        match self {
            Registers::Modern { common } => [
                Access::store(common + 0x16, Width::Word, queue),
                Access::load(common + 0x18, Width::Word),
            ],
            Registers::Legacy { space, at } => [
                Access::write(space, at + 14, Width::Word, queue),
                Access::read(space, at + 12, Width::Word),
            ],
            Registers::Mmio { at } | Registers::LegacyMmio { at } => [
                Access::store(at + 0x30, Width::Long, queue),
                Access::load(at + 0x34, Width::Long),
            ],
        }
    }

    /// Returns the accesses that set the chosen queue up.
    fn set_up_queue(self, size: u64, ring: Ring, vector: Option<u64>) -> Vec<Access> {
        let halves = |at: u64, value: u64| {
            [
                Access::store(at, Width::Long, value & 0xffff_ffff),
                Access::store(at + 4, Width::Long, value >> 32),
            ]
        };
        let parts = |places: [u64; 3]| {
            let values = [ring.descriptors, ring.available, ring.used];
            places
                .into_iter()
                .zip(values)
                .flat_map(move |(at, value)| halves(at, value))
        };
        match self {
            Registers::Modern { common } => {
                let vector = vector.unwrap_or(NO_VECTOR);
                // The size as well, although it stays: drivers do write it.
                let mut accesses = vec![
                    Access::store(common + 0x18, Width::Word, size),
                    Access::store(common + 0x1a, Width::Word, vector),
                ];
                accesses.extend(parts([common + 0x20, common + 0x28, common + 0x30]));
                accesses.push(Access::store(common + 0x1c, Width::Word, 1));
                accesses
            }
            Registers::Legacy { space, at } => {
                let page = ring.descriptors / LEGACY_PAGE;
                let mut accesses = vec![Access::write(space, at + 8, Width::Long, page)];
                let vector =
                    vector.map(|vector| Access::write(space, at + 22, Width::Word, vector));
                accesses.extend(vector);
                accesses
            }
            Registers::Mmio { at } => {
                let mut accesses = vec![Access::store(at + 0x38, Width::Long, size)];
                accesses.extend(parts([at + 0x80, at + 0x90, at + 0xa0]));
                accesses.push(Access::store(at + 0x44, Width::Long, 1));
                accesses
            }
            Registers::LegacyMmio { at } => [
                (0x38, size),
                (0x3c, LEGACY_PAGE),
                (0x40, ring.descriptors / LEGACY_PAGE),
            ]
            .map(|(offset, value)| Access::store(at + offset, Width::Long, value))
            .into(),
        }
    }

    /// Returns the access that gives changes of the configuration the first vector.
    fn config_vector(self) -> Option<Access> {
        match self {
            Registers::Modern { common } => Some(Access::store(common + 0x10, Width::Word, 0)),
            Registers::Legacy { space, at } => Some(Access::write(space, at + 20, Width::Word, 0)),
            Registers::Mmio { .. } | Registers::LegacyMmio { .. } => None,
        }
    }
}

/// Drives a device: with `vectors` of its interrupts, if it has any.
///
/// # Errors
/// The machine ends, or does not answer.
pub(crate) async fn drive(
    qtest: &mut Qtest,
    registers: Registers,
    vectors: u16,
    ram: &mut Free,
) -> Result<Driven, DriveError> {
    let legacy = registers.is_legacy();
    let mut begin = vec![
        registers.status(0),
        registers.status(ACKNOWLEDGE),
        registers.status(ACKNOWLEDGE | DRIVER),
    ];
    if let Registers::LegacyMmio { at } = registers {
        begin.push(Access::store(at + 0x28, Width::Long, LEGACY_PAGE));
    }
    qtest.perform(&begin).await?;
    let features = accept(qtest, registers).await?;
    let mut status = ACKNOWLEDGE | DRIVER;
    if !legacy {
        status |= FEATURES_OK;
        let written = registers.status(status);
        let read = Access {
            value: None,
            ..written
        };
        let kept = qtest.perform(&[written, read]).await?;
        if kept.first().is_none_or(|kept| kept & FEATURES_OK == 0) {
            let refused = true;
            return Ok(Driven { features, refused });
        }
    }
    if let Some(access) = registers.config_vector().filter(|_| vectors > 0) {
        qtest.perform(&[access]).await?;
    }
    for queue in 0..MOST_QUEUES {
        let read = qtest.perform(&registers.queue_size(queue)).await?;
        let size = read.first().copied().unwrap_or(0);
        // The queues of a device that has several are numbered without gaps.
        if size == 0 || size > 0x8000 {
            break;
        }
        let unit = if legacy { LEGACY_PAGE } else { 16 };
        let Some(ring) = Ring::take(ram, size, unit) else {
            break;
        };
        let vector = (queue + 1 < u64::from(vectors)).then_some(queue + 1);
        let set_up = registers.set_up_queue(size, ring, vector);
        qtest.perform(&set_up).await?;
    }
    let ready = registers.status(status | DRIVER_OK);
    qtest.perform(&[ready]).await?;
    let refused = false;
    Ok(Driven { features, refused })
}

/// Accepts every feature that a device offers.
async fn accept(qtest: &mut Qtest, registers: Registers) -> Result<u128, DriveError> {
    let [choose_offered, offered, choose_accepted, accepted] = registers.features();
    let write = |place: Access, value: u64| Access {
        value: Some(value),
        ..place
    };
    // Legacy devices on PCI have one word, and nothing to choose it by.
    let chosen = |choice: Access, word: u64, then: Access| match registers {
        Registers::Legacy { .. } => vec![then],
        _ => vec![write(choice, word), then],
    };
    let legacy = registers.is_legacy();
    let mut features = 0;
    for word in 0..registers.words() {
        let accesses = chosen(choose_offered, word, offered);
        let read = qtest.perform(&accesses).await?;
        let mut value = read.first().copied().unwrap_or(0);
        if legacy {
            value &= !BAD_FEATURE;
        }
        features |= u128::from(value & 0xffff_ffff) << (32 * word);
        // A word that is empty may be one that the device does not know.
        if value == 0 && word > 1 {
            continue;
        }
        let accesses = chosen(choose_accepted, word, write(accepted, value));
        qtest.perform(&accesses).await?;
    }
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_queue_do_not_overlap_and_are_aligned() {
        let mut ram = Free::of([0x20_0008, 0x10_0000]);
        for (size, unit) in [(256, 16), (64, 4096), (1, 16)] {
            let ring = Ring::take(&mut ram, size, unit).expect("room");
            assert_eq!(ring.descriptors % unit, 0);
            assert_eq!(ring.available, ring.descriptors + 16 * size);
            assert!(ring.used >= ring.available + 6 + 2 * size);
            assert_eq!(ring.used % unit.min(16), 0);
        }
        assert_eq!(Ring::take(&mut ram, 0x1_0000, 4096), None);
    }

    #[test]
    fn each_kind_of_registers_sets_a_queue_up_in_its_own_way() {
        let ring = Ring {
            descriptors: 0x1_0020_0000,
            available: 0x1_0020_1000,
            used: 0x1_0020_2000,
        };
        let commands = |registers: Registers, vector| -> Vec<String> {
            let accesses = registers.set_up_queue(128, ring, vector);
            accesses.iter().map(Access::to_string).collect()
        };
        let modern = commands(
            Registers::Modern {
                common: 0xfe00_0000,
            },
            Some(3),
        );
        assert_eq!(modern[0], "writew 0xfe000018 0x80");
        assert_eq!(modern[1], "writew 0xfe00001a 0x3");
        assert_eq!(modern[3], "writel 0xfe000024 0x1");
        assert_eq!(modern[8], "writew 0xfe00001c 0x1");
        let legacy = Registers::Legacy {
            space: Space::Port,
            at: 0xc000,
        };
        assert_eq!(commands(legacy, None), ["outl 0xc008 0x100200"]);
        let mmio = commands(Registers::Mmio { at: 0xa00_0000 }, None);
        assert_eq!(mmio[0], "writel 0xa000038 0x80");
        let before = commands(Registers::LegacyMmio { at: 0xa00_0000 }, None);
        assert_eq!(before[2], "writel 0xa000040 0x100200");
    }
}
