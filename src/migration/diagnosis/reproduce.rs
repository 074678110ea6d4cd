//! The shell line that runs a case by hand.

use std::path::Path;

use crate::beside::ByHand;
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, quoted};
use crate::qemu::quote;
use crate::stream::machine_name;

/// One shell line that moves a guest along the route with nothing but the builds and a shell: each
/// stage saves its guest into a file, from which the next one loads it. `folder` is where the
/// guest's image stays. Capabilities are not used, since a file supports none of them; a comment in
/// the line names them, and so it is with what a driver did from outside.
pub(crate) fn line(
    route: &[&Endpoint],
    launch: &LaunchSpec,
    folder: &Path,
    capabilities: &[Capability],
) -> String {
    let mut stages = vec!["d=$(mktemp -d)".to_owned()];
    for (at, endpoint) in route.iter().enumerate() {
        let mut words = vec![endpoint.build.shell_prefix()];
        let role = match at {
            0 => Role::First,
            _ => Role::Destination,
        };
        let mut args = launch.args(endpoint, role, folder);
        let beside = ByHand::take_all(&mut args, "$d", &format!("beside{at}"));
        words.extend(quoted(&args));
        words.push("-monitor stdio".to_owned());
        for program in beside {
            stages.push(program.start);
            words.push(program.option);
        }
        if launch.workload.is_some() {
            let (id, port) = launch.console();
            words.push(format!("-chardev file,id={id},path=$d/console{at}"));
            words.extend(quoted(&port));
        } else {
            words.push("-S".to_owned());
        }
        if at > 0 {
            let from = at - 1;
            let read = read_as(&format!("$d/stream{from}"), route[from], endpoint);
            words.push(format!("-incoming \"exec:{read}; touch $d/read{from}\""));
        }
        let run = words.join(" ");
        let mut typed = Vec::new();
        match (&launch.workload, at) {
            // Its first word, on either side, shows that the guest works.
            (Some(_), _) => typed.push(until(&format!("-s $d/console{at}"))),
            (None, 0) => {}
            // What was read has yet to be loaded; nothing shows when that is done.
            (None, _) => typed.push(format!(
                "{}; sleep 1",
                until(&format!("-e $d/read{}", at - 1))
            )),
        }
        // Without -d the monitor takes no further command until the migration is over.
        typed.push(if at + 1 < route.len() {
            format!("echo \"migrate \\\"exec:cat > $d/stream{at}\\\"\"")
        } else {
            "echo 'info status'".to_owned()
        });
        typed.push("echo quit".to_owned());
        stages.push(format!("({}) | {run}", typed.join("; ")));
    }
    let mut line = stages.join("; ");
    let without = left_out(launch, capabilities);
    if !without.is_empty() {
        line.push_str(&format!(" # without {}", without.join(" and ")));
    }
    line
}

/// Prints a saved guest for the next build.
fn read_as(stream: &str, from: &Endpoint, to: &Endpoint) -> String {
    match (&from.machine, &to.machine) {
        (Some(sent), Some(own)) if sent != own => renamed(stream, sent, own),
        _ => format!("cat {stream}"),
    }
}

/// Prints a saved guest with another name of the machine type than the one that was `sent`: QEMU takes none but its own.
fn renamed(stream: &str, sent: &str, own: &str) -> String {
    let before = machine_name::BEFORE;
    let rest = machine_name::TO_NAME + sent.len() + 1;
    let length = own.len();
    format!(
        "head -c {before} {stream}; printf '\\000\\000\\000\\{length:03o}%s' {own}; tail -c +{rest} {stream}"
    )
}

/// Lists the parts of a case that builds and a shell alone do without.
pub(super) fn left_out(launch: &LaunchSpec, capabilities: &[Capability]) -> Vec<String> {
    let mut left_out: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    if launch.driving.is_some() {
        left_out.push("what --driven does to the devices before they are sent".to_owned());
    }
    left_out
}

/// One shell line that loads a plain stream, so many bytes from the start of a file. `folder` is where the guest's
/// files stay.
pub(crate) fn load_line(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    folder: &Path,
    (file, offset): (&Path, u64),
) -> String {
    let mut words = vec![endpoint.build.shell_prefix()];
    let mut args = launch.args(endpoint, Role::Destination, folder);
    let beside = ByHand::take_all(&mut args, "$d", "beside");
    words.extend(quoted(&args));
    let mut starts = String::new();
    for program in beside {
        if starts.is_empty() {
            starts.push_str("d=$(mktemp -d); ");
        }
        starts.push_str(&program.start);
        starts.push_str("; ");
        words.push(program.option);
    }
    let from = format!("tail -c +{} {}", offset + 1, quote(&file.to_string_lossy()));
    words.push(format!(
        "-S -monitor stdio -incoming {}",
        quote(&format!("exec:{from}"))
    ));
    format!(
        "{starts}(sleep 5; echo 'info status'; echo quit) | {}",
        words.join(" ")
    )
}

/// Waits until a test holds, or the build has gone: an empty line means nothing to its monitor, and
/// cannot be written any more then.
fn until(test: &str) -> String {
    format!("until [ {test} ]; do echo || exit; sleep 0.1; done")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::stream::machine_name::Renaming;

    #[test]
    fn a_shell_changes_the_name_as_the_relay_does() {
        let sent = b"QEVM\0\0\0\x03\x07\0\0\0\x0apc-q35-8.2EVM";
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("stream");
        std::fs::write(&file, sent).expect("written");
        for own in ["pc-q35-noble", "q35", "pc-q35-rhel9.4.0"] {
            let line = renamed(&file.to_string_lossy(), "pc-q35-8.2", own);
            let shell = Command::new("sh").args(["-c", &line]).output();
            let printed = shell.expect("a shell").stdout;
            assert_eq!(printed, Renaming::to(own).pass(sent).into_owned(), "{line}");
        }
    }
}
