//! What a paused leg costs beside what it cannot do without: two QEMUs started at once, and the
//! migration between them with nothing compared. Both in turns, so that they share the machine's mood.
//!
//! `MIGCOMPAT_CACHE=DIR cargo bench --bench leg` with builds fetched there.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement is printed"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use migcompat::internals::devices::DeviceSet;
use migcompat::internals::migration::Names;
use migcompat::internals::migration::case;
use migcompat::internals::migration::{CaseSpec, MigrationConfig, Part};
use migcompat::internals::migration::{Endpoint, Role, Vm};
use migcompat::internals::qemu;
use migcompat::internals::qemu::{ConfinePolicy, Means, Pair, private_dir};
use migcompat::internals::rules::{KnownIssues, Scope};
use migcompat::model::Direction;
use migcompat::report::Outcome;
use qapi::Command;
use qapi::qmp::QmpCommand;
use serde::Serialize;
use serde_json::Value;

const ROUNDS: usize = 30;
const LATE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Incoming {
    uri: String,
}

#[derive(Debug, Serialize)]
struct Outgoing {
    uri: String,
}

#[derive(Debug, Serialize)]
struct Query {}

macro_rules! command {
    ($type:ident, $name:literal) => {
        impl Command for $type {
            type Ok = Value;
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
        }
        impl QmpCommand for $type {}
    };
}
command!(Incoming, "migrate-incoming");
command!(Outgoing, "migrate");
command!(Query, "query-migrate");

async fn bare(config: &MigrationConfig) -> anyhow::Result<()> {
    let launch = config.launch(
        config
            .compose(&DeviceSet::shipped("default")?.guests()[0])
            .args,
    );
    let folder = private_dir()?;
    launch.prepare(folder.path())?;
    let (source, destination) = tokio::join!(
        Vm::start(&config.old, &launch, Role::First, folder.path(), 0),
        Vm::start(&config.new, &launch, Role::Destination, folder.path(), 1)
    );
    let (source, destination) = (source?.monitored, destination?.monitored);
    let uri = format!("unix:{}", folder.path().join("m").display());
    let incoming = Incoming { uri: uri.clone() };
    destination.session.execute(incoming, LATE).await?;
    source.session.execute(Outgoing { uri }, LATE).await?;
    for side in [&source, &destination] {
        loop {
            let reply = side.session.execute(Query {}, LATE).await?;
            anyhow::ensure!(reply["status"] != "failed", "{reply}");
            if reply["status"] == "completed" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    tokio::join!(source.quit(LATE), destination.quit(LATE));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> anyhow::Result<()> {
    let Some(cache) = std::env::var_os("MIGCOMPAT_CACHE") else {
        println!("unmeasured: MIGCOMPAT_CACHE names no cache with builds");
        return Ok(());
    };
    let means = Means {
        confine: ConfinePolicy::default(),
        architecture: "x86_64".to_owned(),
        cache: Some(PathBuf::from(cache)).into(),
        watcher: &|event| eprintln!("{event}"),
        lists_drivers: true,
    };
    let [old, new] = ["debian:bookworm", "debian:trixie"].map(qemu::parse);
    let pair = Pair::open(&old?, &new?, &means)?;
    let logs = private_dir()?;
    let (old, new) = Endpoint::both(&pair);
    let machine = pair.machine("q35")?;
    // Without them a field that a sound load changes is taken for a loss.
    let lists = KnownIssues::load(&[])?;
    let scope = Scope::of(
        &lists,
        Some(old.info.version),
        Some(new.info.version),
        Some(&machine),
    );
    let names = Names::of(&scope, pair.arch());
    let config = MigrationConfig::paused(
        (old, new),
        machine,
        pair.arch().to_owned(),
        logs.path().to_owned(),
        names,
    );
    let wanted = CaseSpec {
        set: DeviceSet::shipped("default")?.guests()[0].clone(),
        direction: Direction::Forward,
        part: Part::Whole,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        runtime.block_on(bare(&config))?;
        theirs.push(begun.elapsed());
        let begun = Instant::now();
        let case = runtime.block_on(case::run(&config, &wanted, &|_| {})).case;
        ours.push(begun.elapsed());
        anyhow::ensure!(case.outcome == Outcome::Pass, "{case:?}");
    }
    let (theirs, ours) = (median(theirs), median(ours));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("bare {theirs:?}, a paused leg {ours:?}, ratio {ratio:.2} (medians of {ROUNDS})");
    Ok(())
}
