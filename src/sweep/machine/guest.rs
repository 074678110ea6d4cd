//! One guest of a sweep: why it is moved, and the result of that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::compare::explain;
use crate::compare::fidelity::to_be_filled;
use crate::compare::renames::NoRenames;
use crate::compare::streams::CommonWidth;
use crate::culprit::{Item, Trial};
use crate::devices::{Device, DeviceSet};
use crate::migration::calibration::{
    OwnChanges, calibrate, calibrate_control, garbage_of_load, summary,
};
use crate::migration::case::milliseconds;
use crate::migration::checks::changes::{LoadChange, LoadChanges};
use crate::migration::config::MigrationConfig;
use crate::migration::coverage::SentSection;
use crate::migration::diagnosis::explain::explain_refusal;
use crate::migration::diagnosis::layouts;
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::diagnosis::section_override::{self, Overridden};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::run::RunSpec;
use crate::model::{Direction, Route, SectionName};
use crate::qemu::MallocFill;
use crate::report::PassesWith;
use crate::stream::Stream;
use crate::stream::section_override::SectionOverride;
use crate::sweep::machine::run::{Calibration, Run};
use crate::sweep::pairing::beside;
use crate::sweep::target::SweepTarget;

/// More than the weight of any guest: a task that others wait for comes first.
const FIRST: usize = 10_000;

/// Something to do on one machine.
#[derive(Debug)]
pub(crate) struct Task {
    pub purpose: Purpose,
    pub guest: Guest,
}

/// A guest that is to be moved.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub route: Route,
    pub set: DeviceSet,
    /// Sections that the destination is given from its own build.
    pub section_override: Option<Arc<SectionOverride>>,
    /// Options that one build is given.
    pub with: Option<PassesWith>,
    /// The changes of the machine by itself, so that they are not attributed to its devices.
    pub tolerated: Arc<LoadChanges>,
    /// The pages that the builds are known to change by themselves in its devices: they are tolerated too.
    pub known: OwnChanges,
}

/// The reason to move a guest.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// Move the machine without any device, and ask what one could be plugged into.
    BareMachine,
    /// Move the machine without any device from a build to itself, since a stream of it was refused.
    BareControl,
    /// Look for what keeps a machine, which failed like this, from migrating.
    FindOverride(Arc<Run>),
    /// Move a pack between the builds.
    Search {
        trial: Trial,
        /// Set where what arrives is to show which devices are likely to fail on the way back.
        goes_back: bool,
        /// Set if it has virtio devices that were not asked for their features yet.
        features: bool,
        /// A failure is asked for lengths that several devices have in common, until some are known.
        widths: Arc<AtomicBool>,
        calibration: Calibration,
    },
    /// Move culprits from a build to itself.
    Control(Trial),
    /// Explain the refusal of a culprit.
    Explain {
        item: Item,
        run: Arc<Run>,
        /// A stream of the build that was to take it, of the same devices.
        expected: Option<Arc<Stream>>,
    },
    /// Calibrate the run of a culprit, whose control showed that a build changes it by itself.
    Calibrate {
        item: Item,
        run: Arc<Run>,
        /// What each build changes in it, where both controls were its own.
        controls: Option<OwnChanges>,
    },
    /// Move a device, of which a load is suspected to leave garbage in one of these, with other contents of uninitialised
    /// memory.
    Refill(Item, BTreeSet<LoadChange>),
    /// Move the devices that fail only together, by their place in the list: from a build to itself, and once more between
    /// the builds, to explain the failure.
    Group(usize),
    /// Move once more a device of which a build died, from a build to itself.
    ControlAgain(Item),
    /// Move once more, and alone, a device that came through and may have done so by chance.
    TryAgain(Item),
    /// Move once more a device that failed alone, to see whether it fails every time.
    Repeat(Item),
}

impl Guest {
    /// Makes a guest of which nothing is known.
    pub(crate) fn new(route: Route, set: DeviceSet) -> Guest {
        Guest {
            route,
            set,
            section_override: None,
            with: None,
            tolerated: Arc::default(),
            known: OwnChanges::new(),
        }
    }

    /// Returns how it is started and compared.
    pub(crate) fn launch(&self, config: &MigrationConfig) -> LaunchSpec {
        LaunchSpec {
            section_override: self.section_override.clone(),
            tolerated: self.all_tolerated(),
            ..config.launch(config.compose(&self.set).args)
        }
    }

    fn all_tolerated(&self) -> Arc<LoadChanges> {
        if self.known.is_empty() {
            return Arc::clone(&self.tolerated);
        }
        let mut tolerated = LoadChanges::clone(&self.tolerated);
        tolerated.extend(self.known.keys().cloned());
        Arc::new(tolerated)
    }
}

impl Task {
    /// Returns how long the guest takes, beside others: memory that is plugged in is compared as well.
    pub(crate) fn weight(&self) -> usize {
        if matches!(
            self.purpose,
            Purpose::BareMachine | Purpose::BareControl | Purpose::FindOverride(_)
        ) {
            return FIRST;
        }
        let devices = &self.guest.set.devices;
        let is_memory = |device: &Device| device.board_options().any(|(option, _)| option == "-m");
        let memory = devices.iter().filter(|device| is_memory(device));
        devices.len() + 100 * memory.count()
    }

    /// Returns the device types that share the guest.
    fn shared_by(&self) -> &[Item] {
        match &self.purpose {
            Purpose::Search { trial, .. } | Purpose::Control(trial) => &trial.items,
            _ => &[],
        }
    }

    /// Tells whether values that differ are compared with the changes that each build makes to
    /// itself. That is so for failures between the builds; controls are what they are compared
    /// with.
    fn is_calibrated(&self) -> bool {
        let across = self.guest.route.direction().is_some();
        let is_due = match self.purpose {
            Purpose::BareMachine
            | Purpose::Calibrate { .. }
            | Purpose::TryAgain(_)
            | Purpose::Group(_) => true,
            Purpose::Search { calibration, .. } => calibration == Calibration::AtOnce,
            _ => false,
        };
        across && is_due
    }

    /// Tells whether a failure of this is explained at once. That of a device is when its kind is known.
    fn is_explained(&self) -> bool {
        match &self.purpose {
            Purpose::BareMachine | Purpose::Group(_) => self.guest.route.direction().is_some(),
            Purpose::Calibrate { .. } => true,
            _ => false,
        }
    }

    /// Tells whether a failure of this is that of a single device, which may have to be explained later.
    fn is_of_one(&self) -> bool {
        match &self.purpose {
            Purpose::Search { trial, .. } => trial.items.len() == 1,
            Purpose::TryAgain(_) => true,
            _ => false,
        }
    }

    /// Returns how many guests it moves for certain: some begin with one that was moved.
    pub(crate) fn guests(&self) -> usize {
        match self.purpose {
            Purpose::Explain { .. } | Purpose::Calibrate { .. } => 0,
            Purpose::Refill(..) => MallocFill::BOTH.len(),
            _ => 1,
        }
    }
}

#[derive(Debug)]
pub(crate) enum TaskResult {
    Moved(Moved),
    /// What it takes for the machine to migrate, if there is something.
    Override(Option<Overridden>),
    /// The run of a culprit that takes the place of the one before: with the explanation of its failure, or one that
    /// shows what a load leaves garbage in, if it does.
    Corrected(Option<Arc<Run>>),
}

/// A guest that was moved, or not.
#[derive(Debug)]
pub(crate) struct Moved {
    pub run: Arc<Run>,
    /// The stream of the first source, where it got that far.
    pub stream: Option<Arc<Stream>>,
    /// The lengths that several devices have in common, as far as a pack that failed was asked for them.
    pub widths: Vec<CommonWidth>,
    /// The features of its virtio devices in both builds, where it was asked.
    pub features: Option<Snapshots>,
    /// The changes that the builds were seen to make to themselves.
    pub own_changes: OwnChanges,
    /// Guests that were moved besides that one, to see what each build does to itself.
    pub calibration: usize,
}

/// Returns source and destination of a route.
pub(crate) fn endpoints(config: &MigrationConfig, route: Route) -> [&Endpoint; 2] {
    let (source, destination) = route.source_destination(&config.old, &config.new);
    [source, destination]
}

/// Does a task, on a worker.
pub(crate) async fn perform(target: &SweepTarget, task: &Task) -> TaskResult {
    let begun = Instant::now();
    let guest = &task.guest;
    let changed = guest.with.as_ref().map(|with| with.taken(&target.config));
    let config = changed.as_ref().unwrap_or(&target.config);
    let launch = LaunchSpec {
        survey: matches!(task.purpose, Purpose::BareMachine),
        features: matches!(task.purpose, Purpose::Search { features: true, .. }),
        ..guest.launch(config)
    };
    let spec = RunSpec {
        config,
        launch: &launch,
        route: &endpoints(config, guest.route),
        direction: guest.route.direction().unwrap_or(Direction::Forward),
    };
    match &task.purpose {
        Purpose::FindOverride(failed) => {
            TaskResult::Override(section_override::find(spec, &failed.attempt).await)
        }
        Purpose::Explain { run, expected, .. } => {
            let mut run = Run::clone(run);
            let refused = run.attempt.state.refused.as_ref();
            let expected = expected.as_ref().zip(refused);
            let expected = expected.map(|(more, refused)| beside(more, refused));
            explain_refusal(spec, &mut run.attempt, expected).await;
            TaskResult::Corrected(Some(Arc::new(run)))
        }
        Purpose::Refill(_, among) => {
            let found = garbage_of_load(spec, among).await;
            let run = found.map(|attempt| Run {
                attempt,
                elapsed_ms: milliseconds(begun),
                ..Run::default()
            });
            TaskResult::Corrected(run.map(Arc::new))
        }
        _ => TaskResult::Moved(moved(task, spec, begun).await),
    }
}

/// Moves the guest of a task, and finds out what it is moved for.
async fn moved(task: &Task, spec: RunSpec<'_>, begun: Instant) -> Moved {
    let (config, guest) = (spec.config, &task.guest);
    let mut attempt = match &task.purpose {
        Purpose::Calibrate { run, .. } => run.attempt.clone(),
        _ => spec.run().await,
    };
    // Only the first guest is asked, whatever it takes to explain it.
    let (buses, features) = (attempt.buses.take(), attempt.features.take());
    let launch = spec.launch.unasked();
    let spec = RunSpec {
        launch: &launch,
        ..spec
    };
    let mut own_changes = OwnChanges::new();
    let mut calibration = 0;
    let mut differing = LoadChanges::default();
    let calibrated = if task.is_calibrated() {
        let controls = match &task.purpose {
            Purpose::Calibrate { controls, .. } => controls.clone(),
            _ => None,
        };
        Ok(calibrate(spec, attempt, controls, &|_| {}).await)
    } else if matches!(task.purpose, Purpose::BareControl) {
        // What a load changes in any case is no failure of a control, and not what the stream was refused for.
        Ok(calibrate_control(spec, spec.route[0], attempt).await)
    } else {
        Err(attempt)
    };
    let mut attempt = match calibrated {
        Ok(calibrated) => {
            own_changes = calibrated.known;
            differing = LoadChanges::clone(&calibrated.launch.tolerated);
            differing.extend(calibrated.run.only_changes().into_iter().flatten());
            calibration = calibrated.guests;
            calibrated.run
        }
        Err(attempt) => attempt,
    };
    attempt.buses = buses;
    let streams = [&attempt.state.first, &attempt.state.refused];
    let sent = streams.into_iter().flatten().flat_map(SentSection::all);
    let sent = sent.collect();
    if task.is_explained() {
        explain_refusal(spec, &mut attempt, None).await;
    }
    let widths = match &task.purpose {
        Purpose::Search { trial, widths, .. }
            if trial.items.len() > 1 && attempt.failed() && !widths.load(Ordering::Relaxed) =>
        {
            let found = layouts::common_widths(config, &guest.set).await;
            let found = found.unwrap_or_default();
            widths.fetch_or(!found.is_empty(), Ordering::Relaxed);
            found
        }
        _ => Vec::new(),
    };
    // What many devices share is sent from each build once; what is alone has controls that begin with it.
    if task.shared_by().len() > 1 {
        config.saved.forget(spec.route[0], &launch);
    }
    // A stream that is not needed any more is not kept.
    let state = &mut attempt.state;
    state.refused.take_if(|_| !task.is_of_one());
    let (first, arrived) = (state.first.take(), state.arrived.take());
    let likely_refused = match (&task.purpose, &first, &arrived) {
        (
            Purpose::Search {
                goes_back: true, ..
            },
            Some(first),
            Some(arrived),
        ) => likely_refused(config, spec.direction.reversed(), first, arrived),
        _ => BTreeSet::new(),
    };
    let mut changed_by_load = guest.known.clone();
    changed_by_load.extend(own_changes.clone());
    let overridden = guest.section_override.iter().flat_map(|of| of.names());
    let overridden = overridden.map(|name| SectionName::new(name).vmsd_name().to_owned());
    let not_whole = overridden
        .chain(differing.misplaced().map(str::to_owned))
        .collect();
    Moved {
        run: Arc::new(Run {
            sent,
            likely_refused,
            attempt,
            elapsed_ms: milliseconds(begun),
            shared_by: task.shared_by().to_vec(),
            changed_by_load: summary(&changed_by_load),
            calibration: match task.purpose {
                Purpose::Search { calibration, .. } => calibration,
                _ => Calibration::AtOnce,
            },
            not_whole: Arc::new(not_whole),
            differing: Arc::new(differing),
        }),
        stream: first.map(Arc::new),
        widths,
        features,
        own_changes,
        calibration,
    }
}

/// Returns the sections, of those that `arrived`, that the build that sent it `first` would refuse
/// if it came back, or would fill from padding.
fn likely_refused(
    config: &MigrationConfig,
    back: Direction,
    first: &Stream,
    arrived: &Stream,
) -> BTreeSet<SectionName> {
    let home = back.source_destination(&config.old, &config.new).1;
    let expected = (first, home.dump.as_deref());
    let refused = explain::likely_refused(arrived, expected, &NoRenames, back);
    let refused = refused.into_iter().map(|section| section.name.clone());
    let filled = to_be_filled(arrived, first, config.names.of_leg(back));
    let filled = filled.into_iter().map(|filling| filling.section);
    refused.chain(filled).collect()
}
