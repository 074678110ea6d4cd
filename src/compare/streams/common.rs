//! One difference in length that several kinds of section have in common.
//!
//! A part that many devices send, each in a section of its own, such as the opaque `virtio` of every virtio
//! device, is as much longer in each of them once a build writes one byte more. Of machines that never ran no
//! state makes such a difference: it is one change in QEMU, and one finding.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Direction, Rule, SectionName, count};
use crate::report::{ChangeKey, Evidence, Finding, Level, Shape};

/// A field that is as much longer, or shorter, in several kinds of section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommonWidth {
    pub field: String,
    /// Bytes that the new build sends more than the old one.
    pub bytes: i64,
    /// The vmsd names of the sections.
    pub sections: BTreeSet<String>,
    /// The sections as they are named on the wire.
    pub places: Vec<SectionName>,
}

impl CommonWidth {
    /// Returns what a finding that [`join`] made is about.
    pub(crate) fn of(finding: &Finding) -> Option<CommonWidth> {
        let ChangeKey::CommonWidth { field, bytes } = &finding.change else {
            return None;
        };
        let paths = std::iter::once(&finding.path).chain(&finding.also_paths);
        Some(CommonWidth {
            field: field.clone(),
            bytes: *bytes,
            sections: paths.filter_map(|path| path.first().cloned()).collect(),
            places: finding
                .sections()
                .map(|place| SectionName::new(place))
                .collect(),
        })
    }
}

/// Joins the findings of streams that are about one field, by its name, and about the same difference in its
/// length, in at least two kinds of section. What a guest came through with stays as it is.
pub(crate) fn join(findings: Vec<Finding>) -> Vec<Finding> {
    let mut groups: BTreeMap<(Direction, String, i64), Vec<Finding>> = BTreeMap::new();
    let mut rest = Vec::new();
    for finding in findings {
        match resized(&finding) {
            Some((field, bytes)) => {
                let key = (finding.direction, field.to_owned(), bytes);
                groups.entry(key).or_default().push(finding);
            }
            None => rest.push(finding),
        }
    }
    for ((_, field, bytes), group) in groups {
        let kinds: BTreeSet<&String> = group.iter().filter_map(|f| f.path.first()).collect();
        match kinds.len() {
            0 | 1 => rest.extend(group),
            kinds => rest.extend(joined(group, field, bytes, kinds)),
        }
    }
    rest
}

/// Returns the field of a section that a finding says to have another length, and how many bytes the new build
/// has more.
fn resized(finding: &Finding) -> Option<(&str, i64)> {
    let [_, field] = finding.path.as_slice() else {
        return None;
    };
    let is_resized = finding.rule == Rule::FieldResized
        && finding.evidence == Evidence::Stream
        && finding.level != Level::Note;
    let bytes = |shape: &Option<Shape>| -> Option<i64> {
        let shape = shape.as_ref().filter(|shape| shape.num.is_none())?;
        shape.size?.try_into().ok()
    };
    let (old, new) = (bytes(&finding.old)?, bytes(&finding.new)?);
    (is_resized && old != new).then_some((field.as_str(), new - old))
}

/// Makes one finding of those about one change.
fn joined(group: Vec<Finding>, field: String, bytes: i64, kinds: usize) -> Option<Finding> {
    let mut group = group.into_iter();
    let first = group.next()?;
    let mut others: Vec<(String, Vec<String>)> = Vec::new();
    for other in group {
        let known = others.iter().any(|(section, _)| *section == other.section);
        if other.section != first.section && !known {
            others.push((other.section, other.path));
        }
    }
    let (also_in, also_paths) = others.into_iter().unzip();
    let count = count(bytes.unsigned_abs(), "byte");
    let (longer, shorter) = match bytes > 0 {
        true => ("new", "old"),
        false => ("old", "new"),
    };
    Some(Finding {
        message: format!(
            "`{field}` is {count} longer in {longer} than in {shorter}, in {kinds} kinds of section alike, of a \
             machine after reset: one change in what the build writes there, which no state makes"
        ),
        also_in,
        also_paths,
        change: ChangeKey::CommonWidth { field, bytes },
        ..first
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::renames::NoRenames;
    use crate::compare::streams::compare;
    use crate::report::testing;
    use crate::stream;
    use crate::stream::Stream;

    fn finding(section: &str, sizes: [u64; 2], direction: &str, level: &str) -> Finding {
        let vmsd = section.rsplit('/').next();
        testing::finding(json!({
            "rule": "field-resized", "level": level, "direction": direction, "section": section,
            "path": [vmsd, "virtio"], "old": {"size": sizes[0]}, "new": {"size": sizes[1]},
            "evidence": "stream",
        }))
    }

    #[test]
    fn the_same_byte_in_several_kinds_of_section_is_one_finding() {
        let found = join(vec![
            finding("0000:00:01.0/virtio-net", [10, 11], "forward", "warning"),
            finding("0000:00:02.0/virtio-blk", [20, 21], "forward", "warning"),
            finding("0000:00:03.0/virtio-net", [10, 11], "forward", "warning"),
            finding("0000:00:02.0/virtio-blk", [20, 21], "backward", "warning"),
            // Another length, and one that a guest came through with.
            finding("0000:00:04.0/virtio-gpu", [30, 54], "forward", "warning"),
            finding("0000:00:05.0/virtio-rng", [40, 41], "forward", "note"),
        ]);
        let widths: Vec<CommonWidth> = found.iter().filter_map(CommonWidth::of).collect();
        assert_eq!(
            widths,
            [CommonWidth {
                field: "virtio".to_owned(),
                bytes: 1,
                sections: ["virtio-net", "virtio-blk"].map(str::to_owned).into(),
                places: ["1.0/virtio-net", "2.0/virtio-blk", "3.0/virtio-net"]
                    .map(|place| SectionName::new(&format!("0000:00:0{place}")))
                    .into(),
            }]
        );
        assert_eq!(found.len(), 4, "{found:#?}");
        let one = found.iter().find(|f| !f.also_in.is_empty()).expect("one");
        let also = ["0000:00:02.0/virtio-blk", "0000:00:03.0/virtio-net"];
        assert_eq!(one.also_in, also);
        let says = "`virtio` is 1 byte longer in new than in old, in 2 kinds of section alike";
        assert!(one.message.starts_with(says), "{}", one.message);
    }

    /// Streams of one build, and of the same with a byte more written in the part that all virtio devices share.
    #[test]
    fn a_byte_too_many_in_a_shared_part_is_found_in_real_streams() {
        let stream = |side: &str| {
            let folder = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/fixtures/slips/virtio-one-byte"
            );
            let file = std::path::PathBuf::from(format!("{folder}/{side}.stream.zst"));
            let input = stream::open(&file).expect("a file");
            stream::read(input, stream::Options::default(), ()).stream
        };
        let (old, new) = (stream("old"), stream("new"));
        let of = |old: &Stream, new: &Stream| join(compare(old, new, &Direction::BOTH, &NoRenames));
        let found = of(&old, &new);
        assert_eq!(found.len(), 2, "{found:#?}");
        for (finding, direction) in found.iter().zip(Direction::BOTH) {
            let width = CommonWidth::of(finding).expect("a length in common");
            assert_eq!((width.field.as_str(), width.bytes), ("virtio", 1));
            let sections = ["virtio-balloon", "virtio-input", "virtio-rng"];
            assert_eq!(width.sections, sections.map(str::to_owned).into());
            assert_eq!(
                (finding.direction, finding.level),
                (direction, Level::Warning)
            );
        }
        let back = of(&new, &old);
        let bytes = back
            .iter()
            .filter_map(CommonWidth::of)
            .map(|width| width.bytes);
        assert_eq!(bytes.collect::<Vec<_>>(), [-1, -1]);
        assert_eq!(of(&old, &old), []);
    }

    #[test]
    fn a_length_of_one_kind_of_section_stays_apart() {
        let alone = vec![
            finding("0000:00:01.0/virtio-gpu", [52, 30], "forward", "warning"),
            finding("0000:00:02.0/virtio-gpu", [52, 30], "forward", "warning"),
        ];
        assert_eq!(join(alone.clone()), alone);
        let shorter = join(vec![
            finding("a", [12, 10], "backward", "warning"),
            finding("b", [7, 5], "backward", "warning"),
        ]);
        let says = "`virtio` is 2 bytes longer in old than in new";
        assert!(shorter[0].message.starts_with(says), "{shorter:#?}");
    }
}
