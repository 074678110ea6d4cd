//! A way across for a machine that does not get across: what the destination refuses it is given from its
//! own build, so that everything else can be tried.

use std::sync::Arc;

use super::attempt::Attempt;
use super::bench::Bench;
use super::vm::{Party, Recipe};
use crate::model::{Direction, Outcome};
use crate::stream::graft::Graft;

/// How many sections are replaced at most: of a machine that differs in more, little is left.
const MOST: usize = 4;

impl Bench {
    /// What it takes for a machine that `failed` on its way between two builds, and that never ran, to
    /// get across. `None` if there is no such thing: it is not a section of a device or a CPU that is
    /// refused.
    pub(crate) async fn bypass(
        &self,
        route: &[&Party],
        recipe: &Recipe,
        direction: Direction,
        failed: &Attempt,
    ) -> Option<Arc<Graft>> {
        let destination = route.last()?;
        let mut refused = refused_section(failed)?;
        let own = self.saved_by(destination, recipe).await.ok()?;
        let mut graft = Graft::default();
        for _ in 0..MOST {
            if !graft.take(&refused, &own) {
                return None;
            }
            let grafted = Arc::new(graft.clone());
            let recipe = Recipe {
                graft: Some(Arc::clone(&grafted)),
                ..recipe.clone()
            };
            let attempt = self.attempt(route, &recipe, direction, &|_| {}).await;
            if attempt.outcome == Outcome::Pass {
                return Some(grafted);
            }
            refused = refused_section(&attempt)?;
        }
        None
    }
}

/// Which section a destination refused, or died of.
fn refused_section(attempt: &Attempt) -> Option<String> {
    if !matches!(attempt.outcome, Outcome::Fail | Outcome::Crash) {
        return None;
    }
    attempt.cause.as_ref()?.section.clone()
}
