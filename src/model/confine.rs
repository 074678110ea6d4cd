//! The confinement of the processes of builds: the wish, and the means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{display_as_serialized, from_word};

/// The wish to confine the processes of builds: they write into the folders of their run alone, and reach no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confine {
    /// As far as the host can, except what is the user's own and may need more: scripts that start a build, device sets
    /// of trusted folders, and options of one side that lead out of the guest.
    #[default]
    Auto,
    /// Nothing.
    Off,
    /// Everything; where the host cannot, nothing is started.
    Require,
}

display_as_serialized!(Confine);

impl FromStr for Confine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        from_word(text).ok_or_else(|| "there are auto, off and require".to_owned())
    }
}

/// A barrier around the processes of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Barrier {
    /// Landlock: nothing is written but in the folders of the run, and nothing outside gets a signal.
    Landlock,
    /// A network namespace with nothing in it.
    NetworkNamespace,
    /// Landlock: no TCP port is bound or connected to.
    LandlockTcp,
    /// QEMU's own (`-sandbox`): it runs as nobody else and starts no program.
    Sandbox,
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Barrier::Landlock => "Landlock",
            Barrier::NetworkNamespace => "a network namespace",
            Barrier::LandlockTcp => "Landlock (TCP)",
            Barrier::Sandbox => "QEMU's sandbox",
        })
    }
}

/// The barriers around the processes of a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfinedBuild {
    /// The build, as the user wrote it.
    pub build: String,
    /// The barriers.
    pub by: Vec<Barrier>,
    /// The reason why there are not more, if there are not.
    pub lacking: Option<String>,
}

impl ConfinedBuild {
    /// Tells whether what runs in the build may write where it likes.
    pub fn writes_anywhere(&self) -> bool {
        !self.by.contains(&Barrier::Landlock)
    }
}

impl fmt::Display for ConfinedBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by: Vec<String> = self.by.iter().map(ToString::to_string).collect();
        match by.is_empty() {
            true => write!(f, "{} was not confined", self.build)?,
            false => write!(f, "{} was confined by {}", self.build, by.join(" and "))?,
        }
        match &self.lacking {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}
