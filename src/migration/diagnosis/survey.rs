//! A survey of one machine, which never runs, in both builds: what they send of it, and how they set it up.
//! One process a build answers both.

use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::diagnosis::properties::ProbeError;
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::leg::save::NewMachine;
use crate::qemu::properties::Asked;
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
        true => match tokio::try_join!(old.ask(asked), new.ask(asked)) {
            Ok((old, new)) => Ok(Some(Snapshots { old, new })),
            Err(error) => Err(ProbeError::NewMachine(error)),
        },
        false => Ok(None),
    };
    tokio::join!(old.end(), new.end());
    let streams = of_old.and_then(|old| Ok((old, of_new?)));
    Ok(Survey {
        streams: streams.map_err(ProbeError::NewMachine),
        snapshots,
    })
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
