//! Disks and firmware: empty ones of the same kind stand for the images of the host.

use crate::guest::Idle;
use crate::guest::composer::Composer;
use crate::guest::defined::{FLASH, Node};
use crate::guest::lines::{Arg, Treated, omission};
use crate::guest::opts::{Opts, is_word, join};
use crate::report::GuestReason;

/// Bytes of a disk of which the file does not tell the size: no image is looked at, and hardly any device sends it.
const DISK: u64 = 1 << 30;
/// Bytes of the usual floppy disk.
const FLOPPY: u64 = 1_474_560;

/// A flash device that is given.
struct Flash<'n> {
    /// The image, for its name alone.
    image: &'n str,
    unit: usize,
    /// Its bytes, where they are said.
    given: Option<u64>,
}

/// Returns the name of the image below a node, and the bytes of the first layer above it that says them.
fn image<'n>(composer: &'n Composer, name: &'n str) -> (&'n str, Option<u64>) {
    let nodes = &composer.defined.nodes;
    let (mut name, mut size) = (name, None);
    // No chain of layers is longer, and one that leads into itself ends.
    for _ in 0..32 {
        let node = nodes.get(name);
        size = size.or(node.and_then(|node| node.size));
        match node {
            Some(Node {
                child: Some(child), ..
            }) if nodes.contains_key(child) => name = child,
            Some(Node {
                file: Some(file), ..
            }) => return (file, size),
            _ => return (name, size),
        }
    }
    (name, size)
}

/// Returns the name of the image with the code of a guest's firmware.
fn code(composer: &Composer) -> Option<&str> {
    let defined = &composer.defined;
    let mut disks = defined.disks.iter();
    let node = disks.find(|(_, driver)| *driver == FLASH[0]);
    let named = node.map(|(node, _)| image(composer, node).0);
    named.or(defined.code.as_deref())
}

/// Returns the bytes of a flash device: those that it is known to have or is given, those of the board's banks, or those of
/// UEFI firmware for x86. That comes in two kinds, and the name of the code tells which: its variables may have any name.
fn flash_size(composer: &Composer, flash: Flash<'_>) -> u64 {
    let Flash { image, unit, given } = flash;
    let known = composer.flash.get(unit).copied().flatten();
    if let Some(size) = known
        .or(given)
        .or_else(|| composer.defined.bank(composer.arch.as_deref()))
    {
        return size;
    }
    let name = |image: &str| {
        image
            .rsplit('/')
            .next()
            .unwrap_or(image)
            .to_ascii_lowercase()
    };
    let is_large = |image: &str| {
        let name = name(image);
        name.contains("4m") || name.starts_with("edk2-")
    };
    let code = code(composer);
    let large = is_large(image) || code.is_some_and(is_large);
    let variables = unit > 0 || name(image).contains("vars");
    match (large, variables) {
        (true, false) => 0x37_c000,
        (true, true) => 0x8_4000,
        (false, false) => 0x1e_0000,
        (false, true) => 0x2_0000,
    }
}

/// Returns the size of what stands for a disk that a driver uses.
fn size_for(composer: &Composer, name: &str, driver: &str) -> u64 {
    match driver {
        flash if FLASH.contains(&flash) => {
            let unit = FLASH.iter().position(|of| *of == flash);
            let (image, given) = image(composer, name);
            let unit = unit.unwrap_or_default();
            flash_size(composer, Flash { image, unit, given })
        }
        "floppy" | "isa-fdc" => FLOPPY,
        _ => {
            let known = composer.defined.nodes.get(name).and_then(|node| node.size);
            known.unwrap_or(DISK)
        }
    }
}

fn empty_node(name: &str, size: u64, read_only: bool) -> Arg {
    let size = size.to_string();
    let mut items = vec![
        ("driver", "null-co"),
        ("node-name", name),
        ("size", &size),
        ("read-zeroes", "on"),
    ];
    if read_only {
        items.push(("read-only", "on"));
    }
    Arg::new("-blockdev", join(items))
}

/// Puts an empty node in the place of one that a device uses; layers below it are not needed.
pub(super) fn blockdev(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "driver")?;
    let name = opts.id("node-name")?;
    let driver = composer.defined.disks.get(name).cloned();
    let driver = driver.ok_or(GuestReason::PartOfAnother)?;
    let size = size_for(composer, name, &driver);
    let read_only = Node::of(&opts).read_only;
    let reason = medium(composer, FLASH.contains(&driver.as_str()));
    let treated = Treated::replaced([empty_node(name, size, read_only)], reason);
    Ok(treated.because(format!("it has {size} bytes")))
}

/// Returns why a medium is an empty one. A guest does not get far in a firmware that is.
fn medium(composer: &mut Composer, is_flash: bool) -> GuestReason {
    if !is_flash {
        return GuestReason::HostDisk;
    }
    composer.board.idle = Some(Idle::Firmware);
    GuestReason::Firmware
}

/// Drivers of nodes without anything behind them.
pub(super) const NO_HOST: &[&str] = &["null-co", "null-aio"];

/// Settings of such a node.
pub(super) const SETTINGS: &[&str] = &[
    "node-name",
    "size",
    "read-zeroes",
    "read-only",
    "readonly",
    "latency-ns",
    "discard",
    "detect-zeroes",
];

/// Options of a drive that its device shows the guest.
pub(super) const SEEN: &[&str] = &["if", "index", "bus", "unit", "media", "id"];

/// Puts an empty drive in the place of one.
pub(super) fn drive(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "").unwrap_or_default();
    let interface = opts.get("if").unwrap_or_default().to_owned();
    let unit = opts.get("unit").or(opts.get("index")).unwrap_or("0");
    let unit: usize = unit.parse().unwrap_or_default();
    let id = opts.get("id").unwrap_or_default().to_owned();
    let mut kept = Vec::new();
    let mut without = Vec::new();
    for (name, value) in &opts.items {
        match value.text() {
            Some(value)
                if SEEN.contains(&name.as_str()) && is_word(value) && !value.contains(',') =>
            {
                kept.push((name.as_str(), value.to_owned()));
            }
            _ if SEEN.contains(&name.as_str()) => {
                without.push(omission(name, GuestReason::Malformed));
            }
            _ => {}
        }
    }
    let node = Node::of(&opts);
    // A drive without an image is an empty one already, if media can be put in it.
    let has_medium = node.file.is_some() || opts.has("driver") || opts.has("file.driver");
    let is_flash = interface == "pflash";
    if has_medium {
        let size = match (is_flash, interface.as_str()) {
            (true, _) => {
                let image = node.file.as_deref().unwrap_or_default();
                let given = node.size;
                flash_size(composer, Flash { image, unit, given })
            }
            (false, "floppy") => FLOPPY,
            (false, _) => {
                let driver = composer.defined.disks.get(&id).cloned();
                size_for(composer, &id, &driver.unwrap_or_default())
            }
        };
        kept.push(("driver", "null-co".to_owned()));
        kept.push(("size", size.to_string()));
        kept.push(("read-zeroes", "on".to_owned()));
    }
    if node.read_only {
        kept.push(("readonly", "on".to_owned()));
    }
    let reason = medium(composer, is_flash);
    let value = join(kept.iter().map(|(name, value)| (*name, value.as_str())));
    let arg = [Arg::new("-drive", value)];
    let treated = match has_medium {
        true => Treated::replaced(arg, reason),
        false => Treated::kept(arg),
    };
    Ok(treated.without(without))
}

/// Puts an empty drive in the place of `-hda FILE` and the like.
pub(super) fn shorthand(composer: &mut Composer, option: &str) -> Result<Treated, GuestReason> {
    let place = match option {
        "hda" => "index=0,media=disk",
        "hdb" => "index=1,media=disk",
        "hdc" => "index=2,media=disk",
        "hdd" => "index=3,media=disk",
        "cdrom" => "index=2,media=cdrom",
        "fda" => "if=floppy,index=0",
        "fdb" => "if=floppy,index=1",
        "sd" => "if=sd",
        "mtdblock" => "if=mtd",
        _ => "if=pflash",
    };
    drive(composer, &format!("{place},file=image"))
}

/// Firmware that comes with QEMU, by the name under which it looks for it.
const SHIPPED: &[&str] = &[
    "bios.bin",
    "bios-256k.bin",
    "bios-microvm.bin",
    "qboot.rom",
    "slof.bin",
];

/// Keeps firmware that each build has of its own.
pub(super) fn bios(value: &str) -> Result<Treated, GuestReason> {
    let name = value.rsplit('/').next().unwrap_or_default();
    let known = SHIPPED.iter().find(|known| **known == name);
    let args: Vec<Arg> = known
        .map(|known| Arg::new("-bios", *known))
        .into_iter()
        .collect();
    Ok(match known {
        Some(known) if *known == value => Treated::kept(args),
        _ => Treated::replaced(args, GuestReason::OwnFirmware),
    })
}
