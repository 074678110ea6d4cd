//! Names that a user gives, looked up among those of the builds: a misspelling is not a result.

use std::collections::BTreeSet;

use crate::api::error::Error;
use crate::api::unknown_name::{Lacking, UnknownName};
use crate::devices::{DeviceSet, Drivers};
use crate::model::{CaseName, Pattern, nearest};
use crate::parallel::side_by_side;
use crate::qemu::{Opened, Pair};

/// Returns the drivers that each build's `-device` takes, where both list them.
fn drivers(pair: &Pair) -> Option<[Drivers; 2]> {
    let drivers = [&pair.old, &pair.new].map(|build| build.device_help());
    let known = drivers.iter().all(|help| !help.trim().is_empty());
    known.then(|| drivers.map(Drivers::from_help))
}

/// Checks the devices of `--device` that no shipped set knows.
///
/// # Errors
/// Neither build has one of them.
pub(crate) fn check_devices(set: &DeviceSet, pair: &Pair) -> Result<(), UnknownName> {
    let Some([old, new]) = drivers(pair) else {
        return Ok(());
    };
    let verbatim = set.devices.iter().filter(|device| device.is_verbatim());
    for driver in verbatim.map(|device| device.driver(pair.arch())) {
        if !old.contains(driver) && !new.contains(driver) {
            let shared = old.names().filter(|name| new.contains(name));
            return Err(UnknownName {
                option: "--device",
                wanted: driver.to_owned(),
                lacking: Lacking::Both,
                near: nearest(driver, shared),
            });
        }
    }
    Ok(())
}

/// Checks the device of a case that is to decide against all builds of a run.
///
/// # Errors
/// No device type that two of them share has this name.
pub(crate) fn check_case<'p>(
    case: &CaseName,
    pairs: impl IntoIterator<Item = &'p Pair>,
) -> Result<(), UnknownName> {
    let option = "its device";
    check_only(&[case.subject().to_owned()], pairs)
        .map_err(|unknown| UnknownName { option, ..unknown })
}

/// Checks the patterns of `--only` against all builds of a run.
///
/// # Errors
/// No device type that two of them share fits one.
pub(crate) fn check_only<'p>(
    patterns: &[String],
    pairs: impl IntoIterator<Item = &'p Pair>,
) -> Result<(), UnknownName> {
    let mut types = (BTreeSet::new(), BTreeSet::new());
    for pair in pairs {
        let Some([old, new]) = drivers(pair) else {
            return Ok(());
        };
        types.0.extend(old.names().map(str::to_owned));
        types.1.extend(new.names().map(str::to_owned));
    }
    for pattern in patterns {
        let fits = |name: &&String| Pattern::from(pattern.as_str()).fits(name);
        let shared = || types.0.intersection(&types.1);
        if shared().any(|name| fits(&name)) {
            continue;
        }
        let lacking = match (
            types.0.iter().any(|n| fits(&n)),
            types.1.iter().any(|n| fits(&n)),
        ) {
            (true, false) => Lacking::New,
            (false, true) => Lacking::Old,
            _ => Lacking::Both,
        };
        return Err(UnknownName {
            option: "--only",
            wanted: pattern.clone(),
            lacking,
            near: nearest(pattern, shared().map(String::as_str)),
        });
    }
    Ok(())
}

/// Checks a CPU model, as `-cpu` takes it with its flags.
///
/// # Errors
/// Neither build has it, or one cannot be asked.
pub(crate) fn check_cpu(cpu: &str, pair: &Pair) -> Result<(), Error> {
    let model = cpu.split(',').next().unwrap_or_default();
    let ask = |build: &Opened| build.build.cpu_models();
    let (old, new) = side_by_side(|| ask(&pair.old), || ask(&pair.new));
    let (Some(old), Some(new)) = (old?, new?) else {
        return Ok(());
    };
    let knows = |models: &BTreeSet<String>| models.iter().any(|known| known == model);
    if knows(&old) || knows(&new) {
        return Ok(());
    }
    let shared = old.intersection(&new).map(String::as_str);
    Err(UnknownName {
        option: "--cpu",
        wanted: model.to_owned(),
        lacking: Lacking::Both,
        near: nearest(model, shared),
    }
    .into())
}
