//! What must hold whatever a dump contains, tried on the real ones with random changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use macro_rules_attribute::apply;
use migcompat::internals::compare::NoRenames;
use migcompat::internals::compare::compare;
use migcompat::internals::vmstate::read_dump;
use migcompat::internals::vmstate::{Dump, Section, Vmsd, VmsdField};
use migcompat::model::Direction;
use migcompat::model::Rule;
use migcompat::report::{Finding, Level, Shape};
use proptest::prelude::*;
use proptest::sample::Index;

static DUMPS: LazyLock<Vec<(String, Dump)>> = LazyLock::new(|| {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps");
    let mut dumps = Vec::new();
    for version in ["5.2.0", "7.2.22", "10.0.13", "11.1.3"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(version))
            .expect("the dumps")
            .map(|e| e.expect("readable").path())
            .collect();
        files.sort();
        for file in files {
            let name = format!(
                "{version}/{}",
                file.file_name().unwrap_or_default().to_string_lossy()
            );
            dumps.push((name, read_dump(&file).expect("a good dump")));
        }
    }
    dumps
});

fn compare_both(old: &Dump, new: &Dump) -> Vec<Finding> {
    compare(old, new, &Direction::BOTH, &NoRenames)
}

/// The path to a field: indices of fields from the section's description down.
type FieldPath = Vec<usize>;

/// Paths to all fields that are surely on the wire: no test, no closed gate, not in a subsection.
fn certain_fields(section: &Section) -> Vec<FieldPath> {
    fn walk(description: &Vmsd, version: i64, path: &FieldPath, paths: &mut Vec<FieldPath>) {
        for (at, field) in description.fields().iter().enumerate() {
            if field.conditional || field.version_id > version || field.num == Some(0) {
                continue;
            }
            let mut here = path.clone();
            here.push(at);
            if let Some(inner) = &field.description {
                walk(inner, inner.version_id, &here, paths);
            }
            paths.push(here);
        }
    }
    let mut paths = Vec::new();
    walk(
        &section.description,
        section.description.version_id,
        &Vec::new(),
        &mut paths,
    );
    paths
}

fn description_at<'d>(section: &'d mut Section, path: &[usize]) -> &'d mut Vmsd {
    let mut description = &mut section.description;
    for &at in path {
        let fields = description
            .fields
            .as_mut()
            .expect("a path leads through fields");
        description = fields[at]
            .description
            .as_mut()
            .expect("a path leads through structures");
    }
    description
}

fn siblings<'d>(section: &'d mut Section, path: &[usize]) -> &'d mut Vec<VmsdField> {
    let (_, parents) = path.split_last().expect("a path is never empty");
    description_at(section, parents)
        .fields
        .as_mut()
        .expect("the field's siblings")
}

fn field_at<'d>(section: &'d mut Section, path: &[usize]) -> &'d mut VmsdField {
    let at = *path.last().expect("a path is never empty");
    &mut siblings(section, path)[at]
}

/// A plain field: a width that is the same in memory and on the wire.
fn is_plain(field: &VmsdField) -> bool {
    field.description.is_none() && !matches!(field.size, 0 | 48)
}

/// A dump with one section only, to keep a thousand comparisons quick, and a path into it. The array
/// that follows keeps the dump's habit of stating lengths.
fn one_section(pick: Index, section: Index) -> (Dump, Dump) {
    let (_, dump) = pick.get(&DUMPS);
    let with_fields: Vec<&Section> = dump
        .sections
        .iter()
        .filter(|s| !certain_fields(s).is_empty())
        .collect();
    let mut sections = vec![(*section.get(&with_fields)).clone()];
    if dump.states_array_lengths() {
        let mut witness = sections[0].clone();
        witness.type_name = "witness".to_owned();
        witness.description.name = "witness".to_owned();
        witness.description.subsections.clear();
        witness.description.fields = Some(vec![VmsdField {
            num: Some(2),
            ..plain("a", 1)
        }]);
        sections.push(witness);
    }
    let dump = Dump {
        machine: dump.machine.clone(),
        sections,
        unreadable: Vec::new(),
    };
    (dump.clone(), dump)
}

fn plain(name: &str, size: u64) -> VmsdField {
    VmsdField {
        name: name.to_owned(),
        version_id: 0,
        conditional: false,
        num: None,
        size,
        description: None,
    }
}

fn errors(findings: &[Finding]) -> Vec<&Finding> {
    findings
        .iter()
        .filter(|f| f.level == Level::Error)
        .collect()
}

fn directions_of(findings: &[&Finding]) -> BTreeSet<Direction> {
    findings.iter().map(|f| f.direction).collect()
}

/// Tells whether a finding is a defect of one build by itself, which is reported once and has no direction of
/// its own.
fn is_of_one_build(finding: &Finding) -> bool {
    matches!(
        finding.rule,
        Rule::SubsectionAmbiguous | Rule::GateAboveVersion
    )
}

#[apply(test)]
fn a_dump_against_itself_has_no_findings_but_its_own_defects() {
    for (name, dump) in DUMPS.iter() {
        let (defects, differences): (Vec<_>, Vec<_>) = compare_both(dump, dump)
            .into_iter()
            .partition(is_of_one_build);
        assert_eq!(differences, [], "{name}");
        let places: BTreeSet<_> = defects
            .iter()
            .map(|f| (f.rule, &f.section, &f.path))
            .collect();
        assert_eq!(
            places.len(),
            defects.len(),
            "{name}: each once: {defects:#?}"
        );
        assert!(
            defects.iter().all(|f| f.level != Level::Error),
            "{name}: {defects:#?}"
        );
    }
}

#[apply(test)]
fn the_header_of_what_is_never_sent_does_not_matter() {
    let mut unmigratable = 0;
    for (name, dump) in DUMPS.iter() {
        let mut new = dump.clone();
        let sections = new.sections.iter_mut();
        for section in sections.filter(|section| section.description.fields.is_none()) {
            unmigratable += 1;
            section.description.version_id += 1;
            section.description.minimum_version_id += 1;
            section.description.name.push_str("-2");
        }
        let findings = compare_both(dump, &new);
        let differences: Vec<_> = findings.iter().filter(|f| !is_of_one_build(f)).collect();
        assert_eq!(differences, [] as [&Finding; 0], "{name}");
    }
    assert!(unmigratable > 0);
}

/// What a finding says, without the names that are the old build's: rule, level, direction, section
/// and which side has what, described for the builds in their order or swapped.
fn described(finding: &Finding, swapped: bool) -> String {
    let rule = finding.rule;
    let (rule, direction, old, new) = if swapped {
        (
            rule.mirror(),
            finding.direction.reversed(),
            &finding.new,
            &finding.old,
        )
    } else {
        (rule, finding.direction, &finding.old, &finding.new)
    };
    let vmsd = match (rule, old) {
        (Rule::VmsdRenamed, Some(old)) => old.name.clone().unwrap_or_default(),
        _ => finding.path[0].clone(),
    };
    let width = |shape: &Option<Shape>| shape.as_ref().map(|s| (s.size, s.num, s.fields.len()));
    format!(
        "{direction} {} {rule} {vmsd} {:?} {:?}",
        finding.level,
        width(old),
        width(new)
    )
}

#[apply(test)]
fn swapping_the_builds_swaps_the_directions() {
    for (a, old) in DUMPS.iter() {
        let kind = &a[a.find('/').unwrap_or(0)..];
        for (b, new) in DUMPS.iter().filter(|(b, _)| b.ends_with(kind)) {
            // Only the loss of a type matters to a guest, so these two are no mirror images.
            let all = |findings: Vec<Finding>, swapped: bool| -> Vec<String> {
                let mut all: Vec<String> = findings
                    .iter()
                    .filter(|f| !matches!(f.rule.id(), "section-removed" | "section-added"))
                    .filter(|f| !is_of_one_build(f))
                    .map(|f| described(f, swapped))
                    .collect();
                all.sort();
                all
            };
            let there = all(compare_both(old, new), false);
            let back = all(compare_both(new, old), true);
            assert_eq!(there, back, "{a} and {b}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[apply(test)]
    fn a_new_name_is_never_an_error(dump: Index, section: Index, field: Index) {
        let (old, mut new) = one_section(dump, section);
        let paths = certain_fields(&new.sections[0]);
        let path = field.get(&paths);
        field_at(&mut new.sections[0], path).name = "quite_another_name".to_owned();
        let findings = compare_both(&old, &new);
        prop_assert!(errors(&findings).is_empty(), "{path:?}: {findings:#?}");
        prop_assert!(errors(&compare_both(&new, &old)).is_empty());
    }

    #[apply(test)]
    fn regrouping_a_run_into_a_structure_is_never_an_error(
        dump: Index, section: Index, field: Index, length in 1usize..12,
    ) {
        let (old, mut new) = one_section(dump, section);
        let paths = certain_fields(&new.sections[0]);
        let path = field.get(&paths);
        let version_id = description_at(&mut new.sections[0], &path[..path.len() - 1]).version_id;
        let from = path[path.len() - 1];
        let fields = siblings(&mut new.sections[0], path);
        let to = (from + length).min(fields.len());
        let run: Vec<VmsdField> = fields.drain(from..to).collect();
        fields.insert(from, VmsdField {
            description: Some(Box::new(Vmsd {
                name: "a new structure".to_owned(),
                version_id,
                minimum_version_id: 0,
                fields: Some(run),
                subsections: Vec::new(),
            })),
            ..plain("grouped", 123)
        });
        let findings = compare_both(&old, &new);
        prop_assert!(errors(&findings).is_empty(), "{path:?}: {findings:#?}");
        prop_assert!(errors(&compare_both(&new, &old)).is_empty());
    }

    #[apply(test)]
    fn padding_of_the_same_size_is_never_an_error(dump: Index, section: Index, field: Index) {
        let (old, mut new) = one_section(dump, section);
        let paths = certain_fields(&new.sections[0]);
        let path = field.get(&paths);
        let field = field_at(&mut new.sections[0], path);
        prop_assume!(is_plain(field));
        *field = VmsdField {
            version_id: field.version_id,
            ..plain("unused", field.size * field.num.unwrap_or(1))
        };
        let findings = compare_both(&old, &new);
        prop_assert!(errors(&findings).is_empty(), "{path:?}: {findings:#?}");
        prop_assert!(errors(&compare_both(&new, &old)).is_empty());
    }

    #[apply(test)]
    fn deleting_or_inserting_a_plain_field_is_always_an_error(
        dump: Index, section: Index, field: Index,
    ) {
        let (old, mut new) = one_section(dump, section);
        let paths = certain_fields(&new.sections[0]);
        let path = field.get(&paths);
        prop_assume!(is_plain(field_at(&mut new.sections[0], path)));
        let at = path[path.len() - 1];
        siblings(&mut new.sections[0], path).remove(at);
        for (old, new) in [(&old, &new), (&new, &old)] {
            let findings = compare_both(old, new);
            let errors = errors(&findings);
            prop_assert_eq!(directions_of(&errors).len(), 2, "{:?}: {:#?}", path, findings);
        }
    }

    #[apply(test)]
    fn another_size_of_a_plain_field_is_always_an_error(
        dump: Index, section: Index, field: Index, size in prop::sample::select(vec![1u64, 2, 3, 4, 8, 16, 17, 64, 100]),
    ) {
        let (old, mut new) = one_section(dump, section);
        let paths = certain_fields(&new.sections[0]);
        let path = field.get(&paths);
        let field = field_at(&mut new.sections[0], path);
        prop_assume!(is_plain(field) && field.size != size);
        field.size = size;
        for (old, new) in [(&old, &new), (&new, &old)] {
            let findings = compare_both(old, new);
            let errors = errors(&findings);
            prop_assert_eq!(directions_of(&errors).len(), 2, "{:?}: {:#?}", path, findings);
        }
    }

    #[apply(test)]
    fn another_length_of_an_array_is_always_an_error(
        dump: Index, section: Index, field: Index, length in 2u64..300,
    ) {
        let (old, mut new) = one_section(dump, section);
        let arrays: Vec<FieldPath> = certain_fields(&new.sections[0])
            .into_iter()
            .filter(|path| {
                let field = field_at(&mut new.sections[0], path);
                is_plain(field) && field.num.is_some_and(|num| num > 1 && num != length)
            })
            .collect();
        prop_assume!(!arrays.is_empty());
        let path = field.get(&arrays);
        field_at(&mut new.sections[0], path).num = Some(length);
        for (old, new) in [(&old, &new), (&new, &old)] {
            let findings = compare_both(old, new);
            let errors = errors(&findings);
            prop_assert_eq!(directions_of(&errors).len(), 2, "{:?}: {:#?}", path, findings);
        }
    }

    #[apply(test)]
    fn swapping_two_neighbours_of_other_names_is_an_error(
        dump: Index, section: Index, field: Index,
    ) {
        let (old, mut new) = one_section(dump, section);
        let paths = certain_fields(&new.sections[0]);
        let path = field.get(&paths);
        let at = path[path.len() - 1];
        let fields = siblings(&mut new.sections[0], path);
        prop_assume!(at + 1 < fields.len());
        let version = 0;
        let plain = |f: &VmsdField| is_plain(f) && !f.conditional && f.version_id <= version && f.name != "unused";
        prop_assume!(plain(&fields[at]) && plain(&fields[at + 1]) && fields[at].name != fields[at + 1].name);
        fields.swap(at, at + 1);
        let findings = compare_both(&old, &new);
        prop_assert_eq!(directions_of(&errors(&findings)).len(), 2, "{:?}: {:#?}", path, findings);
    }
}
