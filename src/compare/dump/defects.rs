//! Defects of one build, whatever the other one has.
//!
//! A defect is reported once, for the direction in which it does harm: a defect of sending for the
//! direction away from the build, one of loading for the direction to it. One that both builds have
//! is one finding.

use crate::model::{Direction, Rule, Side};
use crate::report::{ChangeKey, Evidence, FieldKey, Finding, Level, Shape};
use crate::vmstate::dump::{Section, Vmsd, VmsdField, takes_subsection};

/// Finds the defects of a section in each of two builds, as far as they matter in these directions.
pub(crate) fn defects(old: &Section, new: &Section, directions: &[Direction]) -> Vec<Finding> {
    let of_old = Search::of(&old.description);
    let of_new = Search::of(&new.description);
    let mut findings = Vec::new();
    let mut add = |defect: &Defect, has: Side| {
        let harms = |direction: &&Direction| match has {
            Side::Both => true,
            build => defect.harmful(build) == **direction,
        };
        if let Some(&direction) = directions.iter().find(harms) {
            findings.push(defect.finding(&old.type_name, has, direction));
        }
    };
    for defect in &of_old {
        match of_new.contains(defect) {
            true => add(defect, Side::Both),
            false => add(defect, Side::Old),
        }
    }
    for defect in of_new.iter().filter(|defect| !of_old.contains(defect)) {
        add(defect, Side::New);
    }
    findings
}

/// A defect of a description of one build.
#[derive(Debug, PartialEq, Eq)]
struct Defect {
    kind: Kind,
    /// The path from the section's vmsd name down.
    path: Vec<String>,
    shape: Shape,
    change: ChangeKey,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// A field behind a gate that its own build's version does not open.
    NeverSent { description: String, version: i64 },
    /// A subsection whose name another one before it has.
    Ambiguous { same_content: bool },
    /// A subsection whose name the loader of the description around it does not look for.
    Unreachable { description: String },
    /// A subsection that a loader which is done just before it takes for its own.
    Captured { by: String },
}

impl Defect {
    fn rule(&self) -> Rule {
        match self.kind {
            Kind::NeverSent { .. } => Rule::GateAboveVersion,
            Kind::Ambiguous { .. } => Rule::SubsectionAmbiguous,
            Kind::Unreachable { .. } | Kind::Captured { .. } => Rule::SubsectionUnreachable,
        }
    }

    /// Returns the direction in which the defect of a build does harm.
    fn harmful(&self, build: Side) -> Direction {
        let leaves = match build {
            Side::New => Direction::Backward,
            _ => Direction::Forward,
        };
        match self.kind {
            Kind::NeverSent { .. } | Kind::Ambiguous { .. } => leaves,
            Kind::Unreachable { .. } | Kind::Captured { .. } => leaves.reversed(),
        }
    }

    fn message(&self, has: Side) -> String {
        let place = match has {
            Side::Old => "old",
            Side::New => "new",
            Side::Both => "both builds",
        };
        let name = self.path.last().map_or("", String::as_str);
        match &self.kind {
            Kind::NeverSent {
                description,
                version,
            } => format!(
                "`{name}` is there from version {} of `{description}` on, which is at version {version} in \
                 {place}: the field is never on the wire",
                self.shape.version_id.unwrap_or_default()
            ),
            Kind::Ambiguous { same_content: true } => format!(
                "the subsection `{name}` is listed twice under one description in {place}, with the same \
                 content"
            ),
            Kind::Ambiguous {
                same_content: false,
            } => format!(
                "the subsection `{name}` is listed twice under one description in {place}, with other content: \
                 a loader takes the first of that name, whichever was sent"
            ),
            Kind::Unreachable { description } => format!(
                "the subsection `{name}` is listed under `{description}` in {place}, where a loader takes only \
                 longer names that begin with that"
            ),
            Kind::Captured { by } => format!(
                "the subsection `{name}` can come right behind `{by}` in {place}, whose loader takes all names \
                 that begin with its own"
            ),
        }
    }

    fn finding(&self, section: &str, has: Side, direction: Direction) -> Finding {
        let level = match self.kind {
            Kind::Ambiguous { same_content: true } => Level::Note,
            _ => self.rule().level(),
        };
        let shape = |build: Side| (has == build || has == Side::Both).then(|| self.shape.clone());
        Finding {
            level,
            path: self.path.clone(),
            message: self.message(has),
            old: shape(Side::Old),
            new: shape(Side::New),
            ..Finding::about(
                section.to_owned(),
                self.rule(),
                direction,
                Evidence::Dump,
                self.change.clone(),
            )
        }
    }
}

/// A walk through a description and all that is nested in it.
struct Search<'d> {
    path: Vec<&'d str>,
    found: Vec<Defect>,
}

impl<'d> Search<'d> {
    fn of(root: &'d Vmsd) -> Vec<Defect> {
        let mut search = Search {
            path: vec![&root.name],
            found: Vec::new(),
        };
        search.description(root);
        search.found
    }

    fn description(&mut self, description: &'d Vmsd) {
        for field in description.fields() {
            let inner = field.description.as_deref();
            if !is_never_sent(description, field) && inner.is_none() {
                continue;
            }
            self.path.push(&field.name);
            if is_never_sent(description, field) {
                self.never_sent(description, field);
            }
            if let Some(inner) = inner {
                self.description(inner);
            }
            self.path.pop();
        }
        let subsections = &description.subsections;
        for (at, subsection) in subsections.iter().enumerate() {
            self.path.push(&subsection.name);
            let before = &subsections[..at];
            if let Some(first) = before.iter().find(|s| s.name == subsection.name) {
                self.ambiguous(first, subsection);
            } else if !takes_subsection(&description.name, &subsection.name) {
                let around = description.name.clone();
                let kind = Kind::Unreachable {
                    description: around.clone(),
                };
                self.unread(kind, around, subsection);
            } else if let Some(by) = captor(description, before, &subsection.name) {
                self.unread(Kind::Captured { by: by.clone() }, by, subsection);
            }
            self.description(subsection);
            self.path.pop();
        }
    }

    fn never_sent(&mut self, description: &Vmsd, field: &VmsdField) {
        let kind = Kind::NeverSent {
            description: description.name.clone(),
            version: description.version_id,
        };
        let shape = Shape {
            size: Some(field.size),
            num: field.num,
            version_id: Some(field.version_id),
            ..Shape::default()
        };
        let key = vec![FieldKey {
            description: description.name.clone(),
            name: field.name.clone(),
            size: field.size,
            num: field.num,
        }];
        let (old, new) = (key.clone(), key);
        self.push(kind, shape, ChangeKey::Fields { old, new });
    }

    fn ambiguous(&mut self, first: &Vmsd, second: &Vmsd) {
        let same_content = first == second;
        let fields = second.fields().iter().map(|field| field.name.clone());
        let shape = Shape {
            version_id: Some(second.version_id),
            fields: fields.collect(),
            ..Shape::default()
        };
        let change = ChangeKey::Subsection(second.name.clone());
        self.push(Kind::Ambiguous { same_content }, shape, change);
    }

    /// Notes that a subsection is not read for its description, because of the description of this name.
    fn unread(&mut self, kind: Kind, because_of: String, subsection: &Vmsd) {
        let shape = Shape {
            name: Some(because_of),
            ..Shape::default()
        };
        let change = ChangeKey::Subsection(subsection.name.clone());
        self.push(kind, shape, change);
    }

    /// Notes a defect where the walk is.
    fn push(&mut self, kind: Kind, shape: Shape, change: ChangeKey) {
        self.found.push(Defect {
            kind,
            path: self.path.iter().map(|&name| name.to_owned()).collect(),
            shape,
            change,
        });
    }
}

/// Tells whether a field is behind a gate that its own build's version does not open. Where there is a test,
/// the gate is not looked at.
fn is_never_sent(description: &Vmsd, field: &VmsdField) -> bool {
    !field.conditional && field.num != Some(0) && field.version_id > description.version_id
}

/// Returns the name of a description whose loader is done just before the one around a subsection looks
/// for it, and takes it: that of the last structure, or of a subsection before it.
fn captor(around: &Vmsd, before: &[Vmsd], subsection: &str) -> Option<String> {
    let mut done = Vec::new();
    last_structures(around, &mut done);
    before.iter().for_each(|vmsd| last(vmsd, &mut done));
    let captor = done
        .into_iter()
        .find(|vmsd| takes_subsection(&vmsd.name, subsection))?;
    Some(captor.name.clone())
}

/// Collects the descriptions whose loader can be the last one to be done when this one has been loaded.
fn last<'d>(vmsd: &'d Vmsd, found: &mut Vec<&'d Vmsd>) {
    found.push(vmsd);
    last_structures(vmsd, found);
    vmsd.subsections.iter().for_each(|inner| last(inner, found));
}

/// Collects those of the fields of a description.
fn last_structures<'d>(vmsd: &'d Vmsd, found: &mut Vec<&'d Vmsd>) {
    let fields = vmsd.fields().iter().rev();
    for field in fields.filter(|field| field.num != Some(0) && !is_never_sent(vmsd, field)) {
        if let Some(inner) = &field.description {
            last(inner, found);
        }
        if !field.conditional {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section that lists these subsections, each with a field of its size, and a field with this gate.
    fn section(subsections: &[(&str, u64)], gate: i64) -> Section {
        let field = |size: u64, version_id: i64| VmsdField {
            name: "f".to_owned(),
            version_id,
            conditional: false,
            num: None,
            size,
            description: None,
        };
        let description = |name: &str, field: VmsdField| Vmsd {
            name: name.to_owned(),
            version_id: 1,
            minimum_version_id: 1,
            fields: Some(vec![field]),
            subsections: Vec::new(),
        };
        let subsections = subsections.iter();
        Section {
            type_name: "dev".to_owned(),
            description: Vmsd {
                subsections: subsections
                    .map(|(name, size)| description(name, field(*size, 0)))
                    .collect(),
                ..description("dev", field(4, gate))
            },
        }
    }

    /// A section with the subsection `dev/a` whose last field that is sent always is a structure of this
    /// description. A field behind it may be sent.
    fn ending_in(description: &str, more: bool) -> Section {
        let mut section = section(&[("dev/a", 1)], 0);
        let nested = Vmsd {
            name: description.to_owned(),
            subsections: Vec::new(),
            ..section.description.clone()
        };
        let fields = section.description.fields.get_or_insert_default();
        let last = VmsdField {
            description: Some(Box::new(nested)),
            ..fields[0].clone()
        };
        let maybe = VmsdField {
            conditional: true,
            ..fields[0].clone()
        };
        fields.push(last);
        fields.extend(more.then_some(maybe));
        section
    }

    #[test]
    fn a_defect_is_reported_once_and_for_the_way_in_which_it_does_harm() {
        let of = |name: &str| match name {
            "sound" => section(&[("dev/a", 1), ("dev/b", 1)], 1),
            "twice" => section(&[("dev/a", 1), ("dev/a", 2)], 1),
            "same" => section(&[("dev/a", 1), ("dev/a", 1)], 0),
            "lost" => section(&[("device/a", 1), ("other/a", 1)], 1),
            "namesake" => section(&[("dev", 1)], 1),
            "sibling" => section(&[("dev/a", 1), ("dev/ab", 1)], 1),
            "other order" => section(&[("dev/ab", 1), ("dev/a", 1)], 1),
            "in the last field" => ending_in("de", false),
            "in the last but one" => ending_in("de", true),
            "in an own name" => ending_in("dev/a", false),
            _ => section(&[], 2),
        };
        for row in [
            "sound sound: no no",
            "twice sound: subsection-ambiguous forward in old, with other",
            "sound twice: subsection-ambiguous backward in new, with other",
            "twice twice: subsection-ambiguous forward in both builds",
            "same sound: subsection-ambiguous forward with the same content",
            "lost sound: subsection-unreachable backward in old",
            "sound lost: subsection-unreachable forward in new",
            "namesake sound: subsection-unreachable backward takes only longer names",
            "sibling sound: subsection-unreachable backward right behind `dev/a` in old",
            "other order sound: no no",
            "in the last field sound: subsection-unreachable backward right behind `de` in old",
            "sound in the last field: subsection-unreachable forward right behind `de` in new",
            "in the last but one sound: subsection-unreachable backward right behind `de`",
            "in an own name sound: no no",
            "gated sound: gate-above-version forward at version 1 in old",
            "gated gated: gate-above-version forward in both builds",
        ] {
            let (sides, found) = row.split_once(": ").expect("a pair");
            let (old, new) = match sides.strip_suffix(" sound") {
                Some(old) => (old, "sound"),
                None => sides.split_once(' ').expect("two"),
            };
            let (old, new) = (of(old), of(new));
            let findings = defects(&old, &new, &Direction::BOTH);
            let mut found = found.splitn(3, ' ');
            let (rule, direction) = (found.next(), found.next());
            let Some(words) = found.next() else {
                assert_eq!(findings, [], "{row}");
                continue;
            };
            assert_eq!(findings.len(), 1, "{row}: {findings:#?}");
            let finding = &findings[0];
            assert_eq!(Some(finding.rule.id()), rule, "{row}");
            assert_eq!(Some(&*finding.direction.to_string()), direction, "{row}");
            assert!(finding.message.contains(words), "{}", finding.message);
            let harmless = words.contains("same");
            assert_eq!(finding.level == Level::Note, harmless, "{finding:#?}");
            let other = defects(&old, &new, &[finding.direction.reversed()]);
            assert_eq!(other.is_empty(), !words.contains("both"), "{other:#?}");
        }
    }
}
