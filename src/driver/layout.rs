//! Where the parts of PCI functions go: addresses for their BARs, and windows for the bridges above them.

use crate::driver::access::{Access, Width};
use crate::driver::config_space::{Address, Config};
use crate::qemu::machine::Range;

/// The unit in which a driver is lent memory, in bytes.
pub(crate) const PAGE: u64 = 4096;
/// The first of the registers that hold where parts of a function are.
const FIRST_BAR: u8 = 0x10;
/// The unit of a bridge's window in memory, and of that in ports.
const MEMORY_UNIT: u64 = 1 << 20;
const PORTS_UNIT: u64 = 1 << 12;

/// A part of a function that the machine has to give a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar {
    /// The number of its first register.
    pub index: u8,
    pub kind: BarKind,
    /// Bytes; a power of two.
    pub size: u64,
    /// Where it was put, as the functions see it for ports and a processor for memory; nothing where there is no room
    /// left.
    pub at: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarKind {
    Ports,
    Memory,
    /// Memory, with an address of two registers.
    Memory64,
}

/// A function that was found on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub at: Address,
    pub vendor: u16,
    pub device: u16,
    /// Class, subclass and programming interface, in one number: 0x010601.
    pub class: u32,
    pub bars: Vec<Bar>,
    /// The bus behind it, if it is a bridge.
    pub behind: Option<Bus>,
}

/// A bus behind a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bus {
    /// The last bus below the bridge.
    pub last: u8,
    pub functions: Vec<Function>,
}

/// Reads the registers of a function's BARs, in the order of their numbers: what each holds after all ones were
/// written to it.
pub(crate) fn bars(sized: &[u64]) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut registers = sized.iter().zip(0u8..).peekable();
    while let Some((&low, index)) = registers.next() {
        if low == 0 {
            continue;
        }
        let (kind, mask) = match low & 0b111 {
            port if port & 1 == 1 => (BarKind::Ports, low & 0xffff_fffc | 0xffff_ffff_ffff_0000),
            0b100 => {
                let high = registers.next().map_or(0xffff_ffff, |(&high, _)| high);
                (BarKind::Memory64, high << 32 | low & 0xffff_fff0)
            }
            _ => (BarKind::Memory, low & 0xffff_fff0 | 0xffff_ffff << 32),
        };
        let size = (!mask).wrapping_add(1);
        if size.is_power_of_two() {
            bars.push(Bar {
                index,
                kind,
                size,
                at: None,
            });
        }
    }
    bars
}

/// Addresses that are still free, from the lowest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Free {
    next: u64,
    end: u64,
}

impl Free {
    pub(crate) fn of([begin, length]: Range) -> Free {
        Free {
            next: begin,
            end: begin.saturating_add(length),
        }
    }

    /// Takes so many bytes, at a multiple of a power of two.
    pub(crate) fn take(&mut self, size: u64, unit: u64) -> Option<u64> {
        let at = self.next.checked_next_multiple_of(unit)?;
        let end = at.checked_add(size).filter(|&end| end <= self.end)?;
        self.next = end;
        Some(at)
    }

    /// Goes on at a multiple of a power of two, or at the end.
    fn align(&mut self, unit: u64) -> u64 {
        let next = self.next.checked_next_multiple_of(unit);
        self.next = next.unwrap_or(self.end).min(self.end);
        self.next
    }
}

/// The addresses that functions may be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub memory: Free,
    /// The address at which a processor has address 0 of that memory.
    pub memory_at: u64,
    pub ports: Free,
}

/// Gives all BARs of these functions and of what is behind them a place, and returns the accesses that tell the
/// functions and bridges so, and have them decode it and master the bus.
pub(crate) fn place(
    functions: &mut [Function],
    windows: &mut Windows,
    config: Config,
) -> Vec<Access> {
    let mut accesses = Vec::new();
    for function in functions {
        for bar in &mut function.bars {
            let (free, starts_at) = match bar.kind {
                BarKind::Ports => (&mut windows.ports, 0),
                BarKind::Memory | BarKind::Memory64 => (&mut windows.memory, windows.memory_at),
            };
            let taken = free.take(bar.size, bar.size);
            let value = taken.unwrap_or(0);
            bar.at = taken.map(|at| starts_at + at);
            let register = FIRST_BAR + 4 * bar.index;
            accesses.extend(config.write(function.at, register, Width::Long, value & 0xffff_ffff));
            if bar.kind == BarKind::Memory64 {
                accesses.extend(config.write(function.at, register + 4, Width::Long, value >> 32));
            }
        }
        if let Some(bus) = &mut function.behind {
            let memory = windows.memory.align(MEMORY_UNIT);
            let ports = windows.ports.align(PORTS_UNIT);
            accesses.extend(place(&mut bus.functions, windows, config));
            let memory = [memory, windows.memory.align(MEMORY_UNIT)];
            let ports = [ports, windows.ports.align(PORTS_UNIT)];
            accesses.extend(window(function.at, memory, ports, config));
        }
        // Decode ports and memory, master the bus; a register that says nothing of it ignores it.
        accesses.extend(config.write(function.at, 0x04, Width::Word, 0x7));
    }
    accesses
}

/// Returns the accesses that have a bridge pass on these addresses; each is a begin and an end.
fn window(
    bridge: Address,
    memory: [u64; 2],
    ports: [u64; 2],
    config: Config,
) -> impl Iterator<Item = Access> {
    // A limit below the base passes nothing on.
    let limit = |[begin, end]: [u64; 2], unit: u64| match begin < end {
        true => (begin, end - 1),
        false => (unit, 0),
    };
    let (base, last) = limit(ports, PORTS_UNIT);
    let ports = base >> 8 & 0xf0 | (last & 0xf000);
    let (base, last) = limit(memory, MEMORY_UNIT);
    let memory = base >> 16 & 0xfff0 | (last >> 16 & 0xfff0) << 16;
    [
        (0x1c, Width::Word, ports),
        (0x20, Width::Long, memory),
        // No window of its own for what may be fetched early.
        (0x24, Width::Long, 0x0000_fff0),
    ]
    .into_iter()
    .flat_map(move |(register, width, value)| config.write(bridge, register, width, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(at: Address, bars: &[(BarKind, u64)]) -> Function {
        let bar = |(&(kind, size), index): (&(BarKind, u64), u8)| Bar {
            index,
            kind,
            size,
            at: None,
        };
        Function {
            at,
            vendor: 0x1af4,
            device: 0x1041,
            class: 0x02_0000,
            bars: bars.iter().zip(0..).map(bar).collect(),
            behind: None,
        }
    }

    fn windows() -> Windows {
        Windows {
            memory: Free::of([0xc000_0000, 0x100_0000]),
            memory_at: 0,
            ports: Free::of([0x1000, 0xf000]),
        }
    }

    #[test]
    fn sizes_are_read_from_what_a_register_holds() {
        let found = bars(&[0xffff_ffe1, 0, 0xffff_f000, 0, 0xffff_c00c, 0xffff_ffff]);
        let found: Vec<_> = found.iter().map(|b| (b.index, b.kind, b.size)).collect();
        assert_eq!(
            found,
            [
                (0, BarKind::Ports, 32),
                (2, BarKind::Memory, 4096),
                (4, BarKind::Memory64, 0x4000),
            ]
        );
        // As large as 32 bits can say, and a register that holds no mask.
        assert_eq!(bars(&[0x0000_0004, 0xffff_fff0]).len(), 1);
        assert_eq!(bars(&[0xffff_f0f0]), []);
    }

    #[test]
    fn every_part_has_a_place_of_its_own_and_a_bridge_passes_its_own_on() {
        let mut functions = [
            function(
                Address::of_slot(0, 1),
                &[(BarKind::Memory, 16), (BarKind::Ports, 8)],
            ),
            Function {
                behind: Some(Bus {
                    last: 1,
                    functions: vec![function(
                        Address::of_slot(1, 0),
                        &[(BarKind::Memory64, 0x4000)],
                    )],
                }),
                ..function(Address::of_slot(0, 2), &[(BarKind::Memory, 4096)])
            },
            function(Address::of_slot(0, 3), &[(BarKind::Memory, 0x1000)]),
            function(Address::of_slot(0, 4), &[(BarKind::Memory, 1 << 30)]),
        ];
        let accesses = place(&mut functions, &mut windows(), Config::Ecam(0));
        let places: Vec<_> = functions.iter().map(|f| f.bars[0].at).collect();
        assert_eq!(
            places,
            [
                Some(0xc000_0000),
                Some(0xc000_1000),
                Some(0xc020_0000),
                None
            ]
        );
        let behind = functions[1]
            .behind
            .as_ref()
            .map(|bus| bus.functions[0].bars[0].at);
        assert_eq!(behind, Some(Some(0xc010_0000)));
        let commands: Vec<String> = accesses.iter().map(Access::to_string).collect();
        let bridge = 2 << 15;
        for command in [
            // No port is behind it.
            format!("writew {:#x} 0x10", bridge + 0x1c),
            format!("writel {:#x} 0xc010c010", bridge + 0x20),
            format!("writew {:#x} 0x7", (1 << 20) + 4),
        ] {
            assert!(commands.contains(&command), "{command}: {commands:?}");
        }
    }
}
