//! Many builds, pair by pair: what breaks and is mended between them.
//!
//! Each pair has sources of its own, though some are like those of another pair. Of Debian's five builds on q35, 24 of
//! 149 guests between neighbours and 95 of 307 between all pairs come from a build that has started one with the same
//! arguments before; from start to end those sources take 4% and 7% of the CPU time of the run. `-M q35` is another
//! machine for most pairs, and a pack has what both builds have.

pub(crate) mod past;
mod stock;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::api::config::{Builds, Judging, Memory, SweepConfig};
use crate::api::error::{Error, Problem};
use crate::api::logs::LogFolder;
use crate::api::memory;
use crate::api::progress::{Event, Progress};
use crate::api::sweep::opened::Opened;
use crate::api::sweep::options;
use crate::api::sweep::sites::{Sites, as_typed, sweep_all};
use crate::api::{jobs, names, outside_runtime};
use crate::migration::case::milliseconds;
use crate::model::{AcceleratorPreference, Confine, Direction};
use crate::parallel::each;
use crate::qemu::{CacheConfig, Fingerprints, QemuError};
use crate::report::map::{Map, MapPair};
use crate::report::{NoticeKind, Report, Sought};
use crate::rules::known_issues::KnownIssues;
use crate::sweep::selection::MachineSelection as Machines;
use crate::sweep::shard::Shard;

use past::Past;
use stock::{InStock, Stock};

/// Many builds, in the order of their releases, of which pairs are swept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapConfig {
    /// The builds, the oldest first; a dump cannot run.
    pub builds: Vec<String>,
    /// Every build with every later one, and not only with the next.
    pub all_pairs: bool,
    /// The directions; by default both.
    pub directions: Vec<Direction>,
    /// The folder for fetched builds.
    pub cache: CacheConfig,
    /// The confinement of all that the builds start.
    pub confine: Confine,
    /// The machines. An alias like `q35` is the newest versioned one that both builds of a pair have.
    pub machines: Machines,
    /// Device types to try, with `*` for any text; by default all.
    pub only: Vec<String>,
    /// The accelerators, the preferred one first; by default TCG alone.
    pub accelerators: AcceleratorPreference,
    /// The part of the run to do; [`merge_maps`](crate::api::merge_maps) joins the maps of all parts.
    pub shard: Option<Shard>,
    /// The lists and the policy.
    pub judging: Judging,
    /// Guests at once; by default one a processor.
    pub jobs: Option<usize>,
    /// The time limit of one migration.
    pub timeout: Duration,
    /// The folder where the logs of cases that did not pass are kept.
    pub logs: Option<PathBuf>,
    /// Earlier results that the run is held against, each pair by itself. The baseline is an earlier map.
    pub memory: Memory,
}

impl MapConfig {
    /// Every device on the usual machine, between each build and the next, in both directions.
    pub fn new(builds: impl IntoIterator<Item = impl Into<String>>) -> MapConfig {
        MapConfig {
            builds: builds.into_iter().map(Into::into).collect(),
            all_pairs: false,
            directions: Direction::BOTH.to_vec(),
            cache: CacheConfig::default(),
            confine: Confine::Auto,
            machines: Machines::default(),
            only: Vec::new(),
            accelerators: AcceleratorPreference::default(),
            shard: None,
            judging: Judging::default(),
            jobs: None,
            timeout: Duration::from_secs(30),
            logs: None,
            memory: Memory::default(),
        }
    }

    /// Returns the sweep of two of the builds, by their places.
    fn sweep(&self, old: usize, new: usize) -> SweepConfig {
        let build = |at: usize| self.builds.get(at).cloned().unwrap_or_default();
        let builds = Builds::new(build(old), build(new));
        SweepConfig {
            machines: self.machines.clone(),
            only: self.only.clone(),
            accelerators: self.accelerators.clone(),
            shard: self.shard,
            judging: self.judging.clone(),
            jobs: self.jobs,
            timeout: self.timeout,
            logs: self.logs.clone(),
            ..SweepConfig::of(Builds {
                cache: self.cache.clone(),
                confine: self.confine,
                directions: self.directions.clone(),
                ..builds
            })
        }
    }

    /// Returns the pairs, by the places of their builds.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let of = self.builds.len();
        let news = |old: usize| match self.all_pairs {
            true => old + 1..of,
            false => old + 1..(old + 2).min(of),
        };
        (0..of)
            .flat_map(|old| news(old).map(move |new| (old, new)))
            .collect()
    }
}

/// Sweeps pairs of many builds, and says with which build each device breaks and with which it is mended.
///
/// Each build is opened once, writes one dump and is hashed once, and the guests of all pairs share the workers,
/// so that none waits for the slowest guest of a pair. What is found out about a pair is what
/// [`sweep`](crate::api::sweep()) finds out about it. A build that does not start leaves its pairs untested.
///
/// This blocks until it is done, for seconds a pair. The guests are children of this process; none is left when it
/// returns.
///
/// # Errors
/// There are fewer than two builds, one is named that does not exist, a list or the baseline is malformed, no pair has a
/// machine or a device type that is named, or the call is made inside a runtime.
///
/// # Examples
/// Builds are needed for this, so it is not run with the other examples:
/// ```no_run
/// use migcompat::api::{MapConfig, Silent, map};
///
/// let builds = ["debian:bookworm", "debian:trixie", "debian:trixie-backports"];
/// let map = map(&MapConfig::new(builds), &Silent)?;
/// for row in &map.rows {
///     for change in &row.changes {
///         println!("{} broke with {}", row.case, map.name(change.broke));
///     }
/// }
/// # Ok::<(), migcompat::api::Error>(())
/// ```
pub fn map(config: &MapConfig, progress: &dyn Progress) -> Result<Map, Error> {
    outside_runtime()?;
    let begun = Instant::now();
    if config.builds.len() < 2 {
        return Err(Problem::NothingToSearch.into());
    }
    let logs = LogFolder::new(config.logs.as_deref())?;
    let lists = KnownIssues::load(&config.judging.lists)?;
    let jobs = jobs(config.jobs)?;
    let past = Past::read(&config.memory)?;
    let stock = Stock::open(config, jobs, progress)?;
    let (mut pairs, mut recalled) = (Vec::new(), Vec::new());
    for (old, new) in config.pairs() {
        let sweep = config.sweep(old, new);
        let supply = InStock {
            stock: &stock,
            old,
            new,
        };
        let refs = stock.reference(old).zip(stock.reference(new));
        let (of_old, of_new) = refs.ok_or(Problem::NoBuild)?;
        let mut of_pair = past.of_pair(&of_old, &of_new)?;
        of_pair.hold(&lists, &[])?;
        recalled.push(of_pair);
        pairs.push(Planned {
            old,
            new,
            opened: Opened::open(&sweep, &supply, &|_| {}),
            sweep,
        });
    }
    check_names(config, &pairs)?;
    progress.event(Event::MapPlanned {
        map: &planned(&stock, &pairs),
    });
    let Some(options) = pairs.first().map(|pair| options(&pair.sweep)) else {
        return Err(Problem::NothingToSearch.into());
    };
    let prepared = each(jobs, pairs.iter().collect(), |pair: &Planned| {
        let opened = pair.opened.as_ref().ok()?;
        let sites = Sites::prepare(&pair.sweep, &options, opened, &lists, logs.path());
        Some(sites)
    });
    let (mut sites, mut untestable) = (Vec::new(), BTreeMap::new());
    for (at, prepared) in prepared.into_iter().enumerate() {
        match prepared {
            Some(Ok(of_pair)) => sites.push(of_pair),
            // The others do not depend on it.
            Some(Err(error @ Error::Untestable(_))) => {
                untestable.insert(at, error);
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    let swept = sweep_all(&mut sites, &options, jobs, progress)?;
    let mut swept = sites.into_iter().zip(swept);
    let mut reports = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let opened = match untestable.get(&at) {
            Some(error) => Err(error),
            None => pair.opened.as_ref(),
        };
        reports.push(match opened {
            Ok(opened) => swept.next().map(|(sites, results)| {
                sites.into_report(&pair.sweep, &options, opened, &lists, results)
            }),
            Err(error) => {
                let untested = stock.untested((pair.old, pair.new), error);
                let nothing: [&str; 0] = [];
                let typed = as_typed(&pair.sweep, &lists);
                let shard = options.shard.map(|shard| shard.reference(nothing, typed));
                untested.map(|report| Report { shard, ..report })
            }
        });
    }
    let builds = stock.references();
    let hashes = stock.hashes();
    let hash = |at: usize| hashes.get(at).cloned().flatten();
    let sought = Sought::with_dumps(&options.directions).among(config.only.iter().cloned());
    let mut mapped = Vec::new();
    for ((pair, report), recalled) in pairs.iter().zip(reports).zip(recalled) {
        let (old, new) = (pair.old, pair.new);
        let means = memory::Means {
            sought: sought.clone(),
            lists: Some(&lists),
            builds: Some(Fingerprints::known(hash(old), hash(new))),
            shown: None,
        };
        let policy = config.judging.policy.clone();
        mapped.extend(report.map(|report| MapPair {
            old,
            new,
            report: recalled.conclude(report, policy, means).report,
        }));
    }
    forget_matched(&mut mapped);
    logs.keep();
    Ok(Map::of(builds, mapped, milliseconds(begun)))
}

/// Takes back that nothing is excluded by a pattern, where another pair has a case of it.
fn forget_matched(pairs: &mut [MapPair]) {
    let unmatched = |pair: &MapPair| -> BTreeSet<String> {
        let notices = pair.report.notices.iter();
        let notices = notices.filter(|notice| notice.kind == NoticeKind::ExclusionUnmatched);
        notices.map(|notice| notice.subject.clone()).collect()
    };
    let tried = pairs.iter().filter(|pair| pair.untested().is_none());
    let everywhere = tried.map(unmatched).reduce(|all, of_pair| &all & &of_pair);
    let everywhere = everywhere.unwrap_or_default();
    for pair in pairs {
        pair.report.notices.retain(|notice| {
            notice.kind != NoticeKind::ExclusionUnmatched || everywhere.contains(&notice.subject)
        });
    }
}

/// Two builds that are to be swept.
struct Planned {
    old: usize,
    new: usize,
    sweep: SweepConfig,
    opened: Result<Opened, Error>,
}

/// Returns the map as it is before anything is tried.
fn planned(stock: &Stock, pairs: &[Planned]) -> Map {
    let nothing = pairs.iter().filter_map(|pair| {
        let (old, new) = (pair.old, pair.new);
        let report = match &pair.opened {
            Ok(opened) => Report::new(opened.old.clone(), opened.new.clone(), None),
            Err(error) => stock.untested((old, new), error)?,
        };
        Some(MapPair { old, new, report })
    });
    Map::of(stock.references(), nothing.collect(), 0)
}

/// Refuses names that mean nothing to any pair.
fn check_names(config: &MapConfig, pairs: &[Planned]) -> Result<(), Error> {
    let opened = || pairs.iter().filter_map(|pair| pair.opened.as_ref().ok());
    let mut unknown = opened().map(|opened| opened.unknown_machine.as_ref());
    if let Some(Some(error)) = unknown.next()
        && unknown.all(|unknown| unknown.is_some())
    {
        return Err(QemuError::from(error.clone()).into());
    }
    let builds = opened().flat_map(|opened| &opened.builds);
    Ok(names::check_only(&config.only, builds.map(|of| &of.pair))?)
}
