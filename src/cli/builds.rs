//! `migcompat builds`: the cache.

use anyhow::Context;
use indicatif::HumanBytes;

use crate::cli::args::{BuildsArgs, BuildsCommand, Workload};
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, config, target};
use crate::qemu::{self, BuildArg, Cache, QemuError};
use crate::workload::linux;

pub(crate) fn run(args: &BuildsArgs) -> Result<Exit, Failure> {
    let cache = Cache::new(config::cache(&args.cache)).map_err(QemuError::from)?;
    match &args.command {
        BuildsCommand::List => list(&cache),
        BuildsCommand::Fetch {
            builds,
            workload,
            arch,
            refresh,
        } => {
            if *refresh && cache.is_offline() {
                return Err(Failure::usage(anyhow::anyhow!(
                    "--refresh fetches what is in the cache again, and --offline keeps from fetching: leave out one of them"
                )));
            }
            // Whoever fetches what is there wants to know that it is sound.
            let cache = cache.with_care();
            for build in parse_all(builds)? {
                if *refresh {
                    cache.remove(&build).map_err(QemuError::from)?;
                }
                let display = Display::new(args.quiet);
                let build = qemu::open(&build, arch, &cache, &|event| display.fetch(event))?;
                let info = build.info()?;
                print_line(&format!(
                    "{}: QEMU {} {} for {}, {} machine types",
                    build.label(),
                    info.version,
                    info.package,
                    info.target,
                    info.machines.len()
                ))?;
            }
            if *workload == Some(Workload::Linux) {
                let display = Display::new(args.quiet);
                let fetched = linux::fetch_all(arch, &cache, &|event| display.fetch(event))?;
                if fetched.is_empty() {
                    return Err(Failure::usage(anyhow::anyhow!(
                        "there is no Linux guest for {arch}"
                    )));
                }
                for kernel in fetched {
                    print_line(&format!("Linux {kernel} for {arch}"))?;
                }
            }
            Ok(Exit::Compatible)
        }
        BuildsCommand::Remove { builds } => {
            let mut missing = Vec::new();
            for build in parse_all(builds)? {
                let removed = cache.remove(&build).map_err(QemuError::from)?;
                for entry in &removed {
                    print_line(&format!(
                        "removed {} {}",
                        entry.record.suite, entry.record.package
                    ))?;
                }
                if removed.is_empty() {
                    missing.push(build.label());
                }
            }
            if !missing.is_empty() {
                return Err(Failure::usage(anyhow::anyhow!(
                    "nothing of {} is in the cache",
                    missing.join(" and ")
                )));
            }
            Ok(Exit::Compatible)
        }
    }
}

/// Checks all arguments before anything is done. Only suites are in the cache.
fn parse_all(builds: &[String]) -> Result<Vec<BuildArg>, Failure> {
    builds
        .iter()
        .map(|arg| match qemu::parse(arg)? {
            build @ BuildArg::Debian { .. } => Ok(build),
            _ => Err(Failure::usage(anyhow::anyhow!(
                "{arg} is not kept in the cache; only debian:SUITE builds are"
            ))),
        })
        .collect()
}

fn list(cache: &Cache) -> Result<Exit, Failure> {
    let entries = cache.list().map_err(QemuError::from)?;
    let folder = cache.path().map_err(QemuError::from)?;
    target::print(|out| {
        for entry in &entries {
            writeln!(
                out,
                "debian:{:22} {:20} {:32} {:>10}  {}",
                entry.record.suite,
                entry.record.package,
                entry.record.version,
                HumanBytes(entry.record.unpacked_bytes).to_string(),
                entry.record.date
            )?;
        }
        if entries.is_empty() {
            writeln!(out, "the cache {} is empty", folder.display())?;
        }
        Ok(())
    })
    .context("cannot print the list")?;
    Ok(Exit::Compatible)
}

fn print_line(line: &str) -> anyhow::Result<()> {
    target::print(|out| writeln!(out, "{line}")).context("cannot print")
}
