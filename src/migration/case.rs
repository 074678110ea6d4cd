//! One case: a guest and its way through the builds, with controls and repetitions when it fails.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::devices::Composition;
use crate::migration::config::{CaseSpec, MigrationConfig, Part, Step, Watcher};
use crate::migration::coverage::{Observed, SentSection};
use crate::migration::diagnosis::reproduce;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::RunResult;
use crate::model::Direction;
use crate::qemu::machine;
use crate::report::{Case, Cause, Control, LeftOut, Outcome, Repeated};
use crate::stream::Stream;
use crate::workload;

/// What became of a case, and what was sent in its first leg.
#[derive(Debug, Clone)]
pub struct Ran {
    pub case: Case,
    pub observed: Observed,
}

impl MigrationConfig {
    /// The case's name in reports.
    pub fn id(&self, wanted: &CaseSpec) -> String {
        let family = machine::family(&self.machine);
        let family = family.strip_prefix("pc-").unwrap_or(family);
        let mut way = self.transport.to_string();
        for capability in &self.capabilities {
            way.push_str(&format!("+{capability}"));
        }
        let mut id = format!("{family}/{}/{way}/{}", wanted.set.name, wanted.direction);
        if let Some(loops) = self.loops {
            id.push_str(&format!("-loop{loops}"));
        }
        if !self.running {
            id.push_str("/paused");
        }
        id
    }

    /// Runs a case to its end, whatever that is.
    pub async fn run(&self, wanted: &CaseSpec, watcher: Watcher<'_>) -> Ran {
        let begun = Instant::now();
        let (set, taken) = self.fitting(&wanted.set);
        let composition = self.compose(&set);
        let id = self.id(wanted);
        let mut case = self.blank(id, &wanted.set.name, &composition, wanted.direction);
        case.left_out.extend(taken);
        let guest = workload::guest(&self.arch);
        let obstacle = self
            .transport
            .obstacle(self.old.info.version, self.new.info.version)
            .or_else(|| self.capabilities.iter().find_map(|c| c.obstacle(self.transport)))
            .or_else(|| {
                (self.running && guest.is_none()).then(|| {
                    format!(
                        "there is no workload guest for {}; a machine that never ran can be moved with --paused",
                        self.arch
                    )
                })
            })
            .or_else(|| {
                // A set of which nothing is left tests nothing but what other cases test.
                (composition.included.is_empty() && !wanted.set.devices.is_empty())
                    .then(|| {
                        let why = composition.excluded.iter().take(3);
                        let why: Vec<String> = why.map(ToString::to_string).collect();
                        format!("no device of the set fits both builds: {}", why.join("; "))
                    })
            });
        if let Some(message) = obstacle {
            case.cause = Some(Cause {
                message,
                ..Cause::default()
            });
            return Ran {
                case,
                observed: Observed::default(),
            };
        }
        let launch = self.launch(composition.args);
        let route = self.route(wanted.direction);
        let mut attempt = self
            .attempt(&route, &launch, wanted.direction, watcher)
            .await;
        let sent = attempt.state.first.take();
        if attempt.failed() {
            self.explain(&mut attempt, &launch, &route, None).await;
            self.look_again(&mut case, &mut attempt, &launch, wanted.direction, watcher)
                .await;
            if wanted.part == Part::Whole && composition.included.len() > 1 {
                watcher(Step::Blame);
                // As far as it came, and on its way.
                let route = &route[..(attempt.legs.len().max(1) + 1).min(route.len())];
                let split = self.blame(&set, &composition.included, route, wanted.direction);
                case.split = Some(split.await);
            }
            self.record(&mut case, attempt, &launch, &route);
        } else {
            case.outcome = attempt.outcome;
            case.cause = attempt.cause;
            case.legs = attempt.legs;
            case.state_checked = (attempt.state.checked.legs > 0).then_some(attempt.state.checked);
            case.state_unchecked = attempt.state.unchecked;
        }
        case.elapsed_ms = milliseconds(begun);
        let plugged = set.devices.iter();
        let plugged = plugged.filter(|device| composition.included.contains(&device.id));
        let observed = Observed {
            sections: sent
                .as_ref()
                .and_then(Stream::vmdesc)
                .map_or_else(Vec::new, |vmdesc| SentSection::all(vmdesc)),
            passed: case.outcome == Outcome::Pass,
            types: plugged.map(|d| d.driver(&self.arch).to_owned()).collect(),
        };
        Ran { case, observed }
    }

    /// A case of which nothing is known yet.
    pub(crate) fn blank(
        &self,
        id: String,
        device_set: &str,
        composition: &Composition,
        direction: Direction,
    ) -> Case {
        let left_out = composition.excluded.iter();
        Case {
            devices: composition.included.clone(),
            left_out: left_out
                .map(|exclusion| LeftOut {
                    device: exclusion.device.clone(),
                    reason: exclusion.reason.to_string(),
                })
                .collect(),
            capabilities: self.capabilities.iter().map(ToString::to_string).collect(),
            running: self.running,
            ..Case::untried(id, &self.machine, device_set, self.transport, direction)
        }
    }

    /// Writes into the case what is known of an attempt that failed: logs are kept, and the line that
    /// does it by hand names them. The outcome is the caller's to tell.
    pub(crate) fn record(
        &self,
        case: &mut Case,
        attempt: RunResult,
        launch: &LaunchSpec,
        route: &[&Endpoint],
    ) {
        let folder = self.keep(case, &attempt, launch);
        case.logs = folder.as_ref().map(|folder| folder.display().to_string());
        let stays = folder.unwrap_or_else(|| self.logs.clone());
        let gone = &route[..(attempt.legs.len() + 1).min(route.len())];
        case.reproduce = Some(reproduce::line(gone, launch, &stays, &self.capabilities));
        case.cause = attempt.cause;
        case.legs = attempt.legs;
        case.state_checked = (attempt.state.checked.legs > 0).then_some(attempt.state.checked);
        case.state_unchecked = attempt.state.unchecked;
        case.state_diff = attempt.state.diffs;
        case.source_stderr = attempt.source_stderr;
        case.destination_stderr = attempt.destination_stderr;
    }

    /// After a failure: does a build fail with itself, and does it fail every time? What a control that
    /// failed left goes to what the attempt left.
    async fn look_again(
        &self,
        case: &mut Case,
        attempt: &mut RunResult,
        launch: &LaunchSpec,
        direction: Direction,
        watcher: Watcher<'_>,
    ) {
        let legs = attempt.legs.len().max(1);
        let mut control = Vec::new();
        watcher(Step::Control);
        let mut broken = false;
        for (name, party) in [("old_to_old", &self.old), ("new_to_new", &self.new)] {
            let route = vec![party; legs + 1];
            let mut same = self.attempt(&route, launch, direction, &|_| {}).await;
            keep_control(name, &mut same, &mut attempt.files);
            // What a build does to itself once in a while does not tell why this move fails: another
            // failure than the move's has to come twice.
            if same.accounts_for(attempt) && !same.fails_like(attempt) {
                same = self.attempt(&route, launch, direction, &|_| {}).await;
                keep_control(&format!("{name}-again"), &mut same, &mut attempt.files);
            }
            control.push(same.outcome);
            broken |= same.accounts_for(attempt);
        }
        case.control = Some(Control {
            old_to_old: control[0],
            new_to_new: control[1],
        });
        if broken {
            case.outcome = Outcome::Broken;
            return;
        }
        case.outcome = attempt.outcome;
        let mut repeated = Repeated { failed: 1, of: 1 };
        for time in 1..=self.retries {
            let of = self.retries;
            watcher(Step::Again { time, of });
            let route = self.route(direction);
            let again = self.attempt(&route, launch, direction, &|_| {}).await;
            repeated.of += 1;
            repeated.failed += usize::from(again.failed());
        }
        case.repeated = Some(repeated);
    }

    /// Keeps what a failed case said. `None` if that does not work: the report has the essentials.
    fn keep(&self, case: &Case, attempt: &RunResult, launch: &LaunchSpec) -> Option<PathBuf> {
        let folder = fresh(&self.logs, &case.id.replace(['/', ':'], "_"))?;
        // The image of the guest is among it: the line to reproduce the case names it.
        let mut written = launch.prepare(&folder);
        for (name, text) in &attempt.files {
            written = written.and_then(|()| fs::write(folder.join(name), text));
        }
        if written.is_err() {
            // Half of it would mislead.
            let _left_behind = fs::remove_dir_all(&folder);
            return None;
        }
        Some(folder)
    }
}

/// Puts what a control that failed left to the files of its case.
fn keep_control(name: &str, control: &mut RunResult, files: &mut Vec<(String, String)>) {
    if !control.failed() {
        return;
    }
    let cause = control.cause.as_ref();
    let message = cause.map_or("", |cause| cause.message.as_str());
    files.push((
        format!("{name}.cause"),
        format!("{}: {message}\n", control.outcome),
    ));
    let left = control.files.drain(..);
    files.extend(left.map(|(file, text)| (format!("{name}.{file}"), text)));
}

/// A new folder: what an earlier run kept there under the same name stays.
fn fresh(logs: &Path, name: &str) -> Option<PathBuf> {
    for run in 1.. {
        let folder = match run {
            1 => logs.join(name),
            _ => logs.join(format!("{name}-{run}")),
        };
        match fs::create_dir(&folder) {
            Ok(()) => return Some(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => return None,
        }
    }
    None
}

pub(crate) fn milliseconds(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}
