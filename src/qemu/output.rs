//! Parsing of QEMU's output: the lines that complain, the harmless ones, and the text of a line.
//!
//! QEMU writes `program: text`, where a text that starts with `warning:` or `info:` is no failure.
//! Wordings that are parsed for their contents are here too, so that a new release needs changes in
//! one place.

pub(crate) mod devices;
pub(crate) mod load;
pub(crate) mod roms;
pub(crate) mod start;

/// Returns the line without the program's name before it.
pub(crate) fn without_program(line: &str) -> &str {
    let line = line.trim();
    match line.split_once(": ") {
        Some((program, rest)) if program.contains("qemu-") && !program.contains(' ') => rest,
        _ => line,
    }
}

/// Recognises a line that has no bearing on a failure.
pub(crate) fn is_harmless(line: &str) -> bool {
    let line = line.trim();
    line.is_empty()
        || line.contains("warning:")
        || line.contains("deprecated")
        || line.contains("info:")
        || line.ends_with("has no peer")
        // Boot code of which a build has no file: the machine is without (rom_add_file(), hw/core/loader.c).
        || line.starts_with("rom: file ")
        // Printed by a source when the destination has gone: an effect, not a cause.
        || line.contains("terminating on signal")
}

/// Returns an error output without the warnings that are due to how we set a guest up: our networks are hubs that
/// no host is connected to. Nobody else's guest prints them.
///
/// They cannot be avoided: each backend that a hub takes for a host changes more than the warning. `user` has a section of its
/// own in the stream and answers the guest; `socket` is a port that anything on the host reaches, or a descriptor that nobody
/// has who types what reproduces a case; `stream` and `dgram` are younger than the oldest builds; the others are the host's.
pub(crate) fn without_our_own(stderr: &str) -> String {
    let is_our_own = |line: &&str| {
        line.contains("warning: hub ") && line.ends_with("not connected to host network")
    };
    let lines = stderr.split_inclusive('\n');
    lines.filter(|line| !is_our_own(&line.trim_end())).collect()
}

/// Returns the lines of an error output except for the harmless ones.
pub(crate) fn complaints(stderr: &str) -> impl Iterator<Item = &str> {
    let mut warned = false;
    stderr.lines().filter(move |line| {
        // A warning of several lines: those that follow have neither a program's name nor a place.
        let goes_on = warned && !line.contains(':');
        warned = goes_on || line.contains("warning:");
        !goes_on && !is_harmless(line)
    })
}

/// Returns the part of an error output to quote: the complaints, or all of it where there is none.
pub(crate) fn to_quote(stderr: &str) -> String {
    let lines: Vec<&str> = complaints(stderr).collect();
    match lines.is_empty() {
        true => stderr.trim().to_owned(),
        false => lines.join("\n"),
    }
}

/// Returns the lines that a QEMU should not have printed whose migration completed on both sides.
///
/// That a connection is closed is no such line, for each side had all that it needed by then. Threads of multifd send one packet
/// without a page more than they are waited for, up to 8.2 (`pending_job` in migration/multifd.c): a source that has completed
/// closes their connections meanwhile, or not, as the load of the host has it.
pub(crate) fn complaints_of_completed(stderr: &str) -> impl Iterator<Item = &str> {
    complaints(stderr).filter(|line| !tells_of_closed_connection(line))
}

/// Recognises what is printed of writing to a connection that either side has closed, by io/channel-*.c.
fn tells_of_closed_connection(line: &str) -> bool {
    const CLOSED: [&str; 2] = [": Broken pipe", ": Connection reset by peer"];
    const WRITING: [&str; 2] = ["Unable to write", "Cannot write to TLS channel"];
    WRITING.iter().any(|words| line.contains(words))
        && CLOSED.iter().any(|end| line.trim_end().ends_with(end))
}

/// Returns the line that best explains why a build ended, without the program's name: a failed
/// assertion, else the first complaint.
pub(crate) fn reason(stderr: &str) -> Option<&str> {
    complaints(stderr)
        .find(|line| line.contains("Assertion"))
        .or_else(|| complaints(stderr).next())
        .map(without_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_are_the_complaints_if_there_are_any() {
        for (printed, quoted) in [
            (
                "q: warning: old\nq: Bus 'x' not found\n",
                "q: Bus 'x' not found",
            ),
            (
                "rom: file vgabios-ramfb.bin   : error Failed to open file\nq: error while loading\n",
                "q: error while loading",
            ),
            ("q: info: x\nq: no\nq: yes", "q: no\nq: yes"),
            (" q: warning: old\n", "q: warning: old"),
            ("\n", ""),
        ] {
            assert_eq!(to_quote(printed), quoted);
        }
    }

    #[test]
    fn a_closed_connection_is_no_complaint_of_what_has_completed() {
        let closed = "qemu-system-x86_64: Unable to write to socket: Broken pipe\n\
                      qemu-system-x86_64: Cannot write to TLS channel: Connection reset by peer\n";
        assert_eq!(complaints_of_completed(closed).next(), None);
        // Of a migration that failed it may be all that is known.
        assert_eq!(
            reason(closed),
            Some("Unable to write to socket: Broken pipe")
        );
        for line in [
            "q: Unable to write to socket: No space left on device",
            "q: Unable to read from socket: Connection reset by peer",
            "q: virtio-net: Broken pipe",
        ] {
            let printed = format!("{closed}{line}");
            assert_eq!(complaints_of_completed(&printed).next(), Some(line));
        }
    }

    #[test]
    fn warnings_are_no_complaints() {
        let complaint = |stderr| complaints(stderr).next();
        let quiet = "qemu-system-x86_64: warning: nic x has no peer\n\
                     qemu-system-x86_64: Machine type 'pc-q35-5.2' is deprecated: use a newer one";
        assert_eq!(complaint(quiet), None);
        let two_lines = "q: warning: multiple floppy disk controllers have been found\n\
                         the one being picked for CMOS setup might not reflect your intent";
        assert_eq!(complaint(two_lines), None);
        let then = format!("{two_lines}\nx: it broke\nand ended");
        assert_eq!(complaints(&then).next(), Some("x: it broke"));
        assert_eq!(complaint("x: it broke"), Some("x: it broke"));
    }

    #[test]
    fn what_our_own_set_up_makes_a_build_print_is_left_out() {
        let hub = "qemu-system-x86_64: warning: hub 0 is not connected to host network\n";
        let other =
            "qemu-system-x86_64: warning: nic x has no peer\nqemu-system-x86_64: hub 0 broke";
        assert_eq!(without_our_own(&format!("{hub}{hub}{other}")), other);
        assert_eq!(without_our_own(hub), "");
    }

    #[test]
    fn the_program_stands_before_the_text() {
        for (line, text) in [
            ("qemu-system-x86_64: it broke: badly", "it broke: badly"),
            (" /usr/bin/qemu-system-arm: it broke ", "it broke"),
            ("qemu-kvm: it broke: badly", "it broke: badly"),
        ] {
            assert_eq!(without_program(line), text);
        }
        for line in [
            "it broke: badly",
            "no qemu-system-arm: it broke",
            // A function.
            "qemu_thread_create: it broke",
        ] {
            assert_eq!(without_program(line), line);
        }
    }

    #[test]
    fn an_assertion_says_more_than_a_line_before_it() {
        let assertion = "../x.c:1: f: Assertion `a' failed.";
        let asserts = format!("qemu-system-arm: first\nqemu-system-arm: {assertion}\n");
        let warning = "qemu-system-arm: warning: old\n";
        let refuses = "qemu-system-arm: -device x: no such\nqemu-system-arm: second";
        for (stderr, expected) in [
            (&*asserts, Some(assertion)),
            (&format!("\n{warning}{refuses}"), Some("-device x: no such")),
            (warning, None),
            ("", None),
        ] {
            assert_eq!(reason(stderr), expected, "{stderr}");
        }
    }
}
