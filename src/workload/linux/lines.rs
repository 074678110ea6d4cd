//! The lines that the guest prints on its console.

use std::collections::BTreeMap;

/// The line by which the guest says that it works.
const START: &str = "S migcompat linux 1";

/// A line of the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// All drivers are loaded.
    Started,
    /// A device that has no driver yet, or a module that the kernel asked for in vain, by its name.
    Asked(String),
    /// A virtio device, with what its driver accepted.
    Virtio(VirtioDevice),
    /// A device on another bus.
    Attached(Attached),
    /// The devices that the guest will use, by kind.
    Uses(BTreeMap<String, Vec<String>>),
    /// A message of the kernel's of before the first round, where devices are found and set up.
    LoggedAtBoot(String),
    /// A round begins; the first one is 1.
    Begun(u32),
    /// A round in which every device was used.
    Beat(Beat),
    /// A check that failed, in the guest's words.
    Failed(String),
    /// A message of the kernel's of level "error" or worse.
    Logged(String),
}

/// A virtio device in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VirtioDevice {
    /// The kernel's name of it: `virtio0`.
    pub name: String,
    /// The kind of device, as the specification numbers them.
    pub kind: u32,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// The features that the driver accepted, by their bits.
    pub features: Vec<u32>,
}

/// A bus on which devices are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    Pci,
    Usb,
}

/// A device on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    pub bus: Bus,
    /// The kernel's name of its place.
    pub address: String,
    /// Vendor and device.
    pub id: (u16, u16),
    /// The drivers that it is bound to.
    pub driver: Option<String>,
}

/// The end of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat {
    /// The first one is 1.
    pub round: u32,
    /// Interrupts of the timer since the start, on each processor.
    pub timers: Vec<u64>,
}

impl Line {
    /// Reads a line without its end; `None` if it is none of the guest's.
    pub(crate) fn read(line: &str) -> Option<Line> {
        if line == START {
            return Some(Line::Started);
        }
        let (kind, rest) = line.split_once(' ')?;
        Some(match kind {
            "M" => Line::Asked(rest.to_owned()),
            "V" => Line::Virtio(virtio(rest)?),
            "P" => Line::Attached(attached(Bus::Pci, rest)?),
            "U" => Line::Attached(attached(Bus::Usb, rest)?),
            "W" => Line::Uses(uses(rest)),
            "l" => Line::LoggedAtBoot(rest.to_owned()),
            "R" => Line::Begun(round(rest)?),
            "B" => Line::Beat(beat(rest)?),
            "E" => Line::Failed(rest.to_owned()),
            "L" => Line::Logged(rest.to_owned()),
            _ => return None,
        })
    }
}

/// Reads the values of `KEY=VALUE` words that stand in this order.
fn values<'l, const N: usize>(text: &'l str, keys: [&str; N]) -> Option<[&'l str; N]> {
    let mut words = text.split(' ');
    let mut values = [""; N];
    for (value, key) in values.iter_mut().zip(keys) {
        *value = words.next()?.strip_prefix(key)?.strip_prefix('=')?;
    }
    words.next().is_none().then_some(values)
}

/// Reads `disks=sda vda rng=`: what stands behind a kind is of it.
fn uses(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut kind = "";
    for word in text.split(' ') {
        let name = match word.split_once('=') {
            Some((of, name)) => {
                kind = of;
                name
            }
            None => word,
        };
        let of_kind = uses.entry(kind.to_owned()).or_default();
        of_kind.extend((!name.is_empty()).then(|| name.to_owned()));
    }
    uses
}

fn number(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn bound(driver: &str) -> Option<String> {
    (driver != "-").then(|| driver.to_owned())
}

/// Reads `virtio0 type=0x0001 driver=virtio_net status=0x0000000f features=1010`.
fn virtio(text: &str) -> Option<VirtioDevice> {
    let (name, rest) = text.split_once(' ')?;
    let keys = ["type", "driver", "status", "features"];
    let [kind, driver, _, features] = values(rest, keys)?;
    if !features.bytes().all(|digit| matches!(digit, b'0' | b'1')) {
        return None;
    }
    let bits = (0..).zip(features.bytes());
    let accepted = bits.filter(|(_, digit)| *digit == b'1');
    Some(VirtioDevice {
        name: name.to_owned(),
        kind: number(kind)?,
        driver: bound(driver),
        features: accepted.map(|(bit, _)| bit).collect(),
    })
}

/// Reads `0000:00:01.0 id=1af4:1000 class=020000 driver=virtio-pci`; a USB device has no class.
fn attached(bus: Bus, text: &str) -> Option<Attached> {
    let (address, rest) = text.split_once(' ')?;
    let (id, driver) = match bus {
        Bus::Pci => {
            let [id, _, driver] = values(rest, ["id", "class", "driver"])?;
            (id, driver)
        }
        Bus::Usb => {
            let [id, driver] = values(rest, ["id", "driver"])?;
            (id, driver)
        }
    };
    let (vendor, device) = id.split_once(':')?;
    let hex = |text: &str| u16::from_str_radix(text, 16).ok();
    Some(Attached {
        bus,
        address: address.to_owned(),
        id: (hex(vendor)?, hex(device)?),
        driver: bound(driver),
    })
}

/// Reads `0000002a`.
fn round(text: &str) -> Option<u32> {
    let is_whole = text.len() == 8;
    is_whole.then(|| u32::from_str_radix(text, 16).ok())?
}

/// Reads `0000002a loc=100,200`.
fn beat(text: &str) -> Option<Beat> {
    let (number, rest) = text.split_once(' ')?;
    let [timers] = values(rest, ["loc"])?;
    let timers: Option<Vec<u64>> = match timers {
        "" => Some(Vec::new()),
        timers => timers.split(',').map(|count| count.parse().ok()).collect(),
    };
    Some(Beat {
        round: round(number)?,
        timers: timers?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        for (line, read) in [
            ("S migcompat linux 1", Line::Started),
            ("M acpi:PNP0700:", Line::Asked("acpi:PNP0700:".to_owned())),
            (
                "V virtio0 type=0x0001 driver=virtio_net status=0x0000000f features=0100000000000001",
                Line::Virtio(VirtioDevice {
                    name: "virtio0".to_owned(),
                    kind: 1,
                    driver: Some("virtio_net".to_owned()),
                    features: vec![1, 15],
                }),
            ),
            (
                "P 0000:00:1f.2 id=8086:2922 class=010601 driver=-",
                Line::Attached(Attached {
                    bus: Bus::Pci,
                    address: "0000:00:1f.2".to_owned(),
                    id: (0x8086, 0x2922),
                    driver: None,
                }),
            ),
            (
                "U 1-1 id=0627:0001 driver=usbhid,usbhid",
                Line::Attached(Attached {
                    bus: Bus::Usb,
                    address: "1-1".to_owned(),
                    id: (0x0627, 1),
                    driver: Some("usbhid,usbhid".to_owned()),
                }),
            ),
            (
                "W disks=sda vda nets= rng=virtio_rng.0 usb=2",
                Line::Uses(BTreeMap::from(
                    [
                        ("disks", &["sda", "vda"][..]),
                        ("nets", &[]),
                        ("rng", &["virtio_rng.0"]),
                        ("usb", &["2"]),
                    ]
                    .map(|(kind, names)| {
                        let names = names.iter().map(|&name| name.to_owned());
                        (kind.to_owned(), names.collect())
                    }),
                )),
            ),
            ("R 0000002a", Line::Begun(42)),
            (
                "B 0000002a loc=100,200",
                Line::Beat(Beat {
                    round: 42,
                    timers: vec![100, 200],
                }),
            ),
            (
                "B 00000001 loc=",
                Line::Beat(Beat {
                    round: 1,
                    timers: Vec::new(),
                }),
            ),
            (
                "E disk vda pattern",
                Line::Failed("disk vda pattern".to_owned()),
            ),
            (
                "L 3 virtio_net virtio0: timeout",
                Line::Logged("3 virtio_net virtio0: timeout".to_owned()),
            ),
        ] {
            assert_eq!(Line::read(line), Some(read), "{line}");
        }
    }

    #[test]
    fn what_the_guest_does_not_print_is_none_of_its_lines() {
        for line in [
            "",
            "S migcompat linux 2",
            "S migcompat x86 1",
            "R 2a",
            "R 0000002a more",
            "B 2a loc=1",
            "B 0000002a",
            "B 0000002a loc=1,x",
            "B 0000002a loc=1 more",
            "V virtio0 type=1 driver=- status=0x0 features=0",
            "V virtio0 type=0x0001 driver=- status=0x0 features=02",
            "P 0000:00:1f.2 id=8086 class=010601 driver=-",
            "[    1.0] Kernel panic - not syncing",
        ] {
            assert_eq!(Line::read(line), None, "{line:?}");
        }
    }
}
