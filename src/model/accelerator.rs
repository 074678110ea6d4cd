//! Accelerators: what executes a guest's instructions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{display_as_serialized, from_word, joined};

/// An accelerator that guests are moved with.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// QEMU's own emulation, which every host can.
    #[default]
    Tcg,
    /// The host's processors, by Linux.
    Kvm,
}

impl Accelerator {
    /// Tells whether memory that a guest writes while it is sent may be sent again, pass by pass. Under TCG a QEMU
    /// before 8.0 clears the dirty bits for a second pass without informing the translated code, which then writes pages
    /// unnoticed: they arrive stale, also from such a build to itself; 11.1 sometimes loses a page, too, the more often
    /// the busier the host is.
    pub(crate) fn resends(self) -> bool {
        match self {
            Accelerator::Tcg => false,
            Accelerator::Kvm => true,
        }
    }
}

display_as_serialized!(Accelerator);

impl FromStr for Accelerator {
    type Err = BadAccelerator;

    fn from_str(text: &str) -> Result<Self, BadAccelerator> {
        from_word(text).ok_or_else(|| BadAccelerator::Unknown(text.to_owned()))
    }
}

/// Accelerators in the order of preference: the first that both builds and the host can use is taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcceleratorPreference(Vec<Accelerator>);

impl AcceleratorPreference {
    /// KVM where both builds and the host can use it, else TCG.
    pub fn auto() -> AcceleratorPreference {
        AcceleratorPreference(vec![Accelerator::Kvm, Accelerator::Tcg])
    }

    /// Returns the accelerators, the preferred one first.
    pub fn order(&self) -> &[Accelerator] {
        &self.0
    }
}

/// TCG alone.
impl Default for AcceleratorPreference {
    fn default() -> AcceleratorPreference {
        AcceleratorPreference::from(Accelerator::Tcg)
    }
}

/// This one alone.
impl From<Accelerator> for AcceleratorPreference {
    fn from(only: Accelerator) -> AcceleratorPreference {
        AcceleratorPreference(vec![only])
    }
}

impl fmt::Display for AcceleratorPreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&joined(&self.0, ","))
    }
}

impl FromStr for AcceleratorPreference {
    type Err = BadAccelerator;

    /// Reads `auto`, or names between commas.
    fn from_str(text: &str) -> Result<Self, BadAccelerator> {
        if text == "auto" {
            return Ok(AcceleratorPreference::auto());
        }
        let mut order = Vec::new();
        for name in text.split(',') {
            let accelerator: Accelerator = name.parse()?;
            if order.contains(&accelerator) {
                return Err(BadAccelerator::Twice(accelerator));
            }
            order.push(accelerator);
        }
        Ok(AcceleratorPreference(order))
    }
}

/// A text is no preference of accelerators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAccelerator {
    /// No accelerator has this name.
    #[error(
        "there are tcg, kvm, lists of them in the order of preference (kvm,tcg), and auto, and not {0:?}"
    )]
    Unknown(String),
    /// One has two places.
    #[error("{0} is in the list twice")]
    Twice(Accelerator),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_a_list_without_repetition() {
        use Accelerator::{Kvm, Tcg};
        for (text, order) in [
            ("tcg", vec![Tcg]),
            ("kvm", vec![Kvm]),
            ("kvm,tcg", vec![Kvm, Tcg]),
            ("tcg,kvm", vec![Tcg, Kvm]),
            ("auto", vec![Kvm, Tcg]),
        ] {
            let read: AcceleratorPreference = text.parse().unwrap();
            assert_eq!(read.order(), order, "{text}");
            assert_eq!(read.to_string().parse(), Ok(read), "{text}");
        }
        for (text, bad) in [
            ("kvm,kvm", BadAccelerator::Twice(Kvm)),
            ("", BadAccelerator::Unknown(String::new())),
            ("kvm,", BadAccelerator::Unknown(String::new())),
            ("auto,tcg", BadAccelerator::Unknown("auto".to_owned())),
            ("KVM", BadAccelerator::Unknown("KVM".to_owned())),
            ("hvf", BadAccelerator::Unknown("hvf".to_owned())),
        ] {
            assert_eq!(text.parse::<AcceleratorPreference>(), Err(bad), "{text}");
        }
    }
}
