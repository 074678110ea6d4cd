//! Driving all devices of a machine, one after the other.

use tracing::debug;

use crate::driver::access::{Access, Space, Width};
use crate::driver::config_space::Config;
use crate::driver::interrupts;
use crate::driver::layout::{BarKind, Free, Function, PAGE, Windows, place};
use crate::driver::pci::{self, BusNumbers, Capability, VENDOR};
use crate::driver::qtest::{ByteOrder, DriveError, Qtest};
use crate::driver::script::Things;
use crate::driver::states::states;
use crate::driver::virtio::{self, Driven, Registers};
use crate::model::{VirtioKind, feature_name};
use crate::qemu::machine::{Map, MmioMap, PciMap};
use crate::report::{DrivenReport, VirtioReport};

/// The vendor of virtio devices on PCI.
const VIRTIO_VENDOR: u16 = 0x1af4;
/// The numbers of such devices: from the second on that of their kind follows.
const LEGACY_NUMBERS: std::ops::RangeInclusive<u16> = 0x1000..=0x103f;
const MODERN_NUMBERS: std::ops::RangeInclusive<u16> = 0x1040..=0x107f;
/// "virt", at the begin of a virtio-mmio transport.
const MMIO_MAGIC: u64 = 0x7472_6976;

/// Drives the devices of a machine whose root buses have these numbers.
///
/// # Errors
/// The machine ends, or does not answer.
pub(crate) async fn drive(
    qtest: &mut Qtest,
    family: &str,
    map: &Map,
    roots: &[u8],
) -> Result<DrivenReport, DriveError> {
    let mut report = DrivenReport::default();
    let mut ram = Free::of(map.ram);
    if let Some(of) = &map.pci {
        drive_pci(qtest, of, roots, &mut ram, &mut report).await?;
    }
    if let Some(of) = &map.mmio {
        drive_mmio(qtest, of, &mut ram, &mut report).await?;
    }
    let board = states().board.iter();
    for state in board.filter(|state| state.machines.iter().any(|of| of == family)) {
        let things = Things {
            ram: ram.take(state.ram, PAGE),
            ..Things::default()
        };
        let accesses = things.accesses(&state.accesses);
        bring_into(qtest, &state.name, accesses, &mut report).await?;
    }
    Ok(report)
}

/// Makes the accesses of a state; what has not all that they are about is left as it is.
async fn bring_into(
    qtest: &mut Qtest,
    state: &str,
    accesses: Option<Vec<Access>>,
    report: &mut DrivenReport,
) -> Result<(), DriveError> {
    let Some(accesses) = accesses else {
        return Ok(());
    };
    // What was begun has time to end before a read is answered.
    for accesses in accesses.split_inclusive(|access| access.value.is_none()) {
        let done = qtest.perform(accesses).await;
        done.map_err(|error| error.at(state))?;
    }
    if !report.states.iter().any(|known| known == state) {
        report.states.push(state.to_owned());
    }
    Ok(())
}

async fn drive_pci(
    qtest: &mut Qtest,
    map: &PciMap,
    roots: &[u8],
    ram: &mut Free,
    report: &mut DrivenReport,
) -> Result<(), DriveError> {
    qtest.expect(ByteOrder::Little).await?;
    let Some(config) = pci::config(qtest, &map.config, ram).await? else {
        return Ok(());
    };
    let mut windows = Windows {
        memory: Free::of(map.memory),
        memory_at: map.memory_at,
        ports: Free::of(map.ports),
    };
    let mut roots = roots.to_vec();
    roots.sort_unstable();
    let ends = roots.iter().skip(1).map(|&root| u16::from(root));
    for (&root, end) in roots.iter().zip(ends.chain([256])) {
        let next = u16::from(root) + 1;
        let mut numbers = BusNumbers { next, end };
        let mut functions = pci::scan(qtest, config, root, &mut numbers).await?;
        let accesses = place(&mut functions, &mut windows, config);
        qtest.perform(&accesses).await?;
        debug!(
            root,
            functions = all(&functions).len(),
            last = numbers.next - 1,
            "a root bus"
        );
        for function in all(&functions) {
            report.functions += 1;
            let driven = drive_function(qtest, config, map, function, ram, report).await;
            driven.map_err(|error| error.at(function.at))?;
        }
    }
    Ok(())
}

/// Lists functions, and what is behind them.
fn all(functions: &[Function]) -> Vec<&Function> {
    let mut found = Vec::new();
    for function in functions {
        found.push(function);
        let behind = function.behind.iter();
        found.extend(behind.flat_map(|bus| all(&bus.functions)));
    }
    found
}

async fn drive_function(
    qtest: &mut Qtest,
    config: Config,
    map: &PciMap,
    function: &Function,
    ram: &mut Free,
    report: &mut DrivenReport,
) -> Result<(), DriveError> {
    let capabilities = pci::capabilities(qtest, config, function.at).await?;
    let vectors = interrupts::enable(qtest, config, function, &capabilities, ram).await?;
    if let Some(registers) = registers(qtest, config, map, function, &capabilities).await? {
        let kind = match function.device {
            // The number of the kind is that of the subsystem.
            device if LEGACY_NUMBERS.contains(&device) => {
                let read = config.read(function.at, 0x2e, Width::Word);
                qtest.perform(&read).await?.first().copied().unwrap_or(0)
            }
            device => u64::from(device - MODERN_NUMBERS.start()),
        };
        let driven = virtio::drive(qtest, registers, vectors, ram).await?;
        report
            .virtio
            .push(of_virtio(function.at.to_string(), kind, &driven));
    }
    let pci = states().pci.iter();
    for state in pci.filter(|of| of.is_for(function.vendor, function.device, function.class)) {
        let things = Things {
            bars: places(map, function).collect(),
            ram: ram.take(state.ram, PAGE),
            config: Some((config, function.at)),
        };
        let accesses = things.accesses(&state.accesses);
        bring_into(qtest, &state.name, accesses, report).await?;
    }
    Ok(())
}

/// Finds the registers of a virtio device, if the function is one: those of version 1 where it has them.
async fn registers(
    qtest: &mut Qtest,
    config: Config,
    map: &PciMap,
    function: &Function,
    capabilities: &[Capability],
) -> Result<Option<Registers>, DriveError> {
    let legacy = LEGACY_NUMBERS.contains(&function.device);
    let is_virtio = legacy || MODERN_NUMBERS.contains(&function.device);
    if function.vendor != VIRTIO_VENDOR || !is_virtio {
        return Ok(None);
    }
    /// The structure that has the common configuration.
    const COMMON: u64 = 1;
    for capability in capabilities.iter().filter(|c| c.id == VENDOR) {
        let mut accesses = config.read(function.at, capability.at + 3, Width::Byte);
        accesses.extend(config.read(function.at, capability.at + 4, Width::Byte));
        accesses.extend(config.read(function.at, capability.at + 8, Width::Long));
        let read = qtest.perform(&accesses).await?;
        let [COMMON, index, offset] = read[..] else {
            continue;
        };
        let mut bars = function.bars.iter();
        let bar = bars.find(|bar| u64::from(bar.index) == index);
        if let Some(at) = bar.and_then(|bar| bar.at) {
            return Ok(Some(Registers::Modern {
                common: at + offset,
            }));
        }
    }
    let first = places(map, function).find(|&(index, ..)| index == 0);
    let first = first.filter(|_| legacy);
    Ok(first.map(|(_, space, at)| Registers::Legacy { space, at }))
}

/// Returns where a processor finds the BARs of a function, by their numbers.
fn places<'f>(
    map: &PciMap,
    function: &'f Function,
) -> impl Iterator<Item = (u8, Space, u64)> + use<'f> {
    let ports_at = map.ports_at;
    function.bars.iter().filter_map(move |bar| {
        let at = bar.at?;
        let (space, at) = match (bar.kind, ports_at) {
            (BarKind::Ports, Some(ports)) => (Space::Memory, ports + at),
            (BarKind::Ports, None) => (Space::Port, at),
            (BarKind::Memory | BarKind::Memory64, _) => (Space::Memory, at),
        };
        Some((bar.index, space, at))
    })
}

async fn drive_mmio(
    qtest: &mut Qtest,
    map: &MmioMap,
    ram: &mut Free,
    report: &mut DrivenReport,
) -> Result<(), DriveError> {
    for at in (0..map.count).map(|index| map.at + index * map.step) {
        let heads = [0, 4, 8].map(|offset| Access::load(at + offset, Width::Long));
        // A transport of before has the byte order of the processor, one of version 1 that of PCI.
        qtest.expect(ByteOrder::Native).await?;
        let mut read = qtest.perform(&heads).await?;
        if read.first() != Some(&MMIO_MAGIC) {
            qtest.expect(ByteOrder::Little).await?;
            read = qtest.perform(&heads).await?;
        }
        let (registers, kind) = match read[..] {
            // No device is behind a transport whose kind is 0.
            [MMIO_MAGIC, 1, kind] if kind != 0 => (Registers::LegacyMmio { at }, kind),
            [MMIO_MAGIC, 2, kind] if kind != 0 => (Registers::Mmio { at }, kind),
            _ => continue,
        };
        let name = format!("{at:#x}");
        let driven = virtio::drive(qtest, registers, 0, ram).await;
        let driven = driven.map_err(|error| error.at(&name))?;
        report.virtio.push(of_virtio(name, kind, &driven));
    }
    Ok(())
}

fn of_virtio(name: String, kind: u64, driven: &Driven) -> VirtioReport {
    let known = u32::try_from(kind).ok().and_then(VirtioKind::numbered);
    let bits = (0..u128::BITS).filter(|bit| driven.features >> bit & 1 == 1);
    VirtioReport {
        name,
        kind: known.map_or_else(|| kind.to_string(), |kind| kind.name.to_owned()),
        driver: (!driven.refused).then(|| "migcompat".to_owned()),
        features: bits.map(|bit| feature_name(known, bit)).collect(),
    }
}
