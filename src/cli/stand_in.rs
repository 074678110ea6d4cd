//! `migcompat stand-in`: a backend of a vhost-user device.

use crate::api;
use crate::cli::args::StandInArgs;
use crate::cli::{Exit, Failure};

pub(crate) fn run(args: &StandInArgs) -> Result<Exit, Failure> {
    let disk = args.disk.clone().unwrap_or_else(|| {
        let mut path = args.socket.clone().into_os_string();
        path.push(".disk");
        path.into()
    });
    api::stand_in(&args.device, &args.socket, &disk).map_err(Failure::usage)?;
    Ok(Exit::Compatible)
}
