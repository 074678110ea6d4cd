//! The comparison of two dumps: pairs sections, walks their layouts in each direction and words
//! what it finds.

use crate::compare::dump::align::{Step, align};
use crate::compare::dump::gap;
use crate::compare::dump::gap::Change;
use crate::compare::dump::pair::{Pair, pair_sections};
use crate::compare::dump::run::Run;
use crate::compare::dump::wording;
use crate::compare::dump::wording::Spot;
use crate::compare::renames::Renames;
use crate::model::Direction;
use crate::model::Rule;
use crate::model::Side as Build;
use crate::report::{Changed, Evidence, Finding, Level, Shape};
use crate::rules::check;
use crate::vmstate::dump::{Description, Dump, Section};
use crate::vmstate::layout::{Interner, Item, Kind, Side, lay_out};

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
        rule,
        level: rule.level(),
        direction,
        section: section.type_name.clone(),
        also_in: Vec::new(),
        machines: Vec::new(),
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
            if let Some(finding) = self.findings.last_mut() {
                finding.items = vec![Changed {
                    description: old.name.clone(),
                    old: Some(self.old.type_name.clone()),
                    new: Some(self.new.type_name.clone()),
                    known: known.is_some(),
                }];
            }
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
                    let known = gap::Known {
                        renames: self.renames,
                        section: &self.old.type_name,
                    };
                    let mut outcome = gap::explain(old, new, o, n, known);
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
        let mut items = spot.items(change.rule);
        for item in &mut items {
            item.known = change.known.is_some();
        }
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
            rule,
            level,
            direction: self.direction,
            section: self.old.type_name.clone(),
            also_in: Vec::new(),
            machines: Vec::new(),
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
