//! The names that the options of a guest define, under which others refer to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::guest::given::Given;
use crate::guest::object;
use crate::guest::opts::{Opts, Setting, bytes};
use crate::guest::tpm;
use crate::qemu::machine;

/// The options of a machine that name its firmware.
pub(super) const FLASH: &[&str] = &["pflash0", "pflash1"];

/// All that a description defines, by the names under which other options refer to it.
#[derive(Debug, Default)]
pub(super) struct Defined {
    pub nodes: BTreeMap<String, Node>,
    /// Drives and nodes that a device or the machine uses, by the driver of that device.
    pub disks: BTreeMap<String, String>,
    pub netdevs: BTreeSet<String>,
    pub chardevs: BTreeSet<String>,
    /// Character devices of monitors, which the guest does not have.
    pub monitors: BTreeSet<String>,
    pub audiodevs: BTreeSet<String>,
    pub fsdevs: BTreeSet<String>,
    /// Backends of a TPM that the guest keeps, in some form.
    pub tpms: BTreeSet<String>,
    /// Objects that the guest keeps, in some form.
    pub objects: BTreeSet<String>,
    /// The image of the first flash drive.
    pub code: Option<String>,
    /// The machine type.
    pub machine: Option<String>,
}

/// A node of the block layer, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The image, for its name alone.
    pub file: Option<String>,
    /// The node that it is a layer of.
    pub child: Option<String>,
    pub read_only: bool,
    pub size: Option<u64>,
}

impl Node {
    pub(super) fn of(opts: &Opts) -> Node {
        let nested = |name: &str| {
            let mut items = opts.items.iter();
            items.find_map(|(known, value)| match value {
                Setting::Nested(value) if known == name => value.get("filename")?.as_str(),
                _ => None,
            })
        };
        let file = opts.get("filename").or(opts.get("file.filename"));
        let file = file.or(opts.get("file")).or_else(|| nested("file"));
        Node {
            file: file.map(str::to_owned),
            child: opts.get("file").map(str::to_owned),
            read_only: ["read-only", "readonly"]
                .iter()
                .any(|name| opts.is_on(name)),
            size: opts
                .get("size")
                .and_then(|size| bytes(size, 1))
                .filter(|size| *size > 0 && size % 512 == 0),
        }
    }
}

impl Defined {
    /// Returns the bytes of each of the banks of flash that the machine has, where it has banks of one size.
    pub(super) fn bank(&self, arch: Option<&str>) -> Option<u64> {
        let machine = self.plain_machine()?;
        let arch = self.architecture(arch);
        machine::profile(machine, Some(arch))?.flash_bank
    }

    /// Returns the architecture that is named, or else that of the machine type.
    pub(super) fn architecture<'a>(&'a self, named: Option<&'a str>) -> &'a str {
        machine::architecture(named, self.plain_machine())
    }

    /// Returns the machine type without what a vendor added.
    fn plain_machine(&self) -> Option<&str> {
        self.machine.as_deref()?.split('+').next()
    }

    pub(super) fn of(options: &[Given]) -> Defined {
        let mut defined = Defined::default();
        for given in options {
            let Some(value) = &given.value else {
                continue;
            };
            let read = |implied| Opts::parse(value, implied).unwrap_or_default();
            let id = |implied| read(implied).id("id").ok().map(str::to_owned);
            match given.name.as_str() {
                "object" => {
                    let opts = read("qom-type");
                    if opts.get("qom-type").is_some_and(object::is_kept) {
                        defined
                            .objects
                            .extend(opts.id("id").ok().map(str::to_owned));
                    }
                }
                "chardev" => defined.chardevs.extend(id("backend")),
                "netdev" => defined.netdevs.extend(id("type")),
                "audiodev" => defined.audiodevs.extend(id("driver")),
                "fsdev" => defined.fsdevs.extend(id("fsdriver")),
                "tpmdev" => {
                    let opts = read("type");
                    if tpm::is_kept(&opts) {
                        defined.tpms.extend(opts.id("id").ok().map(str::to_owned));
                    }
                }
                "mon" => {
                    let chardev = read("").get("chardev").map(str::to_owned);
                    defined.monitors.extend(chardev);
                }
                "blockdev" | "drive" => {
                    let (implied, name) = match given.name.as_str() {
                        "drive" => ("", "id"),
                        _ => ("driver", "node-name"),
                    };
                    let opts = read(implied);
                    let is_first = |opts: &Opts| {
                        let unit = opts.get("unit").or(opts.get("index"));
                        opts.get("if") == Some("pflash") && matches!(unit, None | Some("0"))
                    };
                    if defined.code.is_none() && is_first(&opts) {
                        defined.code = Node::of(&opts).file;
                    }
                    if let Ok(name) = opts.id(name) {
                        defined.nodes.insert(name.to_owned(), Node::of(&opts));
                    }
                }
                "device" => {
                    let opts = read("driver");
                    if let Some(drive) = opts.get("drive") {
                        let driver = opts.get("driver").unwrap_or_default();
                        defined.disks.insert(drive.to_owned(), driver.to_owned());
                    }
                }
                "machine" | "M" => {
                    let opts = read("type");
                    let machine = opts.get("type").map(str::to_owned);
                    defined.machine = machine.or(defined.machine.take());
                    for flash in FLASH {
                        if let Some(node) = opts.get(flash) {
                            defined.disks.insert(node.to_owned(), (*flash).to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        defined
    }
}
