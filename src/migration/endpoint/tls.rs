//! Encryption of a stream: a key that both sides of a case share, in its own folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::qemu::option_value;
use crate::report::LegSide;

/// The name of the other side. The key is what it is known by; releases before 8.0 want a name nonetheless.
pub(crate) const HOST: &str = "migcompat";
/// The file in which QEMU looks for keys, and the name that it looks for unless it is told another.
const KEYS: &str = "keys.psk";
const USER: &str = "qemu";
/// Bytes of a key.
const KEY: usize = 32;

/// Returns the id of the credentials of a side: a machine that arrived is sent on.
pub(crate) fn credentials(side: LegSide) -> &'static str {
    match side {
        LegSide::Source => "migcompat-tls-client",
        LegSide::Destination => "migcompat-tls-server",
    }
}

/// Writes a key that nobody has had.
///
/// # Errors
/// The system gives no random bytes, or the disk is full.
pub(crate) fn prepare(folder: &Path) -> io::Result<()> {
    let mut key = [0; KEY];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(folder.join(KEYS), format!("{USER}:{digits}\n"))
}

/// Returns the options for credentials of both sides.
pub(crate) fn args(folder: &Path) -> Vec<String> {
    let folder = option_value(&folder.to_string_lossy());
    [
        (LegSide::Source, "client"),
        (LegSide::Destination, "server"),
    ]
    .into_iter()
    .flat_map(|(side, end)| {
        let id = credentials(side);
        let object = format!("tls-creds-psk,id={id},endpoint={end},dir={folder}");
        ["-object".to_owned(), object]
    })
    .collect()
}
