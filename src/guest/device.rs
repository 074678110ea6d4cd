//! The devices of a guest: those whose own backends are replaced stay as they are, those of the host are left out.

use serde_json::{Map, Value};

use crate::devices::{Device, DeviceSet};
use crate::guest::composer::Composer;
use crate::guest::defined::Defined;
use crate::guest::lines::{Arg, Treated, omission};
use crate::guest::opts::{Opts, Setting, is_name, is_word, join};
use crate::report::{GuestReason, Treatment};

/// Types that others stand for whose state is the same, since they need something of the host; the others lack some
/// of their properties.
const STANDS_FOR: &[(&str, &str, &[&str])] = &[
    ("scsi-block", "scsi-hd", &["io_timeout"]),
    ("scsi-generic", "scsi-hd", &["io_timeout"]),
];

/// Other names that `-device` takes for a type.
const ALIASES: &[(&str, &str)] = &[
    ("ac97", "AC97"),
    ("ahci", "ich9-ahci"),
    ("es1370", "ES1370"),
    ("lsi", "lsi53c895a"),
    ("virtio-iommu", "virtio-iommu-pci"),
];

/// Properties that lead out of the guest, whatever their value.
const OF_THE_HOST: &[&str] = &[
    "cert1",
    "cert2",
    "cert3",
    "db",
    "dir",
    "evdev",
    "fd",
    "fds",
    "file",
    "filename",
    "frufile",
    "hidraw",
    "host",
    "hostaddr",
    "hostbus",
    "hostdevice",
    "hostport",
    "mem-path",
    "path",
    "rfd",
    "root",
    "rootdir",
    "sdrfile",
    "socket",
    "socket-path",
    "sysfsdev",
    "vhostdev",
    "vhostfd",
    "vhostfds",
    "vhostforce",
    "wayland-socket-path",
    "display",
];

/// Properties whose value is a text for the guest, which may look like a path.
const TEXTS: &[&str] = &[
    "bootpath",
    "device_id",
    "manufacturer",
    "model",
    "mount_tag",
    "product",
    "serial",
    "vendor",
    "ver",
    "version",
];

/// Checks that a property concerns the guest alone.
///
/// # Errors
/// The reason why it is not passed on.
pub(super) fn property(name: &str, value: &str) -> Result<(), GuestReason> {
    if !is_name(name) || name == "help" {
        return Err(GuestReason::Malformed);
    }
    let is_empty_rom = name == "romfile" && value.is_empty();
    // A name alone is a file too, in the folder in which the program was started.
    if OF_THE_HOST.contains(&name) || (name.ends_with("file") && !is_empty_rom) {
        return Err(GuestReason::HostFile);
    }
    if TEXTS.contains(&name) && !value.chars().any(char::is_control) {
        return Ok(());
    }
    match (is_word(value), value.chars().any(char::is_control)) {
        (true, _) => Ok(()),
        (false, true) => Err(GuestReason::Malformed),
        (false, false) => Err(GuestReason::HostFile),
    }
}

/// Tells whether a property refers to something that the guest has not.
fn is_dangling(defined: &Defined, driver: &str, name: &str, value: &str) -> bool {
    let names = match name {
        "drive" => return !defined.nodes.contains_key(value),
        "netdev" => &defined.netdevs,
        "chardev" => &defined.chardevs,
        "audiodev" => &defined.audiodevs,
        "fsdev" => &defined.fsdevs,
        "tpmdev" => &defined.tpms,
        "memdev" | "persistent-memdev" | "volatile-memdev" | "lsa" | "rng" | "cryptodev"
        | "iothread" | "canbus" | "canbus0" | "canbus1" | "iommufd" => &defined.objects,
        "pmrdev" if driver == "nvme" => &defined.objects,
        _ => return false,
    };
    !names.contains(value)
}

/// The ports that the workload guests speak on: `-serial` makes one of these where a board has none of its own.
const CONSOLES: &[&str] = &["isa-serial", "sclpconsole", "spapr-vty"];

/// Drivers of buses, by the beginning of the names of what sits on them: a device that names no bus takes the first.
const CONTROLLERS: &[(&str, &[&str])] = &[
    ("usb-", &["uhci", "ehci", "ohci", "xhci"]),
    (
        "scsi-",
        &[
            "scsi", "lsi", "megasas", "mptsas", "am53c974", "dc390", "usb-uas", "usb-bot",
        ],
    ),
    ("virtserialport", &["virtio-serial"]),
    ("virtconsole", &["virtio-serial"]),
    ("hda-", &["intel-hda"]),
    ("ccid-card", &["usb-ccid"]),
    ("nvme-ns", &["nvme"]),
];

/// Decides what becomes of a device. One that is left out leaves out what sits on its buses, too.
pub(super) fn device(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let treated = treat(composer, value);
    if treated
        .as_ref()
        .is_ok_and(|treated| treated.treatment != Treatment::LeftOut)
    {
        return treated;
    }
    let opts = Opts::parse(value, "driver").unwrap_or_default();
    composer.lacking.extend(opts.get("id").map(str::to_owned));
    treated
}

fn treat(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "driver")?;
    let given = opts.get("driver").unwrap_or_default();
    if !is_name(given) {
        return Err(GuestReason::Malformed);
    }
    let arch = composer.defined.architecture(composer.arch.as_deref());
    let arch = &*arch.to_owned();
    let stands = STANDS_FOR.iter().find(|(of, ..)| *of == given);
    let driver = stands.map_or(given, |(_, by, _)| *by).to_owned();
    let is_of_host = |name: &str| stands.is_some_and(|(.., own)| own.contains(&name));
    if !is_plugged_in(&driver, arch) {
        let why = DeviceSet::left_out(&driver).ok_or(GuestReason::UnknownDevice)?;
        return Ok(Treated::left_out(GuestReason::NotPluggedIn).because(why));
    }
    let not_there = |name: &str, value: &str| {
        let left_out = Treated::left_out(GuestReason::NotInTheGuest);
        Ok(left_out.because(format!("{name}={value}")))
    };
    let id = opts.id("id").ok();
    let mut kept: Vec<(&str, &Setting)> = Vec::new();
    let mut without = Vec::new();
    for (name, setting) in &opts.items {
        if name == "driver" || (name == "id" && id.is_none()) {
            continue;
        }
        let Setting::Text(value) = setting else {
            match is_harmless(setting) {
                true => kept.push((name, setting)),
                false => without.push(omission(name, GuestReason::UnknownSetting)),
            }
            continue;
        };
        if is_dangling(&composer.defined, &driver, name, value) {
            return not_there(name, value);
        }
        match property(name, value) {
            Ok(()) if is_of_host(name) => without.push(omission(name, GuestReason::HostDevice)),
            Ok(()) => kept.push((name, setting)),
            Err(reason) => without.push(omission(name, reason)),
        }
    }
    let bus = opts.get("bus");
    let is_lacking = |bus: &&str| composer.lacking.iter().any(|id| owns(id, bus));
    if let Some(bus) = bus.filter(is_lacking) {
        return not_there("bus", bus);
    }
    // Without a backend it plays on the sound of the host.
    let silent = Setting::Text(AUDIO.to_owned());
    if DeviceSet::plays(full_name(&driver), arch)
        && !kept.iter().any(|(name, _)| *name == "audiodev")
    {
        kept.push(("audiodev", &silent));
        composer.add_audio();
    }
    // What is made of a file alone is nothing without it.
    let needs_file = without.iter().any(|gone| gone.name == "file");
    if needs_file && driver.ends_with("loader") {
        return Err(GuestReason::HostFile);
    }
    let argument = argument(&driver, &kept);
    let arg = Arg::new("-device", argument);
    let is_console = CONSOLES.contains(&&*driver)
        && composer.board.console.is_none()
        && matches!(opts.get("index"), None | Some("0"))
        && !opts.has("iobase");
    if let (true, Some(chardev)) = (is_console, opts.get("chardev")) {
        composer.speak_on(chardev);
        return Ok(Treated::kept([arg]).without(without));
    }
    let name = composer.free_name(id.unwrap_or(given));
    let needs = needs(&composer.devices, &driver, bus, opts.get("masterbus"), arch);
    let words = arg.words().to_vec();
    let device = Device::of_guest(name.clone(), driver, needs, words);
    composer.devices.push(device);
    let treated = match stands {
        Some(_) => Treated::replaced([arg], GuestReason::HostDevice),
        None => Treated::kept([arg]),
    };
    Ok(Treated {
        device: Some(name),
        ..treated.without(without)
    })
}

/// Tells whether a type of device concerns the guest alone: the shipped sets know it, and no file.
fn is_plugged_in(driver: &str, arch: &str) -> bool {
    let transport = if arch == "s390x" { "ccw" } else { "pci" };
    // Virtio has devices without a transport, too, and a name for each that stands for the usual one.
    let kind = driver.strip_suffix("-device").unwrap_or(driver);
    let with_transport = format!("{kind}-{transport}");
    DeviceSet::knows(full_name(driver), arch) || DeviceSet::knows(&with_transport, arch)
}

/// Returns the name of a type that is given by another one.
fn full_name(driver: &str) -> &str {
    let full = ALIASES.iter().find(|(alias, _)| *alias == driver);
    full.map_or(driver, |(_, full)| *full)
}

/// Tells whether a list or an object has only words that can be no path.
pub(super) fn is_harmless(setting: &Setting) -> bool {
    fn harmless(value: &Value, depth: usize) -> bool {
        if depth > 4 {
            return false;
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
            Value::String(text) => is_word(text),
            Value::Array(values) => values.iter().all(|value| harmless(value, depth + 1)),
            Value::Object(object) => object
                .iter()
                .all(|(name, value)| property(name, "").is_ok() && harmless(value, depth + 1)),
        }
    }
    match setting {
        Setting::Text(text) => is_word(text),
        Setting::Nested(value) => harmless(value, 0),
    }
}

/// Returns the argument of `-device`: JSON only where a property is a list, since a QEMU before 6.2 takes none.
fn argument(driver: &str, kept: &[(&str, &Setting)]) -> String {
    let plain: Option<Vec<(&str, &str)>> = kept
        .iter()
        .map(|(name, setting)| Some((*name, setting.text()?)))
        .collect();
    if let Some(plain) = plain {
        let items = join(plain);
        return match items.is_empty() {
            true => driver.to_owned(),
            false => format!("{driver},{items}"),
        };
    }
    let driver = Setting::Text(driver.to_owned());
    let items = kept.iter().map(|(name, setting)| (*name, *setting));
    json_option([("driver", &driver)].into_iter().chain(items))
}

/// Returns the argument of an option in JSON.
pub(super) fn json_option<'o>(items: impl Iterator<Item = (&'o str, &'o Setting)>) -> String {
    let mut object = Map::new();
    for (name, setting) in items {
        let value = match setting {
            Setting::Text(text) if TEXTS.contains(&name) => Value::from(text.as_str()),
            Setting::Text(text) => json(text),
            Setting::Nested(value) => value.clone(),
        };
        object.insert(name.to_owned(), value);
    }
    Value::Object(object).to_string()
}

/// Returns the JSON that means the same as a word.
fn json(text: &str) -> Value {
    match text {
        "on" => Value::Bool(true),
        "off" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(text.to_owned()),
        },
    }
}

/// Tells whether a bus is one of the device with this id.
fn owns(id: &str, bus: &str) -> bool {
    let rest = bus.strip_prefix(id);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the devices before it that a device needs: the one with its bus, or the first controller of its kind.
fn needs(
    devices: &[Device],
    driver: &str,
    bus: Option<&str>,
    master: Option<&str>,
    arch: &str,
) -> Vec<String> {
    let owner = |bus: &str| {
        let found = devices.iter().filter(|device| owns(&device.id, bus));
        // `pci.1` may be a device of that name, and a bus of one called `pci`.
        found.max_by_key(|device| device.id.len())
    };
    let mut needs: Vec<String> = [bus, master]
        .into_iter()
        .flatten()
        .filter_map(owner)
        .map(|device| device.id.clone())
        .collect();
    if bus.is_none() {
        let kinds = CONTROLLERS
            .iter()
            .find(|(start, _)| driver.starts_with(start));
        let is_controller = |device: &&Device| {
            let name = device.driver(arch);
            kinds.is_some_and(|(_, kinds)| kinds.iter().any(|kind| name.contains(kind)))
        };
        needs.extend(devices.iter().find(is_controller).map(|d| d.id.clone()));
    }
    needs
}

/// The silent backend of devices that have none.
const AUDIO: &str = "migcompat-audio";

impl Composer {
    /// Defines the silent backend, once.
    fn add_audio(&mut self) {
        let definition = join([("driver", "none"), ("id", AUDIO)]);
        let args = &mut self.board.args;
        if !args.contains(&definition) {
            args.extend(["-audiodev".to_owned(), definition]);
        }
    }

    /// Returns a name for a device that no other one has.
    fn free_name(&self, wanted: &str) -> String {
        let taken = |name: &str| self.devices.iter().any(|device| device.id == name);
        if !taken(wanted) {
            return wanted.to_owned();
        }
        let mut names = (2..).map(|number| format!("{wanted}-{number}"));
        names.find(|name| !taken(name)).unwrap_or_default()
    }

    /// Makes a chardev the console of the guest, which is defined where the guest is started.
    pub(super) fn speak_on(&mut self, chardev: &str) {
        self.board.console = Some(chardev.to_owned());
        let definition = join([("backend", "null"), ("id", chardev)]);
        let args = &mut self.board.args;
        if let Some(at) = args.iter().position(|arg| *arg == definition) {
            args.drain(at - 1..=at);
        }
    }
}
