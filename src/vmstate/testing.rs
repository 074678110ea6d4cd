//! Real dumps for unit tests.

use crate::vmstate::dump::Dump;
use crate::vmstate::read::read_dump;

/// The dump `VERSION/NAME`.
pub(crate) fn dump(name: &str) -> Dump {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dumps");
    read_dump(format!("{folder}/{name}.json.zst").as_ref()).expect("a sound fixture")
}
