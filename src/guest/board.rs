//! The board of a guest: the machine type with its options, processors, clocks, ports and network backends.

use crate::guest::block::FLASH;
use crate::guest::lines::{Arg, Treated, omission};
use crate::guest::options::Composer;
use crate::guest::opts::{Opts, Setting, is_name, is_number, is_word, join};
use crate::qemu::is_id;
use crate::report::{GuestReason, Omission};

/// Options of machines that the guest shows or that its state depends on. A `*` at the end is any rest.
const MACHINE: &[&str] = &[
    "acpi",
    "aclint",
    "aes-key-wrap",
    "aia",
    "aia-guests",
    "auto-kernel-cmdline",
    "cap-*",
    "compact-highmem",
    "cxl",
    "dea-key-wrap",
    "default-bus-bypass-iommu",
    "default_bus_bypass_iommu",
    "dtb-kaslr-seed",
    "dtb-randomness",
    "fd-bootchk",
    "gic-version",
    "graphics",
    "highmem",
    "highmem-*",
    "hmat",
    "hpet",
    "i8042",
    "ic-mode",
    "ioapic2",
    "iommu",
    "isa-serial",
    "its",
    "loadparm",
    "max-cpu-compat",
    "max-ram-below-4g",
    "mte",
    "nvdimm",
    "nvdimm-persistence",
    "pcie",
    "pic",
    "pit",
    "ras",
    "resize-hpt",
    "rtc",
    "sata",
    "secure",
    "smbios-entry-point-type",
    "smm",
    "usb",
    "virtualization",
    "vmport",
    "vsmt",
    "x-oem-id",
    "x-oem-table-id",
    "x-option-roms",
    "x-south-bridge",
    "zpcii-disable",
];

/// Returns why a machine option is not kept.
fn machine_reason(name: &str) -> GuestReason {
    match name {
        "accel" | "kernel-irqchip" | "kernel_irqchip" | "kvm-type" | "kvm_shadow_mem" => {
            GuestReason::Accelerator
        }
        "dump-guest-core" | "mem-merge" | "aux-ram-share" | "suppress-vmdesc" => {
            GuestReason::HostMemorySetting
        }
        "confidential-guest-support" | "memory-encryption" => GuestReason::ConfidentialGuest,
        "kernel" | "initrd" | "append" | "dtb" => GuestReason::GuestKernel,
        "firmware" => GuestReason::OwnFirmware,
        "dumpdtb" => GuestReason::HostFile,
        "igd-passthru" | "igd-passthrough" => GuestReason::HostDevice,
        _ => GuestReason::UnknownSetting,
    }
}

/// Keeps the machine type and the options that matter.
pub(super) fn machine(composer: &mut Composer, value: &str) -> Treated {
    let opts = Opts::parse(value, "type").unwrap_or_default();
    let mut without = Vec::new();
    for (name, setting) in &opts.items {
        let value = setting.text().filter(|value| is_word(value));
        let Some(value) = value else {
            without.push(omission(name, GuestReason::UnknownSetting));
            continue;
        };
        match name.as_str() {
            "type" => match value.split_once('+') {
                Some((plain, _)) if is_name(plain) => {
                    composer.machine = Some(plain.to_owned());
                    without.push(omission(value, GuestReason::VendorSuffix));
                }
                _ if is_name(value) => composer.machine = Some(value.to_owned()),
                _ => without.push(omission("type", GuestReason::Malformed)),
            },
            flash if FLASH.contains(&flash) => match composer.defined.nodes.contains_key(value) {
                true => add_option(composer, &format!("{name}={value}")),
                false => without.push(omission(name, GuestReason::NotInTheGuest)),
            },
            "memory-backend" | "pcspk-audiodev" => {
                let defined = &composer.defined;
                match defined.objects.contains(value) || defined.audiodevs.contains(value) {
                    true => add_option(composer, &format!("{name}={value}")),
                    false => without.push(omission(name, GuestReason::NotInTheGuest)),
                }
            }
            _ if fits(MACHINE, name) && !value.contains(',') => {
                add_option(composer, &format!("{name}={value}"));
            }
            _ => without.push(omission(name, machine_reason(name))),
        }
    }
    let options = &composer.board.machine_options;
    let machine = composer.machine.iter().chain(options).map(String::as_str);
    let machine = machine.collect::<Vec<_>>().join(",");
    Treated::kept_elsewhere(Arg::new("-machine", machine)).without(without)
}

fn fits(patterns: &[&str], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start) && is_name(name),
            None => *pattern == name,
        })
}

fn add_option(composer: &mut Composer, option: &str) {
    composer.board.machine_options.push(option.to_owned());
}

/// Keeps an option that older releases have a name of its own for.
pub(super) fn machine_option(composer: &mut Composer, option: &str) -> Treated {
    add_option(composer, option);
    Treated::kept_elsewhere(Arg::new("-machine", option))
}

/// Keeps those settings of an option that `kept` accepts.
fn sift(
    option: &'static str,
    value: &str,
    implied: &str,
    kept: impl Fn(&str, &str) -> Result<(), GuestReason>,
) -> Treated {
    let Some(opts) = Opts::parse(value, implied) else {
        return Treated::left_out(GuestReason::Malformed);
    };
    let mut items = Vec::new();
    let mut without: Vec<Omission> = Vec::new();
    let mut reason = GuestReason::UnknownSetting;
    for (name, setting) in &opts.items {
        let fate = match setting {
            Setting::Text(text) if text.chars().any(char::is_control) => {
                Err(GuestReason::Malformed)
            }
            Setting::Text(text) => kept(name, text).map(|()| text.as_str()),
            Setting::Nested(_) => Err(GuestReason::UnknownSetting),
        };
        match fate {
            Ok(text) => items.push((name.as_str(), text)),
            Err(why) => {
                reason = why;
                without.push(omission(name, why));
            }
        }
    }
    match items.is_empty() {
        true => Treated::left_out(reason),
        false => Treated::kept([Arg::new(option, join(items))]).without(without),
    }
}

fn known(names: &[&str], name: &str, is_sound: bool) -> Result<(), GuestReason> {
    match (names.contains(&name), is_sound) {
        (true, true) => Ok(()),
        (true, false) => Err(GuestReason::Malformed),
        (false, _) => Err(GuestReason::UnknownSetting),
    }
}

/// Keeps the number and the topology of the processors.
pub(super) fn smp(value: &str) -> Treated {
    const NAMES: &[&str] = &[
        "cpus", "maxcpus", "sockets", "drawers", "books", "dies", "clusters", "modules", "cores",
        "threads",
    ];
    sift("-smp", value, "cpus", |name, value| {
        known(NAMES, name, is_number(value))
    })
}

/// Keeps the nodes, distances and caches of NUMA.
pub(super) fn numa(composer: &Composer, value: &str) -> Treated {
    const NAMES: &[&str] = &[
        "type",
        "nodeid",
        "cpus",
        "mem",
        "initiator",
        "src",
        "dst",
        "val",
        "node-id",
        "socket-id",
        "drawer-id",
        "book-id",
        "die-id",
        "cluster-id",
        "module-id",
        "core-id",
        "thread-id",
        "target",
        "hierarchy",
        "data-type",
        "latency",
        "bandwidth",
        "size",
        "level",
        "associativity",
        "policy",
        "line",
    ];
    let objects = &composer.defined.objects;
    let treated = sift("-numa", value, "type", |name, value| match name {
        "memdev" if objects.contains(value) => Ok(()),
        "memdev" => Err(GuestReason::NotInTheGuest),
        _ => known(NAMES, name, is_word(value)),
    });
    match treated.without.is_empty() {
        true => treated,
        // A node without its memory is another machine.
        false => Treated::left_out(GuestReason::UnknownSetting),
    }
}

/// Keeps a property of a type of device, unless it leads out of the guest.
pub(super) fn global(value: &str) -> Treated {
    let opts = match value.split_once('=') {
        Some((name, setting)) if !matches!(name, "driver" | "property" | "value") => {
            let Some((driver, property)) = name.rsplit_once('.') else {
                return Treated::left_out(GuestReason::Malformed);
            };
            [driver, property, setting].map(str::to_owned)
        }
        _ => {
            let opts = Opts::parse(value, "").unwrap_or_default();
            ["driver", "property", "value"]
                .map(|name| opts.get(name).unwrap_or_default().to_owned())
        }
    };
    let [driver, property, setting] = &opts;
    if !is_name(driver) || !is_name(property) || setting.is_empty() {
        return Treated::left_out(GuestReason::Malformed);
    }
    if driver.starts_with("kvm-") {
        return Treated::left_out(GuestReason::Accelerator);
    }
    if let Err(reason) = super::device::property(property, setting) {
        return Treated::left_out(reason);
    }
    let value = join([
        ("driver", driver.as_str()),
        ("property", property),
        ("value", setting),
    ]);
    Treated::kept([Arg::new("-global", value)])
}

/// Keeps the settings of the clock.
pub(super) fn rtc(value: &str) -> Treated {
    sift("-rtc", value, "base", |name, value| {
        known(&["base", "clock", "driftfix"], name, is_word(value))
    })
}

/// Keeps the boot order, which the guest's firmware reads.
pub(super) fn boot(value: &str) -> Treated {
    const NAMES: &[&str] = &[
        "order",
        "once",
        "menu",
        "strict",
        "reboot-timeout",
        "splash-time",
    ];
    sift("-boot", value, "order", |name, value| match name {
        "splash" => Err(GuestReason::HostFile),
        _ => known(NAMES, name, is_word(value)),
    })
}

/// Keeps a table of the firmware that is given as text.
pub(super) fn smbios(value: &str) -> Treated {
    let opts = Opts::parse(value, "").unwrap_or_default();
    if opts.has("file") {
        return Treated::left_out(GuestReason::HostFile);
    }
    sift("-smbios", value, "", |name, _| match name {
        "path" => Err(GuestReason::HostFile),
        _ if is_name(name) => Ok(()),
        _ => Err(GuestReason::Malformed),
    })
}

/// Keeps the identity of the guest.
pub(super) fn uuid(value: &str) -> Treated {
    let is_uuid = value.len() == 36 && value.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match is_uuid {
        true => Treated::kept([Arg::new("-uuid", value)]),
        false => Treated::left_out(GuestReason::Malformed),
    }
}

/// Keeps a text that the guest reads, and no file.
pub(super) fn fw_cfg(value: &str) -> Treated {
    let opts = Opts::parse(value, "name").unwrap_or_default();
    if opts.has("file") {
        return Treated::left_out(GuestReason::HostFile);
    }
    sift("-fw_cfg", value, "name", |name, _| {
        known(&["name", "string"], name, true)
    })
}

/// Keeps the display adapter of the board.
pub(super) fn vga(value: &str) -> Treated {
    const KINDS: &[&str] = &["std", "cirrus", "vmware", "qxl", "virtio", "none"];
    match KINDS.iter().find(|kind| **kind == value) {
        Some(kind) => Treated::kept([Arg::new("-vga", *kind)]),
        None => Treated::left_out(GuestReason::UnknownDevice),
    }
}

/// Keeps an input device on the bus of the board.
pub(super) fn usbdevice(value: &str) -> Treated {
    match ["tablet", "mouse", "keyboard"]
        .iter()
        .find(|kind| **kind == value)
    {
        Some(kind) => Treated::kept([Arg::new("-usbdevice", *kind)]),
        None => Treated::left_out(GuestReason::UnknownDevice),
    }
}

/// Puts a hub in the place of a network backend.
pub(super) fn netdev(composer: &mut Composer, value: &str) -> Treated {
    let Some(opts) = Opts::parse(value, "type") else {
        return Treated::left_out(GuestReason::Malformed);
    };
    let Some(id) = opts.get("id").filter(|id| is_id(id)) else {
        return Treated::left_out(GuestReason::Malformed);
    };
    composer.hubs += 1;
    let hub = composer.hubs.to_string();
    let arg = Arg::new(
        "-netdev",
        join([("type", "hubport"), ("id", id), ("hubid", &hub)]),
    );
    let several = |name: &str| opts.get(name).is_some_and(|fds| fds.contains(':'));
    let queues = opts.get("queues").is_some_and(|queues| queues != "1");
    let reason = match queues || several("fds") || several("vhostfds") {
        true => GuestReason::HostNetworkQueues,
        false => GuestReason::HostNetwork,
    };
    Treated::replaced([arg], reason)
}

/// Keeps the network card of an old option on a hub, and leaves its backend out.
pub(super) fn net(composer: &mut Composer, value: &str) -> Treated {
    let opts = Opts::parse(value, "type").unwrap_or_default();
    match opts.get("type") {
        Some("none") => Treated::kept([Arg::new("-net", "none")]),
        Some("nic") => {
            let known = opts
                .get("netdev")
                .filter(|id| composer.defined.netdevs.contains(*id));
            card(composer, &opts, known)
        }
        _ => Treated::left_out(GuestReason::HostNetwork),
    }
}

/// Keeps the network card, and puts a hub in the place of its backend.
pub(super) fn nic(composer: &mut Composer, value: &str) -> Treated {
    let opts = Opts::parse(value, "type").unwrap_or_default();
    match opts.get("type") {
        Some("none") => Treated::kept([Arg::new("-nic", "none")]),
        _ => card(composer, &opts, None),
    }
}

fn card(composer: &mut Composer, opts: &Opts, netdev: Option<&str>) -> Treated {
    let mut args = Vec::new();
    let id = match netdev {
        Some(id) => id.to_owned(),
        None => {
            let (hub, id) = composer.hub();
            args.push(Arg::new("-netdev", hub));
            id
        }
    };
    let mut items = vec![("type", "nic"), ("netdev", &id)];
    for (from, to) in [
        ("model", "model"),
        ("mac", "macaddr"),
        ("macaddr", "macaddr"),
    ] {
        if let Some(value) = opts.get(from)
            && is_word(value)
            && !matches!(value, "help" | "?")
        {
            items.push((to, value));
        }
    }
    args.push(Arg::new("-net", join(items)));
    Treated::replaced(args, GuestReason::HostNetwork)
}

/// Puts a null device in the place of a character device.
pub(super) fn chardev(composer: &mut Composer, value: &str) -> Treated {
    let opts = Opts::parse(value, "backend").unwrap_or_default();
    let Some(id) = opts.get("id").filter(|id| is_id(id)) else {
        return Treated::left_out(GuestReason::Malformed);
    };
    if composer.defined.monitors.contains(id) {
        return Treated::left_out(GuestReason::Monitor);
    }
    // The console of the guest is defined where the guest is started.
    if composer.board.console.as_deref() == Some(id) {
        return Treated::replaced([], GuestReason::HostChannel);
    }
    let arg = Arg::new("-chardev", join([("backend", "null"), ("id", id)]));
    Treated::replaced([arg], GuestReason::HostChannel)
}

/// Puts a null device behind a serial port. The first one is where the workload guest speaks.
pub(super) fn serial(composer: &mut Composer, value: &str) -> Treated {
    let named = value.strip_prefix("chardev:");
    let named = named.filter(|id| composer.defined.chardevs.contains(*id));
    if value == "none" {
        return Treated::kept([Arg::new("-serial", "none")]);
    }
    if let Some(id) = named {
        if composer.board.console.is_none() {
            composer.speak_on(id);
        }
        return Treated::kept([Arg::new("-serial", format!("chardev:{id}"))]);
    }
    if composer.board.console.is_none() {
        let id = "migcompat-serial";
        composer.board.console = Some(id.to_owned());
        let arg = Arg::new("-serial", format!("chardev:{id}"));
        return Treated::replaced([arg], GuestReason::HostChannel);
    }
    Treated::replaced([Arg::new("-serial", "null")], GuestReason::HostChannel)
}

/// Puts a null device behind a port.
pub(super) fn port(option: &'static str, value: &str) -> Treated {
    match value {
        "none" => Treated::kept([Arg::new(option, "none")]),
        _ => Treated::replaced([Arg::new(option, "null")], GuestReason::HostChannel),
    }
}

/// Puts a silent backend in the place of the host's sound.
pub(super) fn audiodev(value: &str) -> Treated {
    let opts = Opts::parse(value, "driver").unwrap_or_default();
    let Some(id) = opts.get("id").filter(|id| is_id(id)) else {
        return Treated::left_out(GuestReason::Malformed);
    };
    let arg = Arg::new("-audiodev", join([("driver", "none"), ("id", id)]));
    match opts.get("driver") {
        Some("none") => Treated::kept([arg]),
        _ => Treated::replaced([arg], GuestReason::HostAudio),
    }
}

/// Puts a made-up folder in the place of one of the host.
pub(super) fn fsdev(value: &str) -> Treated {
    let opts = Opts::parse(value, "fsdriver").unwrap_or_default();
    let Some(id) = opts.get("id").filter(|id| is_id(id)) else {
        return Treated::left_out(GuestReason::Malformed);
    };
    let arg = Arg::new("-fsdev", join([("fsdriver", "synth"), ("id", id)]));
    Treated::replaced([arg], GuestReason::HostFolder)
}
