//! The signals that end a run, in whatever phase it is.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::thread;

use nix::sys::signal::Signal;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;

use crate::cleanup;

const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Has a signal end the process from now on: what it started is killed, its temporary folders are
/// removed, and it exits with the status that `report` returns.
///
/// # Errors
/// The system gives no thread or no handler for it.
pub(crate) fn listen(report: impl FnOnce(Signal) -> u8 + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before this returns, so that no phase comes earlier.
    let mut listeners = {
        let _runtime = runtime.enter();
        let wanted = ENDING.into_iter().filter(|&signal| !is_declined(signal));
        let listener = |signal| {
            let kind = SignalKind::from_raw(signal as i32);
            Ok((signal, unix::signal(kind)?))
        };
        wanted.map(listener).collect::<io::Result<Vec<_>>>()?
    };
    let first = poll_fn(move |context| {
        for (signal, listener) in &mut listeners {
            if listener.poll_recv(context).is_ready() {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    });
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let signal = runtime.block_on(first);
            cleanup::end();
            std::process::exit(report(signal).into());
        })?;
    Ok(())
}

/// Returns whether our caller has this signal ignored, so that the run goes on, as `nohup` does.
/// For the others this cannot be decided: a shell has its background jobs ignore Ctrl-C unasked.
fn is_declined(signal: Signal) -> bool {
    signal == Signal::SIGHUP
        && std::fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| is_ignored(signal, &status))
}

/// Returns whether a `/proc/PID/status` says that a signal is ignored.
fn is_ignored(signal: Signal, status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_of_a_process_are_read() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(Signal::SIGHUP, status));
        assert!(is_ignored(Signal::SIGPIPE, status));
        assert!(!is_ignored(Signal::SIGINT, status));
        assert!(!is_ignored(Signal::SIGHUP, "SigIgn:\tnone\n"));
        assert!(!is_ignored(Signal::SIGHUP, ""));
    }
}
