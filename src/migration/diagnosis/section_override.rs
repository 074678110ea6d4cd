//! A way across for a machine that does not get across: what the destination refuses it is given from its
//! own build, so that everything else can be tried.

use std::sync::Arc;

use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::RunResult;
use crate::model::{Direction, SectionName};
use crate::report::Outcome;
use crate::stream::section_override::SectionOverride;

/// How many sections are replaced at most: of a machine that differs in more, little is left.
const MOST: usize = 4;

impl MigrationConfig {
    /// What it takes for a machine that `failed` on its way between two builds, and that never ran, to
    /// get across. `None` if there is no such thing: it is not a section of a device or a CPU that is
    /// refused.
    pub(crate) async fn bypass(
        &self,
        route: &[&Endpoint],
        launch: &LaunchSpec,
        direction: Direction,
        failed: &RunResult,
    ) -> Option<Arc<SectionOverride>> {
        let destination = route.last()?;
        let mut refused = refused_section(failed)?;
        let own = self.saved_by(destination, launch).await.ok()?;
        let mut graft = SectionOverride::default();
        for _ in 0..MOST {
            if !graft.take(refused.as_str(), &own) {
                return None;
            }
            let grafted = Arc::new(graft.clone());
            let launch = LaunchSpec {
                graft: Some(Arc::clone(&grafted)),
                ..launch.clone()
            };
            let attempt = self.attempt(route, &launch, direction, &|_| {}).await;
            if attempt.outcome == Outcome::Pass {
                return Some(grafted);
            }
            refused = refused_section(&attempt)?;
        }
        None
    }
}

/// Which section a destination refused, or died of.
fn refused_section(attempt: &RunResult) -> Option<SectionName> {
    if !matches!(attempt.outcome, Outcome::Fail | Outcome::Crash) {
        return None;
    }
    attempt.cause.as_ref()?.section.clone()
}
