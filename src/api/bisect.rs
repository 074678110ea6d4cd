//! The first of many builds with which a case breaks, or is mended.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::api::check::check;
use crate::api::config::{Builds, CheckConfig, Doubts, Guests, Judging, Memory};
use crate::api::error::{Error, Problem};
use crate::api::logs::LogFolder;
use crate::api::outside_runtime;
use crate::api::progress::{Event, Progress};
use crate::bisect::revisions::{Built, Revision, Revisions};
use crate::bisect::search::{Search, State};
use crate::history::Purpose;
use crate::migration::case::milliseconds;
use crate::model::{CaseName, Confine, joined};
use crate::qemu::{self, CacheConfig};
use crate::report::bisection::{BISECTION_SCHEMA, Bisection, Candidate, Judgement, Place, Step};
use crate::report::{Case, MemoryLabel, Outcome, Report, Tool};

/// The tries of a case that a history calls flaky, at most, unless more are asked for.
const MOST_TRIES: u32 = 20;

/// The builds that are searched, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Candidates {
    /// QEMU programs, wrapper scripts or `debian:SUITE`.
    Builds(Vec<String>),
    /// The revisions of a range in a git repository.
    Revisions(RevisionRange),
}

/// A range of revisions, along the first parents, and how a build is made of one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevisionRange {
    /// The repository.
    pub repository: PathBuf,
    /// `GOOD..BAD`; the first end is GOOD itself.
    pub range: String,
    /// The command that makes a build, for a shell, run in a worktree of each revision. It is the caller's
    /// own, and is run as it is.
    pub command: String,
    /// The place of the QEMU program in the worktree, or of a folder with a `qemu-system-ARCH`.
    pub program: PathBuf,
    /// The folder in which worktrees are made, by default that for temporary files.
    pub worktrees: Option<PathBuf>,
}

impl RevisionRange {
    /// A range of revisions that this command builds, in the folder `build`, as QEMU's own makefile does.
    pub fn new(
        repository: impl Into<PathBuf>,
        range: impl Into<String>,
        command: impl Into<String>,
    ) -> RevisionRange {
        RevisionRange {
            repository: repository.into(),
            range: range.into(),
            command: command.into(),
            program: PathBuf::from("build"),
            worktrees: None,
        }
    }
}

/// A search for the first build with which a case is another than with the builds before it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BisectConfig {
    /// The builds that are searched.
    pub candidates: Candidates,
    /// The build that guests come from, and move back to; by default the first of those that are searched.
    pub old: Option<String>,
    /// The case, by the id that [`check`](crate::api::check()) gives it.
    pub case: CaseName,
    /// The machine type; by default the usual one. It is the same for all builds.
    pub machine: Option<String>,
    /// The guest's architecture.
    pub architecture: Option<String>,
    /// The folder for fetched builds.
    pub cache: CacheConfig,
    /// The confinement of all that the builds start.
    pub confine: Confine,
    /// The guests, and how they are moved.
    pub guests: Guests,
    /// The lists and the policy; they decide nothing, but explain what fails.
    pub judging: Judging,
    /// The file with the results of earlier runs, to which each try is added. It says which cases are flaky.
    pub history: Option<PathBuf>,
    /// The least number of times that the case has to pass with a build.
    pub tries: u32,
}

impl BisectConfig {
    /// A search among builds, from the first of them.
    pub fn new(
        builds: impl IntoIterator<Item = impl Into<String>>,
        case: CaseName,
    ) -> BisectConfig {
        let builds = builds.into_iter().map(Into::into).collect();
        BisectConfig::of(Candidates::Builds(builds), case)
    }

    /// A search among builds or revisions, from the first of them.
    pub fn of(candidates: Candidates, case: CaseName) -> BisectConfig {
        BisectConfig {
            candidates,
            old: None,
            case,
            machine: None,
            architecture: None,
            cache: CacheConfig::default(),
            confine: Confine::Auto,
            guests: Guests::default(),
            judging: Judging::default(),
            history: None,
            tries: 1,
        }
    }
}

/// Searches an ordered list of builds for the first with which a case is another than with those before it.
///
/// Both ends are tried before anything else. Then the list is halved; a build with which the case cannot be
/// tested is passed over. A build passes if the case does each time: once, [`BisectConfig::tries`] times, or as
/// often as makes it believable where the history calls the case flaky.
///
/// This blocks until it is done, for seconds a build and as long as the builds of revisions take. Guests and
/// build commands are children of this process; none is left when it returns, and no worktree.
///
/// # Errors
/// There are fewer than two builds, one is named that does not exist, the range is none of the repository, or
/// a list, a device set or the history cannot be used. That an end cannot be tested is no error, but a
/// conclusion.
///
/// # Examples
/// Builds are needed for this, so it is not run with the other examples:
/// ```no_run
/// use migcompat::api::{BisectConfig, Silent, bisect};
/// use migcompat::report::bisection::Conclusion;
///
/// let builds = ["debian:bookworm", "debian:trixie", "debian:trixie-backports"];
/// let case = "q35/am53c974/unix/forward".parse()?;
/// let mut config = BisectConfig::new(builds, case);
/// config.machine = Some("q35".to_owned());
/// let found = bisect(&config, &Silent)?;
/// if let Conclusion::Broke { first, .. } = found.conclusion {
///     println!("it breaks with {}", found.builds[first]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bisect(config: &BisectConfig, progress: &dyn Progress) -> Result<Bisection, Error> {
    outside_runtime()?;
    // The logs of every try are nobody's unless a folder is named.
    let logs = LogFolder::new(config.guests.logs.as_deref())?;
    let source = Source::open(config)?;
    let builds = source.candidates.clone();
    if builds.len() < 2 {
        return Err(Problem::NothingToSearch.into());
    }
    let old = match &config.old {
        Some(old) => {
            qemu::parse(old)?;
            old.clone()
        }
        None => builds[0].label.clone(),
    };
    let mut searching = Searching {
        config,
        progress,
        logs: logs.path(),
        source,
        origin: None,
        machine: None,
    };
    let mut search = Search::new(builds.len());
    let mut found = Bisection {
        schema: BISECTION_SCHEMA.to_owned(),
        tool: Tool::this(),
        case: config.case.clone(),
        machine: None,
        old,
        builds,
        steps: Vec::new(),
        conclusion: search.so_far(),
        interrupted: None,
    };
    loop {
        let at = match search.state() {
            State::Try(at) => at,
            State::Done(conclusion) => {
                found.conclusion = conclusion;
                return Ok(found);
            }
        };
        let build = &found.builds[at];
        let place = match at {
            0 => Place::First,
            _ if at + 1 == found.builds.len() => Place::Last,
            _ => Place::Between,
        };
        let left = search.left();
        progress.event(Event::BuildChosen {
            build,
            place,
            left,
            so_far: &found,
        });
        let step = searching.step(at, place, left)?;
        progress.event(Event::BuildTried { build, step: &step });
        search.record(at, step.judgement);
        found.steps.push(step);
        found.machine.clone_from(&searching.machine);
        found.conclusion = search.so_far();
    }
}

/// The builds, and what makes them where they are revisions.
struct Source {
    candidates: Vec<Candidate>,
    revisions: Option<Revisions>,
}

/// A build that is there as long as this is.
struct Obtained {
    argument: String,
    _made: Option<Built>,
}

impl Source {
    fn open(config: &BisectConfig) -> Result<Source, Error> {
        match &config.candidates {
            Candidates::Builds(builds) => {
                for build in builds {
                    qemu::parse(build)?;
                }
                let named = |label: &String| Candidate {
                    label: label.clone(),
                    subject: None,
                };
                Ok(Source {
                    candidates: builds.iter().map(named).collect(),
                    revisions: None,
                })
            }
            Candidates::Revisions(range) => {
                let folder = range.worktrees.clone().unwrap_or_else(std::env::temp_dir);
                let revisions = Revisions::list(
                    &range.repository,
                    &range.range,
                    &range.command,
                    &range.program,
                    &folder,
                );
                let revisions = revisions.map_err(Problem::from)?;
                let named = |revision: &Revision| Candidate {
                    label: revision.short().to_owned(),
                    subject: Some(revision.subject.clone()),
                };
                Ok(Source {
                    candidates: revisions.all().iter().map(named).collect(),
                    revisions: Some(revisions),
                })
            }
        }
    }

    /// Makes a build ready, or says why there is none.
    fn obtain(&self, at: usize) -> Result<Obtained, String> {
        let Some(revisions) = &self.revisions else {
            let build = self.candidates.get(at);
            return Ok(Obtained {
                argument: build.map_or_else(String::new, |build| build.label.clone()),
                _made: None,
            });
        };
        let revision = revisions.all().get(at).ok_or("there is no such revision")?;
        let built = revisions
            .build(revision)
            .map_err(|error| error.to_string())?;
        Ok(Obtained {
            argument: built.program.display().to_string(),
            _made: Some(built),
        })
    }
}

/// A search under way.
struct Searching<'s> {
    config: &'s BisectConfig,
    progress: &'s dyn Progress,
    logs: &'s Path,
    source: Source,
    /// The build of the first end, kept where guests come from it.
    origin: Option<Obtained>,
    /// The machine type of the first run, which is that of all.
    machine: Option<String>,
}

impl Searching<'_> {
    /// Tries a build.
    fn step(&mut self, at: usize, place: Place, left: usize) -> Result<Step, Error> {
        let begun = Instant::now();
        let mut step = Step {
            build: at,
            place,
            left,
            version: None,
            judgement: Judgement::Untested,
            outcome: None,
            cause: None,
            untested: None,
            tries: 0,
            failed: 0,
            passes_needed: None,
            elapsed_ms: 0,
        };
        match self.source.obtain(at) {
            Ok(build) => {
                let new = build.argument.clone();
                if self.config.old.is_none() && at == 0 {
                    self.origin = Some(build);
                }
                self.judge(&new, &mut step)?;
            }
            Err(why) => step.untested = Some(why),
        }
        step.elapsed_ms = milliseconds(begun);
        Ok(step)
    }

    /// Runs the case between the old build and this one, until it fails or has passed often enough.
    fn judge(&mut self, new: &str, step: &mut Step) -> Result<(), Error> {
        let origin = self.origin.as_ref().map(|origin| origin.argument.clone());
        let Some(old) = self.config.old.clone().or(origin) else {
            step.untested = Some("there is no build of the first end to begin from".to_owned());
            return Ok(());
        };
        let config = self.check_config(&old, new);
        loop {
            let only_fetches = |event: Event<'_>| {
                if let Event::Fetch(_) = event {
                    self.progress.event(event);
                }
            };
            let report = match check(&config, &only_fetches) {
                Ok(outcome) => outcome.report,
                Err(Error::Untestable(reason)) => {
                    step.untested = Some(reason.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            step.version = report.new.version;
            step.tries += 1;
            let case = report.case(self.config.case.as_str());
            step.outcome = case.map(|case| case.outcome);
            match case {
                Some(case) if case.fails() => {
                    step.judgement = Judgement::Fails;
                    step.failed += 1;
                    step.cause.clone_from(&case.cause);
                }
                Some(case) if case.outcome == Outcome::Pass => {
                    // The tries of this search, which are in the history too, do not make it ask for more.
                    step.passes_needed = step.passes_needed.or_else(|| passes_needed(case));
                    step.judgement = Judgement::Passes;
                }
                _ => {
                    step.untested = Some(why_untested(&report, case));
                    step.judgement = Judgement::Untested;
                }
            }
            if self.machine.is_none() && step.judgement != Judgement::Untested {
                self.machine.clone_from(&report.machine);
            }
            let flaky = step.passes_needed.unwrap_or(1).min(MOST_TRIES);
            let wanted = flaky.max(self.config.tries);
            if step.judgement != Judgement::Passes || step.tries >= wanted {
                return Ok(());
            }
        }
    }

    fn check_config(&self, old: &str, new: &str) -> CheckConfig {
        let config = self.config;
        let builds = Builds {
            architecture: config.architecture.clone(),
            cache: config.cache.clone(),
            confine: config.confine,
            ..Builds::new(old, new)
        };
        let machine = self.machine.as_ref().or(config.machine.as_ref());
        CheckConfig {
            builds,
            machine: machine.cloned(),
            doubts: Doubts::All,
            guests: Guests {
                logs: Some(self.logs.to_owned()),
                ..config.guests.clone()
            },
            judging: config.judging.clone(),
            case: Some(config.case.clone()),
            memory: Memory {
                history: config.history.clone(),
                purpose: Purpose::Search,
                ..Memory::default()
            },
        }
    }
}

/// Returns the passes in a row that are needed, where the history says that the case comes and goes.
fn passes_needed(case: &Case) -> Option<u32> {
    let memory = case.memory.as_ref()?;
    let rate = memory.rate.filter(|_| memory.label == MemoryLabel::Flaky)?;
    Some(rate.passes_needed)
}

/// Says why a case that was run tells nothing of the build.
fn why_untested(report: &Report, case: Option<&Case>) -> String {
    let Some(case) = case else {
        return joined(&report.notices, "; ");
    };
    let meaning = case.outcome.explanation();
    let meaning = meaning.unwrap_or("it cannot be set up");
    format!("{}: {}", case.outcome, case.message().unwrap_or(meaning))
}
