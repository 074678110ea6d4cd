//! The transports that a stream can take.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Version, display_as_serialized, from_word};

/// The first QEMU with `file:` addresses.
const FILE_SINCE: Version = Version::new(8, 2, 0);

/// A transport of a migration stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A socket in the file system.
    #[default]
    Unix,
    /// A TCP connection on the loopback interface.
    Tcp,
    /// A pair of connected sockets, one end handed to each side.
    Fd,
    /// The pipes of a command that each side starts.
    Exec,
    /// A file, which the destination reads once it is whole. From QEMU 8.2 on.
    File,
}

impl Transport {
    /// Tells whether a stream of one connection is passed on by us.
    pub(crate) fn is_relayed(self) -> bool {
        match self {
            Transport::Unix | Transport::Tcp | Transport::Fd => true,
            Transport::Exec | Transport::File => false,
        }
    }

    /// Returns why a pair of builds cannot use it, if it cannot.
    pub fn obstacle(self, old: Version, new: Version) -> Option<String> {
        let (side, version) = if old < new {
            ("old", old)
        } else {
            ("new", new)
        };
        (self == Transport::File && version < FILE_SINCE)
            .then(|| format!("file: needs QEMU 8.2, the {side} build is {version}"))
    }
}

display_as_serialized!(Transport);

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        from_word(text).ok_or_else(|| "there are unix, tcp, fd, exec and file".to_owned())
    }
}
