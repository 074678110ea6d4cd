//! Migrating a machine that does not migrate by itself: sections that the destination refuses are
//! replaced by those of its own build, so that everything else can be tried.

use std::sync::Arc;

use crate::migration::checks::changes::LoadChanges;
use crate::migration::diagnosis::switches::{Way, fewest, ways};
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::leg::save::save_new_machine;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::SectionName;
use crate::report::{Outcome, PassesWith};
use crate::stream::section_override::SectionOverride;

/// Most refusals that are mended: of a machine that differs in more, little is left.
const MAX_REFUSALS: usize = 4;

/// What it takes for a machine to migrate, and what it does not have then as it was sent.
#[derive(Debug)]
pub(crate) struct Overridden {
    /// The options that one build is given, if they are needed.
    pub with: Option<PassesWith>,
    /// The sections to replace; none where the options do.
    pub sections: Arc<SectionOverride>,
    pub differing: LoadChanges,
}

impl Overridden {
    /// Takes note of the sections with which a run got across.
    fn by(sections: SectionOverride, run: &RunResult) -> Overridden {
        let mut differing = LoadChanges::default();
        differing.extend(run.only_changes().into_iter().flatten());
        Overridden {
            with: None,
            sections: Arc::new(sections),
            differing,
        }
    }

    /// Returns the sections to replace, if there are any.
    pub(crate) fn replaced(&self) -> Option<Arc<SectionOverride>> {
        let sections = &self.sections;
        (!sections.names().is_empty()).then(|| Arc::clone(sections))
    }

    /// Returns the options with which the machine passes, with nothing else.
    pub(crate) fn passes_with(&self) -> Option<&PassesWith> {
        let is_all = self.sections.names().is_empty() && self.differing.is_empty();
        self.with.as_ref().filter(|_| is_all)
    }
}

/// Finds what it takes for a machine to migrate that `failed` between two builds, and which never ran. `None` if that cannot
/// be: what is refused is no section of a device or a CPU, and nothing that a build does to each stream alone.
pub(crate) async fn find(spec: RunSpec<'_>, failed: &RunResult) -> Option<Overridden> {
    if let Some(refused) = refused_section(failed)
        && let Some(found) = sections(spec, refused).await
    {
        return Some(found);
    }
    if failed.outcome != Outcome::Fail {
        return None;
    }
    // What a build does to each stream may be all, or stand beside a section that is refused. A build that cannot be asked
    // any more has no way around either.
    for way in ways(spec.config, spec.direction).await.ok()? {
        let config = way.taken(spec.config);
        let on_its_way = RunSpec {
            config: &config,
            route: &config.route(spec.direction),
            ..spec
        };
        let run = on_its_way.run().await;
        let found = match refused_section(&run) {
            _ if loads(&run) => Some(Overridden::by(SectionOverride::default(), &run)),
            Some(refused) => sections(on_its_way, refused).await,
            None => None,
        };
        if let Some(found) = found {
            let way = fewest(way, async |way| gets_across(spec, way, &found).await);
            let with = way.await.into();
            return Some(Overridden { with, ..found });
        }
    }
    None
}

/// Tells whether a machine loads with these options and sections.
async fn gets_across(spec: RunSpec<'_>, way: &Way, found: &Overridden) -> bool {
    let config = way.taken(spec.config);
    let launch = LaunchSpec {
        section_override: found.replaced(),
        ..spec.launch.clone()
    };
    let spec = RunSpec {
        config: &config,
        launch: &launch,
        route: &config.route(spec.direction),
        ..spec
    };
    loads(&spec.run().await)
}

fn loads(run: &RunResult) -> bool {
    run.outcome == Outcome::Pass || run.only_changes().is_some()
}

/// Finds the sections to replace, beginning with the one that was refused.
async fn sections(spec: RunSpec<'_>, mut refused: SectionName) -> Option<Overridden> {
    let destination = spec.route.last()?;
    let own = save_new_machine(destination, spec.launch, spec.config.timeouts.leg);
    let own = own.await.ok()?;
    let mut replaced = SectionOverride::default();
    let mut sent = None;
    for _ in 0..MAX_REFUSALS {
        if !replaced.take(refused.as_str(), &own) {
            return None;
        }
        // What the destination does not have is seldom alone, and a guest shows one of them.
        if let Some(sent) = sent.take()
            && !own.has(refused.as_str())
        {
            replaced.leave_out_unknown(&sent, &own);
        }
        let launch = LaunchSpec {
            section_override: Some(Arc::new(replaced.clone())),
            ..spec.launch.clone()
        };
        let launch = &launch;
        let run = RunSpec { launch, ..spec }.run().await;
        if loads(&run) {
            return Some(Overridden::by(replaced, &run));
        }
        refused = refused_section(&run)?;
        sent = run.state.refused;
    }
    None
}

/// Returns the section that a destination refused, or died of.
fn refused_section(run: &RunResult) -> Option<SectionName> {
    if !matches!(run.outcome, Outcome::Fail | Outcome::Crash) {
        return None;
    }
    run.cause.as_ref()?.section.clone()
}
