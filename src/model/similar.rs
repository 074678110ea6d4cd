//! Names similar to one that a user typed.

use std::collections::BTreeSet;

/// The least likeness, from 0 to 1, of a name that is worth proposing.
const LIKE: f64 = 0.6;
/// Number of names that are proposed at most.
const PROPOSED: usize = 3;

/// Returns the names most similar to the wanted one, the most similar first; none where all are too
/// different. Exchanged letters count as one slip, as in `vitr`.
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let mut near: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, name), name))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.truncate(PROPOSED);
    near.into_iter().map(|(_, name)| name.to_owned()).collect()
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
}
