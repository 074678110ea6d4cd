//! Sending the stream from one started QEMU to the other, until both have completed.

use std::time::Instant;

use crate::migration::channel::connect::{self, Outgoing, Relayed};
use crate::migration::channel::proxy::{Captured, StreamProxy};
use crate::migration::channel::transport::Transport;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::capability::{Capability, Pace, parameters};
use crate::migration::endpoint::commands::{Cont, Migrate, MigrateIncoming, StartPostcopy, Stop};
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{LegError, LegErrorKind, Obstacle, checked, execute};
use crate::migration::leg::set_up;
use crate::migration::leg::watch::{Goal, STAYS_SINCE, Stats, Watch};
use crate::report::LegSide::{Destination, Source};
use crate::report::Phase;

/// Moves the guest between two sides that are set up. Afterwards both are stopped. The stream that the source sent is
/// returned also of a transfer that failed: a source whose destination refuses the stream is read to its end.
pub(crate) async fn transfer(
    config: &MigrationConfig,
    source: &mut Vm,
    destination: &mut Vm,
) -> (Result<Stats, LegError>, Captured) {
    let mut proxy = None;
    let outcome = send(config, source, destination, &mut proxy).await;
    let timed_out = matches!(
        &outcome,
        Err(error) if matches!(error.kind, LegErrorKind::TimedOut(_))
    );
    let sent = match proxy {
        // A side that hangs has not sent the end of its stream, and will not.
        Some(proxy) if !timed_out => proxy.captured().await,
        _ => Captured::nothing("the migration did not end"),
    };
    (outcome, sent)
}

/// Sends the stream. The proxy is given out as soon as something is on its way to it.
async fn send(
    config: &MigrationConfig,
    source: &mut Vm,
    destination: &mut Vm,
    proxy: &mut Option<StreamProxy>,
) -> Result<Stats, LegError> {
    let (transport, capabilities) = (config.transport, &*config.capabilities);
    let deadline = config.timeouts.leg;
    let end = Instant::now() + deadline;
    let postcopy = capabilities.contains(&Capability::PostcopyRam);
    let several = source.accelerator.resends() && !postcopy;
    let pace = match (source.works_while_sent(), several) {
        (false, _) => Pace::Full,
        (true, true) => Pace::SeveralPasses,
        (true, false) => Pace::OnePass,
    };
    // One that was a destination before has the credentials of one.
    if pace != Pace::Full || capabilities.contains(&Capability::Tls) {
        set_up::set_pace(source, capabilities, pace).await?;
    }
    let relayed = match capabilities.iter().find(|of| !of.is_one_way()) {
        None => Relayed::Yes,
        Some(&capability) => Relayed::No(capability),
    };
    let channel = connect::open(transport, relayed, source, destination).await?;
    source.monitored.session.forget_events();
    destination.monitored.session.forget_events();
    let mut watch = Watch::default();
    if pace == Pace::SeveralPasses {
        watch.limited = Some(parameters(capabilities, Pace::Full, Source));
    }
    // A file has to be whole before it is read; everywhere else the listener comes first.
    let listens_last = transport == Transport::File;
    if !listens_last {
        listen(destination, channel.incoming.clone()).await?;
    }
    let (uri, started) = match channel.outgoing {
        Outgoing::Known(uri, proxy) => (uri, proxy),
        Outgoing::AskForPort(memory) => {
            let found = connect::port(destination, relayed, memory).await;
            checked(destination, Destination, Phase::Incoming, found).await?
        }
    };
    // An emulated processor may be in the middle of a write when its memory is looked at for the first time, which then
    // nobody sees, unless it writes there again before it is stopped: a guest that goes over to postcopy at once has
    // no time for that.
    let is_held = postcopy && source.works_while_sent() && !source.accelerator.resends();
    if is_held {
        execute(source, Source, Phase::Transfer, Stop {}).await?;
    }
    execute(source, Source, Phase::Transfer, Migrate { uri }).await?;
    let proxy = proxy.insert(started);
    if is_held {
        watch.until(Goal::Begun, source, destination, end).await;
        // One that is done or has failed meanwhile says that itself.
        let _over = source.execute(Cont {}).await;
    }
    if postcopy {
        // The build itself waits until the first pass is under way.
        execute(source, Source, Phase::Transfer, StartPostcopy {}).await?;
    }
    if listens_last {
        watch.until(Goal::Sent, source, destination, end).await;
        if watch.has_sent() {
            listen(destination, channel.incoming).await?;
        }
    }
    // Where this host cannot pass the stream on, neither side is to blame for what becomes of it.
    tokio::select! {
        biased;
        error = proxy.broken() => return Err(error),
        () = watch.until(Goal::BothThrough, source, destination, end) => {}
    }
    let in_time = watch.postcopy;
    let stats = watch.verdict(source, destination, deadline).await?;
    if postcopy && !in_time {
        return Err(LegError::new(
            None,
            Phase::Transfer,
            Obstacle::PostcopyTooLate,
        ));
    }
    Ok(stats)
}

/// Has the destination listen, or read what is there already.
pub(crate) async fn listen(destination: &mut Vm, uri: String) -> Result<(), LegError> {
    let command = MigrateIncoming {
        uri,
        exit_on_error: (destination.version >= STAYS_SINCE).then_some(false),
    };
    let listening = execute(destination, Destination, Phase::Incoming, command);
    listening.await.map(drop)
}
