//! The one place where arguments become configurations of the library.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::api::{
    BisectConfig, Builds, Candidates, CheckConfig, Doubts, GuestDescription, Guests, Judging,
    LiveConfig, LoadConfig, Loops, Machines, MapConfig, Memory, MergeConfig, RevisionRange,
    SecondPass, SelfTestConfig, SideArgs, StaticConfig, SweepConfig, TierRules, WorkloadKind,
};
use crate::cli::args::{
    BisectArgs, CacheArgs, CheckBuildsArgs, CoverageArgs, ExcludeArgs, GateArg, GuestOfMany,
    JudgeArgs, LiveArgs, LoadArgs, LoopArgs, MapArgs, MemoryArgs, MergeArgs, MigrationArgs,
    PairArgs, SelfTestArgs, StaticArgs, SweepArgs, TierArgs, Workload,
};
use crate::cli::{Failure, here};
use crate::guest::MOST_BYTES;
use crate::model::Exclusion;
use crate::qemu::{CacheConfig, LAST_RELEASE};
use crate::report::{Gate, LevelOverride, LevelOverrides, Policy};

pub(crate) fn static_check(args: &StaticArgs) -> Result<StaticConfig, Failure> {
    Ok(StaticConfig {
        builds: builds(&args.pair)?,
        machine: args.pair.build.machine.clone(),
        judging: judging(&args.judge),
        memory: memory(&args.memory),
    })
}

pub(crate) fn live(args: &LiveArgs) -> Result<LiveConfig, Failure> {
    Ok(LiveConfig {
        builds: builds(&args.pair)?,
        machine: args.pair.build.machine.clone(),
        guests: guests(&args.migration, Some(&args.loops))?,
        lists: args.lists.clone(),
        case: args.case.case.clone(),
        exclude: exclusions(&args.exclude)?,
        memory: memory(&args.memory),
    })
}

pub(crate) fn check(args: &CheckBuildsArgs) -> Result<CheckConfig, Failure> {
    Ok(CheckConfig {
        builds: builds(&args.pair)?,
        machine: args.pair.build.machine.clone(),
        guests: guests(&args.migration, Some(&args.loops))?,
        doubts: Doubts::All,
        judging: judging_cases(&args.judge, &args.coverage, &args.exclude)?,
        case: args.case.case.clone(),
        memory: memory(&args.memory),
    })
}

pub(crate) fn load(args: &LoadArgs) -> Result<LoadConfig, Failure> {
    let state = args.state.to_string_lossy();
    let is_suite = state.starts_with("debian:") || state == LAST_RELEASE;
    if is_suite && !args.state.exists() && Path::new(&args.build).is_file() {
        return Err(Failure::usage(anyhow!(
            "{state} is a BUILD, and the saved guest comes before it: migcompat load {} {state}",
            args.build
        )));
    }
    Ok(LoadConfig {
        offset: args.offset,
        snapshot: args.snapshot.clone(),
        architecture: args.of.arch.clone(),
        cache: cache(&args.of.cache),
        confine: args.of.confine.confine,
        machine: args.of.machine.clone(),
        guest: args.guest.as_deref().map(guest_file).transpose()?,
        args: words("--arg", &args.arg)?,
        accelerators: args.accel.clone(),
        retries: args.retries,
        timeout: Duration::from_secs(args.timeout),
        logs: args.keep_logs.clone(),
        lists: args.lists.clone(),
        ..LoadConfig::new(&args.state, &args.build)
    })
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<SweepConfig, Failure> {
    Ok(SweepConfig {
        builds: Builds {
            old: args.old.clone(),
            new: args.new.clone(),
            architecture: None,
            cache: cache(&args.work.cache),
            confine: args.work.confine.confine,
            directions: args.direction.list().to_vec(),
        },
        machines: Machines {
            names: args.machine.clone(),
            architectures: args.arch.clone(),
            all_machines: args.all_machines,
            all_architectures: args.all_arches,
        },
        only: args.only.clone(),
        one_by_one: args.one_by_one,
        second: second_passes(args),
        accelerators: args.accel.accel.clone(),
        shard: args.shard,
        judging: judging_cases(&args.judge, &args.coverage, &args.exclude)?,
        jobs: args.work.jobs.map(usize::from),
        timeout: Duration::from_secs(args.work.timeout),
        logs: args.work.keep_logs.clone(),
        case: args.case.case.clone(),
        memory: memory(&args.memory),
    })
}

pub(crate) fn map(args: &MapArgs) -> Result<MapConfig, Failure> {
    let mut judging = judging(&args.judge);
    judging.policy.exclude = exclusions(&args.exclude)?;
    Ok(MapConfig {
        all_pairs: args.all_pairs,
        directions: args.direction.list().to_vec(),
        cache: cache(&args.work.cache),
        confine: args.work.confine.confine,
        machines: Machines {
            names: args.machine.clone(),
            architectures: args.arch.clone(),
            ..Machines::default()
        },
        only: args.only.clone(),
        accelerators: args.accel.accel.clone(),
        shard: args.shard,
        judging,
        jobs: args.work.jobs.map(usize::from),
        timeout: Duration::from_secs(args.work.timeout),
        logs: args.work.keep_logs.clone(),
        memory: memory(&args.memory),
        ..MapConfig::new(&args.builds)
    })
}

pub(crate) fn merge(args: &MergeArgs) -> MergeConfig {
    MergeConfig {
        reports: args.reports.clone(),
        partial: args.partial,
        required_coverage: args.coverage.min_coverage.unwrap_or_default(),
        memory: memory(&args.memory),
    }
}

fn memory(args: &MemoryArgs) -> Memory {
    let command = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    Memory {
        command: command.collect(),
        baseline: args.baseline.clone(),
        history: args.history.clone(),
        lock: args.lock.clone(),
        acknowledged: args.ack.clone(),
        gate: match args.gate {
            GateArg::All => Gate::All,
            GateArg::New => Gate::New,
            GateArg::Regression => Gate::Regression,
            GateArg::Tier => Gate::Tier,
        },
        tiers: tiers(&args.tiers),
        owners: args.owners.clone(),
        tree: args.tree.clone(),
        ..Memory::default()
    }
}

pub(crate) fn self_test(args: &SelfTestArgs) -> SelfTestConfig {
    SelfTestConfig {
        build: args.build_arg.clone(),
        machine: args.build.machine.clone(),
        architecture: args.build.arch.clone(),
        cache: cache(&args.build.cache),
        confine: args.build.confine.confine,
        accelerators: args.accel.accel.clone(),
    }
}

pub(crate) fn cache(args: &CacheArgs) -> CacheConfig {
    CacheConfig {
        folder: args.cache.clone(),
        offline: args.offline,
    }
}

pub(crate) fn tiers(args: &TierArgs) -> TierRules {
    TierRules {
        passes: args.tier_passes,
        days: args.tier_days,
        failures: args.tier_failures,
        hours: args.tier_hours,
    }
}

fn builds(args: &PairArgs) -> Result<Builds, Failure> {
    let (old, new) = match (&args.old, &args.new, &args.against) {
        (Some(old), Some(new), _) | (Some(new), None, Some(old)) => (old.clone(), new.clone()),
        (Some(only), None, None) => {
            return Err(Failure::usage(anyhow!(
                "{only:?} is one BUILD, and two are compared: name OLD and NEW, or NEW and --against {LAST_RELEASE}"
            )));
        }
        (None, _, against) => {
            let old = against.clone();
            let old = old.unwrap_or_else(|| LAST_RELEASE.to_owned());
            (old, here::build()?)
        }
    };
    Ok(Builds {
        old,
        new,
        architecture: args.build.arch.clone(),
        cache: cache(&args.build.cache),
        confine: args.build.confine.confine,
        directions: args.direction.list().to_vec(),
    })
}

pub(crate) fn bisect(args: &BisectArgs) -> Result<BisectConfig, Failure> {
    let candidates = match (&args.build_command, args.builds.as_slice()) {
        (None, builds) => Candidates::Builds(builds.to_vec()),
        (Some(command), [range]) => Candidates::Revisions(RevisionRange {
            program: args.program.clone(),
            worktrees: args.worktrees.clone(),
            ..RevisionRange::new(&args.repository, range, command)
        }),
        (Some(_), several) => {
            let several = several.join(" ");
            return Err(Failure::usage(anyhow!(
                "--build-command builds the revisions of one range, GOOD..BAD, and not {several}"
            )));
        }
    };
    Ok(BisectConfig {
        old: args.old.clone(),
        machine: args.build.machine.clone(),
        architecture: args.build.arch.clone(),
        cache: cache(&args.build.cache),
        confine: args.build.confine.confine,
        guests: guests(&args.migration, None)?,
        judging: judging(&args.judge),
        history: args.history.clone(),
        tries: args.tries.into(),
        ..BisectConfig::of(candidates, args.case.clone())
    })
}

fn guests(args: &MigrationArgs, loops: Option<&LoopArgs>) -> Result<Guests, Failure> {
    let loops = loops.and_then(|of| Some(Loops::new(of.loops?, of.first.direction())));
    let own = args.guest.as_deref().map(guest_file).transpose()?;
    Ok(Guests {
        own,
        device_sets: args.device_set.clone(),
        devices: args.device.clone(),
        trusted: args.trust.clone(),
        loops,
        paused: args.paused,
        driven: args.driven,
        workload: match args.workload {
            Workload::Tiny => WorkloadKind::Tiny,
            Workload::Linux => WorkloadKind::Linux,
        },
        accelerators: args.accel.accel.clone(),
        cpu: args.cpu.clone(),
        side_args: side_args(args)?,
        transport: args.transport,
        capabilities: args.capability.clone(),
        jobs: args.jobs.map(usize::from),
        retries: args.retries,
        repeat: args.repeat,
        timeout: Duration::from_secs(args.timeout),
        logs: args.keep_logs.clone(),
    })
}

/// Returns the passes of a sweep that are asked for.
fn second_passes(args: &SweepArgs) -> Vec<SecondPass> {
    let driven = args.driven.then_some(SecondPass::Driven);
    let with_guest = args.workload.map(|GuestOfMany::Linux| SecondPass::Linux);
    driven.into_iter().chain(with_guest).collect()
}

/// Takes apart options of QEMU that are given in one word.
fn words(option: &str, values: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for value in values {
        let words = shlex::split(value)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| {
                Failure::usage(anyhow!(
                    "{option} {value:?}: a quote is not closed, or there is no option in it"
                ))
            })?;
        all.extend(words);
    }
    Ok(all)
}

fn side_args(args: &MigrationArgs) -> Result<SideArgs, Failure> {
    Ok(SideArgs {
        old: words("--old-arg", &args.old_arg)?,
        new: words("--new-arg", &args.new_arg)?,
        source: words("--src-arg", &args.src_arg)?,
        destination: words("--dst-arg", &args.dst_arg)?,
    })
}

/// Reads the description of a guest. Of one that is too long, just so much that it shows.
fn guest_file(path: &Path) -> Result<GuestDescription, Failure> {
    let mut content = Vec::new();
    let most = MOST_BYTES as u64 + 1;
    let (label, read) = match path.as_os_str() == "-" {
        true => (
            "standard input".to_owned(),
            io::stdin().lock().take(most).read_to_end(&mut content),
        ),
        false => (
            path.display().to_string(),
            File::open(path).and_then(|file| file.take(most).read_to_end(&mut content)),
        ),
    };
    read.with_context(|| format!("cannot read the guest from {label}"))?;
    Ok(GuestDescription::new(label, content))
}

/// Returns the cases that are left out, each with its reason.
fn exclusions(args: &ExcludeArgs) -> Result<Vec<Exclusion>, Failure> {
    let excluded = |reasons: &[String]| {
        let pairs = args.exclude.iter().zip(reasons.iter().cycle());
        pairs
            .map(|(glob, reason)| Exclusion::new(glob, reason))
            .collect()
    };
    match args.reason.as_slice() {
        reasons if reasons.len() == 1 || reasons.len() == args.exclude.len() => {
            Ok(excluded(reasons))
        }
        reasons => Err(Failure::usage(anyhow!(
            "{} --exclude and {} --reason: give one reason for all, or one for each",
            args.exclude.len(),
            reasons.len()
        ))),
    }
}

fn judging_cases(
    judge: &JudgeArgs,
    coverage: &CoverageArgs,
    exclude: &ExcludeArgs,
) -> Result<Judging, Failure> {
    let required = coverage.min_coverage.unwrap_or_default();
    let mut judging = judging(judge);
    judging.policy.required_coverage = required.sections;
    judging.policy.required_state = required.state;
    judging.policy.exclude = exclusions(exclude)?;
    Ok(judging)
}

fn judging(args: &JudgeArgs) -> Judging {
    let mut levels = LevelOverrides::new();
    // Of two for one rule the last counts.
    for (rules, level) in [
        (&args.allow, LevelOverride::Allow),
        (&args.warn, LevelOverride::Warn),
        (&args.deny, LevelOverride::Deny),
    ] {
        levels.extend(rules.iter().map(|&rule| (rule, level)));
    }
    Judging {
        lists: args.lists.clone(),
        policy: Policy {
            strict: args.strict,
            levels,
            // The memory says what counts.
            ..Policy::default()
        },
    }
}
