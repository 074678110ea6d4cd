//! The comparison of two sections: walks their layouts in one direction and words what it finds.
//!
//! `align` matches the two sequences of items; `gap` judges the items that have no exact match,
//! with the help of `fit`; `run` those that stand elsewhere; `change` joins neighbours that changed alike;
//! `wording` puts it into sentences.

mod align;
mod change;
mod fit;
mod gap;
mod run;
mod spot;
mod terms;
mod wording;

use rustc_hash::FxHashSet;

use crate::compare::layout::{Id, Interner, Item, Kind, Layout};
use crate::compare::renames::Renames;
use crate::model::{Direction, Rule, Side as Build};
use crate::report::{ChangeKey, Changed, Finding, Level, Shape};
use crate::vmstate::dump::takes_subsection;

use align::{Step, align, matches};
use change::Change;
use fit::{items, number_rule};
use run::Run;
use spot::Spot;
pub(crate) use terms::Wording;
use wording::Refusal;

/// A section of one build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'d> {
    /// Its name in findings: the QOM type of a dump, the section's own name of a stream.
    pub type_name: &'d str,
    pub layout: Layout<'d>,
}

/// Returns the rule for a section that only the source of this direction has.
pub(crate) fn lone_rule(direction: Direction) -> Rule {
    match direction {
        Direction::Forward => Rule::SectionRemoved,
        Direction::Backward => Rule::SectionAdded,
    }
}

/// Compares two sections that are one in the direction of the wording. `known` is why types of
/// different names are one. Comparisons of sections that have names in common may share an interner.
pub(crate) fn compare<'d>(
    old: Subject<'d>,
    new: Subject<'d>,
    known: Option<&str>,
    wording: Wording,
    renames: &dyn Renames,
    interner: &mut Interner<'d>,
) -> Vec<Finding> {
    interner.forget_places();
    let mut comparison = Comparison {
        old,
        new,
        wording,
        renames,
        interner,
        findings: Vec::new(),
    };
    comparison.sections(known);
    comparison.findings
}

/// One pair of sections in one direction.
struct Comparison<'d, 'k> {
    old: Subject<'d>,
    new: Subject<'d>,
    wording: Wording,
    renames: &'k dyn Renames,
    interner: &'k mut Interner<'d>,
    findings: Vec<Finding>,
}

/// The part of a section that is being compared.
struct Scope<'s> {
    /// The path from the vmsd name down to the description at hand.
    path: &'s [String],
    /// Set if it is always sent.
    certain: bool,
    /// The places of the arrays around it, of which the names are no matter of the elements.
    arrays: Option<(Id, Id)>,
}

impl<'d> Comparison<'d, '_> {
    fn sections(&mut self, known: Option<&str>) {
        let (old, new) = (self.old.layout, self.new.layout);
        let (old_type, new_type) = (self.old.type_name, self.new.type_name);
        if old_type != new_type {
            let message = self
                .wording
                .type_renamed(old_type, new_type, old.name(), known);
            let sides = (named(old_type), named(new_type));
            self.section_finding(Rule::SectionRenamed, message, sides);
            if let Some(finding) = self.findings.last_mut() {
                finding.items = vec![Changed {
                    description: old.name().to_owned(),
                    path: vec![old.name().to_owned()],
                    old: Some(old_type.to_owned()),
                    new: Some(new_type.to_owned()),
                    known: known.is_some(),
                    moved: false,
                }];
            }
        }
        // What neither build sends cannot differ on the wire, whatever its header says.
        if old.is_same(new) || !(old.is_migratable() || new.is_migratable()) {
            return;
        }
        if old.name() != new.name() {
            let message = self.wording.vmsd_renamed(old.name(), new.name());
            let sides = (named(old.name()), named(new.name()));
            self.section_finding(Rule::VmsdRenamed, message, sides);
            return;
        }
        let sides = || (versions(old), versions(new));
        if old.is_migratable() != new.is_migratable() {
            let without = match old.is_migratable() {
                true => Build::New,
                false => Build::Old,
            };
            let message = self.wording.unmigratable(without);
            self.section_finding(Rule::Unmigratable, message, sides());
            return;
        }
        let (source, destination) = self.source_destination(old, new);
        if let Some(refusal) = Refusal::of(source, destination) {
            let message = self.wording.refused(refusal, source, destination);
            self.section_finding(refusal.rule(), message, sides());
            return;
        }
        // Where the version itself changed, the other direction says so.
        if let (Some(was), Some(is)) = (old.minimum_version_id(), new.minimum_version_id())
            && was != is
            && old.version_id() == new.version_id()
            && Refusal::of(destination, source).is_none()
        {
            let message = Wording::minimum_changed(was, is, old.version_id());
            self.section_finding(Rule::MinimumVersionChanged, message, sides());
        }
        let path = [old.name().to_owned()];
        let scope = Scope {
            path: &path,
            certain: true,
            arrays: None,
        };
        self.layouts(old, new, &scope);
    }

    fn source_destination<T>(&self, old: T, new: T) -> (T, T) {
        self.wording.direction.source_destination(old, new)
    }

    /// Compares what follows a header with a version: a section's or a subsection's content.
    fn layouts(&mut self, old: Layout<'d>, new: Layout<'d>, scope: &Scope) {
        let (source, _) = self.source_destination(old, new);
        let version = source.version_id();
        let old_items = old.lay_out(self.interner, version, new);
        let new_items = new.lay_out(self.interner, version, old);
        self.sequences(&old_items, &new_items, scope);
    }

    fn sequences(&mut self, old: &[Item<'d>], new: &[Item<'d>], scope: &Scope) {
        let steps = align(old, new);
        // Where every item has a match, both stand in the same order.
        if steps.iter().all(|step| match *step {
            Step::Match { old: o, new: n } => identical(&old[o], &new[n]),
            Step::Gap { .. } => false,
        }) && (old.iter().zip(new))
            .all(|(o, n)| self.same_names(o, n, scope) && self.same_tests(o, n, scope))
        {
            let inside = self.inside(old, new, matches(&steps), scope).0;
            self.findings.extend(inside);
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
                Step::Match { old: o, new: n } => self.matched(&mut run, *o, *n, scope),
                Step::Gap { old: o, new: n } => {
                    let known = gap::Known {
                        renames: self.renames,
                        section: self.old.type_name,
                    };
                    gap::explain(&mut run, (at, o, n), known);
                }
            }
        }
        run.settle_displaced();
        run.settle_moves();
        run.settle_replaced();
        let hollow = run.settle_left_over(self.wording.direction);
        run.changes.sort_by_key(|c| {
            let old = c.old.first().copied();
            (c.new.first().copied().or(old), old)
        });
        let changes = std::mem::take(&mut run.changes);
        let mut pairs: Vec<(usize, usize)> = matches(&steps).collect();
        pairs.extend(changes.iter().flat_map(|change| change.pairs(old, new)));
        pairs.sort_unstable();
        pairs.dedup();
        let (inside, mut altered) = self.inside(old, new, pairs, scope);
        let more_than_names = changes.iter().filter(|c| c.rule.level() != Level::Note);
        altered.extend(more_than_names.flat_map(|change| &change.old));
        for change in &changes {
            self.say(&run, change, &altered, scope);
        }
        for (build, at) in hollow {
            let inside = Scope {
                path: scope.path,
                certain: false,
                arrays: None,
            };
            match (build, old.get(at), new.get(at)) {
                (Build::Old, Some(item), _) => self.sequences(item.elements(), &[], &inside),
                (Build::New, _, Some(item)) => self.sequences(&[], item.elements(), &inside),
                _ => {}
            }
        }
        self.findings.extend(inside);
    }

    /// Tells whether the same tests decide about two items, as far as their names show.
    fn same_tests(&self, old: &Item, new: &Item, scope: &Scope) -> bool {
        let (of_old, of_new) = scope.arrays.unzip();
        let tests = |item: &Item, array| self.interner.tests_of(item.place, array);
        !old.conditional || tests(old, of_old).eq(tests(new, of_new))
    }

    fn same_names(&self, old: &Item, new: &Item, scope: &Scope) -> bool {
        self.interner.same_names(old.place, new.place, scope.arrays)
    }

    /// Differences of items that matched by name and width.
    fn matched(&self, run: &mut Run<'_, 'd>, o: usize, n: usize, scope: &Scope) {
        let (old, new) = (&run.old[o], &run.new[n]);
        if old.is_subsection() {
            return;
        }
        let certain = old.is_unconditional() && new.is_unconditional();
        if !old.present {
            return;
        }
        if !self.same_tests(old, new, scope) {
            run.push(Rule::ConditionalFieldChanged, false, o, n);
            return;
        }
        if old.gate != new.gate {
            run.push(Rule::VersionGateChanged, true, o, n);
        }
        if old.num != new.num && !old.loose && !new.loose {
            let (rule, is_stated) = number_rule(old, new);
            run.push(rule, is_stated && certain, o, n);
        }
        let same_names = self.same_names(old, new, scope);
        let depth = |item: &Item| self.interner.depth(item.place);
        let both_pad = old.is_padding() && new.is_padding();
        if !same_names && !both_pad {
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

    /// Goes into what is one as a whole on both sides: elements of arrays and subsections. Returns what it finds, and
    /// the old items in which that is more than a note.
    fn inside(
        &mut self,
        old: &[Item<'d>],
        new: &[Item<'d>],
        pairs: impl IntoIterator<Item = (usize, usize)>,
        scope: &Scope,
    ) -> (Vec<Finding>, FxHashSet<usize>) {
        let around = std::mem::take(&mut self.findings);
        let mut altered = FxHashSet::default();
        for (o, n) in pairs {
            let (old, new) = (&old[o], &new[n]);
            let from = self.findings.len();
            match (&old.kind, &new.kind) {
                (Kind::Array(old_element), Kind::Array(new_element)) => {
                    let inside = Scope {
                        path: scope.path,
                        certain: scope.certain && !old.conditional && !new.conditional,
                        arrays: Some((old.place, new.place)),
                    };
                    self.sequences(old_element, new_element, &inside);
                }
                (&Kind::Subsection(a), &Kind::Subsection(b)) => {
                    self.subsections(old, new, a, b, scope);
                }
                _ => {}
            }
            if self.findings[from..].iter().any(|f| f.level != Level::Note) {
                altered.insert(o);
            }
        }
        (std::mem::replace(&mut self.findings, around), altered)
    }

    fn subsections(
        &mut self,
        old_item: &Item<'d>,
        new_item: &Item<'d>,
        old: Layout<'d>,
        new: Layout<'d>,
        scope: &Scope,
    ) {
        let mut path = scope.path.to_vec();
        let names = self.interner.names_of(new_item.place);
        path.extend(names.into_iter().map(str::to_owned));
        let inside = Scope {
            path: &path,
            certain: false,
            arrays: None,
        };
        let key = ChangeKey::Subsection(old.name().to_owned());
        let (source, destination) = self.source_destination(old, new);
        if Refusal::of(source, destination).is_some() {
            let message = self.wording.subsection_refused(source, destination);
            let sides = (versions(old), versions(new));
            self.push(Rule::SubsectionVersion, &inside, message, sides, key);
            return;
        }
        let (writer, reader) = self.source_destination(old_item, new_item);
        let reachable = |item: &Item| takes_subsection(item.description, item.name);
        if reachable(writer) && !reachable(reader) {
            let message = self.wording.unreachable(reader.name, reader.description);
            let sides = (named(old_item.description), named(new_item.description));
            self.push(Rule::SubsectionUnreachable, &inside, message, sides, key);
        }
        if !old.is_same(new) {
            self.layouts(old, new, &inside);
        }
    }

    /// Words a change. Of the old items in `altered` more than names changed.
    fn say(
        &mut self,
        run: &Run<'_, 'd>,
        change: &Change,
        altered: &FxHashSet<usize>,
        scope: &Scope,
    ) {
        let (old, new) = (items(run.old, &change.old), items(run.new, &change.new));
        let spot = Spot {
            interner: self.interner,
            wording: self.wording,
            old: &old,
            new: &new,
            arrays: scope.arrays,
            altered: change.old.iter().any(|i| altered.contains(i)),
            moved: change.moved,
        };
        let mut path = scope.path.to_vec();
        path.extend(spot.path());
        let message = spot.message(change.rule, change.known.as_deref());
        let sides = (spot.shape(Build::Old), spot.shape(Build::New));
        let key = spot.change();
        let context = run.context(self.interner, change);
        let items = spot.items(change.rule, change.known.is_some(), scope.path);
        // What the destination skips is no loss.
        let harmless = change.rule == Rule::FieldPadded && spot.read_from_padding().is_empty();
        let inside = Scope {
            path: &path,
            certain: scope.certain && change.certain,
            arrays: None,
        };
        self.push(change.rule, &inside, message, sides, key);
        if let Some(finding) = self.findings.last_mut() {
            finding.context = context;
            finding.items = items;
            if harmless {
                finding.level = Level::Note;
            }
        }
    }

    fn section_finding(&mut self, rule: Rule, message: String, sides: Sides) {
        let vmsd = self.old.layout.name().to_owned();
        let path = [vmsd.clone()];
        let key = ChangeKey::Section {
            vmsd,
            sides: Box::new([sides.0.clone(), sides.1.clone()]),
        };
        let scope = Scope {
            path: &path,
            certain: true,
            arrays: None,
        };
        self.push(rule, &scope, message, sides, key);
    }

    fn push(
        &mut self,
        rule: Rule,
        scope: &Scope,
        message: String,
        (old, new): Sides,
        change: ChangeKey,
    ) {
        let level = match rule.level() {
            Level::Error if !scope.certain => Level::Warning,
            level => level,
        };
        self.findings.push(Finding {
            level,
            path: scope.path.to_vec(),
            message,
            old,
            new,
            ..Finding::about(
                self.old.type_name.to_owned(),
                rule,
                self.wording.direction,
                self.old.layout.evidence(),
                change,
            )
        });
    }
}

/// The shapes that the old and the new build have at the spot of a finding.
type Sides = (Option<Shape>, Option<Shape>);

fn named(name: &str) -> Option<Shape> {
    Some(Shape {
        name: Some(name.to_owned()),
        ..Shape::default()
    })
}

fn versions(layout: Layout) -> Option<Shape> {
    Some(Shape {
        version_id: Some(layout.version_id()),
        minimum_version_id: layout.minimum_version_id(),
        ..Shape::default()
    })
}

fn identical(old: &Item, new: &Item) -> bool {
    old.gate == new.gate
        && (old.num == new.num || old.loose || new.loose)
        && old.description == new.description
}
