//! Why a destination refused a stream, out of the stream itself.

use std::sync::Arc;

use crate::compare::explain::{Blamed, Explanation, explain};
use crate::compare::renames::NoRenames;
use crate::migration::config::MigrationConfig;
use crate::migration::diagnosis::cause::minimum_version;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
use crate::migration::leg::error::End;
use crate::migration::leg::transfer;
use crate::migration::result::RunResult;
use crate::qemu::private_dir;
use crate::report::{Cause, Outcome};
use crate::stream::Stream;
use crate::vmstate::dump::Dump;
use crate::vmstate::read::parse_dump;

impl MigrationConfig {
    /// Adds to the cause of a failed leg where what was sent and what the destination reads part. For
    /// that the destination's build is started once more, with the same machine, and saves it, unless
    /// the section in question is among what is `known` of that already.
    pub(crate) async fn explain(
        &self,
        attempt: &mut RunResult,
        launch: &LaunchSpec,
        route: &[&Endpoint],
        known: Option<Stream>,
    ) {
        let Some(sent) = attempt.state.refused.take() else {
            return;
        };
        let (Some(leg), Some(cause)) = (attempt.legs.last(), &mut attempt.cause) else {
            return;
        };
        let Some(&refuser) = route.get(leg.index + 1) else {
            return;
        };
        let of_source = cause.message.starts_with(&End::Source.to_string());
        if !matches!(attempt.outcome, Outcome::Fail | Outcome::Crash) || of_source {
            return;
        }
        // Without it the cause is what the build said.
        let known = known.filter(|known| {
            let mut sections = known.devices();
            let blamed = (cause.section.as_ref(), cause.instance);
            sections.any(|s| blamed == (Some(&s.name), Some(s.instance_id.into())))
        });
        let saved = async {
            match known {
                Some(known) => Ok(known),
                None => self.saved_by(refuser, launch).await,
            }
        };
        let (saved, dump) = tokio::join!(saved, self.dumped_by(refuser));
        let Ok(expected) = saved else {
            return;
        };
        let instance = cause.instance.and_then(|number| number.try_into().ok());
        let blamed = cause.section.as_ref().map(|section| Blamed {
            section: section.as_str(),
            instance,
            field: cause.field.as_deref(),
            minimum: minimum_version(cause),
        });
        // A rename that no list knows is told from a break by the bytes alone.
        let found = explain(
            &sent,
            (&expected, dump.as_deref()),
            blamed,
            &NoRenames,
            leg.direction,
        );
        // A build that died did not refuse: of that, only where the two sides part is an explanation.
        let parts = |found: &Explanation| found.offset.is_some();
        let found = found.filter(|found| attempt.outcome == Outcome::Fail || parts(found));
        if let Some(found) = found {
            *cause = Cause {
                message: format!("{}; {found}", cause.message),
                sent: found.sent(),
                expected: found.expected(),
                section: Some(found.section),
                instance: Some(found.instance_id.into()),
                field: found.field.or(cause.field.take()),
                rule: found.rule,
                offset: found.offset,
            };
        }
    }

    /// What a build's dump says: it tells a field that is always read from one that a test decides.
    async fn dumped_by(&self, party: &Endpoint) -> Option<Arc<Dump>> {
        if party.dump.is_some() {
            return party.dump.clone();
        }
        let json = party.build.dump(&self.machine).await.ok()?;
        parse_dump(&json, party.build.label()).ok().map(Arc::new)
    }

    /// What a build sends of a machine that never ran.
    pub(crate) async fn saved_by(
        &self,
        party: &Endpoint,
        launch: &LaunchSpec,
    ) -> Result<Stream, String> {
        let folder = private_dir().map_err(|error| error.to_string())?;
        launch
            .prepare(folder.path())
            .map_err(|error| error.to_string())?;
        let mut vm = Vm::start(party, launch, Role::First, folder.path(), 0)
            .await
            .map_err(|error| error.to_string())?;
        let saved = match transfer::prepare(&mut vm, End::Source, &[]).await {
            Ok(()) => transfer::save(&vm, self.timeouts.leg).await.stream,
            Err(unfit) => Err(unfit.message),
        };
        // It has nothing to put in order.
        vm.monitored.process.kill().await;
        saved
    }
}
