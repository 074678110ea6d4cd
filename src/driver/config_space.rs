//! Accesses to the configuration of PCI functions, in both ways in which machines have it.

use std::fmt;

use crate::driver::access::{Access, Space, Width};

/// The place of a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub bus: u8,
    pub slot: u8,
    pub function: u8,
}

impl Address {
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

    fn access(self, of: Address, register: u8, width: Width, value: Option<u64>) -> Vec<Access> {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_reached_in_both_ways() {
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
        assert_eq!(function.to_string(), "0000:01:05.2");
    }
}
