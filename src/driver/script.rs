//! Accesses of a driver as data: one a line, in the words of QEMU's qtest protocol, at a place in one of the
//! device's BARs, in memory that it is lent, in its PCI configuration, or at an address.

use serde::Deserialize;

use crate::driver::access::{Access, Space, Width};
use crate::driver::config_space::{Address, Config};
use crate::model::c_number;

/// One line: `writel bar5+0x100 ram+0x400`, `outb 0x20 0x19`, `inb 0x3f5`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Line {
    is_port: bool,
    width: Width,
    place: Place,
    /// Nothing where the line reads.
    value: Option<Place>,
}

/// A number, or an offset in something of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    base: Base,
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Zero,
    Bar(u8),
    Ram,
    Config,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}`: {why}")]
pub(crate) struct BadLine {
    line: String,
    why: &'static str,
}

impl TryFrom<String> for Line {
    type Error = BadLine;

    fn try_from(line: String) -> Result<Line, BadLine> {
        Line::parse(&line).map_err(|why| BadLine { line, why })
    }
}

impl Line {
    fn parse(line: &str) -> Result<Line, &'static str> {
        let mut words = line.split_ascii_whitespace();
        let command = words.next().unwrap_or_default();
        let known = ["write", "read", "out", "in"].into_iter().find_map(|word| {
            let width = Width::of_letter(command.strip_prefix(word)?)?;
            Some((word, width))
        });
        let (word, width) =
            known.ok_or("the commands are write, read, out and in, with b, w, l or q")?;
        let place = words.next().and_then(Place::parse);
        let place = place.ok_or("the place is a number, barN, ram or config, with +OFFSET")?;
        let writes = matches!(word, "write" | "out");
        let value = match writes {
            true => Some(
                words
                    .next()
                    .and_then(Place::parse)
                    .ok_or("a value is missing")?,
            ),
            false => None,
        };
        if words.next().is_some() {
            return Err("there is more than a command, a place and a value");
        }
        if value.is_some_and(|value| value.base == Base::Config) {
            return Err("a place in the configuration has no address");
        }
        let is_port = matches!(word, "out" | "in");
        if is_port && (place.base != Base::Zero || width == Width::Quad) {
            return Err("a port is a number, of 32 bits at most; a BAR is read and written");
        }
        Ok(Line {
            is_port,
            width,
            place,
            value,
        })
    }
}

impl Place {
    fn parse(word: &str) -> Option<Place> {
        let (base, offset) = match word.split_once('+') {
            Some((base, offset)) => (base, c_number(offset)?),
            None => (word, 0),
        };
        let base = match base {
            "ram" => Base::Ram,
            "config" if offset < 0x100 => Base::Config,
            _ => match base.strip_prefix("bar") {
                Some(index) => Base::Bar(index.parse().ok().filter(|&index| index < 6)?),
                None if offset == 0 => {
                    return Some(Place {
                        base: Base::Zero,
                        offset: c_number(base)?,
                    });
                }
                None => return None,
            },
        };
        Some(Place { base, offset })
    }
}

/// The things of a device that lines are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Things {
    /// Where each BAR is, by its number.
    pub bars: Vec<(u8, Space, u64)>,
    /// Memory that it is lent.
    pub ram: Option<u64>,
    /// Its configuration.
    pub config: Option<(Config, Address)>,
}

impl Things {
    /// Returns the accesses of some lines, if the device has all that they are about.
    pub(crate) fn accesses(&self, lines: &[Line]) -> Option<Vec<Access>> {
        let mut accesses = Vec::new();
        for line in lines {
            let value = match line.value {
                Some(value) => Some(self.resolve(value)?.1),
                None => None,
            };
            if line.place.base == Base::Config {
                let (config, of) = self.config?;
                let register = u8::try_from(line.place.offset).ok()?;
                accesses.extend(config.access(of, register, line.width, value));
                continue;
            }
            let (space, at) = self.resolve(line.place)?;
            let space = if line.is_port { Space::Port } else { space };
            accesses.push(Access {
                value,
                ..Access::read(space, at, line.width)
            });
        }
        Some(accesses)
    }

    /// Returns where a place is, if the device has it.
    fn resolve(&self, place: Place) -> Option<(Space, u64)> {
        let (space, base) = match place.base {
            Base::Zero => (Space::Memory, 0),
            Base::Ram => (Space::Memory, self.ram?),
            Base::Bar(index) => {
                let mut bars = self.bars.iter();
                let &(_, space, at) = bars.find(|(of, _, _)| *of == index)?;
                (space, at)
            }
            Base::Config => return None,
        };
        Some((space, base.wrapping_add(place.offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, BadLine> {
        Line::try_from(text.to_owned())
    }

    #[test]
    fn lines_become_accesses_of_the_device_that_is_there() {
        let things = Things {
            bars: vec![(0, Space::Port, 0x1000), (5, Space::Memory, 0xfe00_0000)],
            ram: Some(0x30_0000),
            config: Some((Config::Ecam(0), Address::of_slot(0, 1))),
        };
        let commands = |text: &str| -> Option<Vec<String>> {
            let accesses = things.accesses(&[line(text).expect(text)])?;
            Some(accesses.iter().map(Access::to_string).collect())
        };
        for (text, command) in [
            ("writel bar5+0x100 ram+0x400", "writel 0xfe000100 0x300400"),
            ("writeb bar0+4 1", "outb 0x1004 0x1"),
            ("outb 0x20 0x19", "outb 0x20 0x19"),
            ("readw config+6", "readw 0x8006"),
            ("writeq ram+8 bar5", "writeq 0x300008 0xfe000000"),
        ] {
            assert_eq!(commands(text), Some(vec![command.to_owned()]));
        }
        assert_eq!(commands("readl bar1"), None);
    }

    #[test]
    fn what_is_no_line_is_refused_with_the_reason() {
        for message in [
            "``: the commands are write, read, out and in, with b, w, l or q",
            "`pokel 1 2`: the commands are write, read, out and in, with b, w, l or q",
            "`writel bar6 1`: the place is a number, barN, ram or config, with +OFFSET",
            "`writel 0x10`: a value is missing",
            "`readl 1 2`: there is more than a command, a place and a value",
            "`outb bar0 1`: a port is a number, of 32 bits at most; a BAR is read and written",
            "`writel ram config+4`: a place in the configuration has no address",
        ] {
            let text = message.split('`').nth(1).expect(message);
            assert_eq!(line(text).expect_err(text).to_string(), message);
        }
    }
}
