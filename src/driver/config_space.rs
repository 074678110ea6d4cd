//! Accesses to the configuration of PCI functions, in the ways in which machines have it.

use std::fmt;

use crate::driver::access::{Access, RTAS_RETURNS, RtasCall, Space, Width};

/// The place of a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub bus: u8,
    pub slot: u8,
    pub function: u8,
}

impl Address {
    /// Returns the place of the first function in a slot.
    pub(crate) fn of_slot(bus: u8, slot: u8) -> Address {
        let function = 0;
        Address {
            bus,
            slot,
            function,
        }
    }

    /// Returns the number by which hardware selects it.
    fn number(self) -> u64 {
        u64::from(self.bus) << 8 | u64::from(self.slot) << 3 | u64::from(self.function)
    }
}

impl fmt::Display for Address {
    /// Writes it as QEMU and kernels do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address {
            bus,
            slot,
            function,
        } = self;
        write!(f, "0000:{bus:02x}:{slot:02x}.{function:x}")
    }
}

/// The way to the configuration, once it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Config {
    /// By the ports 0xcf8 and 0xcfc.
    Ports,
    /// In a window of memory at this address.
    Ecam(u64),
    /// By firmware, which is told the number of the bridge, with arguments at this address.
    Rtas { bridge: u64, arguments: u64 },
}

impl Config {
    /// Returns the accesses that read a register.
    pub(crate) fn read(self, of: Address, register: u8, width: Width) -> Vec<Access> {
        self.access(of, register, width, None)
    }

    /// Returns the accesses that write a register.
    pub(crate) fn write(self, of: Address, register: u8, width: Width, value: u64) -> Vec<Access> {
        self.access(of, register, width, Some(value))
    }

    /// Returns the accesses that read a register, or write a value to it.
    pub(crate) fn access(
        self,
        of: Address,
        register: u8,
        width: Width,
        value: Option<u64>,
    ) -> Vec<Access> {
        let register = u64::from(register);
        match self {
            Config::Ports => {
                let select = 1 << 31 | of.number() << 8 | register & !3;
                vec![
                    Access::write(Space::Port, 0xcf8, Width::Long, select),
                    Access {
                        value,
                        ..Access::read(Space::Port, 0xcfc + (register & 3), width)
                    },
                ]
            }
            Config::Ecam(window) => vec![Access {
                value,
                ..Access::load(window + (of.number() << 12) + register, width)
            }],
            Config::Rtas { bridge, arguments } => {
                let word = |index: u64, value: u64| {
                    Access::write(Space::Native, arguments + 4 * index, Width::Long, value)
                };
                let words = [
                    of.number() << 8 | register,
                    bridge >> 32,
                    bridge & 0xffff_ffff,
                    width.bytes(),
                ];
                let words = words.into_iter().chain(value).zip(0..);
                let mut accesses: Vec<Access> = words.map(|(value, at)| word(at, value)).collect();
                let call = |call| Access::write(Space::Rtas(call), arguments, Width::Long, 0);
                match value {
                    Some(_) => accesses.push(call(RtasCall::WriteConfig)),
                    None => {
                        // Behind the status; left as it is where there is no function.
                        let found = RTAS_RETURNS / 4 + 1;
                        accesses.push(word(found, 0xffff_ffff));
                        accesses.push(call(RtasCall::ReadConfig));
                        accesses.push(Access {
                            value: None,
                            ..word(found, 0)
                        });
                    }
                }
                accesses
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_reached_in_each_way() {
        let function = Address {
            bus: 1,
            slot: 5,
            function: 2,
        };
        let commands = |accesses: Vec<Access>| -> Vec<String> {
            accesses.iter().map(Access::to_string).collect()
        };
        assert_eq!(
            commands(Config::Ports.read(function, 0x0e, Width::Byte)),
            ["outl 0xcf8 0x80012a0c", "inb 0xcfe"]
        );
        assert_eq!(
            commands(Config::Ecam(0x3000_0000).write(function, 4, Width::Word, 7)),
            ["writew 0x3012a004 0x7"]
        );
        let firmware = Config::Rtas {
            bridge: 0x0800_0000_2000_0000,
            arguments: 0x1000,
        };
        assert_eq!(
            commands(firmware.read(function, 0x0e, Width::Byte)),
            [
                "writel 0x1000 0x12a0e",
                "writel 0x1004 0x8000000",
                "writel 0x1008 0x20000000",
                "writel 0x100c 0x1",
                "writel 0x1044 0xffffffff",
                "rtas ibm,read-pci-config 4 0x1000 2 0x1040",
                "readl 0x1044",
            ]
        );
        let written = commands(firmware.write(function, 4, Width::Word, 7));
        assert_eq!(
            written[4..],
            [
                "writel 0x1010 0x7",
                "rtas ibm,write-pci-config 5 0x1000 1 0x1040"
            ]
        );
        assert_eq!(function.to_string(), "0000:01:05.2");
    }
}
