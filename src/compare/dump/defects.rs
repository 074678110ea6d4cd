//! What one build does wrong by itself, whatever the other one has.
//!
//! Each defect is reported once, for the way in which it does harm: one of sending for the way that
//! leaves the build, one of loading for the way that leads to it.

use crate::model::{Direction, Rule, Side};
use crate::report::{ChangeKey, Evidence, FieldKey, Finding, Level, Shape};
use crate::vmstate::dump::{Section, Vmsd, VmsdField};

/// Finds the defects of a section of one build that matter in a direction.
pub(crate) fn defects(section: &Section, build: Side, direction: Direction) -> Vec<Finding> {
    let (source, _) = direction.source_destination(Side::Old, Side::New);
    let mut search = Search {
        section,
        build,
        direction,
        part: match build == source {
            true => Part::Sends,
            false => Part::Loads,
        },
        findings: Vec::new(),
    };
    let root = &section.description;
    search.description(root, &mut vec![root.name.clone()]);
    search.findings
}

/// The part of a build in a migration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Sends,
    Loads,
}

struct Search<'d> {
    section: &'d Section,
    build: Side,
    direction: Direction,
    part: Part,
    findings: Vec<Finding>,
}

impl<'d> Search<'d> {
    fn description(&mut self, description: &'d Vmsd, path: &mut Vec<String>) {
        for field in description.fields() {
            path.push(field.name.clone());
            if self.part == Part::Sends && is_never_sent(description, field) {
                self.never_sent(description, field, path);
            }
            if let Some(inner) = &field.description {
                self.description(inner, path);
            }
            path.pop();
        }
        let subsections = &description.subsections;
        for (at, subsection) in subsections.iter().enumerate() {
            path.push(subsection.name.clone());
            let first = subsections[..at].iter().find(|s| s.name == subsection.name);
            if let Some(first) = first
                && self.part == Part::Sends
            {
                self.ambiguous(first, subsection, path);
            }
            // The name that a loader looks for begins with that of the description around it.
            if first.is_none()
                && self.part == Part::Loads
                && !subsection.name.starts_with(&description.name)
            {
                self.unreachable(description, subsection, path);
            }
            self.description(subsection, path);
            path.pop();
        }
    }

    fn never_sent(&mut self, description: &Vmsd, field: &VmsdField, path: &[String]) {
        let message = format!(
            "{} has `{}` from version {} of `{}` on, and is at version {} itself: the field is never on the \
             wire",
            self.name(),
            field.name,
            field.version_id,
            description.name,
            description.version_id
        );
        let shape = Shape {
            size: Some(field.size),
            num: field.num,
            version_id: Some(field.version_id),
            ..Shape::default()
        };
        let key = FieldKey {
            description: description.name.clone(),
            name: field.name.clone(),
            size: field.size,
            num: field.num,
        };
        let change = ChangeKey::Fields {
            old: vec![key.clone()],
            new: vec![key],
        };
        self.push(Rule::GateAboveVersion, path, message, shape, change);
    }

    fn ambiguous(&mut self, first: &Vmsd, second: &Vmsd, path: &[String]) {
        let same = first == second;
        let consequence = match same {
            true => "they have the same content, so that it does not matter which a loader takes",
            false => "a loader takes the first of the name, whichever was sent",
        };
        let message = format!(
            "{} lists the subsection `{}` twice under one description; {consequence}",
            self.name(),
            second.name
        );
        let fields = second.fields().iter().map(|field| field.name.clone());
        let shape = Shape {
            version_id: Some(second.version_id),
            fields: fields.collect(),
            ..Shape::default()
        };
        let change = ChangeKey::Subsection(second.name.clone());
        self.push(Rule::SubsectionAmbiguous, path, message, shape, change);
        if same && let Some(finding) = self.findings.last_mut() {
            finding.level = Level::Note;
        }
    }

    fn unreachable(&mut self, description: &Vmsd, subsection: &Vmsd, path: &[String]) {
        let message = format!(
            "{} lists the subsection `{}` under `{}`, but takes only names that begin with that",
            self.name(),
            subsection.name,
            description.name
        );
        let shape = Shape {
            name: Some(description.name.clone()),
            ..Shape::default()
        };
        let change = ChangeKey::Subsection(subsection.name.clone());
        self.push(Rule::SubsectionUnreachable, path, message, shape, change);
    }

    /// Returns the word for the build in findings.
    fn name(&self) -> &'static str {
        match self.build {
            Side::Old => "old",
            _ => "new",
        }
    }

    fn push(
        &mut self,
        rule: Rule,
        path: &[String],
        message: String,
        shape: Shape,
        change: ChangeKey,
    ) {
        let shape = Some(shape);
        self.findings.push(Finding {
            rule,
            level: rule.level(),
            direction: self.direction,
            section: self.section.type_name.clone(),
            also_in: Vec::new(),
            machines: Vec::new(),
            path: path.to_vec(),
            message,
            old: shape.clone().filter(|_| self.build == Side::Old),
            new: shape.filter(|_| self.build == Side::New),
            allowed_by: None,
            evidence: Evidence::Dump,
            confirmed_by: None,
            context: Vec::new(),
            change,
            items: Vec::new(),
        });
    }
}

/// Tells whether a field is behind a gate that its own build's version does not open. Where there is a test,
/// the gate is not looked at.
fn is_never_sent(description: &Vmsd, field: &VmsdField) -> bool {
    !field.conditional && field.num != Some(0) && field.version_id > description.version_id
}
