//! The board of a guest: the machine type with its options, processors, clocks, ports and network backends.

use crate::guest::composer::Composer;
use crate::guest::defined::FLASH;
use crate::guest::lines::{Arg, Treated, omission};
use crate::guest::opts::{Opts, Setting, is_name, is_number, is_word, join};
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
    // Emulation takes no notice of it.
    "kernel-irqchip",
    "kernel_irqchip",
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
        "accel" | "kvm-type" | "kvm_shadow_mem" => GuestReason::Accelerator,
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
pub(super) fn machine(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
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
            "accel" => {
                composer.run_under(value);
                without.push(omission(name, GuestReason::Accelerator));
            }
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
    Ok(Treated::kept([]).without(without))
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

/// Keeps what an accelerator has of the machine, the interrupt controllers that KVM has or leaves to QEMU.
pub(super) fn accel(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "accel").unwrap_or_default();
    composer.run_under(opts.get("accel").unwrap_or_default());
    for name in ["kernel-irqchip", "kernel_irqchip"] {
        if let Some(value) = opts.get(name).filter(|value| is_name(value)) {
            add_option(composer, &format!("{name}={value}"));
        }
    }
    Err(GuestReason::Accelerator)
}

/// Keeps an option that older releases have a name of its own for.
pub(super) fn machine_option(
    composer: &mut Composer,
    option: &str,
) -> Result<Treated, GuestReason> {
    add_option(composer, option);
    Ok(Treated::kept([]))
}

/// Keeps those settings of an option that `kept` accepts.
fn sift(
    option: &'static str,
    value: &str,
    implied: &str,
    kept: impl Fn(&str, &str) -> Result<(), GuestReason>,
) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, implied)?;
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
        true => Err(reason),
        false => Ok(Treated::kept([Arg::new(option, join(items))]).without(without)),
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
pub(super) fn smp(value: &str) -> Result<Treated, GuestReason> {
    const NAMES: &[&str] = &[
        "cpus", "maxcpus", "sockets", "drawers", "books", "dies", "clusters", "modules", "cores",
        "threads",
    ];
    sift("-smp", value, "cpus", |name, value| {
        known(NAMES, name, is_number(value))
    })
}

/// Keeps the nodes, distances and caches of NUMA.
pub(super) fn numa(composer: &Composer, value: &str) -> Result<Treated, GuestReason> {
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
    })?;
    match treated.without.is_empty() {
        true => Ok(treated),
        // A node without its memory is another machine.
        false => Err(GuestReason::UnknownSetting),
    }
}

/// Keeps a property of a type of device, unless it leads out of the guest.
pub(super) fn global(value: &str) -> Result<Treated, GuestReason> {
    let opts = match value.split_once('=') {
        Some((name, setting)) if !matches!(name, "driver" | "property" | "value") => {
            let name = name.rsplit_once('.');
            let (driver, property) = name.ok_or(GuestReason::Malformed)?;
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
        return Err(GuestReason::Malformed);
    }
    if driver.starts_with("kvm-") {
        return Err(GuestReason::Accelerator);
    }
    super::device::property(property, setting)?;
    let value = join([
        ("driver", driver.as_str()),
        ("property", property),
        ("value", setting),
    ]);
    Ok(Treated::kept([Arg::new("-global", value)]))
}

/// Keeps the settings of the clock.
pub(super) fn rtc(value: &str) -> Result<Treated, GuestReason> {
    sift("-rtc", value, "base", |name, value| {
        known(&["base", "clock", "driftfix"], name, is_word(value))
    })
}

/// Keeps the boot order, which the guest's firmware reads.
pub(super) fn boot(value: &str) -> Result<Treated, GuestReason> {
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
pub(super) fn smbios(value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "").unwrap_or_default();
    if opts.has("file") {
        return Err(GuestReason::HostFile);
    }
    sift("-smbios", value, "", |name, _| match name {
        "path" => Err(GuestReason::HostFile),
        _ if is_name(name) => Ok(()),
        _ => Err(GuestReason::Malformed),
    })
}

/// Keeps the identity of the guest.
pub(super) fn uuid(value: &str) -> Result<Treated, GuestReason> {
    let is_uuid = value.len() == 36 && value.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match is_uuid {
        true => Ok(Treated::kept([Arg::new("-uuid", value)])),
        false => Err(GuestReason::Malformed),
    }
}

/// Keeps a text that the guest reads, and no file.
pub(super) fn fw_cfg(value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "name").unwrap_or_default();
    if opts.has("file") {
        return Err(GuestReason::HostFile);
    }
    sift("-fw_cfg", value, "name", |name, _| {
        known(&["name", "string"], name, true)
    })
}

/// Keeps the display adapter of the board.
pub(super) fn vga(value: &str) -> Result<Treated, GuestReason> {
    const KINDS: &[&str] = &[
        "std", "cirrus", "vmware", "qxl", "virtio", "tcx", "cg3", "none",
    ];
    one_of(KINDS, "-vga", value)
}

/// Keeps an input device on the bus of the board.
pub(super) fn usbdevice(value: &str) -> Result<Treated, GuestReason> {
    one_of(&["tablet", "mouse", "keyboard"], "-usbdevice", value)
}

fn one_of(kinds: &[&str], option: &'static str, value: &str) -> Result<Treated, GuestReason> {
    match kinds.contains(&value) {
        true => Ok(Treated::kept([Arg::new(option, value)])),
        false => Err(GuestReason::UnknownDevice),
    }
}

/// Puts a hub in the place of a network backend.
pub(super) fn netdev(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "type")?;
    let id = opts.id("id")?;
    composer.hubs += 1;
    let hub = composer.hubs.to_string();
    let arg = Arg::new(
        "-netdev",
        join([("type", "hubport"), ("id", id), ("hubid", &hub)]),
    );
    composer.interface(id, &opts);
    let reason = match queues(&opts) {
        1 => GuestReason::HostNetwork,
        _ => GuestReason::HostNetworkQueues,
    };
    Ok(Treated::replaced([arg], reason))
}

/// Network backends that take work off a card (net_client_types with has_vnet_hdr, net/).
const INTERFACES: &[&str] = &["tap", "bridge", "vhost-user", "vhost-vdpa"];

/// Tells whether a network backend takes work off a card.
pub(super) fn takes_work_off(opts: &Opts) -> bool {
    let mut kind = opts.get("type").into_iter();
    kind.any(|kind| INTERFACES.contains(&kind)) && !matches!(opts.get("vnet_hdr"), Some("off"))
}

impl Composer {
    /// Takes note of a network backend that takes work off its card.
    fn interface(&mut self, id: &str, opts: &Opts) {
        if takes_work_off(opts) {
            let interfaces = &mut self.board.interfaces;
            interfaces.insert(id.to_owned(), queues(opts));
        }
    }
}

/// Returns the pairs of queues of a network backend: the number that is given, or that of its descriptors.
fn queues(opts: &Opts) -> u16 {
    let given = opts.get("queues").and_then(|queues| queues.parse().ok());
    let descriptors = ["fds", "vhostfds"].into_iter();
    let descriptors = descriptors.filter_map(|name| opts.get(name));
    let counted = descriptors.filter_map(|fds| u16::try_from(fds.split(':').count()).ok());
    counted.chain(given).max().unwrap_or(1).max(1)
}

/// Keeps the network card of an old option on a hub, and leaves its backend out.
pub(super) fn net(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "type").unwrap_or_default();
    match opts.get("type") {
        Some("none") => Ok(Treated::kept([Arg::new("-net", "none")])),
        Some("nic") => {
            let known = opts
                .get("netdev")
                .filter(|id| composer.defined.netdevs.contains(*id));
            Ok(card(composer, &opts, known))
        }
        _ => Err(GuestReason::HostNetwork),
    }
}

/// Keeps the network card, and puts a hub in the place of its backend.
pub(super) fn nic(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "type").unwrap_or_default();
    Ok(match opts.get("type") {
        Some("none") => Treated::kept([Arg::new("-nic", "none")]),
        _ => card(composer, &opts, None),
    })
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
    composer.interface(&id, opts);
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
pub(super) fn chardev(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "backend")?;
    let id = opts.id("id")?;
    // A monitor shares it with ports of the guest where it is told apart from them.
    if composer.defined.monitors.contains(id) && !opts.is_on("mux") {
        return Err(GuestReason::Monitor);
    }
    // The console of the guest is defined where the guest is started.
    if composer.board.console.as_deref() == Some(id) {
        return Ok(Treated::replaced([], GuestReason::HostChannel));
    }
    let arg = Arg::new("-chardev", join([("backend", "null"), ("id", id)]));
    Ok(Treated::replaced([arg], GuestReason::HostChannel))
}

/// Puts a null device behind a serial port. The first one is where the workload guest speaks.
pub(super) fn serial(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let named = value.strip_prefix("chardev:");
    let named = named.filter(|id| composer.defined.chardevs.contains(*id));
    let is_first = composer.board.console.is_none();
    if let Some(id) = named {
        if is_first {
            composer.speak_on(id);
        }
        return Ok(Treated::kept([Arg::new("-serial", value)]));
    }
    if !is_first || value == "none" {
        return port("-serial", value);
    }
    composer.board.console = Some(SERIAL.to_owned());
    let arg = Arg::new("-serial", format!("chardev:{SERIAL}"));
    Ok(Treated::replaced([arg], GuestReason::HostChannel))
}

/// The chardev of the first serial port where the guest has none for it.
pub(super) const SERIAL: &str = "migcompat-serial";

/// Puts a null device behind a port.
pub(super) fn port(option: &'static str, value: &str) -> Result<Treated, GuestReason> {
    Ok(match value {
        "none" => Treated::kept([Arg::new(option, "none")]),
        _ => Treated::replaced([Arg::new(option, "null")], GuestReason::HostChannel),
    })
}

/// Puts a silent backend in the place of the host's sound.
pub(super) fn audiodev(value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "driver")?;
    let id = opts.id("id")?;
    let arg = Arg::new("-audiodev", join([("driver", "none"), ("id", id)]));
    Ok(match opts.get("driver") {
        Some("none") => Treated::kept([arg]),
        _ => Treated::replaced([arg], GuestReason::HostAudio),
    })
}

/// Puts a made-up folder in the place of one of the host.
pub(super) fn fsdev(value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "fsdriver")?;
    let id = opts.id("id")?;
    let arg = Arg::new("-fsdev", join([("fsdriver", "synth"), ("id", id)]));
    Ok(Treated::replaced([arg], GuestReason::HostFolder))
}
