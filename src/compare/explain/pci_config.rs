//! The PCI configuration space: the register or capability that a byte belongs to.
//!
//! The layout is that of the PCI Local Bus Specification and of PCI Express: a header of 64 bytes, a list of
//! capabilities that begins where byte 0x34 says, and from 0x100 on one of extended capabilities.

use std::fmt;

/// The end of the header.
const HEADER: usize = 0x40;
/// The byte with the place of the first capability.
const POINTER: usize = 0x34;
/// The first extended capability.
const EXTENDED: usize = 0x100;

/// The registers of a header that all devices have, by their first byte.
const REGISTERS: &[(usize, &str)] = &[
    (0x00, "vendor id"),
    (0x02, "device id"),
    (0x04, "command"),
    (0x06, "status"),
    (0x08, "revision"),
    (0x09, "class code"),
    (0x0c, "cache line size"),
    (0x0d, "latency timer"),
    (0x0e, "header type"),
    (0x0f, "built-in self test"),
    (
        0x10,
        "base addresses, or bus numbers and windows of a bridge",
    ),
    (0x2c, "subsystem vendor id"),
    (0x2e, "subsystem id"),
    (0x30, "expansion ROM"),
    (POINTER, "capabilities pointer"),
    (0x35, "reserved"),
    (0x3c, "interrupt line"),
    (0x3d, "interrupt pin"),
    (0x3e, "latencies, or bridge control"),
];

/// The part of a configuration space that a byte belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigPart {
    /// A register of the header.
    Register(&'static str),
    /// The place of the first capability, and what is there.
    FirstCapability(Option<&'static str>),
    /// A capability.
    Capability(&'static str),
    /// A capability that the destination alone has.
    OnDestination(&'static str),
    /// A byte that no list leads to.
    Unlisted,
}

impl ConfigPart {
    /// Finds the part for a byte of this configuration space.
    pub(crate) fn of(at: usize, config: &[u8]) -> ConfigPart {
        match at {
            POINTER => {
                let first = capabilities(config).into_iter().next();
                ConfigPart::FirstCapability(first.map(|(_, name)| name))
            }
            at if at < HEADER => {
                let mut before = REGISTERS.iter().filter(|(first, _)| *first <= at);
                let last = before.next_back();
                last.map_or(ConfigPart::Unlisted, |(_, name)| ConfigPart::Register(name))
            }
            at => {
                let list = match at < EXTENDED {
                    true => capabilities(config),
                    false => extended(config),
                };
                let before = list.into_iter().filter(|(first, _)| *first <= at);
                let last = before.max_by_key(|(first, _)| *first);
                last.map_or(ConfigPart::Unlisted, |(_, name)| {
                    ConfigPart::Capability(name)
                })
            }
        }
    }
}

impl fmt::Display for ConfigPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigPart::Register(name) => f.write_str(name),
            ConfigPart::FirstCapability(Some(name)) => {
                write!(f, "capabilities pointer, to {name}")
            }
            ConfigPart::FirstCapability(None) => f.write_str("capabilities pointer"),
            ConfigPart::Capability(name) => write!(f, "capability {name}"),
            ConfigPart::OnDestination(name) => {
                write!(f, "capability {name}, which the source does not have")
            }
            ConfigPart::Unlisted => f.write_str("in no capability"),
        }
    }
}

/// Follows the list of capabilities: where each begins, and its name.
fn capabilities(config: &[u8]) -> Vec<(usize, &'static str)> {
    let byte = |at: usize| config.get(at).copied();
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    let mut next = byte(POINTER);
    while let Some(at) = next.map(|at| usize::from(at & !3)) {
        // A list that loops ends there.
        if at < HEADER || found.iter().any(|(known, _)| *known == at) {
            break;
        }
        let Some(id) = byte(at) else {
            break;
        };
        found.push((at, capability(id)));
        next = byte(at + 1);
    }
    found
}

/// Follows the list of extended capabilities.
fn extended(config: &[u8]) -> Vec<(usize, &'static str)> {
    let word = |at: usize| {
        let bytes = config.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    let mut at = EXTENDED;
    while let Some(header) = word(at).filter(|header| *header != 0) {
        found.push((at, extended_capability(header & 0xffff)));
        let next = (header >> 20) as usize & !3;
        if next < EXTENDED || found.iter().any(|(known, _)| *known == next) {
            break;
        }
        at = next;
    }
    found
}

fn capability(id: u8) -> &'static str {
    match id {
        0x01 => "power management",
        0x02 => "AGP",
        0x03 => "vital product data",
        0x04 => "slot identification",
        0x05 => "MSI",
        0x09 => "vendor-specific",
        0x0c => "hot-plug controller",
        0x0d => "bridge subsystem id",
        0x10 => "PCI Express",
        0x11 => "MSI-X",
        0x12 => "SATA",
        0x13 => "advanced features",
        0x14 => "enhanced allocation",
        _ => "of another id",
    }
}

fn extended_capability(id: u32) -> &'static str {
    match id {
        0x01 => "advanced error reporting",
        0x02 => "virtual channel",
        0x03 => "device serial number",
        0x0b => "vendor-specific (extended)",
        0x0d => "access control services",
        0x0e => "alternative routing id",
        0x0f => "address translation services (ATS)",
        0x10 => "single root I/O virtualization",
        0x13 => "page requests",
        0x15 => "resizable base addresses",
        0x1b => "process address space id",
        0x1e => "L1 power substates",
        0x23 => "designated vendor-specific",
        0x2e => "data object exchange",
        _ => "of another extended id",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device with MSI-X at 0x98 that leads to a vendor's own at 0x84, and two extended capabilities.
    fn config() -> Vec<u8> {
        let mut config = vec![0; 0x1000];
        config[POINTER] = 0x98;
        config[0x98..0x9a].copy_from_slice(&[0x11, 0x84]);
        config[0x84..0x86].copy_from_slice(&[0x09, 0x00]);
        config[0x100..0x104].copy_from_slice(&(0x1480_0001_u32).to_le_bytes());
        config[0x148..0x14c].copy_from_slice(&(0x0001_000f_u32).to_le_bytes());
        config
    }

    #[test]
    fn a_byte_has_its_register_or_capability() {
        let config = config();
        for (at, part) in [
            (0x01, "vendor id"),
            (0x0a, "class code"),
            (0x34, "capabilities pointer, to MSI-X"),
            (0x3d, "interrupt pin"),
            (0x41, "in no capability"),
            (0x86, "capability vendor-specific"),
            (0x9a, "capability MSI-X"),
            (0x104, "capability advanced error reporting"),
            (0x14e, "capability address translation services (ATS)"),
        ] {
            assert_eq!(ConfigPart::of(at, &config).to_string(), part, "{at:#x}");
        }
    }

    #[test]
    fn a_list_that_leads_astray_ends() {
        let mut circle = config();
        circle[0x85] = 0x98;
        assert_eq!(capabilities(&circle).len(), 2);
        let mut circle = config();
        circle[0x148..0x14c].copy_from_slice(&(0x1000_000f_u32).to_le_bytes());
        assert_eq!(extended(&circle).len(), 2);
        assert_eq!(
            ConfigPart::of(0x34, &[]).to_string(),
            "capabilities pointer"
        );
        assert_eq!(
            ConfigPart::of(0x200, &[0; 64]).to_string(),
            "in no capability"
        );
    }
}
