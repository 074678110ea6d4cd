//! The builds of a sweep, as far as they are available, and their machines.

use crate::api::config::SweepConfig;
use crate::api::confinement;
use crate::api::dumps::{Dumps, dumps};
use crate::api::error::{Error, Problem};
use crate::api::network::best_of;
use crate::migration::channel::transport::Transport;
use crate::model::BuildRef;
use crate::qemu::{BuildArg, FetchWatcher, Means, NoCommonMachine, Pair, machine};
use crate::report::{Notice, NoticeKind};
use crate::rules::known_issues::{KnownIssues, Scope};
use crate::sweep::selection::Machines::{Named as ByName, Usual, Versioned};
use crate::sweep::selection::{
    AvailableMachine, MachineSelection, ResolvedMachines, UnavailableMachine, resolve,
};
use crate::workload::linux::Network;

/// The source of the two builds of a sweep.
pub(crate) trait Supply {
    /// Opens both builds by these means.
    ///
    /// # Errors
    /// One is not available or does not start, or they are for different targets.
    fn pair(&self, means: &Means<'_>) -> Result<Pair, Error>;

    /// Has both write their dumps, for a machine that both have, or one of each.
    ///
    /// # Errors
    /// One does not write a dump that can be read.
    fn dumps(&self, pair: &Pair, types: &machine::Machines) -> Result<Dumps, Error>;
}

/// Two builds that are opened for one sweep.
pub(crate) struct Named {
    pub old: BuildArg,
    pub new: BuildArg,
}

impl Supply for Named {
    fn pair(&self, means: &Means<'_>) -> Result<Pair, Error> {
        Ok(Pair::open(&self.old, &self.new, means)?)
    }

    fn dumps(&self, pair: &Pair, types: &machine::Machines) -> Result<Dumps, Error> {
        Ok(dumps(pair, Some(types.clone()))?.shared())
    }
}

/// Two builds for one architecture, and their machines to sweep.
pub(crate) struct Builds {
    pub pair: Pair,
    pub machines: Vec<AvailableMachine>,
    /// One dump of each build: the device types in it do not depend on the machine.
    pub dumps: Option<Dumps>,
}

impl Builds {
    pub(crate) fn scope<'t>(&'t self, lists: &'t KnownIssues, machine: &'t str) -> Scope<'t> {
        Scope::of(
            lists,
            Some(self.pair.old.info.version),
            Some(self.pair.new.info.version),
            Some(machine),
        )
    }
}

/// Everything that is asked for, as far as it is available.
pub(crate) struct Opened {
    /// The builds as a report names them, of the first architecture.
    pub old: BuildRef,
    pub new: BuildRef,
    pub builds: Vec<Builds>,
    pub unavailable: Vec<UnavailableMachine>,
    /// A machine that is asked for and that means nothing to any of the builds.
    pub unknown_machine: Option<Box<NoCommonMachine>>,
    pub notices: Vec<Notice>,
}

impl Opened {
    /// Finds the best of some networks that cards with a driver at work are connected to; a notice says why it is none of
    /// the host's.
    pub(crate) fn network(&mut self, best: &[Network]) -> Network {
        let Some(Builds { pair, .. }) = self.builds.first() else {
            return Network::Hub;
        };
        let builds = [&pair.old.build, &pair.new.build];
        let (network, notice) = best_of(builds, Transport::default(), best, "the sweep");
        if let Some(notice) = notice.filter(|notice| !self.notices.contains(notice)) {
            self.notices.push(notice);
        }
        network
    }

    /// Opens the builds for each architecture that is asked for.
    ///
    /// # Errors
    /// There is no build for any architecture, or where coverage is required, one writes no dump.
    pub(crate) fn open(
        config: &SweepConfig,
        supply: &dyn Supply,
        watcher: FetchWatcher<'_>,
    ) -> Result<Opened, Error> {
        let selection = &config.machines;
        let mut builds = Vec::new();
        let mut unavailable = Vec::new();
        let mut notices = Vec::new();
        let mut first = None;
        let required = config.judging.policy.required().is_any();
        for asked in selection.by_architecture() {
            let wanted = asked.architecture.as_deref();
            let means = Means {
                architecture: machine::architecture(wanted, None).to_owned(),
                cache: config.builds.cache.clone(),
                watcher,
                lists_drivers: true,
                confine: confinement::of_own(config.builds.confine),
            };
            match pair(supply, wanted, &means) {
                Ok(pair) => {
                    let ResolvedMachines {
                        machines,
                        unavailable: lacking,
                    } = resolve(&asked.machines, &pair);
                    unavailable.extend(lacking);
                    let first = machines.first();
                    let dumps = first.map(|machine| supply.dumps(&pair, &machine.types));
                    let dumps = match dumps.transpose() {
                        Err(error) if required => return Err(error),
                        // Guests that can be moved are worth more than predictions.
                        Err(error) => {
                            notices.push(NoticeKind::DumpsMissing.about(pair.arch(), error));
                            None
                        }
                        Ok(dumps) => dumps,
                    };
                    builds.push(Builds {
                        pair,
                        machines,
                        dumps,
                    });
                }
                Err(error @ Error::Untestable(_)) => {
                    unavailable.push(UnavailableMachine {
                        architecture: means.architecture,
                        machine: asked.machines.to_string(),
                        reason: error.to_string(),
                        unknown: None,
                    });
                    first = first.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        let unknown_machine = unknown_machine(selection, &unavailable);
        match (builds.first(), first) {
            (Some(Builds { pair, .. }), _) => Ok(Opened {
                old: pair.old.reference(),
                new: pair.new.reference(),
                builds,
                unavailable,
                unknown_machine,
                notices,
            }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Problem::NoBuild.into()),
        }
    }
}

/// Returns why a requested machine exists on none of its architectures, if there is such a machine.
fn unknown_machine(
    selection: &MachineSelection,
    unavailable: &[UnavailableMachine],
) -> Option<Box<NoCommonMachine>> {
    let asked = selection.by_architecture();
    let mut unknown = unavailable.iter().filter(|one| one.unknown.is_some());
    let everywhere = |one: &&UnavailableMachine| {
        let on = asked.iter().filter(|of| match &of.machines {
            ByName(names) => names.contains(&one.machine),
            Usual | Versioned => false,
        });
        let same =
            |other: &&UnavailableMachine| other.unknown.is_some() && other.machine == one.machine;
        on.count() == unavailable.iter().filter(same).count()
    };
    unknown.find(everywhere)?.unknown.clone()
}

/// Opens both builds for an architecture, where one is wanted.
fn pair(supply: &dyn Supply, wanted: Option<&str>, means: &Means<'_>) -> Result<Pair, Error> {
    let pair = supply.pair(means)?;
    match wanted.filter(|wanted| *wanted != pair.arch()) {
        None => Ok(pair),
        Some(wanted) => Err(Problem::OtherTarget {
            label: pair.old.build.label().to_owned(),
            target: pair.arch().to_owned(),
            wanted: wanted.to_owned(),
        }
        .into()),
    }
}
