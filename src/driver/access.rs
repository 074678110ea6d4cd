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
}

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
        let value = None;
        Access {
            space,
            at,
            width,
            value,
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
            (Space::Memory, None) => "read",
            (Space::Memory, Some(_)) => "write",
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
        ] {
            assert_eq!(access.to_string(), command);
        }
    }
}
