//! Reading of a set from its file, with errors for what is wrong in it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::devices::{Device, DeviceError, DeviceSet, LeftOut};
use crate::input::read_text;
use crate::model::{MachineNames, hidden_line};
use crate::qemu::{is_id, machine};

/// The fault of a text that could pass for something else where it is shown.
const NOT_SEEN: &str =
    "a character that nobody sees, such as a control character or a change of direction";

/// A set as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    description: String,
    #[serde(default)]
    arch: Vec<String>,
    #[serde(default)]
    machines: MachineNames,
    #[serde(default)]
    device: Vec<Spanned<Device>>,
    #[serde(default)]
    left_out: Vec<Spanned<LeftOut>>,
}

impl Device {
    /// Returns what is wrong with the entry itself, whatever else is in the set.
    fn fault(&self) -> Option<String> {
        if !is_id(&self.id) {
            return Some(format!(
                "`{}` is not an id: a letter, then letters, digits, `-`, `.` and `_`",
                self.id
            ));
        }
        let drivers = self.driver.iter().chain(self.driver_on.values());
        let drivers = drivers.chain(self.driver_on_bus.values());
        for driver in drivers {
            if driver.is_empty() || driver.contains([',', '=', ' ']) {
                return Some(format!("`{driver}` is not the name of a driver"));
            }
        }
        let targets = self.arch.iter().flatten().chain(self.driver_on.keys());
        if let Some(reason) = machine::no_target(targets) {
            return Some(reason);
        }
        for key in ["id", "driver", "bus"] {
            if self.has_property(key) {
                return Some(format!("the property {key} is given by the key `{key}`"));
            }
        }
        if self.backend.first().is_some_and(|o| !o.starts_with('-')) {
            return Some("a backend starts with an option".to_owned());
        }
        if self.migratable_since.is_some() && self.unmigratable.is_none() {
            return Some("migratable_since without unmigratable, the reason".to_owned());
        }
        let reasons = [
            &self.one_of,
            &self.unmigratable,
            &self.alone,
            &self.boots_alone,
        ];
        if reasons.into_iter().flatten().any(|r| r.trim().is_empty()) {
            return Some("a reason that says nothing".to_owned());
        }
        None
    }

    /// Returns the places of what the entry needs among all of its set, in which it has the place `own`.
    ///
    /// # Errors
    /// Something is wrong with it, or it needs what is not there.
    fn needs_among(
        &self,
        own: usize,
        places: &BTreeMap<&str, usize>,
    ) -> Result<Vec<usize>, String> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let id = &self.id;
        if places.get(id.as_str()) != Some(&own) {
            return Err(format!("a second device `{id}`"));
        }
        // `usb0.0` is a bus of usb0, and some devices are named as a bus outright.
        let bus = self.bus.as_deref();
        let owner = bus.map(|bus| bus.rsplit_once('.').map_or(bus, |(owner, _)| owner));
        let needs = self.needs.iter().map(|other| ("needs", other));
        // It is known then whether that one is in the guest.
        let instead_of = self.instead_of.iter();
        let others = needs.chain(instead_of.map(|other| ("is instead of", other)));
        let place = |(verb, other): (&str, &String)| {
            let place = places.get(other.as_str()).copied();
            place.ok_or_else(|| format!("`{id}` {verb} `{other}`, which is not here"))
        };
        let needed = others.map(place).collect::<Result<_, _>>()?;
        match owner.filter(|owner| places.contains_key(owner)) {
            Some(owner) if !self.needs.iter().any(|need| need == owner) => Err(format!(
                "`{id}` sits on a bus of `{owner}` and has to need it"
            )),
            _ => Ok(needed),
        }
    }
}

impl DeviceSet {
    /// Reads a set of the user's own.
    ///
    /// # Errors
    /// The file cannot be read or is malformed.
    pub fn load(path: &Path) -> Result<DeviceSet, DeviceError> {
        let text = read_text(path).map_err(|source| {
            let file = path.to_owned();
            match source.kind() {
                ErrorKind::IsADirectory => DeviceError::Folder { file },
                _ => DeviceError::Io { file, source },
            }
        })?;
        DeviceSet::parse(&path.display().to_string(), &text)
    }

    /// Reads a set; `file` is for messages.
    ///
    /// # Errors
    /// The text is malformed; the error says in which line.
    pub fn parse(file: &str, text: &str) -> Result<DeviceSet, DeviceError> {
        let line = |offset: usize| 1 + text[..offset].matches('\n').count();
        let malformed = |line, reason: String| DeviceError::Malformed {
            file: file.to_owned(),
            line,
            reason,
        };
        if let Some(line) = hidden_line(text) {
            return Err(malformed(line, NOT_SEEN.to_owned()));
        }
        let read: File = toml::from_str(text).map_err(|e| {
            malformed(
                e.span().map_or(1, |span| line(span.start)),
                e.message().to_owned(),
            )
        })?;

        if read.name.contains('\n') || read.description.contains('\n') {
            let reason = "name and description are one line each".to_owned();
            return Err(malformed(1, reason));
        }
        if let Some(reason) = machine::no_target(&read.arch) {
            return Err(malformed(1, reason));
        }
        let ids: BTreeMap<&str, usize> = read
            .device
            .iter()
            .enumerate()
            .rev()
            .map(|(i, entry)| (entry.get_ref().id.as_str(), i))
            .collect();
        let mut needs = Vec::new();
        for (i, entry) in read.device.iter().enumerate() {
            let needed = entry.get_ref().needs_among(i, &ids);
            needs.push(needed.map_err(|reason| malformed(line(entry.span().start), reason))?);
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
            .map(|entry| {
                let mut device = entry.into_inner();
                device.arch.get_or_insert_with(|| read.arch.clone());
                device.machines.get_or_insert_with(|| read.machines.clone());
                Some(device)
            })
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
}

/// Returns the order in which everything stands after what it needs and otherwise as it was; or an index
/// that needs itself.
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
