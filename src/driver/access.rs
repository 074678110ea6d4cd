//! A driver's accesses, one by one, and the words by which QEMU's qtest protocol names them
//! (docs/devel/testing/qtest.rst).

use std::fmt;

/// The width of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Byte,
    Word,
    Long,
    Quad,
}

impl Width {
    /// Returns the width of the letter that ends a command: `outb`, `readl`.
    pub(crate) fn of_letter(letter: &str) -> Option<Width> {
        Some(match letter {
            "b" => Width::Byte,
            "w" => Width::Word,
            "l" => Width::Long,
            "q" => Width::Quad,
            _ => return None,
        })
    }

    /// Returns the number of bytes.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Width::Byte => 1,
            Width::Word => 2,
            Width::Long => 4,
            Width::Quad => 8,
        }
    }

    /// Turns the bytes of a value round.
    pub(crate) fn swap(self, value: u64) -> u64 {
        match self {
            Width::Byte => value,
            Width::Word => u64::from((value as u16).swap_bytes()),
            Width::Long => u64::from((value as u32).swap_bytes()),
            Width::Quad => value.swap_bytes(),
        }
    }

    fn letter(self) -> char {
        match self {
            Width::Byte => 'b',
            Width::Word => 'w',
            Width::Long => 'l',
            Width::Quad => 'q',
        }
    }
}

/// The address space of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// The ports of x86.
    Port,
    Memory,
    /// Memory in the processor's own byte order, whatever that of the devices is.
    Native,
    /// A call of a pSeries machine's firmware. Its arguments are at the address of the access, and what it returns
    /// goes to [`RTAS_RETURNS`] behind it.
    Rtas(RtasCall),
}

/// The functions of a pSeries machine's firmware by which a processor has the configuration of PCI functions (Power
/// Architecture Platform Reference).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RtasCall {
    ReadConfig,
    WriteConfig,
}

/// The distance of the returned values from the arguments, in bytes.
pub(crate) const RTAS_RETURNS: u64 = 0x40;

/// One access, as a processor would make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub space: Space,
    pub at: u64,
    pub width: Width,
    /// The value that is written; nothing where the access reads.
    pub value: Option<u64>,
}

impl Access {
    pub(crate) fn read(space: Space, at: u64, width: Width) -> Access {
        Access {
            space,
            at,
            width,
            value: None,
        }
    }

    pub(crate) fn write(space: Space, at: u64, width: Width, value: u64) -> Access {
        Access {
            value: Some(value),
            ..Access::read(space, at, width)
        }
    }

    /// A read of guest memory or of a device in it.
    pub(crate) fn load(at: u64, width: Width) -> Access {
        Access::read(Space::Memory, at, width)
    }

    /// A write into guest memory or to a device in it.
    pub(crate) fn store(at: u64, width: Width, value: u64) -> Access {
        Access::write(Space::Memory, at, width, value)
    }
}

impl fmt::Display for Access {
    /// Writes the command of the protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.space, self.value) {
            (Space::Port, None) => "in",
            (Space::Port, Some(_)) => "out",
            (Space::Memory | Space::Native, None) => "read",
            (Space::Memory | Space::Native, Some(_)) => "write",
            (Space::Rtas(call), _) => {
                // The name, and the numbers of its arguments and of its values.
                let (name, arguments, values) = match call {
                    RtasCall::ReadConfig => ("ibm,read-pci-config", 4, 2),
                    RtasCall::WriteConfig => ("ibm,write-pci-config", 5, 1),
                };
                let returned = self.at + RTAS_RETURNS;
                let at = self.at;
                return write!(f, "rtas {name} {arguments} {at:#x} {values} {returned:#x}");
            }
        };
        write!(f, "{word}{} {:#x}", self.width.letter(), self.at)?;
        match self.value {
            Some(value) => write!(f, " {value:#x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_commands_of_the_protocol() {
        for (access, command) in [
            (
                Access::write(Space::Port, 0xcf8, Width::Long, 0x8000_2800),
                "outl 0xcf8 0x80002800",
            ),
            (Access::read(Space::Port, 0xcfc, Width::Word), "inw 0xcfc"),
            (Access::load(0xfee0_0000, Width::Quad), "readq 0xfee00000"),
            (Access::store(16, Width::Byte, 0), "writeb 0x10 0x0"),
            (
                Access::write(Space::Rtas(RtasCall::WriteConfig), 0x1000, Width::Long, 0),
                "rtas ibm,write-pci-config 5 0x1000 1 0x1040",
            ),
        ] {
            assert_eq!(access.to_string(), command);
        }
    }
}
