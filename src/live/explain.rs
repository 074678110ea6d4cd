//! Why a destination refused a stream, out of the stream itself.

use super::attempt::Attempt;
use super::bench::Bench;
use super::leg::{self, End};
use super::vm::{Party, Recipe, Role, Vm};
use crate::model::{Cause, Outcome};
use crate::qemu::private_dir;
use crate::stream::Stream;
use crate::stream::explain::explain;
use crate::vmstate::read::parse_dump;
use crate::vmstate::renames::NoRenames;

impl Bench {
    /// Adds to the cause of a failed leg where what was sent and what the destination reads part. For
    /// that the destination's build is started once more, with the same machine, and saves it.
    pub(crate) async fn explain(&self, attempt: &mut Attempt, recipe: &Recipe, route: &[&Party]) {
        let Some(sent) = attempt.state.refused.take() else {
            return;
        };
        let (Some(leg), Some(cause)) = (attempt.legs.last(), &mut attempt.cause) else {
            return;
        };
        let Some(&refuser) = route.get(leg.index + 1) else {
            return;
        };
        if !matches!(attempt.outcome, Outcome::Fail | Outcome::Crash) {
            return;
        }
        // Without it the cause is what the build said.
        let (saved, dump) = tokio::join!(
            self.saved_by(refuser, recipe),
            refuser.build.dump(&self.machine)
        );
        let Ok(expected) = saved else {
            return;
        };
        // It tells a field that is always read from one that a test decides.
        let dump = dump.ok();
        let dump = dump.and_then(|json| parse_dump(&json, refuser.build.label()).ok());
        let instance = cause.instance.and_then(|number| number.try_into().ok());
        let blamed = cause.section.as_deref().map(|name| (name, instance));
        // A rename that no list knows is told from a break by the bytes alone.
        let found = explain(
            &sent,
            (&expected, dump.as_ref()),
            blamed,
            &NoRenames,
            leg.direction,
        );
        if let Some(found) = found {
            *cause = Cause {
                section: Some(found.section),
                instance: Some(found.instance_id.into()),
                field: found.field.or(cause.field.take()),
                rule: found.rule,
                message: format!("{}; {}", cause.message, found.message),
                offset: found.offset,
                sent: found.sent,
                expected: found.expected,
            };
        }
    }

    /// What a build sends of a machine that never ran.
    pub(super) async fn saved_by(&self, party: &Party, recipe: &Recipe) -> Result<Stream, String> {
        let folder = private_dir().map_err(|error| error.to_string())?;
        recipe
            .prepare(folder.path())
            .map_err(|error| error.to_string())?;
        let mut vm = Vm::start(party, recipe, Role::First, folder.path(), 0)
            .await
            .map_err(|error| error.to_string())?;
        let saved = match leg::prepare(&mut vm, End::Source, &[]).await {
            Ok(()) => leg::save(&vm, self.patience.leg).await,
            Err(unfit) => Err(unfit.message),
        };
        vm.monitored.quit(vm.command).await;
        saved
    }
}
