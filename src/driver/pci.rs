//! Finding the PCI functions of a machine, and reading what they can do.

use crate::driver::access::{Access, Width};
use crate::driver::config_space::{Address, Config};
use crate::driver::layout::{Bus, Free, Function, PAGE, bars};
use crate::driver::qtest::{DriveError, Qtest};
use crate::qemu::machine::ConfigSpace;

/// The slots of a bus.
const SLOTS: u8 = 32;
/// Capabilities of one function that are followed: more would be a loop.
const MOST_CAPABILITIES: usize = 48;

/// Capabilities by their numbers (PCI Local Bus Specification, appendix H).
pub(crate) const MSI: u8 = 0x05;
pub(crate) const VENDOR: u8 = 0x09;
pub(crate) const MSI_X: u8 = 0x11;

/// Returns the way to the configuration of a machine's functions, if it has PCI.
///
/// # Errors
/// The machine ends, or does not answer.
pub(crate) async fn config(
    qtest: &mut Qtest,
    space: &ConfigSpace,
    ram: &mut Free,
) -> Result<Option<Config>, DriveError> {
    let ways: Vec<Config> = match space {
        ConfigSpace::Ports => vec![Config::Ports],
        ConfigSpace::Ecam(windows) => windows.iter().copied().map(Config::Ecam).collect(),
        &ConfigSpace::Rtas(bridge) => {
            let lent = ram.take(PAGE, PAGE).into_iter();
            lent.map(|arguments| Config::Rtas { bridge, arguments })
                .collect()
        }
    };
    let root = Address::of_slot(0, 0);
    for way in ways {
        let found = qtest.perform(&way.read(root, 0, Width::Long)).await?;
        if found.iter().any(|&id| is_there(id)) {
            return Ok(Some(way));
        }
    }
    Ok(None)
}

/// Tells whether a register of numbers is one of a function; no window reads as zeroes, no function as ones.
fn is_there(id: u64) -> bool {
    !matches!(id & 0xffff, 0 | 0xffff)
}

/// The numbers that the buses behind bridges may be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BusNumbers {
    pub next: u16,
    /// The number of the next root bus, or one more than the last that there is.
    pub end: u16,
}

impl BusNumbers {
    fn take(&mut self) -> Option<u8> {
        let taken = u8::try_from(self.next)
            .ok()
            .filter(|_| self.next < self.end)?;
        self.next += 1;
        Some(taken)
    }
}

/// Finds the functions on a root bus and behind its bridges. What is behind a bridge for which no number is left
/// is not found.
///
/// # Errors
/// The machine ends, or does not answer.
pub(crate) async fn scan(
    qtest: &mut Qtest,
    config: Config,
    bus: u8,
    numbers: &mut BusNumbers,
) -> Result<Vec<Function>, DriveError> {
    let mut functions = Vec::new();
    for at in present(qtest, config, bus).await? {
        let mut accesses = Vec::new();
        for register in [0x00, 0x08, 0x0c] {
            accesses.extend(config.read(at, register, Width::Long));
        }
        let read = qtest.perform(&accesses).await?;
        let [id, class, header] = read[..] else {
            continue;
        };
        let is_bridge = header >> 16 & 0x7f == 1;
        // A bridge has two, and its windows behind them.
        let count: u8 = if is_bridge { 2 } else { 6 };
        let mut accesses = Vec::new();
        for register in (0..count).map(|index| 0x10 + 4 * index) {
            accesses.extend(config.write(at, register, Width::Long, 0xffff_ffff));
            accesses.extend(config.read(at, register, Width::Long));
        }
        let sized = qtest.perform(&accesses).await?;
        let behind = match is_bridge {
            true => Some(Box::pin(behind(qtest, config, at, numbers)).await?),
            false => None,
        };
        functions.push(Function {
            at,
            vendor: id as u16,
            device: (id >> 16) as u16,
            class: (class >> 8) as u32,
            bars: bars(&sized),
            behind: behind.flatten(),
        });
    }
    Ok(functions)
}

/// Returns the places on a bus at which there is a function.
async fn present(qtest: &mut Qtest, config: Config, bus: u8) -> Result<Vec<Address>, DriveError> {
    let first = |slot| Address::of_slot(bus, slot);
    let mut accesses = Vec::new();
    for slot in 0..SLOTS {
        accesses.extend(config.read(first(slot), 0x00, Width::Long));
        accesses.extend(config.read(first(slot), 0x0c, Width::Long));
    }
    let read = qtest.perform(&accesses).await?;
    let mut found = Vec::new();
    for (slot, of) in (0..SLOTS).zip(read.chunks_exact(2)) {
        let &[id, header] = of else { continue };
        if !is_there(id) {
            continue;
        }
        found.push(first(slot));
        if header >> 16 & 0x80 == 0 {
            continue;
        }
        let others = (1..8).map(|function| Address {
            function,
            ..first(slot)
        });
        let others: Vec<Address> = others.collect();
        let reads: Vec<Access> = others
            .iter()
            .flat_map(|&at| config.read(at, 0x00, Width::Long))
            .collect();
        let read = qtest.perform(&reads).await?;
        let there = others.into_iter().zip(read);
        found.extend(there.filter(|&(_, id)| is_there(id)).map(|(at, _)| at));
    }
    Ok(found)
}

/// Numbers the bus behind a bridge, and finds what is on it. `None` where no number is left.
async fn behind(
    qtest: &mut Qtest,
    config: Config,
    bridge: Address,
    numbers: &mut BusNumbers,
) -> Result<Option<Bus>, DriveError> {
    let Some(secondary) = numbers.take() else {
        return Ok(None);
    };
    let register = |last: u8| {
        let value = u64::from(bridge.bus) | u64::from(secondary) << 8 | u64::from(last) << 16;
        config.write(bridge, 0x18, Width::Long, value)
    };
    qtest.perform(&register(u8::MAX)).await?;
    let functions = scan(qtest, config, secondary, numbers).await?;
    let last = u8::try_from(numbers.next - 1).unwrap_or(u8::MAX);
    qtest.perform(&register(last)).await?;
    Ok(Some(Bus { last, functions }))
}

/// A capability of a function: its number, and its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capability {
    pub id: u8,
    pub at: u8,
}

/// Lists the capabilities of a function.
///
/// # Errors
/// The machine ends, or does not answer.
pub(crate) async fn capabilities(
    qtest: &mut Qtest,
    config: Config,
    of: Address,
) -> Result<Vec<Capability>, DriveError> {
    let mut found = Vec::new();
    let mut accesses = config.read(of, 0x06, Width::Word);
    accesses.extend(config.read(of, 0x34, Width::Byte));
    let read = qtest.perform(&accesses).await?;
    let [status, first] = read[..] else {
        return Ok(found);
    };
    let mut at = match status >> 4 & 1 {
        1 => first as u8 & !3,
        _ => 0,
    };
    while at != 0 && found.len() < MOST_CAPABILITIES {
        let read = qtest.perform(&config.read(of, at, Width::Word)).await?;
        let head = read.first().copied().unwrap_or(0);
        found.push(Capability { id: head as u8, at });
        at = (head >> 8) as u8 & !3;
    }
    Ok(found)
}
