//! `migcompat stand-in`: a backend of a vhost-user device.

use std::time::Duration;

use crate::api::StandIn;
use crate::cli::args::StandInArgs;
use crate::cli::{Exit, Failure};

pub(crate) fn run(args: &StandInArgs) -> Result<Exit, Failure> {
    let stand_in = StandIn {
        device: args.device.clone(),
        socket: args.socket.clone(),
        disk: args.disk.clone(),
        within: args.within.map(Duration::from_secs),
    };
    stand_in.run().map_err(Failure::usage)?;
    Ok(Exit::Compatible)
}
