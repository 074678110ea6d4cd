//! Comparing the CPU models that two builds can give a machine. A guest has one of them: what the others
//! lose shows in no guest of ours, and no build refuses it.

use crate::migration::config::MigrationConfig;
use crate::migration::default_devices::launch_of;
use crate::migration::diagnosis::property_diff::{Compared, Snapshots, compare, findings};
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::leg::save::NewMachine;
use crate::model::Direction;
use crate::qemu::Subject;
use crate::qemu::cpu_models::CpuModels;
use crate::qemu::properties::Snapshot;
use crate::report::Finding;
use crate::rules::known_issues::KnownIssues;

/// The CPU models of both builds, compared.
#[derive(Debug, Default)]
pub(crate) struct ComparedModels {
    /// The number of those that both have and promise to keep.
    pub models: usize,
    pub findings: Vec<Finding>,
}

/// Asks both builds for the CPU models of a machine, and compares those of which `concerns` is true.
///
/// # Errors
/// A build does not start with the machine, or does not answer; in words.
pub(crate) async fn compare_models(
    config: &MigrationConfig,
    directions: &[Direction],
    lists: &KnownIssues,
    concerns: impl Fn(&str) -> bool,
) -> Result<ComparedModels, String> {
    let launch = launch_of(config);
    let ask = async |endpoint: &Endpoint| {
        let ask = async {
            let machine = NewMachine::start(endpoint, &launch).await?;
            let answered = machine.cpu_models().await;
            machine.end().await;
            answered
        };
        let subject = Subject::CpuModels;
        endpoint
            .answer::<CpuModels, String>(&launch, subject, [], ask)
            .await
    };
    let (old, new) = tokio::try_join!(ask(&config.old), ask(&config.new))?;
    let [old, new] = old.differing(&new).map(|mut objects| {
        objects.retain(|model| concerns(&model.type_name));
        Snapshot { objects }
    });
    let models = old.objects.len();
    let differences = compare(&Snapshots { old, new }, Compared::Values, lists);
    Ok(ComparedModels {
        models,
        findings: findings(&differences, directions, &config.machines),
    })
}
