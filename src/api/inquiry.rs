//! The steps that `live` and `check` are made of. Each adds evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::api::config::Guests;
use crate::api::doubts::{self, Wanted};
use crate::api::dumps::{Dumps, dumps, paired_notice};
use crate::api::error::Error;
use crate::api::found::Found;
use crate::api::host_cpu::HostCpu;
use crate::api::opened::{Alone, Opened};
use crate::api::places;
use crate::api::progress::{CaseEvent, Event, Progress};
use crate::api::{
    boot_code, confinement, defaults, driven, firmware, jobs, linux, lone_types, other_boards,
};
use crate::compare::dump::compare::compare;
use crate::compare::streams;
use crate::devices::DeviceSet;
use crate::migration::accelerator::choose;
use crate::migration::checks::state::Names;
use crate::migration::config::{CaseSpec, MigrationConfig, Part};
use crate::migration::coverage::{Observed, Reach, cover};
use crate::migration::diagnosis::layouts;
use crate::migration::diagnosis::link::{adopt_causes, link, link_features, link_symptom};
use crate::migration::diagnosis::properties::{self, ProbeError, suspect};
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::diagnosis::survey::{Survey, survey};
use crate::migration::diagnosis::withdraw::withdraw_moot;
use crate::migration::endpoint::vm::RoleArgs;
use crate::migration::{batch, case};
use crate::model::{Direction, Rule};
use crate::qemu::block_on;
use crate::qemu::properties::Asked;
use crate::report::baseline::mark;
use crate::report::{
    AcceleratorUsed, Case, Coverage, Described, Finding, Notice, NoticeKind, Outcome, Policy,
    Report, notices_of,
};
use crate::rules::catalogue;
use crate::rules::judge::judge;
use crate::rules::known_issues::{KnownIssues, Scope};

/// The evidence that a run has found so far.
pub(crate) struct Inquiry<'i> {
    opened: &'i Opened,
    /// The device sets of the guests.
    sets: Vec<DeviceSet>,
    scope: Scope<'i>,
    policy: &'i Policy,
    guests: &'i Guests,
    findings: Vec<Finding>,
    /// The number of findings that are about devices which the user's own guest does not have.
    other_findings: usize,
    notices: Vec<Notice>,
    described: Option<Described>,
    coverage: Option<Coverage>,
    /// Cases that are not run.
    excluded: Vec<Case>,
    /// The dumps of both builds, once they were written.
    dumps: Option<Dumps>,
    /// The configuration of the guests, once they have moved.
    config: Option<MigrationConfig>,
    specs: Vec<CaseSpec>,
    cases: Vec<Case>,
    /// The streams that were observed in the cases.
    observed: Vec<Observed>,
    /// The machine of each set in turn, before it runs, once both builds were asked.
    surveys: Vec<Result<Survey, ProbeError>>,
    accelerators: Vec<AcceleratorUsed>,
    host_cpu: HostCpu,
    /// The properties that the surveys have.
    surveyed: Option<Asked>,
}

impl<'i> Inquiry<'i> {
    pub(crate) fn new(
        opened: &'i Opened,
        lists: &'i KnownIssues,
        policy: &'i Policy,
        guests: &'i Guests,
    ) -> Inquiry<'i> {
        let scope = Scope::of(
            lists,
            Some(opened.pair.old.info.version),
            Some(opened.pair.new.info.version),
            Some(&opened.machine),
        );
        let machines = &opened.machines;
        let mut notices = firmware::notices([&opened.pair.old, &opened.pair.new]);
        notices.extend(machines.are_paired().then(|| paired_notice(machines)));
        Inquiry {
            opened,
            sets: opened.sets.clone(),
            scope,
            policy,
            guests,
            findings: Vec::new(),
            other_findings: 0,
            notices,
            described: None,
            coverage: None,
            excluded: Vec::new(),
            dumps: None,
            config: None,
            specs: Vec::new(),
            cases: Vec::new(),
            observed: Vec::new(),
            surveys: Vec::new(),
            accelerators: Vec::new(),
            host_cpu: HostCpu::default(),
            surveyed: None,
        }
    }

    /// Has both builds write their dumps. Guests that can be moved are worth more than predictions: a build that writes
    /// none leaves the cases as they are.
    pub(crate) fn obtain_dumps(&mut self) {
        let Opened { pair, machines, .. } = self.opened;
        match dumps(pair, Some(machines.clone())) {
            Ok(dumps) => {
                self.notices.extend(dumps.unreadable());
                self.dumps = Some(dumps.shared());
            }
            Err(error) => {
                let machine = &*self.opened.machine;
                self.notices
                    .push(NoticeKind::DumpsMissing.about(machine, error));
            }
        }
    }

    /// Tells whether a build wrote no dump.
    pub(crate) fn lacks_dumps(&self) -> bool {
        self.dumps.is_none()
    }

    /// Takes the cases of further guests, and returns what was found.
    fn take(&mut self, found: Found) -> Vec<Finding> {
        self.cases.extend(found.cases);
        self.observed.extend(found.observed);
        self.notices.extend(found.notices);
        found.findings
    }

    /// Compares the dumps of both builds.
    pub(crate) fn compare_dumps(&mut self, progress: &dyn Progress) {
        let Some((old, new)) = &self.dumps else {
            return;
        };
        let found = compare(old, new, &self.opened.directions, &self.scope);
        self.findings = judge(found, &self.scope, &self.policy.levels);
        progress.event(Event::Compared {
            findings: &self.findings,
        });
    }

    /// Moves every set in every direction, or in a loop.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub(crate) fn migrate(
        &mut self,
        running: bool,
        logs: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Opened { pair, machine, .. } = self.opened;
        let guests = self.guests;
        let idle = self.opened.idle(guests.workload).filter(|_| running);
        if let Some(why) = idle {
            self.notices
                .push(NoticeKind::NotRunning.about(&**machine, why));
        }
        let running = running && idle.is_none();
        let names = Names::of(&self.scope, pair.arch());
        let mut config = self.opened.config(guests, self.dumps.as_ref(), names, logs);
        config.running = running;
        let used = choose(&mut config, &guests.accelerators)?;
        for capability in guests.capabilities.iter().filter(|of| of.needs_passes()) {
            if used.accelerator.resends() && config.running {
                continue;
            }
            let why = "memory is sent in one pass, and it acts from the second one on";
            self.notices
                .push(NoticeKind::CapabilityIdle.about(capability.to_string(), why));
        }
        self.notices.extend(used.notices());
        self.host_cpu = HostCpu::give(&mut config, &used)?;
        self.notices.extend(self.host_cpu.notice.take());
        self.accelerators.push(used);
        if self.opened.guest.is_none() {
            let found = places::settle(&mut config, std::mem::take(&mut self.sets), guests);
            self.sets = found.sets;
            self.notices.extend(found.notices);
        } else {
            self.notices
                .extend(boot_code::settle(&mut config, &self.sets));
        }
        let (sets, builds) = (&self.sets, &self.opened.builds);
        self.notices
            .extend(driven::equip(&mut config, sets, guests)?);
        let lacking = linux::equip(&mut config, sets, builds, guests, progress)?;
        self.notices.extend(lacking);
        let specs = self.opened.specs(&self.sets, guests);
        let (excluded, specs): (Vec<CaseSpec>, Vec<CaseSpec>) = specs
            .into_iter()
            .partition(|spec| self.policy.excluded(&case::id(&config, spec)).is_some());
        for spec in &excluded {
            let (id, set) = (case::id(&config, spec), &*spec.set.name);
            let devices = config.compose(&spec.set);
            let untried = case::untried(&config, id, set, &devices, spec.direction);
            self.excluded.push(untried);
        }
        progress.event(Event::CasesPlanned(specs.len()));
        let on_event = |subject: batch::Subject<'_>, event: CaseEvent<'_>| {
            progress.event(Event::Case {
                number: subject.number,
                id: subject.id,
                culprit: subject.part != Part::Whole,
                event,
            });
        };
        lone_types::tell_apart(&config, &mut self.findings);
        let jobs = jobs(guests.jobs)?;
        let ran = batch::run(&config, &specs, jobs, on_event)?;
        (self.cases, self.observed) = ran.into_iter().map(|ran| (ran.case, ran.observed)).unzip();
        // The user's own guest has what its description says.
        if self.opened.guest.is_none() {
            let by_default = defaults::ask(&config);
            // Where the machine has another CPU in each build, every guest has its own.
            let directions = &self.opened.directions;
            let means = (jobs, self.scope.lists);
            let settled =
                defaults::settle(&config, &by_default, None, directions, means, |_| None)?;
            let found = self.take(settled);
            self.absorb(found);
            let by_default = || by_default.as_ref().ok();
            other_boards::rule_out(&config, by_default, &mut self.findings);
        }
        self.config = Some(config);
        self.specs = specs;
        Ok(())
    }

    /// Judges findings, and puts them among the others.
    fn absorb(&mut self, found: Vec<Finding>) {
        let found = judge(found, &self.scope, &self.policy.levels);
        properties::absorb(&mut self.findings, found);
    }

    /// Keeps the findings that are about what the user's own guest has, where the run is about one.
    pub(crate) fn keep_own(&mut self) {
        if self.opened.guest.is_none() {
            return;
        }
        let observed = self.observed.iter();
        let plugged = observed
            .clone()
            .flat_map(|guest| guest.types.iter().map(String::as_str));
        // What an option or the board plugs in is in the machine, too.
        let surveyed = self.surveys.iter().flatten();
        let snapshots = surveyed.filter_map(|survey| survey.snapshots.as_ref().ok()?.as_ref());
        let objects = snapshots.flat_map(|of| of.old.objects.iter().chain(&of.new.objects));
        let types: BTreeSet<&str> = objects
            .map(|object| object.type_name.as_str())
            .chain(plugged)
            .collect();
        let mut sent: BTreeSet<&str> = observed
            .flat_map(|guest| guest.sections.iter().map(|sent| sent.vmsd_name.as_str()))
            .collect();
        // Where it is known whose section that is, another type of the same name is not in the guest.
        let dumps = self.dumps.iter().flat_map(|(old, new)| [old, new]);
        for section in dumps.flat_map(|dump| &dump.sections) {
            if types.contains(section.type_name.as_str()) {
                sent.remove(section.description.name.as_str());
            }
        }
        let before = self.findings.len();
        self.findings.retain_mut(|finding| {
            // Others that have the same are as little in the guest.
            finding.keep_sections(|name| types.contains(name))
                || finding
                    .path
                    .first()
                    .is_some_and(|vmsd| sent.contains(vmsd.as_str()))
        });
        self.other_findings = before - self.findings.len();
    }

    /// Ties cases to findings that they prove, and has the lists allow what they allow.
    pub(crate) fn link(&mut self) {
        for case in &mut self.cases {
            let predicted = link(case, &mut self.findings);
            case.allowed_by = self.scope.allows_case(case, predicted);
        }
        defaults::explain(&mut self.cases, &self.findings);
    }

    /// Notes which findings a baseline has: no device is moved for these.
    pub(crate) fn mark_known(&mut self, baseline: Option<&Report>) {
        mark(&mut self.findings, Some(&self.opened.machine), baseline);
    }

    /// Migrates each device that the dumps leave in doubt, or the one that the run is about.
    ///
    /// # Errors
    /// A build does not start any more, or the system gives no runtime.
    pub(crate) fn settle_doubts(
        &mut self,
        alone: Option<&Alone>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Some(config) = &self.config else {
            return Ok(());
        };
        let wanted = match alone {
            None => Wanted::Doubtful,
            Some(Alone::Device(name)) => Wanted::Device(name),
            Some(Alone::Set) => return Ok(()),
        };
        let mut settled = doubts::settle(
            config,
            std::mem::take(&mut self.findings),
            wanted,
            (self.scope, self.policy),
            &self.opened.directions,
            (jobs(self.guests.jobs)?, progress),
        )?;
        self.described = settled.described.take();
        self.findings = self.take(settled);
        Ok(())
    }

    /// Allows the findings that a case which is allowed comes to. A list may allow one for itself.
    pub(crate) fn excuse(&mut self) {
        for case in &self.cases {
            let confirmed = |finding: &&mut Finding| finding.is_confirmed_by(&case.id);
            for finding in self.findings.iter_mut().filter(confirmed) {
                if finding.allowed_by.is_none() {
                    finding.allowed_by.clone_from(&case.allowed_by);
                }
            }
        }
    }

    /// Has both builds save the machine of each set, before it runs, and asks them for some of its properties.
    pub(crate) fn survey(&mut self, asked: Asked) {
        let Some(config) = &self.config else {
            return;
        };
        self.surveyed = Some(asked);
        let sets = self.sets.iter();
        self.surveys = sets.map(|set| probe(survey(config, set, asked))).collect();
    }

    /// Compares how the builds set up the devices of each set.
    pub(crate) fn compare_properties(&mut self) {
        self.compare_snapshots(|_| true, properties::differing);
    }

    /// Compares the features that virtio devices of each set offer. A set that no guest starts with says so
    /// in its cases.
    pub(crate) fn compare_features(&mut self) {
        let has_started = |cases: &[&Case]| cases.iter().any(|case| case.outcome != Outcome::Skip);
        self.compare_snapshots(has_started, properties::dropped_features);
    }

    /// Compares what the surveys say of how each set is set up; `is_due` decides by the cases of a set whether it
    /// is compared.
    fn compare_snapshots(
        &mut self,
        is_due: impl Fn(&[&Case]) -> bool,
        compared: impl Fn(&Snapshots, &[Direction], &str, &KnownIssues) -> Vec<Finding>,
    ) {
        let Opened {
            machine,
            directions,
            ..
        } = self.opened;
        let mut found = Vec::new();
        for (set, survey) in self.sets.iter().zip(&self.surveys) {
            if !is_due(&cases_of(&self.cases, set)) {
                continue;
            }
            let snapshots = survey.as_ref().and_then(|survey| survey.snapshots.as_ref());
            match snapshots {
                Ok(Some(snapshots)) => {
                    found.push(compared(snapshots, directions, machine, self.scope.lists));
                }
                Ok(None) => {}
                Err(error) => self
                    .notices
                    .push(NoticeKind::PropertiesNotCompared.about(&set.name, error)),
            }
        }
        for of_set in found {
            self.absorb(of_set);
        }
    }

    /// Compares what both builds send of each set's machine, before it runs.
    pub(crate) fn compare_streams(&mut self) {
        let dumps = self.dumps.as_ref().map(|(old, new)| (&**old, &**new));
        let mut described = Vec::new();
        for (set, survey) in self.sets.iter().zip(&self.surveys) {
            let streams = survey.as_ref().and_then(|survey| survey.streams.as_ref());
            let (old, new) = match streams {
                Ok(streams) => streams,
                Err(error) => {
                    self.notices
                        .push(NoticeKind::StreamsNotCompared.about(&set.name, error));
                    continue;
                }
            };
            described.extend(dumps.map(|dumps| layouts::described((old, new), dumps)));
            let cases = cases_of(&self.cases, set);
            let found = layouts::findings(
                (old, new),
                dumps,
                &self.opened.directions,
                &self.scope,
                &mut self.findings,
                |finding| layouts::survived(&cases, finding.direction),
            );
            let found = judge(streams::join(found), &self.scope, &self.policy.levels);
            properties::absorb(&mut self.findings, found);
        }
        self.described = Described::join(self.described.take().into_iter().chain(described));
    }

    /// Looks for what the builds set up differently on the devices of cases that nothing else explains.
    pub(crate) fn explain(&mut self) {
        let Some(config) = &self.config else {
            return;
        };
        // A side's own options say nothing of what the builds do.
        let is_of_builds = config.role_args == RoleArgs::default();
        let surveyed = match self.surveyed {
            Some(Asked::Everything) if is_of_builds => self.surveys.as_slice(),
            Some(Asked::Everything | Asked::Features) | None => &[],
        };
        let surveyed: BTreeMap<&str, &Snapshots> = self
            .sets
            .iter()
            .zip(surveyed)
            .filter_map(|(set, survey)| {
                let snapshots = survey.as_ref().ok()?.snapshots.as_ref().ok()?;
                Some((set.name.as_str(), snapshots.as_ref()?))
            })
            .collect();
        let findings = &self.findings;
        let mut cases = self.cases.iter();
        if !cases.any(|case| suspect(case, findings).is_some()) {
            return;
        }
        let senders = properties::senders(self.dumps.as_ref());
        match probe(properties::explain_all(
            config,
            &self.specs,
            &mut self.cases,
            &senders,
            |spec| surveyed.get(spec.set.name.as_str()).copied(),
            self.scope.lists,
            findings,
        )) {
            Ok(found) => {
                adopt_causes(&mut self.cases);
                self.absorb(found);
            }
            // The case has failed nonetheless, and says so.
            Err(error) => self
                .notices
                .push(NoticeKind::FailuresNotExplained.about(&*config.machines, error)),
        }
    }

    /// Ties cases to what differs in what builds sent of their sections, where nothing better explains them.
    pub(crate) fn link_symptoms(&mut self) {
        // What explains the whole explains its parts.
        let explained = Some(Rule::PropertyDefaultChanged);
        let is_explained = |case: &&Case| case.cause.as_ref().is_some_and(|c| c.rule == explained);
        let wholes = self.cases.iter().filter(is_explained);
        let wholes: BTreeSet<String> = wholes.map(|case| case.id.clone()).collect();
        let is_of = |case: &Case| case.part_of.as_ref().is_some_and(|id| wholes.contains(id));
        for case in self.cases.iter_mut().filter(|case| !is_of(case)) {
            if let Some(predicted) = link_symptom(case, &mut self.findings) {
                case.allowed_by = self.scope.allows_case(case, Some(predicted));
            }
        }
        adopt_causes(&mut self.cases);
        self.findings.sort_by_cached_key(Finding::rank);
    }

    /// Ties cases to the features that they failed for, and withdraws findings that better evidence makes moot.
    pub(crate) fn withdraw(&mut self) {
        link_features(&mut self.cases, &mut self.findings);
        withdraw_moot(&self.cases, &mut self.findings);
    }

    /// Counts how much of the sections that the builds know was sent.
    pub(crate) fn cover(&mut self) {
        self.coverage = self.covered();
        if self.coverage.is_none()
            && self.config.is_some()
            && self.dumps.is_some()
            && let Some(why) = self.unread()
        {
            self.notices
                .push(NoticeKind::CoverageUnknown.about(&*self.opened.machine, why));
        }
    }

    /// Returns how much of the sections that the builds know was sent, where that is known.
    pub(crate) fn covered(&self) -> Option<Coverage> {
        let (config, (old, new)) = (self.config.as_ref()?, self.dumps.as_ref()?);
        let reach = Reach::of(config, &self.sets);
        let directions = &self.opened.directions;
        let is_known = self.unread().is_none();
        is_known.then(|| cover([old, new], &self.observed, &reach, directions))
    }

    /// Puts everything into a report, which has no verdict yet.
    pub(crate) fn into_report(self) -> Report {
        let Opened { pair, machines, .. } = self.opened;
        let confinement = confinement::of_pairs([pair]);
        let mut cases = self.cases;
        cases.extend(self.excluded);
        let mut notices = self.notices;
        notices.extend(notices_of(&cases));
        let strangers = confinement::strangers(self.guests);
        notices.extend(strangers.filter_map(|name| confinement::notice(name, &confinement)));
        let mut guest = self.opened.guest.as_ref().map(|guest| guest.report.clone());
        if let (Some(guest), [set]) = (&mut guest, &*self.sets) {
            guest.answer(&cases, &self.findings, &set.name);
            guest.other_findings = self.other_findings;
            self.host_cpu.correct(guest);
        }
        Report {
            rules: catalogue::texts(&self.findings, &cases),
            findings: self.findings,
            cases,
            coverage: self.coverage,
            described: self.described,
            accelerators: self.accelerators,
            confinement,
            notices,
            guest,
            ..Report::new(
                pair.old.reference(),
                pair.new.reference(),
                Some(machines.to_string()),
            )
        }
    }

    /// Returns why nothing of what was sent could be read, although guests moved.
    fn unread(&self) -> Option<String> {
        let sent = self.observed.iter().any(|case| !case.sections.is_empty());
        let mut went = self.cases.iter().filter(|case| !case.legs.is_empty());
        let first = went.next().filter(|_| !sent)?;
        let why = first.state_unchecked.clone();
        Some(why.unwrap_or_else(|| "the stream that was sent could not be read".to_owned()))
    }
}

fn cases_of<'c>(cases: &'c [Case], set: &DeviceSet) -> Vec<&'c Case> {
    let of_set = |case: &&Case| case.device_set == set.name;
    cases.iter().filter(of_set).collect()
}

/// Runs a question to both builds to its end.
fn probe<T>(question: impl Future<Output = Result<T, ProbeError>>) -> Result<T, ProbeError> {
    block_on(question)?
}
