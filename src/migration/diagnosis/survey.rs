//! A survey of one machine, which never runs, in both builds: what they send of it, and how they set it up.
//! One process a build answers both.

use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::diagnosis::properties::ProbeError;
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::leg::save::NewMachine;
use crate::qemu::Subject;
use crate::qemu::properties::{Asked, Snapshot};
use crate::stream::{Stream, StructDesc};

/// The answers of both builds about a machine.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The streams that the old and the new build send of it.
    pub streams: Result<(Stream, Stream), ProbeError>,
    /// The properties that they set up; `None` where nothing in it could answer.
    pub snapshots: Result<Option<Snapshots>, ProbeError>,
}

/// Has both builds save a guest that never ran, and asks them for some of its properties. Features are asked
/// for only where one of them sent the state of a virtio device, or sent nothing.
///
/// # Errors
/// A build does not start with the set.
pub(crate) async fn survey(
    config: &MigrationConfig,
    set: &DeviceSet,
    asked: Asked,
) -> Result<Survey, ProbeError> {
    let launch = config.launch(config.compose(set).args);
    let deadline = config.timeouts.leg;
    let start = |endpoint| NewMachine::start(endpoint, &launch);
    let started = tokio::try_join!(start(&config.old), start(&config.new));
    let (mut old, mut new) = started.map_err(ProbeError::NewMachine)?;
    let (of_old, of_new) = tokio::join!(old.save(deadline), new.save(deadline));
    let may_answer = |sent: &Result<Stream, String>| sent.as_ref().map_or(true, has_virtio);
    let is_worth_asking = match asked {
        Asked::Everything => true,
        Asked::Features => may_answer(&of_old) || may_answer(&of_new),
    };
    let snapshots = match is_worth_asking {
        true => {
            let (old, new) = (old.ask(asked), new.ask(asked));
            let old = answer(&config.old, &launch, asked, old);
            match tokio::try_join!(old, answer(&config.new, &launch, asked, new)) {
                Ok((old, new)) => Ok(Some(Snapshots { old, new })),
                Err(error) => Err(ProbeError::NewMachine(error)),
            }
        }
        false => Ok(None),
    };
    tokio::join!(old.end(), new.end());
    let streams = of_old.and_then(|old| Ok((old, of_new?)));
    Ok(Survey {
        streams: streams.map_err(ProbeError::NewMachine),
        snapshots,
    })
}

/// Asks both builds for the features that the virtio devices of a machine offer.
///
/// # Errors
/// A build does not start with the set, or does not answer.
pub(crate) async fn features(
    config: &MigrationConfig,
    set: &DeviceSet,
) -> Result<Snapshots, ProbeError> {
    let launch = config.launch(config.compose(set).args);
    let features = async |endpoint: &Endpoint| {
        let ask = async {
            let machine = NewMachine::start(endpoint, &launch).await?;
            let answered = machine.ask(Asked::Features).await;
            machine.end().await;
            answered
        };
        answer(endpoint, &launch, Asked::Features, ask).await
    };
    let asked = tokio::try_join!(features(&config.old), features(&config.new));
    let (old, new) = asked.map_err(ProbeError::NewMachine)?;
    Ok(Snapshots { old, new })
}

/// Returns what a build says of a machine's properties.
async fn answer(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    asked: Asked,
    ask: impl Future<Output = Result<Snapshot, String>>,
) -> Result<Snapshot, String> {
    let about = match asked {
        Asked::Everything => "everything",
        Asked::Features => "features",
    };
    let subject = Subject::Properties;
    endpoint.answer(launch, subject, [about.into()], ask).await
}

/// Tells whether a machine sent the state of a virtio device. Only such a description has a field of this type.
fn has_virtio(stream: &Stream) -> bool {
    fn is_virtio(description: &StructDesc) -> bool {
        let mut fields = description.fields.iter();
        fields.any(|field| &*field.type_name == "virtio")
    }
    // A stream that describes nothing says nothing either.
    stream.vmdesc().is_none_or(|vmdesc| {
        let mut devices = vmdesc.devices.iter();
        devices.any(|device| is_virtio(&device.description))
    })
}
