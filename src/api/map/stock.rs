//! The builds of a map, each opened once an architecture.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::confinement;
use crate::api::dumps::{Dumps, dump};
use crate::api::error::{Error, Problem};
use crate::api::map::MapConfig;
use crate::api::progress::{Event, Progress};
use crate::api::sweep::opened::Supply;
use crate::model::{BuildKind, BuildRef};
use crate::parallel::{Meanwhile, each};
use crate::qemu::{self, BuildArg, FetchEvent, Means, Pair, QemuError, machine};
use crate::report::{NoticeKind, Report};
use crate::vmstate::dump::Dump;

/// A build that was opened for one architecture.
struct Stocked {
    build: qemu::Opened,
    /// The device types in it do not depend on the machine.
    dump: Result<Arc<Dump>, String>,
}

/// All builds, each opened once an architecture.
pub(crate) struct Stock {
    args: Vec<BuildArg>,
    /// By architecture; what is not there is why.
    builds: BTreeMap<String, Vec<Result<Stocked, String>>>,
    hashes: Meanwhile<Vec<Option<String>>>,
}

impl Stock {
    /// Opens the builds, has each write its dump, and begins to hash them.
    ///
    /// # Errors
    /// One is named that does not exist, or cannot be run. One that does not start is no error.
    pub(crate) fn open(
        config: &MapConfig,
        jobs: usize,
        progress: &dyn Progress,
    ) -> Result<Stock, Error> {
        let args = config.builds.iter().map(|build| qemu::parse(build));
        let args = args.collect::<Result<Vec<BuildArg>, QemuError>>()?;
        let watcher = |event: FetchEvent<'_>| progress.event(Event::Fetch(event));
        let selected = config.machines.by_architecture();
        let mut builds = BTreeMap::new();
        for architecture in selected.iter().map(|asked| asked.architecture.as_deref()) {
            let means = Means {
                architecture: machine::architecture(architecture, None).to_owned(),
                cache: config.cache.clone(),
                watcher: &watcher,
                lists_drivers: true,
                confine: confinement::of_own(config.confine),
            };
            let opened = each(jobs, args.iter().collect(), |arg: &BuildArg| {
                let build = qemu::Opened::new(arg, &means)?;
                let dump = dump(&build, None).map_err(|error| error.to_string());
                let dump = dump.map(|(_, dump)| Arc::new(dump));
                Ok::<_, QemuError>(Stocked { build, dump })
            });
            let mut available = Vec::new();
            for build in opened {
                available.push(match build {
                    Err(error) if error.is_usage() => return Err(error.into()),
                    build => build.map_err(|error| error.to_string()),
                });
            }
            builds.insert(means.architecture, available);
        }
        let first = builds.values().next().map_or(&[][..], Vec::as_slice);
        let opened = first.iter();
        let programs = opened.map(|stocked| Some(stocked.as_ref().ok()?.build.clone()));
        let programs: Vec<Option<qemu::Opened>> = programs.collect();
        // Each is of tens of megabytes: they are hashed while guests run.
        let hashes = Meanwhile::begin(move || {
            let hashed = programs.iter().map(|build| build.as_ref()?.fingerprint());
            hashed.collect()
        });
        Ok(Stock {
            args,
            builds,
            hashes,
        })
    }

    fn get(&self, at: usize, architecture: &str) -> Result<&Stocked, Error> {
        let found = self.builds.get(architecture).and_then(|all| all.get(at));
        match found {
            Some(Ok(stocked)) => Ok(stocked),
            Some(Err(why)) => Err(Problem::Unavailable(why.clone()).into()),
            None => Err(Problem::NoBuild.into()),
        }
    }

    /// Returns a build as a report names it.
    pub(crate) fn reference(&self, at: usize) -> Option<BuildRef> {
        let opened = self
            .builds
            .values()
            .filter_map(|all| all.get(at).and_then(|of| of.as_ref().ok()));
        let known = opened.map(|stocked| stocked.build.reference()).next();
        let arg = self.args.get(at)?;
        Some(known.unwrap_or_else(|| BuildRef {
            label: arg.label(),
            kind: match arg {
                BuildArg::Debian { .. } => BuildKind::Package,
                BuildArg::Dump(_) => BuildKind::Dump,
                BuildArg::Binary { .. } | BuildArg::Folder { .. } => BuildKind::Binary,
            },
            version: None,
        }))
    }

    /// Returns all builds as reports name them, in their order.
    pub(crate) fn references(&self) -> Vec<BuildRef> {
        let all = 0..self.args.len();
        all.filter_map(|at| self.reference(at)).collect()
    }

    /// Waits for the hashes of all builds, in their order; nothing for one that cannot be read.
    pub(crate) fn hashes(self) -> Vec<Option<String>> {
        self.hashes.wait()
    }

    /// Returns the report of two builds that cannot be swept.
    pub(crate) fn untested(&self, (old, new): (usize, usize), error: &Error) -> Option<Report> {
        let (old, new) = (self.reference(old)?, self.reference(new)?);
        let subject = format!("{} and {}", old.label, new.label);
        let notice = NoticeKind::PairNotTested.about(subject, error);
        Some(Report {
            notices: vec![notice],
            ..Report::new(old, new, None)
        })
    }
}

/// Two builds of a stock.
pub(crate) struct InStock<'s> {
    pub stock: &'s Stock,
    pub old: usize,
    pub new: usize,
}

impl Supply for InStock<'_> {
    fn pair(&self, means: &Means<'_>) -> Result<Pair, Error> {
        let of = |at| self.stock.get(at, &means.architecture);
        let (old, new) = (of(self.old)?, of(self.new)?);
        Ok(Pair::of(old.build.clone(), new.build.clone())?)
    }

    fn dumps(&self, pair: &Pair, _types: &machine::Machines) -> Result<Dumps, Error> {
        let of = |at: usize| {
            // Programs for one target, whatever was asked for, are of one stock.
            let all = self.stock.builds.values();
            let opened = all.filter_map(|all| all.get(at).and_then(|of| of.as_ref().ok()));
            let mut of_target = opened.filter(|stocked| stocked.build.info.target == pair.arch());
            let dump = of_target.next().map(|stocked| stocked.dump.clone());
            dump.unwrap_or_else(|| Err("the build was not opened".to_owned()))
        };
        let (old, new) = (of(self.old), of(self.new));
        let unavailable = |why| Error::from(Problem::Unavailable(why));
        Ok((old.map_err(unavailable)?, new.map_err(unavailable)?))
    }
}
