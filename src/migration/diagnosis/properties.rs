//! Asking two builds how they set up the same machine, and explaining failed cases by what differs.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use crate::migration::case;
use crate::migration::config::{CaseSpec, MigrationConfig};
use crate::migration::diagnosis::property_diff::{
    Compared, Difference, How, Snapshots, compare, findings,
};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
use crate::migration::leg::save::{NewMachine, save_new_machine};
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::{Direction, RAM, Rule, SectionName};
use crate::qemu::object::{Kind, Object};
use crate::qemu::properties::Snapshot;
use crate::qemu::{StartError, Subject, private_dir};
use crate::report::{Case, Cause, Confirmation, Evidence, Finding, Level, Outcome};
use crate::rules::known_issues::KnownIssues;
use crate::vmstate::dump::Dump;

/// The QOM types that send sections of a name, by vmsd name. Of either build or of both.
pub(crate) type Senders = BTreeMap<String, BTreeSet<String>>;

/// Starts the machine in both builds and asks both. It never runs. Of the objects, those are asked that have to do with
/// a section, or all.
///
/// # Errors
/// A build does not start, or breaks while it is asked.
async fn ask(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    section: Option<(&str, &Senders)>,
) -> Result<Snapshots, StartError> {
    let launch = &launch.of_builds();
    let snapshot = async |endpoint: &Endpoint| {
        let mut about: Vec<OsString> = Vec::new();
        if let Some((section, senders)) = section {
            about.push(section.into());
            let types = senders.get(section).into_iter().flatten();
            about.extend(types.map(OsString::from));
        }
        let relevant = |objects: &[Object]| match section {
            Some((section, senders)) => concerned(objects, section, senders),
            None => vec![true; objects.len()],
        };
        let ask = snapshot(endpoint, launch, relevant);
        endpoint
            .answer(launch, Subject::Properties, about, ask)
            .await
    };
    let (old, new) = tokio::join!(snapshot(&config.old), snapshot(&config.new));
    Ok(Snapshots {
        old: old?,
        new: new?,
    })
}

/// Starts the machine in one build and asks it.
async fn snapshot(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    relevant: impl Fn(&[Object]) -> Vec<bool>,
) -> Result<Snapshot, StartError> {
    let no_folder = |error: io::Error| StartError::quiet(&endpoint.build, error);
    let folder = private_dir().map_err(no_folder)?;
    launch.prepare(folder.path()).map_err(no_folder)?;
    let vm = Vm::start(endpoint, launch, Role::First, folder.path(), 0).await?;
    let session = &vm.monitored.session;
    match Snapshot::take(session, vm.command, &relevant).await {
        Ok(mut snapshot) => {
            vm.ask_offers(&mut snapshot).await;
            vm.monitored.quit(vm.command).await;
            Ok(snapshot.without_folder(folder.path()))
        }
        Err(problem) => Err(vm.monitored.explain(problem).await),
    }
}

/// Marks the objects that have to do with the section of a failure: its device, the objects that
/// contain it and those that it contains. A section of no device belongs to the machine or its
/// CPUs. Without a dump nobody knows which section is of a device.
fn concerned(objects: &[Object], section: &str, senders: &Senders) -> Vec<bool> {
    let is_cpu = is_of_cpu(section);
    let types = senders.get(section);
    let is_of_no_device = types.is_none() && !senders.is_empty();
    let hits: Vec<&str> = objects
        .iter()
        .filter(|object| types.is_some_and(|types| types.contains(&object.type_name)))
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
            Kind::Machine if section == RAM => true,
            Kind::Cpu if is_cpu => true,
            Kind::Machine | Kind::Cpu if section == RAM || is_cpu => false,
            Kind::Machine | Kind::Cpu if is_of_no_device => true,
            // A model that the machine could have sends nothing.
            Kind::Machine | Kind::CpuModel => false,
            Kind::Cpu | Kind::Device => hits
                .iter()
                .any(|hit| below(hit, &object.path) || below(&object.path, hit)),
        })
        .collect()
}

pub(crate) fn is_of_cpu(section: &str) -> bool {
    matches!(section, "cpu" | "cpu_common")
}

/// Tells whether a section is of what every machine has: memory and CPUs.
pub(crate) fn is_of_board(section: &str) -> bool {
    section == RAM || is_of_cpu(section)
}

/// Returns the cause of a case that failed in a way that a difference in set-up can explain. What no dump has told may be
/// what the set-up brings about.
pub(crate) fn suspect<'c>(case: &'c Case, findings: &[Finding]) -> Option<&'c Cause> {
    let cause = case.cause.as_ref()?;
    let is_told = |rule: Rule| {
        let section = cause.section.as_ref().map(SectionName::vmsd_name);
        let mut findings = findings.iter();
        rule.is_of_version()
            || matches!(rule, Rule::PropertyDefaultChanged | Rule::FeatureDropped)
            || findings.any(|finding| {
                finding.rule == rule
                    && finding.evidence != Evidence::Stream
                    && section.is_some_and(|section| finding.is_about(section))
            })
    };
    (matches!(case.outcome, Outcome::Fail | Outcome::Lost)
        && !cause.rule.is_some_and(is_told)
        // A feature that a driver accepted is named by the build itself.
        && cause.features.is_empty()
        // What explains another one of its kind explains it.
        && case.same_as.is_none()
        && cause.section.is_some())
    .then_some(cause)
}

/// Looks for properties that are set up differently on the device of a failed section, and links
/// them to the case: the case confirms the findings, and its cause names them. Returns nothing
/// where the case did not fail in such a way, or is explained already. The builds are not asked where all properties of
/// the machine are `known`.
///
/// # Errors
/// A build does not start any more.
pub(crate) async fn explain(
    case: &mut Case,
    config: &MigrationConfig,
    launch: &LaunchSpec,
    senders: &Senders,
    known: Option<&Snapshots>,
    lists: &KnownIssues,
    findings: &[Finding],
) -> Result<Vec<Finding>, StartError> {
    let Some(cause) = suspect(case, findings).cloned() else {
        return Ok(Vec::new());
    };
    let Some(name) = cause.section.as_ref().map(SectionName::vmsd_name) else {
        return Ok(Vec::new());
    };
    let block = cause.field.as_ref().filter(|_| name == RAM);
    let about = block.is_none().then_some((name, senders));
    let snapshots = match (known, about) {
        (Some(known), Some((name, senders))) => known
            .clone()
            .only(|objects| concerned(objects, name, senders)),
        (Some(known), None) => known.clone(),
        (None, about) => ask(config, launch, about).await?,
    };
    let snapshots = match block {
        Some(block) => snapshots.owners_of(block),
        None => snapshots,
    };
    let differences = compare(&snapshots, Compared::Everything, lists);
    if let (Some(cause), Some(block), true) = (&mut case.cause, block, differences.is_empty()) {
        let is_boot_code = SectionName::new(block).is_of_boot_code();
        let (file, what) = match rom_behind(&snapshots).filter(|_| is_boot_code) {
            Some(file) => (Some(file), " (`romfile`)"),
            None => (firmware(config, launch, block).await, ""),
        };
        cause.file = file;
        if let Some(file) = &cause.file {
            cause.message.push_str(&format!(
                "; its contents are those of the file {file}{what} that comes with each build"
            ));
        }
    }
    let offered = offered(&differences);
    let is_guess = |of: &&Difference| matches!(of.how, How::Added { .. });
    let machine = &config.machines;
    let at_rest = AtRest::of(config, launch, case.last_direction());
    // The machine and other devices decide which sections there are, what they are called, and what a device can be.
    let of_all = async || {
        let whole = match known {
            Some(known) => known.clone(),
            None => ask(config, &at_rest.launch, None).await?,
        };
        let differences = compare(&whole, Compared::Values, lists);
        Ok::<_, StartError>(needed(differences, &at_rest).await)
    };
    if let Some(rule) = cause.rule {
        // It is known what differs: what brings that about has to be shown.
        let is_lone = matches!(rule, Rule::SectionAdded | Rule::SectionRemoved);
        if offered.is_empty() && !is_lone || at_rest.passes_as_it_is().await {
            return Ok(Vec::new());
        }
        let proven = proven(&offered, &at_rest).await;
        if !proven.is_empty() || !is_lone {
            return Ok(link(case, &proven, machine));
        }
        let needed = of_all().await?;
        return Ok(link(case, &needed.iter().collect::<Vec<_>>(), machine));
    }
    let can_be_tried = offered.iter().all(|of| of.as_in_old().is_some());
    if block.is_none()
        && can_be_tried
        && !at_rest.passes_as_in_old(&offered).await
        && (offered.is_empty() || !at_rest.passes_as_it_is().await)
    {
        // What differs in the device, if anything, is what something else makes of it.
        let needed = of_all().await?;
        if !needed.is_empty() {
            return Ok(link(case, &needed.iter().collect::<Vec<_>>(), machine));
        }
    }
    let blamed = match offered.iter().filter(|of| is_guess(of)).count() {
        0 | 1 => Vec::new(),
        _ => to_blame(&offered, &cause, at_rest.clone()).await,
    };
    let offered = match blamed.is_empty() {
        true => not_ruled_out(offered, &cause, &at_rest).await,
        false => blamed,
    };
    Ok(link(case, &offered, machine))
}

/// Returns the file that the owner of a block of memory reads it from in both builds, if there is one; each build may come
/// with a file of its own.
fn rom_behind(snapshots: &Snapshots) -> Option<String> {
    let file_of = |snapshot: &Snapshot| {
        let mut files = snapshot.objects.iter().filter_map(|object| {
            let file = object.properties.get("romfile")?.value.as_str()?;
            (!file.is_empty()).then(|| file.to_owned())
        });
        files.next()
    };
    let (file, _) = file_of(&snapshots.old).zip(file_of(&snapshots.new))?;
    Some(file)
}

/// Returns the file of the firmware that a machine has in a block of memory in both builds before anything runs, if it has any.
async fn firmware(config: &MigrationConfig, launch: &LaunchSpec, block: &str) -> Option<String> {
    let launch = &launch.of_builds();
    let file = async |endpoint: &Endpoint| -> Result<Option<String>, String> {
        let machine = NewMachine::start(endpoint, launch).await?;
        let found = machine.file_in(block).await;
        machine.end().await;
        found
    };
    // What they do not say explains nothing.
    let (old, new) = tokio::try_join!(file(&config.old), file(&config.new)).ok()?;
    old.filter(|old| new.as_ref() == Some(old))
}

/// Returns the differences that may explain a failure.
fn offered(differences: &[Difference]) -> Vec<&Difference> {
    // A property that one build alone has is a guess, for where there is nothing better.
    let certain = |d: &&Difference| matches!(d.how, How::Changed { .. } | How::OtherCpu { .. });
    let offered: Vec<&Difference> = differences.iter().filter(certain).collect();
    match offered.is_empty() {
        true => differences.iter().collect(),
        false => offered,
    }
}

/// Leaves the differences in switches of the new build that have to do with where the two builds' own sections part: with
/// such a switch the other way, they part later or nowhere. Where the load is refused in that section even so, there are
/// others.
async fn to_blame<'d>(
    offered: &[&'d Difference],
    cause: &Cause,
    mut at_rest: AtRest,
) -> Vec<&'d Difference> {
    let launch = at_rest.launch.clone();
    let deadline = at_rest.config.timeouts.leg;
    let saved = async |endpoint: &Endpoint| {
        let saved = save_new_machine(endpoint, &launch, deadline).await;
        let saved = saved.ok()?;
        let mut sections = saved.devices().filter(|section| {
            let place = (Some(&section.name), Some(u64::from(section.instance_id)));
            place == (cause.section.as_ref(), cause.instance)
        });
        sections.next().map(|section| section.payload.clone())
    };
    let Some(old) = saved(&at_rest.config.old).await else {
        return Vec::new();
    };
    let alike = async |endpoint: &Endpoint| {
        let new = saved(endpoint).await?;
        Some(old.iter().zip(&new).take_while(|(a, b)| a == b).count())
    };
    let (mut blamed, mut rest) = (Vec::new(), offered.to_vec());
    while let Some(as_it_is) = alike(&at_rest.config.new).await {
        let mut options = Vec::new();
        let mut others = Vec::new();
        for difference in rest {
            let Some(other) = difference.other_way() else {
                others.push(difference);
                continue;
            };
            let turned = at_rest.given([other.clone()]);
            if alike(&turned.config.new).await > Some(as_it_is) {
                blamed.push(difference);
                options.push(other);
            } else {
                others.push(difference);
            }
        }
        if options.is_empty() || others.is_empty() {
            break;
        }
        rest = others;
        at_rest = at_rest.given(options);
        // What else differs may be nothing that a load looks at.
        if !at_rest.fails_in(cause).await {
            break;
        }
    }
    blamed
}

/// Leaves out the switches of the new build without which the guest fails in the same place, too.
async fn not_ruled_out<'d>(
    mut offered: Vec<&'d Difference>,
    cause: &Cause,
    at_rest: &AtRest,
) -> Vec<&'d Difference> {
    let others: Vec<[String; 2]> = offered.iter().filter_map(|of| of.other_way()).collect();
    if !others.is_empty() && at_rest.given(others).fails_in(cause).await {
        offered.retain(|of| of.other_way().is_none());
    }
    offered
}

/// Returns the values that changed with each of which a guest that fails as it is passes where the new build has the old one's.
async fn proven<'d>(offered: &[&'d Difference], at_rest: &AtRest) -> Vec<&'d Difference> {
    let mut proven = Vec::new();
    for &difference in offered {
        if at_rest.passes_as_in_old(&[difference]).await {
            proven.push(difference);
        }
    }
    proven
}

/// Returns those values that changed which have to be the old build's for a guest to pass that fails as it is; none where it
/// does not pass with all of them.
async fn needed(mut needed: Vec<Difference>, at_rest: &AtRest) -> Vec<Difference> {
    needed.retain(|of| of.as_in_old().is_some());
    if needed.is_empty() || !at_rest.passes_as_in_old(&needed).await {
        return Vec::new();
    }
    // Halves that are not needed go at once.
    let mut step = needed.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < needed.len() {
            let end = (at + step).min(needed.len());
            let others = [&needed[..at], &needed[end..]].concat();
            if at_rest.passes_as_in_old(&others).await {
                needed = others;
            } else {
                at = end;
            }
        }
        if step <= 1 {
            return needed;
        }
        step = step.div_ceil(2);
    }
}

/// The move of a machine that does not run: no guest, and nothing that one side alone is given.
#[derive(Clone)]
struct AtRest {
    config: MigrationConfig,
    launch: LaunchSpec,
    direction: Direction,
}

impl AtRest {
    fn of(config: &MigrationConfig, launch: &LaunchSpec, direction: Direction) -> AtRest {
        AtRest {
            config: MigrationConfig {
                running: false,
                linux: None,
                loops: None,
                capabilities: Vec::new(),
                ..config.clone()
            },
            launch: launch.of_builds(),
            direction,
        }
    }

    /// Gives the new build options.
    fn given(&self, options: impl IntoIterator<Item = [String; 2]>) -> AtRest {
        let mut given = self.clone();
        given.config.new.args.extend(options.into_iter().flatten());
        given
    }

    /// Tells whether it passes by itself: what a run makes fail, no value is shown to mend.
    async fn passes_as_it_is(&self) -> bool {
        self.moved().await.outcome == Outcome::Pass
    }

    /// Tells whether it passes where the new build has the old one's values of these, if any.
    async fn passes_as_in_old(&self, differences: &[impl Borrow<Difference>]) -> bool {
        let differences = differences.iter().map(Borrow::borrow);
        let options: Option<Vec<[String; 2]>> = differences.map(Difference::as_in_old).collect();
        match options {
            Some(options) => self.given(options).passes_as_it_is().await,
            None => false,
        }
    }

    async fn moved(&self) -> RunResult {
        let route = self.config.route(self.direction);
        let run = RunSpec {
            config: &self.config,
            launch: &self.launch,
            route: &route,
            direction: self.direction,
        };
        Box::pin(run.run()).await
    }

    /// Tells whether it fails in the section of this cause.
    async fn fails_in(&self, cause: &Cause) -> bool {
        let again = self.moved().await.cause;
        let place = |cause: &Cause| (cause.section.clone(), cause.instance);
        again.as_ref().map(place) == Some(place(cause))
    }
}

/// Makes differences the explanation of a failed case.
fn link(case: &mut Case, offered: &[&Difference], machine: &str) -> Vec<Finding> {
    let direction = case.last_direction();
    let Some(cause) = case.cause.as_mut().filter(|_| !offered.is_empty()) else {
        return Vec::new();
    };
    cause.rule = Some(Rule::PropertyDefaultChanged);
    // A part of a device and the whole have a property in common.
    let mut messages: Vec<String> = Vec::new();
    for difference in offered {
        let message = difference.message(machine);
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    let more = messages.len().saturating_sub(LISTED);
    messages.truncate(LISTED);
    cause.message.push_str("; ");
    cause.message.push_str(&messages.join("; "));
    if more > 0 {
        cause
            .message
            .push_str(&format!("; and {more} more properties"));
    }
    offered
        .iter()
        .map(|difference| Finding {
            level: Level::Warning,
            confirmed_by: Some(Confirmation::Case(case.id.clone())),
            ..difference.finding(direction, machine)
        })
        .collect()
}

/// Properties that a case's cause lists; there are findings of all.
const LISTED: usize = 3;

/// Collects which types of these dumps send sections of which names.
pub(crate) fn senders(dumps: Option<&(Arc<Dump>, Arc<Dump>)>) -> Senders {
    let mut senders = Senders::new();
    let dumps = dumps.into_iter().flat_map(|(old, new)| [old, new]);
    for section in dumps.flat_map(|dump| &dump.sections) {
        senders
            .entry(section.description.name.clone())
            .or_default()
            .insert(section.type_name.clone());
    }
    senders
}

/// Finds the properties that the builds set up differently: notes, and warnings of features that are not
/// offered on the other side.
pub(crate) fn differing(
    snapshots: &Snapshots,
    directions: &[Direction],
    machine: &str,
    lists: &KnownIssues,
) -> Vec<Finding> {
    let differences = compare(snapshots, Compared::Values, lists);
    findings(&differences, directions, machine)
}

/// Finds the features that a virtio device of one build alone offers.
pub(crate) fn dropped_features(
    snapshots: &Snapshots,
    directions: &[Direction],
    machine: &str,
    lists: &KnownIssues,
) -> Vec<Finding> {
    let mut differences = compare(snapshots, Compared::Values, lists);
    differences.retain(|difference| difference.feature_dropped().is_some());
    findings(&differences, directions, machine)
}

/// Tells whether a switch that may turn on a feature is set up differently. What the devices offer decides
/// whether it does.
pub(crate) fn may_drop_features(snapshots: &Snapshots) -> bool {
    let differences = compare(snapshots, Compared::Values, &KnownIssues::default());
    let mut differences = differences.iter();
    differences.any(|difference| difference.feature_dropped().is_some())
}

/// Explains all cases of a run by [`explain()`]; `specs` are what they or the wholes of which they are parts were made of, and
/// `known` has all properties of the machine of some.
///
/// # Errors
/// A build does not start any more.
pub(crate) async fn explain_all<'s>(
    config: &MigrationConfig,
    specs: &[CaseSpec],
    cases: &mut [Case],
    senders: &Senders,
    known: impl Fn(&CaseSpec) -> Option<&'s Snapshots>,
    lists: &KnownIssues,
    findings: &[Finding],
) -> Result<Vec<Finding>, ProbeError> {
    let mut all = Vec::new();
    let suspects = cases.iter_mut();
    for case in suspects.filter(|case| suspect(case, findings).is_some()) {
        let whole = case.part_of.as_ref().unwrap_or(&case.id);
        let Some(spec) = specs.iter().find(|spec| case::id(config, spec) == *whole) else {
            continue;
        };
        let part = case.part_of.as_ref().and_then(|_| {
            let ids: Vec<&str> = case.devices.iter().map(String::as_str).collect();
            spec.set.select(&ids).ok()
        });
        let set = part.as_ref().unwrap_or(&spec.set);
        let launch = config.launch(config.compose(set).args);
        let known = known(spec);
        let found = explain(case, config, &launch, senders, known, lists, findings);
        all.extend(found.await?);
    }
    Ok(all)
}

/// A build could not be asked how it sets a machine up, or what it sends of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("no runtime: {0}")]
    Runtime(#[from] io::Error),
    /// A machine that never runs does not start, does not save itself or does not answer.
    #[error("{0}")]
    NewMachine(String),
}

/// Adds findings that cases confirmed to those that are there already. One that is among them only
/// gets the confirmation.
pub(crate) fn absorb(findings: &mut Vec<Finding>, confirmed: Vec<Finding>) {
    for finding in confirmed {
        let known = findings.iter_mut().find(|known| {
            known.is_same_difference(&finding)
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
    fn a_section_has_its_device_and_what_that_is_a_part_of() {
        let object = |path: &str, type_name: &str, kind| Object {
            path: path.to_owned(),
            type_name: type_name.to_owned(),
            kind,
            ..Object::default()
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
        let dumped: Senders = [
            ("virtio-net", "virtio-net-device"),
            // A type that one build names otherwise, or that no guest of this machine has.
            ("sd-card", "sd-card"),
        ]
        .map(|(section, of)| (section.to_owned(), [of.to_owned()].into()))
        .into();
        let no_dump = Senders::new();
        // The name of the section, what the dumps tell of its device, and what may be set up otherwise.
        for (section, senders, expected) in [
            ("virtio-net", &dumped, [false, false, true, true]),
            ("cpu", &dumped, [false, true, false, false]),
            ("ram", &dumped, [true, false, false, false]),
            ("timer", &dumped, [true, true, false, false]),
            ("sd-card", &dumped, [false; 4]),
            ("sd-card", &no_dump, [false; 4]),
            ("timer", &no_dump, [false; 4]),
            ("cpu", &no_dump, [false, true, false, false]),
            ("ram", &no_dump, [true, false, false, false]),
        ] {
            assert_eq!(concerned(&objects, section, senders), expected, "{section}");
        }
    }
}
