//! The name of a case, taken apart: what a run has to do for that case alone.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::model::{Direction, from_word, serialize_as_text};

/// The name of a case: `q35/am53c974/unix/forward`, `q35/default/unix+multifd/backward/paused`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseName {
    text: String,
    architecture: Option<String>,
    machine: String,
    subject: String,
    direction: Direction,
}

/// A text that names no case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the id of a case; write MACHINE/DEVICE/TRANSPORT/DIRECTION as a report has it, for instance \
     q35/am53c974/unix/forward"
)]
pub struct BadCaseName(String);

impl CaseName {
    /// Returns the whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether its devices are driven from outside.
    pub fn is_driven(&self) -> bool {
        self.text.ends_with("/driven")
    }

    /// Tells whether Linux drives its devices.
    pub fn is_with_linux(&self) -> bool {
        self.text.ends_with("/linux")
    }

    /// Returns the guest's architecture, where the id has one.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// Returns the machine, or the family of its type.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Returns the machine as the id has it: with the architecture, where there is one.
    pub(crate) fn place(&self) -> Cow<'_, str> {
        match &self.architecture {
            Some(architecture) => Cow::Owned(format!("{architecture}/{}", self.machine)),
            None => Cow::Borrowed(&self.machine),
        }
    }

    /// Returns the name of what is moved: a device set, a device type, or `bare`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the direction of the first leg.
    pub fn direction(&self) -> Direction {
        self.direction
    }
}

impl FromStr for CaseName {
    type Err = BadCaseName;

    fn from_str(text: &str) -> Result<CaseName, BadCaseName> {
        let bad = || BadCaseName(text.to_owned());
        let mut parts = text.rsplit('/').peekable();
        // How the guest spent its time is said last.
        parts.next_if(|part| ["paused", "driven", "linux"].contains(part));
        let direction = parts.next().ok_or_else(bad)?;
        let way = direction
            .split_once("-loop")
            .map_or(direction, |(way, _)| way);
        let direction = from_word(way).ok_or_else(bad)?;
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or_else(bad);
        let (_transport, subject, machine) = (next()?, next()?, next()?);
        Ok(CaseName {
            text: text.to_owned(),
            machine: machine.to_owned(),
            architecture: parts.next().map(str::to_owned),
            subject: subject.to_owned(),
            direction,
        })
    }
}

serialize_as_text!(CaseName);

impl fmt::Display for CaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_moves_and_in_which_direction() {
        use Direction::{Backward, Forward};
        let name = |text: &str| text.parse::<CaseName>().expect(text);
        let (plain, other) = (
            name("q35/bare/unix/backward"),
            name("m68k/virt/ramfb/unix/forward"),
        );
        assert_eq!((plain.architecture(), plain.machine()), (None, "q35"));
        assert_eq!(
            (other.architecture(), other.machine()),
            (Some("m68k"), "virt")
        );
        assert_eq!(
            (plain.place(), other.place()),
            ("q35".into(), "m68k/virt".into())
        );
        for (text, subject, direction) in [
            ("q35/am53c974/unix/forward", "am53c974", Forward),
            ("q35/bare/unix/backward", "bare", Backward),
            ("m68k/virt/ramfb/unix/forward", "ramfb", Forward),
            ("q35/usb/unix+multifd/backward/paused", "usb", Backward),
            ("q35/usb:uhci/tcp/forward/linux", "usb:uhci", Forward),
            ("q35/default/unix/backward-loop10", "default", Backward),
            ("q35/together-2-1/unix/forward", "together-2-1", Forward),
        ] {
            let name: CaseName = text.parse().expect(text);
            assert_eq!((name.subject(), name.direction()), (subject, direction));
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "q35",
            "am53c974/unix/forward",
            "q35/am53c974/unix",
            "q35/am53c974/unix/sideways",
            "q35//unix/forward",
            "q35/am53c974/unix/forward/running",
        ] {
            let error = text.parse::<CaseName>().expect_err(text).to_string();
            assert!(error.contains("q35/am53c974/unix/forward"), "{error}");
        }
    }
}
