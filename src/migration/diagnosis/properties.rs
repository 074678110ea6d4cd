//! How two builds set up the same machine: defaults that changed and that nothing pins, which the
//! dumps do not show and which explain many a failed load.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::Value;

use crate::devices::DeviceSet;
use crate::migration::case;
use crate::migration::config::{CaseSpec, MigrationConfig};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
use crate::model::Direction;
use crate::model::Rule;
use crate::qemu::properties::{Kind, Object, Setting, Snapshot, same};
use crate::qemu::{Problem, StartError, private_dir};
use crate::report::{Case, Cause, Evidence, Finding, Level, Outcome, Shape};
use crate::rules::known_issues::KnownIssues;
use crate::vmstate::dump::Dump;

/// How both builds set up one and the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    pub old: Snapshot,
    pub new: Snapshot,
}

/// Which QOM types send sections of a name: vmsd name to types. Of either build or of both.
pub type Senders = BTreeMap<String, BTreeSet<String>>;

/// Something that is set up differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The QOM type; of a CPU the old one.
    pub type_name: String,
    /// The property, or `cpu` where the machine has another CPU by default.
    pub property: String,
    pub how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Both builds have the property, with other values.
    Changed { old: Setting, new: Setting },
    /// The new build alone has it, and does something by it that the machine type does not undo.
    Added { new: Setting },
    /// The old build alone has it, and its machine type chose another value than the default.
    Removed { old: Setting },
    /// Without a choice of the user's the machine has another CPU.
    OtherCpu { old: String, new: String },
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Values that changed.
    Values,
    /// Also properties that one build alone has, of which hardly any matters. For the one device
    /// that failed they are worth a look.
    Everything,
}

/// Starts the machine of a recipe in both builds and asks both. It never runs. `wanted` says which
/// objects matter.
///
/// # Errors
/// A build does not start, or breaks while it is asked.
pub async fn look(
    old: &Endpoint,
    new: &Endpoint,
    launch: &LaunchSpec,
    wanted: impl Fn(&[Object]) -> Vec<bool>,
) -> Result<Snapshots, StartError> {
    // It does not run: no guest, and nobody to hear it.
    let launch = LaunchSpec {
        guest: None,
        ..launch.clone()
    };
    let one = async |party: &Endpoint| {
        let no_folder = |error: io::Error| StartError {
            label: party.build.label().to_owned(),
            problem: Problem::Temp(error),
            stderr: String::new(),
        };
        let folder = private_dir().map_err(no_folder)?;
        launch.prepare(folder.path()).map_err(no_folder)?;
        let vm = Vm::start(party, &launch, Role::First, folder.path(), 0).await?;
        let session = &vm.monitored.session;
        match Snapshot::take(session, vm.command, &wanted).await {
            Ok(snapshot) => {
                vm.monitored.quit(vm.command).await;
                Ok(snapshot)
            }
            Err(problem) => Err(vm.monitored.explain(problem).await),
        }
    };
    let (old, new) = tokio::join!(one(old), one(new));
    Ok(Snapshots {
        old: old?,
        new: new?,
    })
}

/// The objects that have to do with the section of a failure: its device, what that is a part of and
/// what is a part of it. A section of no device is one of the machine's or its CPUs'.
fn concerned(objects: &[Object], section: &str, types: &BTreeSet<String>) -> Vec<bool> {
    let is_cpu = matches!(section, "cpu" | "cpu_common");
    let hits: Vec<&str> = objects
        .iter()
        .filter(|object| types.contains(&object.type_name))
        .map(|object| object.path.as_str())
        .collect();
    let below = |path: &str, other: &str| {
        path.strip_prefix(other)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    objects
        .iter()
        .map(|object| match object.kind {
            // Memory is laid out by the machine, and a CPU sends what it is itself.
            Kind::Machine if section == "ram" => true,
            Kind::Cpu if is_cpu => true,
            Kind::Machine | Kind::Cpu if section == "ram" || is_cpu => false,
            Kind::Machine | Kind::Cpu if hits.is_empty() => true,
            Kind::Machine => false,
            Kind::Cpu | Kind::Device => hits
                .iter()
                .any(|hit| below(hit, &object.path) || below(&object.path, hit)),
        })
        .collect()
}

/// What differs, each once however many devices show it, without what the lists say is unrelated.
/// Devices are compared with their like: the second of a type with the second of that type.
pub fn compare(snapshots: &Snapshots, what: Look, lists: &KnownIssues) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |difference: Difference| {
        if !is_unrelated(&difference, lists) && !differences.contains(&difference) {
            differences.push(difference);
        }
    };
    let new = in_turn(&snapshots.new);
    for (place, old) in in_turn(&snapshots.old) {
        let Some(new) = new.get(&place) else {
            continue;
        };
        if old.kind == Kind::Cpu && old.type_name != new.type_name {
            add(Difference {
                type_name: old.type_name.clone(),
                property: CPU.to_owned(),
                how: How::OtherCpu {
                    old: old.type_name.clone(),
                    new: new.type_name.clone(),
                },
            });
            // Models differ in all that makes them.
            continue;
        }
        let names: BTreeSet<&String> = old.properties.keys().chain(new.properties.keys()).collect();
        for name in names {
            let (old_setting, new_setting) = (old.properties.get(name), new.properties.get(name));
            if let Some(how) = how(old_setting, new_setting, what) {
                add(Difference {
                    type_name: old.type_name.clone(),
                    property: name.clone(),
                    how,
                });
            }
        }
    }
    differences
}

/// In the place of a property where the whole CPU is another one.
const CPU: &str = "cpu";

/// Objects by what makes them each other's like: the kind or type, and the how manieth it is.
fn in_turn(snapshot: &Snapshot) -> BTreeMap<(&str, usize), &Object> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for object in &snapshot.objects {
        let like = match object.kind {
            Kind::Machine => "",
            Kind::Cpu => CPU,
            Kind::Device => object.type_name.as_str(),
        };
        let turn = seen.entry(like).or_default();
        places.insert((like, *turn), object);
        *turn += 1;
    }
    places
}

fn how(old: Option<&Setting>, new: Option<&Setting>, what: Look) -> Option<How> {
    match (old, new) {
        (Some(old), Some(new)) => (!same(&old.value, &new.value)).then(|| How::Changed {
            old: old.clone(),
            new: new.clone(),
        }),
        _ if what == Look::Values => None,
        // A property comes with the value that does what was always done, or with a new default
        // that the old machine types undo.
        (None, Some(new)) => (!is_idle(&new.value) && new.is_pinned() == Some(false))
            .then(|| How::Added { new: new.clone() }),
        // A property goes when nobody needs another value than the default any more.
        (Some(old), None) => {
            (old.is_pinned() == Some(true)).then(|| How::Removed { old: old.clone() })
        }
        (None, None) => None,
    }
}

/// Whether a value is one that new properties have where nothing is to change.
fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64().is_some_and(|n| n == 0 || n == -1),
        Value::String(text) => matches!(text.as_str(), "" | "auto" | "off" | "none"),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn is_unrelated(difference: &Difference, lists: &KnownIssues) -> bool {
    let text = |setting: &Setting| setting.value.to_string();
    let (old, new) = match &difference.how {
        How::Changed { old, new } => (Some(text(old)), Some(text(new))),
        How::Added { new } => (None, Some(text(new))),
        How::Removed { old } => (Some(text(old)), None),
        How::OtherCpu { .. } => return false,
    };
    lists
        .unrelated(
            &difference.type_name,
            &difference.property,
            old.as_deref(),
            new.as_deref(),
        )
        .is_some()
}

impl Difference {
    /// In words; `machine` is the machine type.
    pub fn message(&self, machine: &str) -> String {
        let name = &self.property;
        match &self.how {
            How::OtherCpu { old, new } => {
                format!("{machine} has another CPU by default: {old} in old, {new} in new")
            }
            How::Added { new } => format!(
                "`{name}` is {} in new and unknown to old, and {machine} does not pin it",
                word(&new.value)
            ),
            How::Removed { old } => format!(
                "old sets `{name}` to {} with {machine}; new has no such property",
                word(&old.value)
            ),
            How::Changed { old, new } => {
                let (a, b) = (word(&old.value), word(&new.value));
                match (old.is_pinned(), new.is_pinned()) {
                    (Some(false), Some(false)) => format!(
                        "the default of `{name}` changed from {a} to {b} in new, and {machine} does not pin it"
                    ),
                    (Some(true), Some(false)) => format!(
                        "old sets `{name}` to {a} with {machine}; new leaves it at its default, {b}"
                    ),
                    (Some(false), Some(true)) => format!(
                        "new sets `{name}` to {b} with {machine}; old leaves it at its default, {a}"
                    ),
                    _ => format!("with {machine}, `{name}` is {a} in old and {b} in new"),
                }
            }
        }
    }

    /// As a finding, with the weakest level: nothing has failed by it yet.
    fn finding(&self, direction: Direction, machine: &str) -> Finding {
        let shape = |value: String| Shape {
            value: Some(value),
            ..Shape::default()
        };
        let (old, new) = match &self.how {
            How::Changed { old, new } => (Some(word(&old.value)), Some(word(&new.value))),
            How::Added { new } => (None, Some(word(&new.value))),
            How::Removed { old } => (Some(word(&old.value)), None),
            How::OtherCpu { old, new } => (Some(old.clone()), Some(new.clone())),
        };
        Finding {
            rule: Rule::PropertyDefaultChanged,
            level: Rule::PropertyDefaultChanged.level(),
            direction,
            section: self.type_name.clone(),
            also_in: Vec::new(),
            machines: Vec::new(),
            path: vec![self.property.clone()],
            message: self.message(machine),
            // One change of a base class shows in every type that is built on it.
            cause: format!("property {} {old:?} {new:?}", self.property),
            old: old.map(shape),
            new: new.map(shape),
            allowed_by: None,
            evidence: Evidence::Properties,
            confirmed_by: None,
            context: Vec::new(),
            items: Vec::new(),
        }
    }
}

/// A value as `-device` takes it.
fn word(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The findings of a comparison, one a direction.
pub fn findings(
    differences: &[Difference],
    directions: &[Direction],
    machine: &str,
) -> Vec<Finding> {
    differences
        .iter()
        .flat_map(|difference| directions.iter().map(|&d| difference.finding(d, machine)))
        .collect()
}

/// Whether a case failed in a way that a difference in set-up can explain, and where.
pub fn suspect(case: &Case) -> Option<&Cause> {
    let cause = case.cause.as_ref()?;
    (matches!(case.outcome, Outcome::Fail | Outcome::Lost)
        && cause.rule.is_none()
        && cause.section.is_some())
    .then_some(cause)
}

/// Looks for what is set up differently on the device of a failed section. What is found is tied to
/// the case: it confirms the findings, and they say more in its cause. Nothing where the case did not
/// fail in such a way, or is explained already.
///
/// # Errors
/// A build does not start any more.
pub async fn explain(
    case: &mut Case,
    old: &Endpoint,
    new: &Endpoint,
    launch: &LaunchSpec,
    senders: &Senders,
    lists: &KnownIssues,
) -> Result<Vec<Finding>, StartError> {
    let Some(section) = suspect(case).and_then(|cause| cause.section.clone()) else {
        return Ok(Vec::new());
    };
    let name = section.rsplit_once('/').map_or(&*section, |(_, name)| name);
    let none = BTreeSet::new();
    let types = senders.get(name).unwrap_or(&none);
    let snapshots = look(old, new, launch, |objects| concerned(objects, name, types)).await?;
    let differences = compare(&snapshots, Look::Everything, lists);
    Ok(tie(case, &differences, &launch.machine))
}

/// Makes differences the explanation of a failed case.
fn tie(case: &mut Case, differences: &[Difference], machine: &str) -> Vec<Finding> {
    // What one build alone has is a guess, to be made where there is nothing better.
    let certain = |d: &&Difference| matches!(d.how, How::Changed { .. } | How::OtherCpu { .. });
    let mut offered: Vec<&Difference> = differences.iter().filter(certain).collect();
    if offered.is_empty() {
        offered = differences.iter().collect();
    }
    let Some(cause) = case.cause.as_mut().filter(|_| !offered.is_empty()) else {
        return Vec::new();
    };
    cause.rule = Some(Rule::PropertyDefaultChanged);
    let told: Vec<String> = offered
        .iter()
        .take(TOLD)
        .map(|difference| difference.message(machine))
        .collect();
    cause.message.push_str("; ");
    cause.message.push_str(&told.join("; "));
    if offered.len() > TOLD {
        cause
            .message
            .push_str(&format!("; and {} more properties", offered.len() - TOLD));
    }
    let direction = case.legs.last().map_or(case.direction, |leg| leg.direction);
    offered
        .iter()
        .map(|difference| Finding {
            level: Level::Warning,
            confirmed_by: Some(case.id.clone()),
            ..difference.finding(direction, machine)
        })
        .collect()
}

/// Of how many properties a case's cause tells; the findings tell of all.
const TOLD: usize = 3;

/// Which types of these dumps send sections of which names.
pub fn senders(dumps: &[&Dump]) -> Senders {
    let mut senders = Senders::new();
    for section in dumps.iter().flat_map(|dump| &dump.sections) {
        senders
            .entry(section.description.name.clone())
            .or_default()
            .insert(section.type_name.clone());
    }
    senders
}

/// Finds what both builds set up differently for a device set, as notes.
///
/// # Errors
/// A build does not start with it.
pub async fn survey(
    config: &MigrationConfig,
    set: &DeviceSet,
    directions: &[Direction],
    lists: &KnownIssues,
) -> Result<Vec<Finding>, ProbeError> {
    let launch = config.launch(config.compose(set).args);
    let all = |objects: &[Object]| vec![true; objects.len()];
    let snapshots = look(&config.old, &config.new, &launch, all).await?;
    let differences = compare(&snapshots, Look::Values, lists);
    Ok(findings(&differences, directions, &config.machine))
}

/// Explains all cases of a run by [`explain()`]; `specs` are what they were made of.
///
/// # Errors
/// A build does not start any more.
pub async fn explain_all(
    config: &MigrationConfig,
    specs: &[CaseSpec],
    cases: &mut [Case],
    senders: &Senders,
    lists: &KnownIssues,
) -> Result<Vec<Finding>, ProbeError> {
    let mut all = Vec::new();
    for case in cases.iter_mut().filter(|case| suspect(case).is_some()) {
        let Some(spec) = specs.iter().find(|spec| case::id(config, spec) == case.id) else {
            continue;
        };
        let launch = config.launch(config.compose(&spec.set).args);
        let found = explain(case, &config.old, &config.new, &launch, senders, lists);
        all.extend(found.await?);
    }
    Ok(all)
}

/// A build could not be asked how it sets a machine up, or what it sends of it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("no runtime: {0}")]
    Runtime(#[from] io::Error),
    #[error("{0}")]
    Save(String),
}

/// Adds findings that cases confirmed to those that are there already. One that is among them gets
/// the confirmation alone.
pub fn absorb(findings: &mut Vec<Finding>, confirmed: Vec<Finding>) {
    for finding in confirmed {
        let known = findings.iter_mut().find(|known| {
            known.tells_like(&finding)
                && (known.section == finding.section || known.also_in.contains(&finding.section))
        });
        match known {
            Some(known) => {
                known.level = known.level.min(finding.level);
                if known.confirmed_by.is_none() {
                    known.confirmed_by = finding.confirmed_by;
                }
            }
            None => findings.push(finding),
        }
    }
    findings.sort_by_cached_key(Finding::rank);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_section_has_to_do_with() {
        let object = |path: &str, type_name: &str, kind| Object {
            path: path.to_owned(),
            type_name: type_name.to_owned(),
            kind,
            properties: Default::default(),
        };
        let objects = [
            object("/machine", "virt-10.0-machine", Kind::Machine),
            object(
                "/machine/unattached/device[0]",
                "cortex-a57-arm-cpu",
                Kind::Cpu,
            ),
            object("/machine/peripheral/net0", "virtio-net-pci", Kind::Device),
            object(
                "/machine/peripheral/net0/virtio-backend",
                "virtio-net-device",
                Kind::Device,
            ),
        ];
        // The name of the section, the type that sends it, and what may be set up otherwise.
        for (section, of_type, expected) in [
            (
                "virtio-net",
                Some("virtio-net-device"),
                [false, false, true, true],
            ),
            ("cpu", None, [false, true, false, false]),
            ("ram", None, [true, false, false, false]),
            ("timer", None, [true, true, false, false]),
        ] {
            let types = of_type.map(str::to_owned).into_iter().collect();
            assert_eq!(concerned(&objects, section, &types), expected, "{section}");
        }
    }
}
