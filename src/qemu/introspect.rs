//! The device types that a build can create, asked from itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use qapi::qmp;
use serde::{Deserialize, Serialize};

use crate::qemu::info::to_be_asked;
use crate::qemu::qmp::{QmpError, QueryCapabilities, QueryCpuDefinitions};
use crate::qemu::{
    Answer, Build, Monitored, Problem, QemuError, Question, StartError, Subject, block_on,
};

/// The devices of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Every device type that is not abstract, including those that only boards contain.
    pub types: BTreeSet<String>,
    /// Name and type of each property, of the types that were asked for and that list them.
    pub properties: BTreeMap<String, Vec<(String, String)>>,
    /// Types that are not abstract and are derived from one of those that were asked for.
    pub derived: BTreeSet<String>,
    /// Unset if the build was asked no more, since it died of a question.
    pub is_complete: bool,
}

impl Answer for Devices {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        self.is_complete.then(|| serde_json::to_vec(self).ok())?
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Devices> {
        serde_json::from_slice(&bytes).ok()
    }
}

/// The switches of a build's migrations, by their names.
pub(crate) type Switches = BTreeMap<String, Switch>;

impl Answer for Switches {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Switches> {
        serde_json::from_slice(&bytes).ok()
    }
}

/// A switch of a build's migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switch {
    /// Set if it is on by default.
    pub is_on: bool,
    /// Set if it is a capability, of which both sides are told.
    pub is_capability: bool,
}

impl Build {
    /// Starts the build without a machine and asks what devices there are, which properties some
    /// of them have, and what is derived from some `bases`; some tenths of a second. A fetched build is asked once.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub fn devices(&self, asked: &[String], bases: &[&str]) -> Result<Devices, QemuError> {
        // What is behind the empty word are bases.
        let words = asked.iter().map(String::as_str).chain([""]);
        let question = Question {
            subject: Subject::Devices,
            words: words
                .chain(bases.iter().copied())
                .map(OsString::from)
                .collect(),
        };
        let ask = async |monitored: &Monitored| questions(monitored, self, asked, bases).await;
        self.wait_for(self.answer(&question, self.asked_alone(ask)))
    }

    /// Starts the build without a machine and asks for all types that are derived from one, with the abstract ones.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub(crate) fn derived_from(&self, base: &str) -> Result<BTreeSet<String>, QemuError> {
        let list = qmp::qom_list_types {
            implements: Some(base.to_owned()),
            abstract_: Some(true),
        };
        self.ask_alone(async |monitored| {
            let found = monitored.session.execute(list, self.deadlines().command);
            Ok(found.await?.into_iter().map(|found| found.name).collect())
        })
    }

    /// Starts the build without a machine and asks for the switches of its migrations: what differs between releases there,
    /// machine types with a version set as it was (QEMU's `migration_properties`, with `hw_compat`). A fetched build is asked
    /// once.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub(crate) async fn migration_switches(&self) -> Result<Switches, StartError> {
        let deadline = self.deadlines().command;
        let question = Question {
            subject: Subject::Switches,
            words: Vec::new(),
        };
        let ask = async |monitored: &Monitored| {
            let session = &monitored.session;
            let typename = "migration".to_owned();
            let question = qmp::device_list_properties { typename };
            let listed = session.ask(question, deadline).await?;
            let capabilities = session.execute(QueryCapabilities {}, deadline).await?;
            let is_capability = |property: &str| {
                let name = property.strip_prefix("x-").unwrap_or(property);
                capabilities.iter().any(|of| of.capability == name)
            };
            let listed = listed.unwrap_or_default().into_iter();
            let switches = listed.filter(|property| property.type_ == "bool");
            let switches = switches.filter_map(|property| {
                let switch = Switch {
                    is_on: property.default_value?.as_bool()?,
                    is_capability: is_capability(&property.name),
                };
                Some((property.name, switch))
            });
            Ok(switches.collect())
        };
        self.answer(&question, self.asked_alone(ask)).await
    }

    /// Starts the build without a machine and asks for its CPU models; `None` where it does not list them.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub fn cpu_models(&self) -> Result<Option<BTreeSet<String>>, QemuError> {
        let deadline = self.deadlines().command;
        self.ask_alone(async |monitored| {
            // Not every target has the command.
            let models = monitored
                .session
                .ask(QueryCpuDefinitions {}, deadline)
                .await?;
            Ok(models.map(|models| models.into_iter().map(|model| model.name).collect()))
        })
    }

    /// Starts the build without a machine, asks it, and lets it quit.
    pub(super) fn ask_alone<T>(
        &self,
        question: impl AsyncFnOnce(&Monitored) -> Result<T, QmpError>,
    ) -> Result<T, QemuError> {
        self.wait_for(self.asked_alone(question))
    }

    /// [`Build::ask_alone`] for a caller with a runtime.
    pub(super) async fn asked_alone<T>(
        &self,
        question: impl AsyncFnOnce(&Monitored) -> Result<T, QmpError>,
    ) -> Result<T, StartError> {
        let monitored = Monitored::start(self, to_be_asked()).await?;
        match question(&monitored).await {
            Ok(answer) => {
                monitored.quit(self.deadlines().command).await;
                Ok(answer)
            }
            Err(problem) => Err(monitored.explain(problem).await),
        }
    }

    /// Waits for what a build answers.
    pub(super) fn wait_for<T>(
        &self,
        answer: impl Future<Output = Result<T, StartError>>,
    ) -> Result<T, QemuError> {
        let no_runtime = |error| Err(StartError::quiet(self, Problem::Temp(error)));
        Ok(block_on(answer).unwrap_or_else(no_runtime)?)
    }
}

async fn questions(
    monitored: &Monitored,
    build: &Build,
    asked: &[String],
    bases: &[&str],
) -> Result<Devices, QmpError> {
    let deadline = build.deadlines().command;
    let session = &monitored.session;
    let types_of = async |base: &str| {
        let list = qmp::qom_list_types {
            implements: Some(base.to_owned()),
            abstract_: Some(false),
        };
        let found = session.execute(list, deadline).await?;
        Ok::<_, QmpError>(found.into_iter().map(|found| found.name))
    };
    let mut devices = Devices {
        types: types_of("device").await?.collect(),
        is_complete: true,
        ..Devices::default()
    };
    for base in bases {
        devices.derived.extend(types_of(base).await?);
    }
    for name in asked {
        let typename = name.clone();
        let question = qmp::device_list_properties { typename };
        match session.ask(question, deadline).await {
            Ok(Some(found)) => {
                let pairs = found.into_iter().map(|p| (p.name, p.type_)).collect();
                devices.properties.insert(name.clone(), pairs);
            }
            // Some types list none without a machine: they are tried as they are.
            Ok(None) => {}
            // Asking creates the device, and a faulty one may crash the build. What is known so far
            // is enough.
            Err(_) => {
                devices.is_complete = false;
                break;
            }
        }
    }
    Ok(devices)
}
