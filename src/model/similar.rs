//! Names similar to one that a user typed.

use std::collections::BTreeSet;

/// The least likeness, from 0 to 1, of a name that is worth proposing.
const LIKE: f64 = 0.6;
/// The likeness of a beginning that is the same, so that a whole name with one slip comes before it.
const LIKE_A_BEGINNING: f64 = 0.9;
/// The letters of a name from which on it may be meant as the beginning of a longer one.
const BEGINNING: usize = 4;
/// Number of names that are proposed at most.
const PROPOSED: usize = 3;

/// Returns the names most similar to the wanted one, the most similar first; none where all are too
/// different. Exchanged letters count as one slip, as in `vitr`, and a name that is not typed to its end is like
/// those that begin so, the shortest first.
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let mut near: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (likeness(wanted, name), name))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .collect();
    near.sort_by(|a, b| {
        let by_length = || a.1.len().cmp(&b.1.len());
        b.0.total_cmp(&a.0).then_with(by_length).then(a.1.cmp(b.1))
    });
    near.truncate(PROPOSED);
    near.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// Returns the likeness, from 0 to 1, of a typed name and a known one or its beginning.
fn likeness(wanted: &str, name: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(wanted, name);
    let typed = wanted.chars().count();
    match name.char_indices().nth(typed) {
        Some((end, _)) if typed >= BEGINNING => {
            let beginning = strsim::normalized_damerau_levenshtein(wanted, &name[..end]);
            whole.max(LIKE_A_BEGINNING * beginning)
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_come_first_and_far_ones_not_at_all() {
        let names = ["e1000", "e1000e", "rtl8139", "e1000"];
        assert_eq!(nearest("e100e", names), ["e1000e", "e1000"]);
        assert!(nearest("nosuch", names).is_empty());
    }

    #[test]
    fn a_name_that_is_not_typed_to_its_end_is_like_those_that_begin_so() {
        let models = ["Skylake-Client", "Skylake-Client-v1", "Broadwell", "max"];
        assert_eq!(
            nearest("Skylak", models),
            ["Skylake-Client", "Skylake-Client-v1"]
        );
        let devices = ["virtio-mem", "virtio-net-pci", "virtio-pmem", "virtio-vga"];
        assert_eq!(nearest("virtio-nte", devices)[0], "virtio-net-pci");
        // Two letters are the beginning of too much.
        assert!(nearest("vi", devices).is_empty());
    }
}
