//! Message-signalled interrupts, which go into guest memory instead of to a processor.

use crate::driver::access::{Access, Width};
use crate::driver::config_space::Config;
use crate::driver::layout::{Free, Function};
use crate::driver::pci::{Capability, MSI, MSI_X};
use crate::driver::qtest::{DriveError, Qtest};

/// Memory that the interrupts of one function write to, in bytes.
const TARGETS: u64 = 0x1000;
/// The bytes of an entry in a table of vectors.
const ENTRY: u64 = 16;

/// Enables the interrupts of a function, and returns how many vectors a driver has for its queues.
///
/// # Errors
/// The machine ends, or does not answer.
pub(crate) async fn enable(
    qtest: &mut Qtest,
    config: Config,
    of: &Function,
    capabilities: &[Capability],
    ram: &mut Free,
) -> Result<u16, DriveError> {
    let find = |id| capabilities.iter().find(|capability| capability.id == id);
    let wanted = [find(MSI_X), find(MSI)].into_iter().flatten().next();
    let Some(&Capability { id, at }) = wanted else {
        return Ok(0);
    };
    let mut accesses = config.read(of.at, at + 2, Width::Word);
    accesses.extend(config.read(of.at, at + 4, Width::Long));
    let read = qtest.perform(&accesses).await?;
    let ([control, table], Some(target)) = (&read[..], ram.take(TARGETS, TARGETS)) else {
        return Ok(0);
    };
    let vectors = (control & 0x7ff) as u16 + 1;
    let accesses = match id {
        MSI => msi(of, config, at, *control, target),
        _ => {
            let bar = of.bars.iter().find(|bar| u64::from(bar.index) == table & 7);
            let Some(place) = bar.and_then(|bar| bar.at) else {
                return Ok(0);
            };
            let mut accesses = table_of(place + (table & !7), vectors, target);
            accesses.extend(config.write(of.at, at + 2, Width::Word, control | 1 << 15));
            accesses
        }
    };
    qtest.perform(&accesses).await?;
    Ok(if id == MSI_X { vectors } else { 0 })
}

/// Returns the accesses that fill a table of vectors: none is masked, and each has a word of memory.
fn table_of(table: u64, vectors: u16, target: u64) -> Vec<Access> {
    let entry = |vector: u16| {
        let at = table + ENTRY * u64::from(vector);
        let target = target + 4 * u64::from(vector) % TARGETS;
        [
            (0, target & 0xffff_ffff),
            (4, target >> 32),
            (8, u64::from(vector)),
            (12, 0),
        ]
        .map(|(offset, value)| Access::store(at + offset, Width::Long, value))
    };
    (0..vectors).flat_map(entry).collect()
}

fn msi(of: &Function, config: Config, at: u8, control: u64, target: u64) -> Vec<Access> {
    // The place of the data depends on the width of the address.
    let data = if control & 0x80 == 0 { 8 } else { 12 };
    let mut accesses = config.write(of.at, at + 4, Width::Long, target & 0xffff_ffff);
    if data == 12 {
        accesses.extend(config.write(of.at, at + 8, Width::Long, target >> 32));
    }
    accesses.extend(config.write(of.at, at + data, Width::Word, 0x41));
    accesses.extend(config.write(of.at, at + 2, Width::Word, control | 1));
    accesses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_has_a_word_of_memory() {
        let accesses = table_of(0xfe00_1000, 3, 0x30_0000);
        let commands: Vec<String> = accesses.iter().map(Access::to_string).collect();
        assert_eq!(commands.len(), 12);
        assert_eq!(
            commands[8..],
            [
                "writel 0xfe001020 0x300008",
                "writel 0xfe001024 0x0",
                "writel 0xfe001028 0x2",
                "writel 0xfe00102c 0x0",
            ]
        );
    }
}
