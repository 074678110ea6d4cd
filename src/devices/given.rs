//! Devices as the user gives them with `--device`.

use serde::Deserialize;

use crate::devices::{Device, DeviceError, DeviceSet, Form};
use crate::qemu::split_option;
use crate::report::AD_HOC;

impl DeviceSet {
    /// Makes a set of `--device ARGS` options.
    ///
    /// ARGS is what `-device` takes, JSON included, and reaches QEMU unchanged. The name of a driver
    /// alone means the device as a shipped set has it, with backend, controller and bus, and so does the
    /// id of a device in a shipped set.
    ///
    /// # Errors
    /// ARGS name no driver, or an id twice.
    pub fn ad_hoc(arguments: &[String], arch: &str) -> Result<DeviceSet, DeviceError> {
        let mut set = DeviceSet {
            name: AD_HOC.to_owned(),
            description: "the devices of --device".to_owned(),
            ..DeviceSet::default()
        };
        for argument in arguments {
            let forms = || DeviceSet::other_forms(argument, arch).into_iter().next();
            let shipped = DeviceSet::recipe(argument, arch).or_else(forms);
            let shipped = shipped.map(|recipe| recipe.pinned(argument, arch));
            if let Some(recipe) = shipped.or_else(|| DeviceSet::of_id(argument, arch)) {
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
                if device.driver.as_ref() != Some(&id) {
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
}

impl Device {
    /// Makes a device from the argument of a `-device`.
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
            for (i, item) in split_option(argument).into_iter().enumerate() {
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
        let id = id.unwrap_or_else(|| driver.clone());
        Ok(Device {
            id,
            driver: Some(driver),
            form: Form::Verbatim(argument.to_owned()),
            ..Device::default()
        })
    }
}

/// The parts that are read of a device that is given as JSON; the rest is QEMU's business.
#[derive(Deserialize)]
struct JsonDevice {
    driver: String,
    id: Option<String>,
}
