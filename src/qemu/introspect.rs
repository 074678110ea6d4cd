//! The device types that a build can create, asked from itself.

use std::collections::{BTreeMap, BTreeSet};

use qapi::qmp;

use crate::qemu::info::NO_MACHINE;
use crate::qemu::qmp::QmpError;
use crate::qemu::{Build, Monitored, Problem, QemuError, StartError, block_on};

/// The devices of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Every device type that is not abstract, including those that only boards contain.
    pub types: BTreeSet<String>,
    /// Name and type of each property, of the types that were asked for and that list them.
    pub properties: BTreeMap<String, Vec<(String, String)>>,
}

impl Build {
    /// Starts the build without a machine and asks what devices there are, and which properties some
    /// of them have; some tenths of a second.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub fn devices(&self, asked: &[String]) -> Result<Devices, QemuError> {
        let answered = block_on(self.ask_devices(asked)).unwrap_or_else(|error| {
            Err(StartError {
                label: self.label().to_owned(),
                problem: Problem::Temp(error),
                stderr: String::new(),
            })
        });
        Ok(answered?)
    }

    /// [`Build::devices`] for a caller with a runtime.
    ///
    /// # Errors
    /// As of [`Build::devices`].
    pub async fn ask_devices(&self, asked: &[String]) -> Result<Devices, StartError> {
        let monitored = Monitored::start(self, NO_MACHINE).await?;
        match questions(&monitored, self, asked).await {
            Ok(devices) => {
                monitored.quit(self.deadlines().command).await;
                Ok(devices)
            }
            Err(problem) => Err(monitored.explain(problem).await),
        }
    }
}

async fn questions(
    monitored: &Monitored,
    build: &Build,
    asked: &[String],
) -> Result<Devices, QmpError> {
    let deadline = build.deadlines().command;
    let session = &monitored.session;
    let list = qmp::qom_list_types {
        implements: Some("device".to_owned()),
        abstract_: Some(false),
    };
    let types = session.execute(list, deadline).await?;
    let mut devices = Devices {
        types: types.into_iter().map(|found| found.name).collect(),
        properties: BTreeMap::new(),
    };
    for name in asked {
        let typename = name.clone();
        match session
            .execute(qmp::device_list_properties { typename }, deadline)
            .await
        {
            Ok(found) => {
                let pairs = found.into_iter().map(|p| (p.name, p.type_)).collect();
                devices.properties.insert(name.clone(), pairs);
            }
            // Some types list none without a machine: they are tried as they are.
            Err(QmpError::Refused { .. }) => {}
            // Asking creates the device, and a faulty one may crash the build. What is known so far
            // is enough.
            Err(_) => break,
        }
    }
    Ok(devices)
}
