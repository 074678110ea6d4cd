//! Device sets: what to plug into a guest, as data, and the command line that does it.
//!
//! A set is a TOML file (`device-sets/README.md` describes it). Composing one for a pair of builds
//! gives arguments that are the same for source and destination, and says of every device that is
//! not among them why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::model::{Side, Version};

macro_rules! shipped_file {
    ($name:literal) => {
        (
            concat!("device-sets/", $name, ".toml"),
            include_str!(concat!("../../device-sets/", $name, ".toml")),
        )
    };
}

/// The sets that come with the program; the first one is what a run without a choice takes.
const SHIPPED: &[(&str, &str)] = &[
    shipped_file!("default"),
    shipped_file!("bare"),
    shipped_file!("network"),
    shipped_file!("storage"),
    shipped_file!("usb"),
    shipped_file!("display"),
    shipped_file!("sound"),
    shipped_file!("platform"),
    shipped_file!("memory"),
    shipped_file!("bridges"),
    shipped_file!("can"),
    shipped_file!("cxl"),
];

/// Parsed once; that they are good is a matter of this package's tests, not of any input.
static SETS: LazyLock<Vec<DeviceSet>> = LazyLock::new(|| {
    SHIPPED
        .iter()
        .map(|(file, text)| {
            DeviceSet::parse(file, text).unwrap_or_else(|e| panic!("a shipped device set: {e}"))
        })
        .collect()
});

/// The first QEMU whose `-device` takes JSON.
const JSON_DEVICE: Version = Version::new(6, 2, 0);

/// A device set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("cannot read the device set {}: {source}", file.display())]
    Io {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{file}:{line}: {reason}")]
    Malformed {
        file: String,
        line: usize,
        reason: String,
    },
    #[error("there is no device set `{wanted}`; there are {known}")]
    UnknownSet { wanted: String, known: String },
    #[error("device set {set} has no device `{wanted}`")]
    UnknownDevice { set: String, wanted: String },
    #[error("--device {argument}: {reason}")]
    Argument { argument: String, reason: String },
}

/// A named list of devices.
#[derive(Debug, Clone)]
pub struct DeviceSet {
    pub name: String,
    pub description: String,
    /// Each stands after all that it needs.
    pub devices: Vec<Device>,
    /// Drivers that no set can plug in, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A device of a set.
#[derive(Debug, Clone)]
pub struct Device {
    /// What reports call it, and its `id=`.
    pub id: String,
    driver: String,
    /// Where an architecture has the device under another name.
    driver_on: BTreeMap<String, String>,
    /// Every one when empty; the same goes for the machines.
    arch: Vec<String>,
    /// Families: `pc-q35` is every `pc-q35-*`.
    machines: Vec<String>,
    since: Option<Version>,
    until: Option<Version>,
    needs: Vec<String>,
    /// A guest has one of these: the devices of the set that name the same thing keep each other out.
    one_of: Option<String>,
    /// A build cannot migrate it even to itself, for this reason.
    unmigratable: Option<String>,
    /// The first release that can.
    migratable_since: Option<Version>,
    form: Form,
}

/// What the command line has for a device.
#[derive(Debug, Clone)]
enum Form {
    Described {
        bus: Option<String>,
        backend: Vec<String>,
        properties: BTreeMap<String, Value>,
    },
    /// Handed to `-device` as the user wrote it.
    Verbatim(String),
}

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a property is a text, a whole number, true or false"
)]
enum Value {
    Switch(bool),
    Number(i64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch(true) => f.write_str("on"),
            Value::Switch(false) => f.write_str("off"),
            Value::Number(number) => number.fmt(f),
            // QEMU's way to have a comma in a value.
            Value::Text(text) => f.write_str(&text.replace(',', ",,")),
        }
    }
}

/// Drivers that no set plugs in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Names; a `*` at the end stands for any rest.
    pub drivers: Vec<String>,
    pub reason: String,
}

impl LeftOut {
    fn covers(&self, driver: &str) -> bool {
        self.drivers
            .iter()
            .any(|name| match name.strip_suffix('*') {
                Some(start) => driver.starts_with(start),
                None => driver == name,
            })
    }
}

/// What is known of a build.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    pub version: Option<Version>,
    /// What its `-device` takes. Without it, versions alone decide.
    pub drivers: Option<&'a Drivers>,
}

/// For which builds and which machine a command line is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The end of `qemu-system-ARCH`.
    pub arch: &'a str,
    /// The machine type, `pc-q35-7.2` for instance.
    pub machine: &'a str,
    pub old: Known<'a>,
    pub new: Known<'a>,
}

/// Arguments that plug a set into a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Composition {
    /// The same for source and destination; `-M`, memory and the like come before.
    pub args: Vec<String>,
    /// Ids of the devices in the guest, in the order of the command line.
    pub included: Vec<String>,
    /// The others.
    pub excluded: Vec<Exclusion>,
}

/// A device of the set that is not in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exclusion {
    /// Its id.
    pub device: String,
    pub driver: String,
    pub reason: Reason,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.reason)
    }
}

/// Why a device is not in the guest. It is written into reports as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The set has it for other architectures.
    Architecture { arch: String },
    /// The set has it for other machines.
    Machine { machine: String },
    /// `-device` of these builds does not take it.
    Absent { side: Side },
    /// The build is older than what the set asks for.
    Before {
        side: Side,
        version: Version,
        since: Version,
    },
    /// The build is newer than the last one that has it.
    After {
        side: Side,
        version: Version,
        until: Version,
    },
    /// The build cannot migrate it to itself either.
    Unmigratable {
        side: Side,
        reason: String,
        since: Option<Version>,
    },
    /// A guest has one of a kind, and another device is it.
    OneOf { kind: String, taken_by: String },
    /// Something that it needs is not in the guest.
    Needs { device: String },
}

impl Reason {
    /// Whether the set itself limits the device to other places: nothing that a build lacks.
    pub fn is_by_design(&self) -> bool {
        matches!(
            self,
            Reason::Architecture { .. } | Reason::Machine { .. } | Reason::OneOf { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = |side: &Side| match side {
            Side::Old => "the old build",
            Side::New => "the new build",
            Side::Both => "both builds",
        };
        match self {
            Reason::Architecture { arch } => write!(f, "not a device for {arch}"),
            Reason::Machine { machine } => write!(f, "not a device for {machine}"),
            Reason::Absent { side: Side::Both } => f.write_str("neither build has it"),
            Reason::Absent { side } => write!(f, "{} does not have it", build(side)),
            Reason::Before {
                side,
                version,
                since,
            } => {
                let since = Release(*since);
                write!(f, "needs QEMU {since}, {} is {version}", build(side))
            }
            Reason::After {
                side,
                version,
                until,
            } => {
                let until = Release(*until);
                write!(f, "QEMU {until} was the last, {} is {version}", build(side))
            }
            Reason::Unmigratable { reason, since, .. } => match since {
                Some(since) => {
                    let since = Release(*since);
                    write!(f, "no QEMU before {since} migrates it: {reason}")
                }
                None => write!(f, "no QEMU migrates it: {reason}"),
            },
            Reason::OneOf { kind, taken_by } => {
                write!(f, "a guest has one {kind}, here it is {taken_by}")
            }
            Reason::Needs { device } => write!(f, "needs {device}, which is not in the guest"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A release as people write it, without the point.
struct Release(Version);

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.major, self.0.minor)
    }
}

/// The release that a build is or becomes.
fn release(version: Version) -> (u32, u32) {
    // 7.2.50 and 7.2.90 are on the way to 8.0; there are three releases a year, .0 to .2.
    match (version.micro >= 50, version.minor) {
        (false, minor) => (version.major, minor),
        (true, 0 | 1) => (version.major, version.minor + 1),
        (true, _) => (version.major + 1, 0),
    }
}

/// A set as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    description: String,
    #[serde(default)]
    arch: Vec<String>,
    #[serde(default)]
    machines: Vec<String>,
    #[serde(default)]
    device: Vec<Spanned<Entry>>,
    #[serde(default)]
    left_out: Vec<Spanned<LeftOut>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    driver: Option<String>,
    #[serde(default)]
    driver_on: BTreeMap<String, String>,
    arch: Option<Vec<String>>,
    machines: Option<Vec<String>>,
    since: Option<Version>,
    until: Option<Version>,
    #[serde(default)]
    needs: Vec<String>,
    bus: Option<String>,
    #[serde(default)]
    backend: Vec<String>,
    #[serde(default)]
    properties: BTreeMap<String, Value>,
    one_of: Option<String>,
    unmigratable: Option<String>,
    migratable_since: Option<Version>,
}

impl Entry {
    /// What is wrong with the entry itself, whatever else is in the set.
    fn fault(&self) -> Option<String> {
        if !is_id(&self.id) {
            return Some(format!(
                "`{}` is no id: a letter, then letters, digits, `-`, `.` and `_`",
                self.id
            ));
        }
        let drivers = self.driver.iter().chain(self.driver_on.values());
        for driver in drivers {
            if driver.is_empty() || driver.contains([',', '=', ' ']) {
                return Some(format!("`{driver}` is no name of a driver"));
            }
        }
        for (key, instead) in [("id", "id"), ("driver", "driver"), ("bus", "bus")] {
            if self.properties.contains_key(key) {
                return Some(format!(
                    "the property {key} is given by the key `{instead}`"
                ));
            }
        }
        if self.backend.first().is_some_and(|o| !o.starts_with('-')) {
            return Some("a backend starts with an option".to_owned());
        }
        if self.since.zip(self.until).is_some_and(|(s, u)| s > u) {
            return Some("until is before since".to_owned());
        }
        if self.migratable_since.is_some() && self.unmigratable.is_none() {
            return Some("migratable_since without unmigratable, the reason".to_owned());
        }
        let reasons = [&self.one_of, &self.unmigratable];
        if reasons.into_iter().flatten().any(|r| r.trim().is_empty()) {
            return Some("a reason that says nothing".to_owned());
        }
        None
    }
}

/// What QEMU takes as an `id=`.
fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

impl DeviceSet {
    /// The shipped sets, `default` first.
    pub fn all() -> &'static [DeviceSet] {
        &SETS
    }

    /// A shipped set by name.
    pub fn shipped(name: &str) -> Result<&'static DeviceSet, DeviceError> {
        let found = SETS.iter().find(|set| set.name == name);
        found.ok_or_else(|| DeviceError::UnknownSet {
            wanted: name.to_owned(),
            known: SETS
                .iter()
                .map(|s| s.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// A set of the user's own.
    pub fn load(path: &Path) -> Result<DeviceSet, DeviceError> {
        let text = std::fs::read_to_string(path).map_err(|source| DeviceError::Io {
            file: path.to_owned(),
            source,
        })?;
        DeviceSet::parse(&path.display().to_string(), &text)
    }

    /// Reads a set; `file` is for messages.
    pub fn parse(file: &str, text: &str) -> Result<DeviceSet, DeviceError> {
        let line = |offset: usize| 1 + text[..offset].matches('\n').count();
        let malformed = |line, reason: String| DeviceError::Malformed {
            file: file.to_owned(),
            line,
            reason,
        };
        let read: File = toml::from_str(text).map_err(|e| {
            malformed(
                e.span().map_or(1, |span| line(span.start)),
                e.message().to_owned(),
            )
        })?;

        let ids: BTreeMap<&str, usize> = read
            .device
            .iter()
            .enumerate()
            .rev()
            .map(|(i, entry)| (entry.get_ref().id.as_str(), i))
            .collect();
        let mut needs = Vec::new();
        for (i, entry) in read.device.iter().enumerate() {
            let at = line(entry.span().start);
            let entry = entry.get_ref();
            if let Some(fault) = entry.fault() {
                return Err(malformed(at, fault));
            }
            if ids.get(entry.id.as_str()) != Some(&i) {
                return Err(malformed(at, format!("a second device `{}`", entry.id)));
            }
            let mut indices = Vec::new();
            for need in &entry.needs {
                let Some(&index) = ids.get(need.as_str()) else {
                    let reason = format!("`{}` needs `{need}`, which is not here", entry.id);
                    return Err(malformed(at, reason));
                };
                indices.push(index);
            }
            // `usb0.0` is a bus of usb0, and some devices are named as a bus outright.
            let owner = entry
                .bus
                .as_deref()
                .map(|bus| bus.rsplit_once('.').map_or(bus, |(owner, _)| owner));
            if let Some(owner) = owner.filter(|owner| ids.contains_key(owner))
                && !entry.needs.iter().any(|need| need == owner)
            {
                let reason = format!(
                    "`{}` sits on a bus of `{owner}` and has to need it",
                    entry.id
                );
                return Err(malformed(at, reason));
            }
            needs.push(indices);
        }
        for entry in &read.left_out {
            let at = line(entry.span().start);
            let entry = entry.get_ref();
            if entry.drivers.is_empty() || entry.reason.trim().is_empty() {
                let reason = "left_out says which drivers, and why".to_owned();
                return Err(malformed(at, reason));
            }
        }

        let order = in_order(&needs).map_err(|i| {
            let entry = &read.device[i];
            let reason = format!("`{}` needs itself in the end", entry.get_ref().id);
            malformed(line(entry.span().start), reason)
        })?;
        let mut devices: Vec<Option<Device>> = read
            .device
            .into_iter()
            .map(|entry| Some(Device::new(entry.into_inner(), &read.arch, &read.machines)))
            .collect();
        Ok(DeviceSet {
            name: read.name,
            description: read.description,
            devices: order
                .into_iter()
                .filter_map(|i| devices[i].take())
                .collect(),
            left_out: read.left_out.into_iter().map(Spanned::into_inner).collect(),
        })
    }

    /// The set that `--device ARGS` options make up.
    ///
    /// ARGS is what `-device` takes, JSON included, and reaches QEMU unchanged. The name of a driver
    /// alone means the device as a shipped set has it, with backend, controller and bus.
    pub fn ad_hoc(arguments: &[String], arch: &str) -> Result<DeviceSet, DeviceError> {
        let mut set = DeviceSet {
            name: "ad-hoc".to_owned(),
            description: "what --device asked for".to_owned(),
            devices: Vec::new(),
            left_out: Vec::new(),
        };
        for argument in arguments {
            if let Some(recipe) = DeviceSet::recipe(argument, arch) {
                // Shipped ids are unique, so the same id is the same device: two disks may well need
                // one controller.
                for device in recipe.devices {
                    if set.devices.iter().all(|d| d.id != device.id) {
                        set.devices.push(device);
                    }
                }
                continue;
            }
            let mut device = Device::verbatim(argument)?;
            let taken = |id: &str| set.devices.iter().any(|d| d.id == id);
            if let (true, id) = (taken(&device.id), device.id.clone()) {
                if device.id != device.driver {
                    return Err(DeviceError::Argument {
                        argument: argument.clone(),
                        reason: format!("there is a device with id `{id}` already"),
                    });
                }
                let free = (2..).map(|n| format!("{id}-{n}")).find(|name| !taken(name));
                device.id = free.unwrap_or(id);
            }
            set.devices.push(device);
        }
        Ok(set)
    }

    /// How to plug in one driver: the device as a shipped set has it, and what it needs.
    pub fn recipe(driver: &str, arch: &str) -> Option<DeviceSet> {
        let named = |by_id: bool| {
            SETS.iter().find_map(|set| {
                let device = set.devices.iter().find(|device| {
                    device.driver(arch) == driver
                        && (!by_id || device.id == driver)
                        && device.is_for_arch(arch)
                })?;
                set.select(&[device.id.as_str()]).ok()
            })
        };
        // A family's own entry is plainer than one that another device wanted in a certain place.
        let mut recipe = named(true).or_else(|| named(false))?;
        recipe.name = driver.to_owned();
        Some(recipe)
    }

    /// Why no shipped set has a driver, where that is for a reason.
    pub fn left_out(driver: &str) -> Option<&'static str> {
        SETS.iter()
            .flat_map(|set| &set.left_out)
            .find(|entry| entry.covers(driver))
            .map(|entry| entry.reason.as_str())
    }

    /// Some devices of the set with all that they need.
    pub fn select(&self, ids: &[&str]) -> Result<DeviceSet, DeviceError> {
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        for &id in ids {
            let device = self.devices.iter().find(|d| d.id == id);
            let device = device.ok_or_else(|| DeviceError::UnknownDevice {
                set: self.name.clone(),
                wanted: id.to_owned(),
            })?;
            wanted.insert(&device.id);
        }
        Ok(self.closure(wanted))
    }

    /// These devices of the set and what they need, in the order of the set.
    fn closure<'a>(&'a self, mut wanted: BTreeSet<&'a str>) -> DeviceSet {
        // Needs stand before their users.
        for device in self.devices.iter().rev() {
            if wanted.contains(device.id.as_str()) {
                wanted.extend(device.needs.iter().map(String::as_str));
            }
        }
        DeviceSet {
            name: self.name.clone(),
            description: self.description.clone(),
            devices: self
                .devices
                .iter()
                .filter(|device| wanted.contains(device.id.as_str()))
                .cloned()
                .collect(),
            left_out: self.left_out.clone(),
        }
    }

    /// The set as guests: where a guest has one of a kind, the others of it are in further guests.
    pub fn guests(&self) -> Vec<DeviceSet> {
        let mut members: BTreeMap<&str, usize> = BTreeMap::new();
        let mut guest_of: BTreeMap<&str, usize> = BTreeMap::new();
        for device in &self.devices {
            let mut guest = 0;
            if let Some(kind) = &device.one_of {
                let count = members.entry(kind).or_default();
                guest = *count;
                *count += 1;
            }
            // What hangs on a device goes where that goes.
            let needs = device.needs.iter().filter_map(|n| guest_of.get(n.as_str()));
            let guest = needs.copied().fold(guest, usize::max);
            guest_of.insert(&device.id, guest);
        }
        let count = 1 + guest_of.values().copied().max().unwrap_or_default();
        (0..count)
            .map(|guest| {
                let ids: Vec<&str> = guest_of
                    .iter()
                    .filter(|&(_, &g)| g == guest)
                    .map(|(&id, _)| id)
                    .collect();
                let mut set = self.closure(ids.into_iter().collect());
                if guest > 0 {
                    set.name = format!("{}-{}", self.name, guest + 1);
                }
                set
            })
            .filter(|set| !set.devices.is_empty() || self.devices.is_empty())
            .collect()
    }

    /// The command line for a pair of builds.
    pub fn compose(&self, target: &Target) -> Composition {
        let mut composition = Composition::default();
        let mut taken: BTreeMap<&String, &String> = BTreeMap::new();
        for device in &self.devices {
            let missing = device
                .needs
                .iter()
                .find(|need| !composition.included.contains(need));
            // What is wrong with the device itself tells more than what is wrong with its bus.
            let reason = device
                .obstacle(target)
                .or_else(|| {
                    missing.map(|need| Reason::Needs {
                        device: need.clone(),
                    })
                })
                .or_else(|| {
                    let kind = device.one_of.as_ref()?;
                    taken.get(kind).map(|&by| Reason::OneOf {
                        kind: kind.clone(),
                        taken_by: by.clone(),
                    })
                });
            match reason {
                None => {
                    if let Some(kind) = &device.one_of {
                        taken.insert(kind, &device.id);
                    }
                    composition.args.extend(device.args(target.arch));
                    composition.included.push(device.id.clone());
                }
                Some(reason) => composition.excluded.push(Exclusion {
                    device: device.id.clone(),
                    driver: device.driver(target.arch).to_owned(),
                    reason,
                }),
            }
        }
        composition
    }
}

/// Everything after what it needs and otherwise as it was; or an index that needs itself.
fn in_order(needs: &[Vec<usize>]) -> Result<Vec<usize>, usize> {
    fn visit(
        i: usize,
        needs: &[Vec<usize>],
        open: &mut Vec<usize>,
        done: &mut Vec<usize>,
    ) -> Result<(), usize> {
        if done.contains(&i) {
            return Ok(());
        }
        if open.contains(&i) {
            return Err(i);
        }
        open.push(i);
        for &need in &needs[i] {
            visit(need, needs, open, done)?;
        }
        open.pop();
        done.push(i);
        Ok(())
    }
    let mut done = Vec::with_capacity(needs.len());
    for i in 0..needs.len() {
        visit(i, needs, &mut Vec::new(), &mut done)?;
    }
    Ok(done)
}

impl Device {
    fn new(entry: Entry, arch: &[String], machines: &[String]) -> Device {
        Device {
            driver: entry.driver.unwrap_or_else(|| entry.id.clone()),
            id: entry.id,
            driver_on: entry.driver_on,
            arch: entry.arch.unwrap_or_else(|| arch.to_vec()),
            machines: entry.machines.unwrap_or_else(|| machines.to_vec()),
            since: entry.since,
            until: entry.until,
            needs: entry.needs,
            one_of: entry.one_of,
            unmigratable: entry.unmigratable,
            migratable_since: entry.migratable_since,
            form: Form::Described {
                bus: entry.bus,
                backend: entry.backend,
                properties: entry.properties,
            },
        }
    }

    /// A device from the argument of a `-device`.
    fn verbatim(argument: &str) -> Result<Device, DeviceError> {
        let refused = |reason: &str| DeviceError::Argument {
            argument: argument.to_owned(),
            reason: reason.to_owned(),
        };
        let json = argument.trim_start().starts_with('{');
        let (driver, id) = if json {
            let read: JsonDevice = serde_json::from_str(argument)
                .map_err(|e| refused(&format!("not the JSON of a device: {e}")))?;
            (read.driver, read.id)
        } else {
            let mut driver = None;
            let mut id = None;
            for (i, item) in items(argument).into_iter().enumerate() {
                match item.split_once('=') {
                    None if i == 0 => driver = Some(item),
                    Some(("driver", name)) => driver = Some(name.to_owned()),
                    Some(("id", name)) => id = Some(name.to_owned()),
                    _ => {}
                }
            }
            (driver.ok_or_else(|| refused("which driver?"))?, id)
        };
        if driver.is_empty() || driver == "help" || driver == "?" {
            return Err(refused("which driver?"));
        }
        Ok(Device {
            id: id.unwrap_or_else(|| driver.clone()),
            driver,
            driver_on: BTreeMap::new(),
            arch: Vec::new(),
            machines: Vec::new(),
            since: json.then_some(JSON_DEVICE),
            until: None,
            needs: Vec::new(),
            one_of: None,
            unmigratable: None,
            migratable_since: None,
            form: Form::Verbatim(argument.to_owned()),
        })
    }

    /// The name that `-device` takes on an architecture.
    pub fn driver(&self, arch: &str) -> &str {
        self.driver_on.get(arch).unwrap_or(&self.driver)
    }

    /// Ids of the devices that it needs directly.
    pub fn needs(&self) -> &[String] {
        &self.needs
    }

    fn is_for_arch(&self, arch: &str) -> bool {
        self.arch.is_empty() || self.arch.iter().any(|a| a == arch)
    }

    fn is_for_machine(&self, machine: &str) -> bool {
        self.machines.is_empty()
            || self.machines.iter().any(|family| {
                machine
                    .strip_prefix(family.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
    }

    /// What keeps the device itself out of the guest.
    fn obstacle(&self, target: &Target) -> Option<Reason> {
        if !self.is_for_arch(target.arch) {
            return Some(Reason::Architecture {
                arch: target.arch.to_owned(),
            });
        }
        if !self.is_for_machine(target.machine) {
            return Some(Reason::Machine {
                machine: target.machine.to_owned(),
            });
        }
        let sides = [(Side::Old, target.old), (Side::New, target.new)];
        for (side, build) in sides {
            let Some(version) = build.version else {
                continue;
            };
            if let Some(since) = self.since.filter(|&s| release(version) < release(s)) {
                return Some(Reason::Before {
                    side,
                    version,
                    since,
                });
            }
            if let Some(until) = self.until.filter(|&u| release(version) > release(u)) {
                return Some(Reason::After {
                    side,
                    version,
                    until,
                });
            }
        }
        let driver = self.driver(target.arch);
        let lacks = |build: Known| build.drivers.is_some_and(|names| !names.contains(driver));
        if let Some(side) = which(lacks(target.old), lacks(target.new)) {
            return Some(Reason::Absent { side });
        }
        if let Some(reason) = &self.unmigratable {
            let stuck = |build: Known| match (self.migratable_since, build.version) {
                (Some(since), Some(version)) => release(version) < release(since),
                // What cannot be known is left to the migration to show.
                (Some(_), None) => false,
                (None, _) => true,
            };
            if let Some(side) = which(stuck(target.old), stuck(target.new)) {
                return Some(Reason::Unmigratable {
                    side,
                    reason: reason.clone(),
                    since: self.migratable_since,
                });
            }
        }
        None
    }

    fn args(&self, arch: &str) -> Vec<String> {
        match &self.form {
            Form::Verbatim(argument) => vec!["-device".to_owned(), argument.clone()],
            Form::Described {
                bus,
                backend,
                properties,
            } => {
                let mut text = format!("{},id={}", self.driver(arch), self.id);
                if let Some(bus) = bus {
                    text.push_str(&format!(",bus={bus}"));
                }
                for (name, value) in properties {
                    text.push_str(&format!(",{name}={value}"));
                }
                let mut args = backend.clone();
                args.push("-device".to_owned());
                args.push(text);
                args
            }
        }
    }
}

/// On which side something holds, if on any.
fn which(old: bool, new: bool) -> Option<Side> {
    match (old, new) {
        (true, true) => Some(Side::Both),
        (true, false) => Some(Side::Old),
        (false, true) => Some(Side::New),
        (false, false) => None,
    }
}

/// What is looked at in a device that is given as JSON; the rest is QEMU's business.
#[derive(Deserialize)]
struct JsonDevice {
    driver: String,
    id: Option<String>,
}

/// The parts of an option's argument; a doubled comma is a comma.
fn items(argument: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = argument.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items
}

/// The drivers that a build's `-device` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drivers {
    names: BTreeSet<String>,
    /// Another name for a driver, and the driver.
    aliases: BTreeMap<String, String>,
}

impl Drivers {
    /// Reads what `-device help` prints.
    pub fn from_help(help: &str) -> Drivers {
        // name "virtio-net-pci", bus PCI, alias "virtio-net", desc "..."
        fn quoted(text: &str) -> Option<(&str, &str)> {
            text.strip_prefix('"')?.split_once('"')
        }
        let mut drivers = Drivers::default();
        for line in help.lines() {
            let Some((name, rest)) = line.trim_start().strip_prefix("name ").and_then(quoted)
            else {
                continue;
            };
            drivers.names.insert(name.to_owned());
            // A description may hold anything, and comes last.
            let facts = rest.split(", desc \"").next().unwrap_or_default();
            let alias = facts
                .split_once(", alias ")
                .and_then(|(_, alias)| quoted(alias));
            if let Some((alias, _)) = alias {
                drivers.aliases.insert(alias.to_owned(), name.to_owned());
            }
        }
        drivers
    }

    /// Whether `-device NAME` is known, be it by an alias.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || self.aliases.contains_key(name)
    }

    /// The drivers, without aliases and sorted. CPU models are among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP_5_2: &str = r#"Controller/Bridge/Hub devices:
name "igd-passthrough-isa-bridge", bus PCI, desc "ISA bridge faked to support IGD PT"
name "pci-bridge", bus PCI, desc "Standard PCI Bridge"
name "vmbus-bridge", bus System

Storage devices:
name "ich9-ahci", bus PCI, alias "ahci"
name "scsi-disk", bus SCSI, desc "virtual SCSI disk or CD-ROM (legacy)"

Misc devices:
name "vmgenid"
name "ivshmem-plain", bus PCI, desc "Inter-VM shared memory"
"#;

    const HELP_11_1: &str = r#"Network devices:
name "e1000", bus PCI, alias "e1000-82540em", desc "Intel Gigabit Ethernet"
name "igb", bus PCI, desc "Intel 82576 Gigabit Ethernet Controller"
name "virtio-net-pci", bus PCI, alias "virtio-net"
name "virtio-net-ccw", bus virtual-css-bus, alias "virtio-net-s390"
name "odd", bus PCI, desc "a name, alias "other", in a text"

CPU devices:
name "qemu64-x86_64-cpu"
"#;

    fn set(text: &str) -> Result<DeviceSet, DeviceError> {
        let head = "name = 'own'\ndescription = 'd'\n";
        DeviceSet::parse("own.toml", &format!("{head}{text}"))
    }

    fn good(text: &str) -> DeviceSet {
        set(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn target<'a>(old: Known<'a>, new: Known<'a>) -> Target<'a> {
        Target {
            arch: "x86_64",
            machine: "pc-q35-5.2",
            old,
            new,
        }
    }

    fn version(text: &str) -> Known<'static> {
        Known {
            version: text.parse().ok(),
            drivers: None,
        }
    }

    fn between(set: &DeviceSet, old: &str, new: &str) -> Composition {
        set.compose(&target(version(old), version(new)))
    }

    fn reasons(composition: &Composition) -> Vec<String> {
        composition
            .excluded
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn drivers_are_read_from_the_help_of_every_release() {
        let old = Drivers::from_help(HELP_5_2);
        assert_eq!(
            old.names().collect::<Vec<_>>(),
            [
                "ich9-ahci",
                "igd-passthrough-isa-bridge",
                "ivshmem-plain",
                "pci-bridge",
                "scsi-disk",
                "vmbus-bridge",
                "vmgenid",
            ]
        );
        assert!(old.contains("ahci"), "an alias is as good");
        assert!(!old.contains("igb"));

        let new = Drivers::from_help(HELP_11_1);
        for name in ["igb", "e1000", "e1000-82540em", "virtio-net", "odd"] {
            assert!(new.contains(name), "{name}");
        }
        assert!(!new.contains("other"), "a description is no alias");
        assert_eq!(Drivers::from_help(""), Drivers::default());
    }

    #[test]
    fn a_device_stands_after_what_it_needs() {
        let set = good(
            "[[device]]\nid='disk0'\ndriver='scsi-hd'\nneeds=['scsi0']\nbus='scsi0.0'\n\
             backend=['-blockdev','null-co,node-name=n']\nproperties={drive='n',lun=0,'write-cache'=true,serial='a,b'}\n\
             [[device]]\nid='scsi0'\ndriver='virtio-scsi-pci'\n",
        );
        let composed = between(&set, "5.2", "11.1");
        assert_eq!(composed.included, ["scsi0", "disk0"]);
        assert_eq!(
            composed.args,
            [
                "-device",
                "virtio-scsi-pci,id=scsi0",
                "-blockdev",
                "null-co,node-name=n",
                "-device",
                "scsi-hd,id=disk0,bus=scsi0.0,drive=n,lun=0,serial=a,,b,write-cache=on",
            ]
        );
    }

    #[test]
    fn what_a_build_lacks_is_named_with_all_that_hangs_on_it() {
        let set = good(
            "[[device]]\nid='nic'\ndriver='igb'\nsince='8.0'\n\
             [[device]]\nid='tail'\nneeds=['nic']\n\
             [[device]]\nid='old'\nuntil='5.2'\n",
        );
        let composed = between(&set, "7.2.22", "5.2.0");
        assert_eq!(composed.included, [] as [&str; 0]);
        assert_eq!(composed.args, [] as [&str; 0]);
        assert_eq!(
            reasons(&composed),
            [
                "nic: needs QEMU 8.0, the old build is 7.2.22",
                "tail: needs nic, which is not in the guest",
                "old: QEMU 5.2 was the last, the old build is 7.2.22",
            ]
        );
        assert_eq!(between(&set, "5.2.3", "5.2").included, ["old"]);
        assert_eq!(
            between(&set, "7.2.90", "8.0").included,
            ["nic", "tail"],
            "a release candidate of 8.0"
        );
    }

    #[test]
    fn a_build_that_was_asked_knows_better_than_its_version() {
        let set = good("[[device]]\nid='ahci'\n[[device]]\nid='igb'\n[[device]]\nid='gone'\n");
        let (old, new) = (Drivers::from_help(HELP_5_2), Drivers::from_help(HELP_11_1));
        let known = |drivers| Known {
            version: None,
            drivers: Some(drivers),
        };
        let composed = set.compose(&target(known(&old), known(&new)));
        assert_eq!(
            reasons(&composed),
            [
                "ahci: the new build does not have it",
                "igb: the old build does not have it",
                "gone: neither build has it",
            ]
        );
        let nothing_known = set.compose(&target(Known::default(), Known::default()));
        assert_eq!(nothing_known.included, ["ahci", "igb", "gone"]);
    }

    #[test]
    fn an_unmigratable_device_stays_out_until_both_builds_migrate_it() {
        let set = good(
            "[[device]]\nid='nvme'\nunmigratable='no state'\nmigratable_since='11.1'\n\
             [[device]]\nid='rocker'\nunmigratable='no state'\n",
        );
        assert_eq!(between(&set, "11.1", "11.2").included, ["nvme"]);
        assert_eq!(
            reasons(&between(&set, "10.0", "11.1")),
            [
                "nvme: no QEMU before 11.1 migrates it: no state",
                "rocker: no QEMU migrates it: no state",
            ]
        );
    }

    #[test]
    fn a_place_can_be_limited_by_architecture_and_machine_family() {
        let text = "[[device]]\nid='a'\nmachines=['pc-q35']\n[[device]]\nid='b'\narch=['s390x']\n\
                    [[device]]\nid='c'\ndriver='net-pci'\ndriver_on={s390x='net-ccw'}\n";
        let set = good(text);
        let on = |arch, machine| {
            set.compose(&Target {
                arch,
                machine,
                old: Known::default(),
                new: Known::default(),
            })
        };
        assert_eq!(on("x86_64", "pc-q35-7.2").included, ["a", "c"]);
        assert_eq!(on("x86_64", "pc-q35").included, ["a", "c"]);
        let other = on("x86_64", "pc-q35x-7.2");
        assert_eq!(other.included, ["c"], "a family is not any beginning");
        assert!(other.excluded.iter().all(|e| e.reason.is_by_design()));
        let s390x = on("s390x", "s390-ccw-virtio-7.2");
        assert_eq!(s390x.args, ["-device", "b,id=b", "-device", "net-ccw,id=c"]);
        assert_eq!(reasons(&s390x), ["a: not a device for s390-ccw-virtio-7.2"]);
    }

    #[test]
    fn a_guest_has_one_of_a_kind_and_the_set_makes_several_guests() {
        let set = good(
            "[[device]]\nid='net'\n\
             [[device]]\nid='b1'\none_of='balloon'\n\
             [[device]]\nid='b2'\none_of='balloon'\n\
             [[device]]\nid='i1'\none_of='IOMMU'\n\
             [[device]]\nid='bmc'\n\
             [[device]]\nid='i2'\none_of='IOMMU'\nneeds=['bmc']\n\
             [[device]]\nid='behind'\nneeds=['i2']\n",
        );
        let whole = between(&set, "7.2", "10.0");
        assert_eq!(whole.included, ["net", "b1", "i1", "bmc"]);
        assert_eq!(
            reasons(&whole),
            [
                "b2: a guest has one balloon, here it is b1",
                "i2: a guest has one IOMMU, here it is i1",
                "behind: needs i2, which is not in the guest",
            ]
        );
        let guests = set.guests();
        let ids = |guest: &DeviceSet| between(guest, "7.2", "10.0").included;
        assert_eq!(guests.len(), 2);
        assert_eq!(ids(&guests[0]), ["net", "b1", "i1", "bmc"]);
        assert_eq!(ids(&guests[1]), ["b2", "bmc", "i2", "behind"]);
        assert_eq!(guests[1].name, "own-2");
        assert_eq!(good("").guests().len(), 1, "an empty set is a guest");
    }

    #[test]
    fn a_set_that_is_wrong_says_where() {
        let device = |text: &str| format!("[[device]]\nid = 'x'\n{text}\n");
        // The two lines of the head come first.
        let cases = [
            (device("drivr = 'y'"), "own.toml:5: unknown field `drivr`"),
            (
                device("since = 'soon'"),
                "own.toml:5: \"soon\" is not a QEMU version",
            ),
            (
                device("since = '8.0'\nuntil = '7.2'"),
                "own.toml:3: until is before since",
            ),
            (
                device("needs = ['y']"),
                "own.toml:3: `x` needs `y`, which is not here",
            ),
            (
                device("needs = ['x']"),
                "own.toml:3: `x` needs itself in the end",
            ),
            (device("") + &device(""), "own.toml:6: a second device `x`"),
            (
                device("needs = ['y']") + "[[device]]\nid = 'y'\nneeds = ['x']\n",
                "own.toml:3: `x` needs itself in the end",
            ),
            (
                device("") + "[[device]]\nid = 'y'\nbus = 'x.0'\n",
                "own.toml:6: `y` sits on a bus of `x` and has to need it",
            ),
            (
                device("driver = 'y,id=z'"),
                "own.toml:3: `y,id=z` is no name of a driver",
            ),
            (
                device("properties = { bus = 'b' }"),
                "own.toml:3: the property bus",
            ),
            (
                device("properties = { a = 1.5 }"),
                "own.toml:5: a property is a text",
            ),
            (
                device("backend = ['null']"),
                "own.toml:3: a backend starts with an option",
            ),
            (
                device("migratable_since = '8.0'"),
                "own.toml:3: migratable_since without",
            ),
            (
                device("unmigratable = ''"),
                "own.toml:3: a reason that says nothing",
            ),
            (
                "[[device]]\nid = '0'".to_owned(),
                "own.toml:3: `0` is no id",
            ),
            (
                "[[left_out]]\ndrivers = []\nreason = 'r'".to_owned(),
                "own.toml:3: left_out says",
            ),
            ("[[device]]\n".to_owned(), "own.toml:3: missing field `id`"),
        ];
        for (text, wanted) in cases {
            let message = set(&text).expect_err(&text).to_string();
            assert!(
                message.starts_with(wanted),
                "wanted {wanted:?} in {message:?}"
            );
        }
    }

    #[test]
    fn what_the_user_wrote_reaches_qemu_unchanged() {
        let arguments = [
            "virtio-net,mac=52:54:00:00:00:01",
            "id=own,driver=e1000e,serial=a,,id=b",
            r#"{"driver": "igb", "id": "json0", "addr": 5}"#,
            "virtio-net,mq=on",
        ]
        .map(str::to_owned);
        let set = DeviceSet::ad_hoc(&arguments, "x86_64").expect("good");
        let composed = between(&set, "6.2", "11.1");
        assert_eq!(
            composed.included,
            ["virtio-net", "own", "json0", "virtio-net-2"]
        );
        let given: Vec<&str> = composed.args.iter().map(String::as_str).collect();
        let wanted: Vec<&str> = arguments.iter().flat_map(|a| ["-device", a]).collect();
        assert_eq!(given, wanted);
        assert_eq!(
            reasons(&between(&set, "5.2", "11.1")),
            ["json0: needs QEMU 6.2, the old build is 5.2.0"]
        );
        let drivers = Drivers::from_help(HELP_11_1);
        let known = Known {
            version: None,
            drivers: Some(&drivers),
        };
        assert_eq!(
            reasons(&set.compose(&target(known, known))),
            ["own: neither build has it"],
            "the driver is found wherever it stands"
        );
    }

    #[test]
    fn a_device_that_is_none_is_refused() {
        for text in [
            "",
            "addr=5",
            "help",
            "?",
            "{",
            "{}",
            r#"{"id": "x"}"#,
            ",id=x",
        ] {
            let error = DeviceSet::ad_hoc(&[text.to_owned()], "x86_64").expect_err(text);
            assert!(error.to_string().starts_with("--device "), "{error}");
        }
        let twice = ["a,id=x", "b,id=x"].map(str::to_owned);
        let error = DeviceSet::ad_hoc(&twice, "x86_64").expect_err("the same id");
        assert!(error.to_string().contains("id `x` already"), "{error}");
    }
}
