//! Every device that two builds have, moved.

pub(crate) mod opened;
pub(crate) mod sites;

use crate::api::config::{self, SweepConfig};
use crate::api::error::Error;
use crate::api::logs::LogFolder;
use crate::api::memory::{self, Recalled};
use crate::api::progress::{Event, Progress};
use crate::api::{Outcome, confinement, jobs, linux, names, one_case, outside_runtime};
use crate::qemu::{self, FetchEvent, Means, QemuError, machine};
use crate::report::Sought;
use crate::rules::known_issues::KnownIssues;
use crate::sweep::case_id::is_of_group;
use crate::sweep::catalogue::Only;
use crate::sweep::target::SecondPass;
use crate::sweep::{Options, Packing};
use crate::workload::linux::Network;

use opened::{Named, Opened};
use sites::{Sites, sweep_all};

/// Moves every device type that both builds have, on every machine asked for.
///
/// The report has a case for every device type and direction, the reason why a type was left out of all
/// guests, and how much of the machines' sections was sent.
///
/// This blocks until it is done, for seconds to many minutes. The guests are children of this process;
/// none is left when it returns.
///
/// # Errors
/// A build does not start, is for another architecture or does not answer, a list is malformed, or the
/// call is made inside a runtime. Of several architectures, one for which there is no build is no error,
/// but a case of the report. Where coverage is required, a build that writes no dump is an error.
pub fn sweep(config: &SweepConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    let case = config.case.as_ref();
    let mut config = config.clone();
    one_case::narrow(case, &mut config.builds, &mut config.judging.policy);
    if let Some(case) = case {
        config.machines.narrow(case);
    }
    run(&config, progress).map_err(|error| one_case::error(case, error))
}

fn run(config: &SweepConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    outside_runtime()?;
    let mut recalled = Recalled::read(&config.memory)?;
    let logs = LogFolder::new(config.logs.as_deref())?;
    let lists = KnownIssues::load(&config.judging.lists)?;
    recalled.hold(&lists, &[])?;
    let mut options = options(config);
    let jobs = jobs(config.jobs)?;
    let watcher = |event: FetchEvent<'_>| progress.event(Event::Fetch(event));
    let asked = config.machines.architectures.first().map(String::as_str);
    let machine = config.machines.names.first().map(String::as_str);
    let (old, new) = qemu::parse_both(
        &config.builds.old,
        &config.builds.new,
        &Means {
            architecture: machine::architecture(asked, machine).to_owned(),
            cache: config.builds.cache.clone(),
            watcher: &watcher,
            lists_drivers: false,
            confine: confinement::of_own(config.builds.confine),
        },
    )?;
    let supply = Named { old, new };
    let mut opened = Opened::open(config, &supply, &watcher)?;
    if let Some(error) = &opened.unknown_machine {
        return Err(QemuError::from(error.clone()).into());
    }
    names::check_only(&config.only, opened.builds.iter().map(|of| &of.pair))?;
    progress.event(Event::Opened {
        old: &opened.old,
        new: &opened.new,
        machine: None,
    });
    for pass in second_passes(config) {
        let pass = match pass {
            config::SecondPass::Driven => SecondPass::Driven(opened.network(&[Network::Tap])),
            config::SecondPass::Linux => {
                let network = opened.network(&linux::NETWORKS);
                let archs = opened.builds.iter().map(|builds| builds.pair.arch());
                let archs: Vec<&str> = archs.collect();
                let cache = &config.builds.cache;
                SecondPass::Linux(linux::guests(&archs, network, cache, &watcher)?)
            }
        };
        options.second.push(pass);
    }
    let first = opened.builds.first();
    let fingerprints = first.map(|builds| builds.pair.fingerprints());
    let sites = Sites::prepare(config, &options, &opened, &lists, logs.path())?;
    let mut all = [sites];
    let swept = sweep_all(&mut all, &options, jobs, progress)?;
    let [sites] = all;
    let results = swept.into_iter().flatten().collect();
    let mut report = sites.into_report(config, &options, &opened, &lists, results);
    let pairs = opened.builds.iter().map(|of| &of.pair);
    one_case::look_up(&mut report, &config.judging.policy, pairs);
    let outcome = recalled.conclude(
        report,
        config.judging.policy.clone(),
        memory::Means {
            sought: Sought::with_dumps(&options.directions).among(config.only.iter().cloned()),
            lists: Some(&lists),
            builds: fingerprints,
            shown: None,
        },
    );
    logs.keep();
    Ok(outcome)
}

/// Returns the passes with drivers at work that are asked for, or that the case which decides is of.
fn second_passes(config: &SweepConfig) -> Vec<config::SecondPass> {
    let of_case = config.case.as_ref().and_then(|case| {
        let driven = case.is_driven().then_some(config::SecondPass::Driven);
        driven.or_else(|| case.is_with_linux().then_some(config::SecondPass::Linux))
    });
    let mut passes = config.second.clone();
    passes.extend(of_case.filter(|pass| !config.second.contains(pass)));
    passes
}

/// Returns the options of the machines' sweeps, without second passes yet.
pub(crate) fn options(config: &SweepConfig) -> Options {
    Options {
        directions: config.builds.directions.clone(),
        packing: if config.one_by_one {
            Packing::OneByOne
        } else {
            Packing::Packed
        },
        only: match &config.case {
            // A group of devices is found among all of them.
            Some(case) if !is_of_group(case) => Only::new(&[case.subject().to_owned()]),
            _ => Only::new(&config.only),
        },
        exclude: config.judging.policy.exclude.clone(),
        shard: config.shard,
        second: Vec::new(),
    }
}
