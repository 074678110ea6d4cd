//! The comparison of two dumps: pairs sections, walks their layouts in each direction and words
//! what it finds.

use std::collections::{BTreeMap, HashSet};

use rustc_hash::FxHashMap;

use super::align::{Step, align};
use super::dump::{Description, Dump, Section};
use super::gap::{self, Change};
use super::layout::{Interner, Item, Kind, Side, lay_out};
use super::wording::{self, Spot};
use crate::model::{ContextLine, Direction, Evidence, Finding, Level, Shape, Side as Build};
use crate::rules::{Rule, check, lists};

/// What is known about names that changed; the comparison works without.
pub trait Renames {
    /// Why the field `old` of a description and `new` in the same place are one, if a list says so.
    fn field(&self, section: &str, description: &str, old: &str, new: &str) -> Option<String>;
    /// Why the QOM type `old` is now called `new`, if a list says so.
    fn section(&self, description: &str, old: &str, new: &str) -> Option<String>;
}

/// Knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRenames;

impl Renames for NoRenames {
    fn field(&self, _: &str, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
    fn section(&self, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
}

impl Renames for lists::Scope<'_> {
    fn field(&self, section: &str, description: &str, old: &str, new: &str) -> Option<String> {
        lists::Scope::field(self, section, description, old, new)
    }
    fn section(&self, description: &str, old: &str, new: &str) -> Option<String> {
        lists::Scope::section(self, description, old, new)
    }
}

/// Compares two dumps in the given directions. Findings come section by section, one per cause and
/// section; equal causes in several sections are joined later, once they are judged.
pub fn compare(
    old: &Dump,
    new: &Dump,
    directions: &[Direction],
    renames: &dyn Renames,
) -> Vec<Finding> {
    let states = (old.states_array_lengths(), new.states_array_lengths());
    let mut findings = Vec::new();
    for pair in pair_sections(old, new, renames) {
        for &direction in directions {
            match pair {
                Pair::Both {
                    old,
                    new,
                    ref known,
                } => {
                    let mut comparison = Comparison {
                        old,
                        new,
                        direction,
                        renames,
                        states,
                        interner: Interner::default(),
                        findings: Vec::new(),
                    };
                    comparison.sections(known.as_deref());
                    findings.append(&mut comparison.findings);
                }
                Pair::OldOnly(section) => {
                    findings.extend(lone_section(section, Build::Old, direction))
                }
                Pair::NewOnly(section) => {
                    findings.extend(lone_section(section, Build::New, direction))
                }
            }
        }
    }
    findings
}

/// The names of all sections and descriptions in some dumps.
pub fn names(dumps: &[&Dump]) -> check::Names {
    fn walk(description: &Description, names: &mut check::Names) {
        if !names.descriptions.contains(&description.name) {
            names.descriptions.insert(description.name.clone());
        }
        let nested = description
            .fields()
            .iter()
            .filter_map(|f| f.description.as_deref());
        for inner in nested.chain(&description.subsections) {
            walk(inner, names);
        }
    }
    let mut names = check::Names::default();
    for section in dumps.iter().flat_map(|dump| &dump.sections) {
        names.sections.insert(section.type_name.clone());
        walk(&section.description, &mut names);
    }
    names
}

/// A section of one build and what it is in the other.
enum Pair<'d> {
    Both {
        old: &'d Section,
        new: &'d Section,
        /// Why types of different name are one.
        known: Option<String>,
    },
    OldOnly(&'d Section),
    NewOnly(&'d Section),
}

/// By QOM type; what is left over by vmsd name, which is what the wire carries.
fn pair_sections<'d>(old: &'d Dump, new: &'d Dump, renames: &dyn Renames) -> Vec<Pair<'d>> {
    let by_type = |dump: &'d Dump| -> FxHashMap<&'d str, &'d Section> {
        dump.sections
            .iter()
            .map(|s| (s.type_name.as_str(), s))
            .collect()
    };
    let (old_types, new_types) = (by_type(old), by_type(new));
    let mut types: Vec<&str> = old_types.keys().chain(new_types.keys()).copied().collect();
    types.sort_unstable();
    types.dedup();

    // vmsd name → the types that only one build has, in order of name.
    let mut lone: BTreeMap<&str, (Vec<&Section>, Vec<&Section>)> = BTreeMap::new();
    for name in &types {
        match (old_types.get(name), new_types.get(name)) {
            (Some(section), None) => lone
                .entry(&section.description.name)
                .or_default()
                .0
                .push(section),
            (None, Some(section)) => lone
                .entry(&section.description.name)
                .or_default()
                .1
                .push(section),
            _ => {}
        }
    }
    let mut renamed: BTreeMap<&str, (&Section, Option<String>)> = BTreeMap::new();
    let mut taken = HashSet::new();
    for (vmsd, (olds, news)) in &lone {
        for section in olds {
            let known = news.iter().find_map(|candidate| {
                let reason = renames.section(vmsd, &section.type_name, &candidate.type_name)?;
                Some((*candidate, Some(reason)))
            });
            // Several types may share a vmsd; only an unambiguous pair is taken without a list.
            let only = (olds.len() == 1 && news.len() == 1).then(|| (news[0], None));
            if let Some((candidate, reason)) = known.or(only)
                && taken.insert(candidate.type_name.as_str())
            {
                renamed.insert(&section.type_name, (candidate, reason));
            }
        }
    }

    types
        .into_iter()
        .filter_map(|name| match (old_types.get(name), new_types.get(name)) {
            (Some(&old), Some(&new)) => Some(Pair::Both {
                old,
                new,
                known: None,
            }),
            (Some(&old), None) => Some(match renamed.remove(name) {
                Some((new, known)) => Pair::Both { old, new, known },
                None => Pair::OldOnly(old),
            }),
            (None, Some(&new)) => (!taken.contains(name)).then_some(Pair::NewOnly(new)),
            (None, None) => None,
        })
        .collect()
}

/// A type that one build lacks concerns the direction in which a guest that has it would leave.
fn lone_section(section: &Section, has: Build, direction: Direction) -> Option<Finding> {
    let (rule, affected) = match has {
        Build::Old => (Rule::SectionRemoved, Direction::Forward),
        _ => (Rule::SectionAdded, Direction::Backward),
    };
    if direction != affected {
        return None;
    }
    let shape = Some(Shape {
        name: Some(section.type_name.clone()),
        ..Shape::default()
    });
    let vmsd = &section.description.name;
    Some(Finding {
        rule: rule.id().to_owned(),
        level: rule.level(),
        direction,
        section: section.type_name.clone(),
        also_in: Vec::new(),
        path: vec![vmsd.clone()],
        message: wording::lone_type(&section.type_name, rule),
        old: shape.clone().filter(|_| has == Build::Old),
        new: shape.filter(|_| has == Build::New),
        allowed_by: None,
        evidence: Evidence::Dump,
        confirmed_by: None,
        context: Vec::new(),
        cause: format!("{rule} {}", section.type_name),
        items: Vec::new(),
    })
}

/// One pair of sections in one direction.
struct Comparison<'d, 'k> {
    old: &'d Section,
    new: &'d Section,
    direction: Direction,
    renames: &'k dyn Renames,
    states: (bool, bool),
    interner: Interner<'d>,
    findings: Vec<Finding>,
}

/// The part of a section that is being compared.
struct Scope<'s> {
    /// From the vmsd name down to the description at hand.
    path: &'s [String],
    /// Whether it is always sent.
    certain: bool,
}

impl<'d> Comparison<'d, '_> {
    fn sections(&mut self, known: Option<&str>) {
        let (old, new) = (&self.old.description, &self.new.description);
        if self.old.type_name != self.new.type_name {
            self.section_finding(
                Rule::SectionRenamed,
                wording::type_renamed(&self.old.type_name, &self.new.type_name, &old.name, known),
                named(&self.old.type_name),
                named(&self.new.type_name),
            );
        }
        if old == new {
            return;
        }
        if old.name != new.name {
            self.section_finding(
                Rule::VmsdRenamed,
                wording::vmsd_renamed(&old.name, &new.name, self.direction),
                named(&old.name),
                named(&new.name),
            );
            return;
        }
        if old.fields.is_none() != new.fields.is_none() {
            let without = if old.fields.is_none() {
                Build::Old
            } else {
                Build::New
            };
            self.section_finding(
                Rule::Unmigratable,
                wording::unmigratable(without, self.direction),
                versions(old),
                versions(new),
            );
            return;
        }
        let (source, destination) = self.direction.source_destination(old, new);
        if let Some(rule) = refusal(source, destination) {
            let message = wording::refused(rule, self.direction, source, destination);
            self.section_finding(rule, message, versions(old), versions(new));
            return;
        }
        // Where the version itself changed, the other direction says so.
        if old.minimum_version_id != new.minimum_version_id
            && old.version_id == new.version_id
            && refusal(destination, source).is_none()
        {
            let message = wording::minimum_changed(old, new);
            self.section_finding(
                Rule::MinimumVersionChanged,
                message,
                versions(old),
                versions(new),
            );
        }
        let path = [old.name.clone()];
        let scope = Scope {
            path: &path,
            certain: true,
        };
        self.descriptions(old, new, &scope);
    }

    /// Compares what follows a header with a version: a section's or a subsection's content.
    fn descriptions(&mut self, old: &'d Description, new: &'d Description, scope: &Scope) {
        let (source, _) = self.direction.source_destination(old, new);
        let header_version = source.version_id;
        let (old_states, new_states) = self.states;
        let side = |description, states_lengths, other: &'d Description, other_states: bool| Side {
            description,
            header_version,
            states_lengths,
            counterpart: (!states_lengths && other_states).then_some(other),
        };
        let old_items = lay_out(&mut self.interner, side(old, old_states, new, new_states));
        let new_items = lay_out(&mut self.interner, side(new, new_states, old, old_states));
        self.sequences(&old_items, &new_items, scope);
    }

    fn sequences(&mut self, old: &[Item<'d>], new: &[Item<'d>], scope: &Scope) {
        let steps = align(old, new);
        if steps.iter().all(|step| match *step {
            Step::Match { old: o, new: n } => identical(&old[o], &new[n]),
            Step::Gap { .. } => false,
        }) && self.same_places(old, new)
        {
            self.subsections_inside(old, new, &steps, scope);
            return;
        }
        let mut run = Run {
            old,
            new,
            steps: &steps,
            changes: Vec::new(),
            removed: Vec::new(),
            added: Vec::new(),
        };
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Match { old: o, new: n } => self.matched(&mut run, *o, *n),
                Step::Gap { old: o, new: n } => {
                    let section = &self.old.type_name;
                    let renames = self.renames;
                    let known =
                        |a: &Item, b: &Item| renames.field(section, a.description, a.name, b.name);
                    let mut outcome = gap::explain(old, new, o, n, &known);
                    run.changes.append(&mut outcome.changes);
                    let balanced = outcome.conditions_may_balance;
                    run.removed
                        .extend(outcome.removed.into_iter().map(|i| (i, at, balanced)));
                    run.added
                        .extend(outcome.added.into_iter().map(|j| (j, at, balanced)));
                }
            }
        }
        run.settle_moves();
        run.settle_left_over(self.direction);
        run.changes.sort_by_key(|c| {
            (
                c.new.first().or(c.old.first()).copied(),
                c.old.first().copied(),
            )
        });
        let changes = std::mem::take(&mut run.changes);
        for change in &changes {
            self.say(&run, change, scope);
        }
        self.subsections_inside(old, new, &steps, scope);
    }

    /// Whether every matched item stands under the same C names on both sides.
    fn same_places(&self, old: &[Item<'d>], new: &[Item<'d>]) -> bool {
        old.iter()
            .zip(new)
            .all(|(o, n)| self.interner.same_names(o.place, n.place))
    }

    /// Differences of items that matched by name and width.
    fn matched(&self, run: &mut Run<'_, 'd>, o: usize, n: usize) {
        let (old, new) = (&run.old[o], &run.new[n]);
        if old.is_subsection() {
            return;
        }
        let certain = !old.conditional;
        if old.present != new.present {
            run.push(Rule::GateExcludesField, certain, o, n);
            return;
        }
        if !old.present {
            return;
        }
        if old.gate != new.gate {
            run.push(Rule::VersionGateChanged, true, o, n);
        }
        if old.num != new.num {
            match (old.num, new.num) {
                (Some(_), Some(_)) => run.push(Rule::ArrayResized, certain, o, n),
                _ if !old.loose && !new.loose => run.push(Rule::ArrayLengthUnstated, false, o, n),
                _ => {}
            }
        }
        let same_names = self.interner.same_names(old.place, new.place);
        let depth = |item: &Item| self.interner.depth(item.place);
        let both_fill = old.is_filler() && new.is_filler();
        if !same_names && !both_fill {
            let rule = if depth(old) == depth(new) {
                Rule::FieldRenamed
            } else {
                Rule::FieldRegrouped
            };
            run.push(rule, true, o, n);
        } else if old.description != new.description && depth(old) > 1 {
            run.push(Rule::DescriptionRenamed, true, o, n);
        }
    }

    /// Goes into what matched as a whole: elements of arrays and subsections.
    fn subsections_inside(
        &mut self,
        old: &[Item<'d>],
        new: &[Item<'d>],
        steps: &[Step],
        scope: &Scope,
    ) {
        for step in steps {
            let Step::Match { old: o, new: n } = *step else {
                continue;
            };
            let (old, new) = (&old[o], &new[n]);
            match (&old.kind, &new.kind) {
                (Kind::Array(old_element), Kind::Array(new_element)) => {
                    let inside = Scope {
                        path: scope.path,
                        certain: scope.certain && !old.conditional,
                    };
                    self.sequences(old_element, new_element, &inside);
                }
                (Kind::Subsection(a), Kind::Subsection(b)) => {
                    self.subsections(old, new, a, b, scope)
                }
                _ => {}
            }
        }
    }

    fn subsections(
        &mut self,
        old_item: &Item<'d>,
        new_item: &Item<'d>,
        old: &'d Description,
        new: &'d Description,
        scope: &Scope,
    ) {
        let mut path = scope.path.to_vec();
        let names = self.interner.names_of(new_item.place);
        path.extend(names.into_iter().map(str::to_owned));
        let inside = Scope {
            path: &path,
            certain: false,
        };
        let (source, destination) = self.direction.source_destination(old, new);
        let cause = |rule: Rule| format!("{rule} {}", old.name);
        if refusal(source, destination).is_some() {
            let message = wording::subsection_refused(self.direction, source, destination);
            let rule = Rule::SubsectionVersion;
            self.push(
                rule,
                false,
                &inside,
                message,
                versions(old),
                versions(new),
                cause(rule),
            );
            return;
        }
        let (writer, reader) = self.direction.source_destination(old_item, new_item);
        if writer.name.starts_with(writer.description)
            && !reader.name.starts_with(reader.description)
        {
            let rule = Rule::SubsectionUnreachable;
            let message = wording::unreachable(self.direction, reader.name, reader.description);
            self.push(
                rule,
                false,
                &inside,
                message,
                named(old_item.description),
                named(new_item.description),
                cause(rule),
            );
        }
        if old != new {
            self.descriptions(old, new, &inside);
        }
    }

    fn say(&mut self, run: &Run<'_, 'd>, change: &Change, scope: &Scope) {
        let old: Vec<&Item> = change.old.iter().map(|&i| &run.old[i]).collect();
        let new: Vec<&Item> = change.new.iter().map(|&j| &run.new[j]).collect();
        let spot = Spot {
            interner: &self.interner,
            direction: self.direction,
            old: &old,
            new: &new,
        };
        let mut path = scope.path.to_vec();
        path.extend(spot.path());
        let message = spot.message(change.rule, change.known.as_deref());
        let (old_shape, new_shape) = (spot.shape(Build::Old), spot.shape(Build::New));
        let cause = spot.cause(change.rule);
        let context = run.context(&self.interner, change);
        let items = spot.items(change.rule);
        let inside = Scope {
            path: &path,
            certain: scope.certain && change.certain,
        };
        self.push(
            change.rule,
            change.certain,
            &inside,
            message,
            old_shape,
            new_shape,
            cause,
        );
        if let Some(finding) = self.findings.last_mut() {
            finding.context = context;
            finding.items = items;
        }
    }

    fn section_finding(
        &mut self,
        rule: Rule,
        message: String,
        old: Option<Shape>,
        new: Option<Shape>,
    ) {
        let path = [self.old.description.name.clone()];
        let cause = format!("{rule} {path:?} {old:?} {new:?}");
        let scope = Scope {
            path: &path,
            certain: true,
        };
        self.push(rule, true, &scope, message, old, new, cause);
    }

    #[expect(clippy::too_many_arguments, reason = "a finding has that many parts")]
    fn push(
        &mut self,
        rule: Rule,
        certain: bool,
        scope: &Scope,
        message: String,
        old: Option<Shape>,
        new: Option<Shape>,
        cause: String,
    ) {
        let level = match rule.level() {
            Level::Error if !(certain && scope.certain) => Level::Warning,
            level => level,
        };
        self.findings.push(Finding {
            rule: rule.id().to_owned(),
            level,
            direction: self.direction,
            section: self.old.type_name.clone(),
            also_in: Vec::new(),
            path: scope.path.to_vec(),
            message,
            old,
            new,
            allowed_by: None,
            evidence: Evidence::Dump,
            confirmed_by: None,
            context: Vec::new(),
            cause,
            items: Vec::new(),
        });
    }
}

fn named(name: &str) -> Option<Shape> {
    Some(Shape {
        name: Some(name.to_owned()),
        ..Shape::default()
    })
}

fn versions(description: &Description) -> Option<Shape> {
    Some(Shape {
        version_id: Some(description.version_id),
        minimum_version_id: Some(description.minimum_version_id),
        ..Shape::default()
    })
}

/// Why vmstate_load_state() would refuse the source's version at once.
fn refusal(source: &Description, destination: &Description) -> Option<Rule> {
    if source.version_id > destination.version_id {
        Some(Rule::VersionTooNew)
    } else if source.version_id < destination.minimum_version_id {
        Some(Rule::VersionTooOld)
    } else {
        None
    }
}

fn identical(old: &Item, new: &Item) -> bool {
    old.present == new.present
        && old.gate == new.gate
        && (old.num == new.num || old.loose || new.loose)
        && old.description == new.description
}

/// Two aligned sequences and what was found about them so far.
struct Run<'r, 'd> {
    old: &'r [Item<'d>],
    new: &'r [Item<'d>],
    steps: &'r [Step],
    changes: Vec<Change>,
    /// Items without a counterpart: index, step, and whether conditions may make up for it.
    removed: Vec<(usize, usize, bool)>,
    added: Vec<(usize, usize, bool)>,
}

impl<'d> Run<'_, 'd> {
    fn push(&mut self, rule: Rule, certain: bool, old: usize, new: usize) {
        if let Some(last) = self.changes.last_mut()
            && last.rule == rule
            && last.certain == certain
            && last.known.is_none()
            && rule != Rule::ArrayResized
            && last.old.last().is_some_and(|&i| i + 1 == old)
            && last.new.last().is_some_and(|&j| j + 1 == new)
        {
            last.old.push(old);
            last.new.push(new);
            return;
        }
        self.changes.push(Change {
            rule,
            certain,
            old: vec![old],
            new: vec![new],
            known: None,
        });
    }

    /// What is missing in one place and new in another was moved.
    fn settle_moves(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        for (i, at, balanced) in removed {
            let old = &self.old[i];
            let twin = self.added.iter().position(|&(j, _, _)| {
                let new = &self.new[j];
                old.path == new.path
                    && old.size == new.size
                    && old.num == new.num
                    && old.conditional == new.conditional
                    && old.is_subsection() == new.is_subsection()
                    && !old.is_filler()
                    && !new.is_filler()
            });
            let Some(twin) = twin else {
                self.removed.push((i, at, balanced));
                continue;
            };
            let (j, _, _) = self.added.remove(twin);
            let (rule, certain) = if old.is_subsection() {
                (Rule::SubsectionMoved, false)
            } else if old.conditional {
                (Rule::ConditionalFieldChanged, false)
            } else if old.is_opaque() {
                (Rule::OpaqueFieldChanged, false)
            } else {
                (Rule::FieldsSwapped, true)
            };
            self.changes.push(Change {
                rule,
                certain,
                old: vec![i],
                new: vec![j],
                known: None,
            });
        }
    }

    /// What has no counterpart anywhere. A subsection that only the destination knows is never sent.
    fn settle_left_over(&mut self, direction: Direction) {
        let (source, _) = direction.source_destination(Build::Old, Build::New);
        let lone = |item: &Item, rule: Rule, conditional: Rule, balanced: bool| {
            if item.is_subsection() {
                (Rule::SubsectionUnknown, false)
            } else if item.conditional {
                (conditional, false)
            } else if item.is_opaque() {
                (Rule::OpaqueFieldChanged, false)
            } else {
                (rule, !balanced)
            }
        };
        let mut changes: Vec<(usize, Change)> = Vec::new();
        let mut add = |at: usize, rule, certain, old: Option<usize>, new: Option<usize>| {
            let next_to = |last: &[usize], this: Option<usize>| match (last.last(), this) {
                (Some(&a), Some(b)) => a + 1 == b,
                (None, None) => true,
                _ => false,
            };
            if let Some((last_at, last)) = changes.last_mut()
                && *last_at == at
                && last.rule == rule
                && last.certain == certain
                && rule != Rule::SubsectionUnknown
                && next_to(&last.old, old)
                && next_to(&last.new, new)
            {
                last.old.extend(old);
                last.new.extend(new);
                return;
            }
            changes.push((
                at,
                Change {
                    rule,
                    certain,
                    old: old.into_iter().collect(),
                    new: new.into_iter().collect(),
                    known: None,
                },
            ));
        };
        for (i, at, balanced) in std::mem::take(&mut self.removed) {
            let item = &self.old[i];
            if item.is_subsection() && source != Build::Old {
                continue;
            }
            let (rule, certain) = lone(
                item,
                Rule::FieldRemoved,
                Rule::ConditionalFieldRemoved,
                balanced,
            );
            if item.present && (item.is_subsection() || item.is_opaque() || item.bytes() > 0) {
                add(at, rule, certain, Some(i), None);
            }
        }
        for (j, at, balanced) in std::mem::take(&mut self.added) {
            let item = &self.new[j];
            if item.is_subsection() && source != Build::New {
                continue;
            }
            let (rule, certain) = lone(
                item,
                Rule::FieldAdded,
                Rule::ConditionalFieldAdded,
                balanced,
            );
            if item.present && (item.is_subsection() || item.is_opaque() || item.bytes() > 0) {
                add(at, rule, certain, None, Some(j));
            }
        }
        self.changes
            .extend(changes.into_iter().map(|(_, change)| change));
    }

    /// The layout around a change: a few lines before and behind it, the change itself between.
    fn context(&self, interner: &Interner<'d>, change: &Change) -> Vec<ContextLine> {
        const AROUND: usize = 2;
        const MOST: usize = 8;
        let touches = |step: &Step| match step {
            Step::Match { old, new } => change.old.contains(old) && change.new.contains(new),
            Step::Gap { old, new } => {
                old.iter().any(|i| change.old.contains(i))
                    || new.iter().any(|j| change.new.contains(j))
            }
        };
        let Some(first) = self.steps.iter().position(touches) else {
            return Vec::new();
        };
        let last = self.steps.iter().rposition(touches).unwrap_or(first);
        let line = |side: Build, item: &Item| ContextLine {
            side,
            text: wording::layout_line(interner, item),
        };
        let around = |steps: &[Step]| -> Vec<ContextLine> {
            steps
                .iter()
                .filter_map(|step| match *step {
                    Step::Match { new, .. } => Some(line(Build::Both, &self.new[new])),
                    Step::Gap { .. } => None,
                })
                .collect()
        };
        let mut lines = around(&self.steps[first.saturating_sub(AROUND)..first]);
        let clipped = |lines: &mut Vec<ContextLine>, side: Build, items: &[usize], all: &[Item]| {
            let shown = if items.len() > MOST {
                MOST - 1
            } else {
                items.len()
            };
            lines.extend(items[..shown].iter().map(|&i| line(side, &all[i])));
            if shown < items.len() {
                lines.push(ContextLine {
                    side,
                    text: format!("… {} more", items.len() - shown),
                });
            }
        };
        let moved = matches!(change.rule, Rule::FieldsSwapped | Rule::SubsectionMoved);
        if moved {
            // Between its two places stands what it was moved across.
            let between = &self.steps[first..=last];
            for step in between.iter().take(MOST) {
                match step {
                    Step::Match { new, .. } => lines.push(line(Build::Both, &self.new[*new])),
                    Step::Gap { old, new } => {
                        clipped(&mut lines, Build::Old, old, self.old);
                        clipped(&mut lines, Build::New, new, self.new);
                    }
                }
            }
        } else {
            clipped(&mut lines, Build::Old, &change.old, self.old);
            clipped(&mut lines, Build::New, &change.new, self.new);
        }
        let after = (last + 1).min(self.steps.len());
        lines.extend(around(
            &self.steps[after..(after + AROUND).min(self.steps.len())],
        ));
        lines
    }
}
