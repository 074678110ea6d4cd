//! Fields in which a build writes the version of a description: each build writes its own, whatever it was sent.

use crate::compare::fidelity::loss::Loss;
use crate::stream::tree::{Leaf, Section, Value};

/// What such a field says in its name that it has.
const VERSION: &str = "version";

/// Tells whether a field had the version of the structure that it is about in what was sent, and has it in what the
/// destination writes: `esp.mig_version_id` of the structure `esp` beside it.
pub(super) fn is_own_version(loss: &Loss, sent: &Section, actual: &Section) -> bool {
    let (about, name) = loss
        .path
        .rsplit_once(['/', '.'])
        .unwrap_or(("", &loss.path));
    // Small numbers are alike by chance.
    if !name.contains(VERSION) {
        return false;
    }
    let is_of = |section: &Section, bytes: &[u8]| {
        let version = version_of(section, about).map(u64::from);
        let value = match loss.kind.leaf(bytes) {
            // An array.
            _ if bytes.len() > size_of::<u64>() => None,
            Leaf::Unsigned(value) => Some(value),
            Leaf::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        };
        value.is_some() && value == version
    };
    let held = loss.held.as_ref();
    is_of(sent, &loss.sent) && held.is_some_and(|held| is_of(actual, held))
}

/// Returns the version of the structure in this place of a section; without a place, that of the section.
fn version_of(section: &Section, place: &str) -> Option<u32> {
    if place.is_empty() {
        return Some(section.version_id);
    }
    let mut structure = section.content.structure()?;
    for name in place.split('/') {
        let node = structure.fields.iter().find(|node| *node.name == *name)?;
        let Value::Struct(inner) = &node.value else {
            return None;
        };
        structure = inner;
    }
    structure.version
}
