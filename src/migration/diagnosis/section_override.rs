//! Migrating a machine that does not migrate by itself: sections that the destination refuses are
//! replaced by those of its own build, so that everything else can be tried.

use std::sync::Arc;

use crate::migration::checks::changes::LoadChanges;
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::leg::save::save_new_machine;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::SectionName;
use crate::report::Outcome;
use crate::stream::section_override::SectionOverride;

/// Most refusals that are mended: of a machine that differs in more, little is left.
const MAX_REFUSALS: usize = 4;

/// The sections to replace, and what the machine that got them does not have as it was sent.
#[derive(Debug)]
pub(crate) struct Overridden {
    pub sections: Arc<SectionOverride>,
    pub differing: LoadChanges,
}

/// Finds the sections to replace so that a machine migrates which `failed` between two builds, and
/// which never ran. `None` if that cannot be: what is refused is no section of a device or a CPU.
pub(crate) async fn find(spec: RunSpec<'_>, failed: &RunResult) -> Option<Overridden> {
    let destination = spec.route.last()?;
    let mut refused = refused_section(failed)?;
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
        let tried = Arc::new(replaced.clone());
        let launch = LaunchSpec {
            section_override: Some(Arc::clone(&tried)),
            ..spec.launch.clone()
        };
        let launch = &launch;
        let run = RunSpec { launch, ..spec }.run().await;
        let changes = run.only_changes();
        if run.outcome == Outcome::Pass || changes.is_some() {
            let mut differing = LoadChanges::default();
            differing.extend(changes.into_iter().flatten());
            return Some(Overridden {
                sections: tried,
                differing,
            });
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
