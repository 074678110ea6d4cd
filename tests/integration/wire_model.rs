//! The comparison of dumps, held against a model of what builds send and load.
//!
//! The model does what `vmstate_save_state()` and `vmstate_load_state()` do (QEMU's `migration/vmstate.c`), with bytes that
//! know the field that they are of. A description is changed as developers change them, and both are compared: an
//! error must be one, and what fails or mixes values must be told, whatever the tests of the fields and of the
//! subsections say at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use macro_rules_attribute::apply;
use migcompat::internals::compare::{NoRenames, compare};
use migcompat::internals::vmstate::{Dump, Section, Vmsd, VmsdField};
use migcompat::model::Direction;
use migcompat::report::Level;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestError, TestRng, TestRunner};

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq)]
enum Piece<'d> {
    Padding,
    Byte {
        field: &'d str,
        /// The indices of the elements that it is in.
        element: Rc<[u64]>,
        at: u64,
        of: u64,
    },
    Subsection {
        name: &'d str,
        version: i64,
    },
}

/// The answers of the tests of fields and subsections, by their names.
type Answers<'d> = BTreeMap<&'d str, bool>;

/// A field that was loaded, and what it got.
type Loaded<'d, 's> = (&'d str, Rc<[u64]>, &'s [Piece<'d>]);

const PADDING: &str = "unused";

fn is_there(field: &VmsdField, version: i64, answers: &Answers) -> bool {
    match field.conditional {
        true => answers.get(&*field.name).copied().unwrap_or_default(),
        false => field.version_id <= version,
    }
}

/// Calls `each` for all elements of the fields that are there.
fn elements<'d>(
    vmsd: &'d Vmsd,
    version: i64,
    answers: &Answers<'d>,
    around: &[u64],
    mut each: impl FnMut(&'d VmsdField, &[u64]) -> Option<()>,
) -> Option<()> {
    for field in vmsd.fields() {
        if !is_there(field, version, answers) {
            continue;
        }
        let number = field.num.unwrap_or(1);
        for index in 0..number {
            let own = [index];
            let own = if number > 1 { &own[..] } else { &[] };
            each(field, &[around, own].concat())?;
        }
    }
    Some(())
}

fn send<'d>(
    vmsd: &'d Vmsd,
    version: i64,
    answers: &Answers<'d>,
    around: &[u64],
    stream: &mut Vec<Piece<'d>>,
) {
    elements(vmsd, version, answers, around, |field, element| {
        match &field.description {
            Some(inner) => send(inner, inner.version_id, answers, element, stream),
            None if field.name == PADDING => {
                stream.extend((0..field.size).map(|_| Piece::Padding));
            }
            None => {
                let element: Rc<[u64]> = element.into();
                stream.extend((0..field.size).map(|at| Piece::Byte {
                    field: &field.name,
                    element: Rc::clone(&element),
                    at,
                    of: field.size,
                }));
            }
        }
        Some(())
    });
    for subsection in &vmsd.subsections {
        if answers.get(&*subsection.name) == Some(&true) {
            stream.push(Piece::Subsection {
                name: &subsection.name,
                version: subsection.version_id,
            });
            send(subsection, subsection.version_id, answers, &[], stream);
        }
    }
}

/// Loads what is left of a stream. `None` if a build refuses it, or reads a header as a value.
fn load<'d, 's>(
    vmsd: &'d Vmsd,
    version: i64,
    answers: &Answers<'d>,
    around: &[u64],
    stream: &mut &'s [Piece<'d>],
    loaded: &mut Vec<Loaded<'d, 's>>,
) -> Option<()> {
    if version > vmsd.version_id || version < vmsd.minimum_version_id {
        return None;
    }
    elements(vmsd, version, answers, around, |field, element| {
        if let Some(inner) = &field.description {
            return load(inner, inner.version_id, answers, element, stream, loaded);
        }
        let (taken, rest) = stream.split_at_checked(usize::try_from(field.size).ok()?)?;
        *stream = rest;
        let is_header = |piece: &Piece| matches!(piece, Piece::Subsection { .. });
        if taken.iter().any(is_header) {
            return None;
        }
        if field.name != PADDING {
            loaded.push((&field.name, element.into(), taken));
        }
        Some(())
    })?;
    while let Some((Piece::Subsection { name, version }, rest)) = stream.split_first() {
        if !name.starts_with(&vmsd.name) || name.len() == vmsd.name.len() {
            break;
        }
        let mut known = vmsd.subsections.iter();
        let known = known.find(|subsection| subsection.name == *name)?;
        *stream = rest;
        load(known, *version, answers, &[], stream, loaded)?;
    }
    Some(())
}

/// Returns the names of all fields of a description that hold no others, whether they are sent or not, but those of
/// subsections that the source does not have.
fn names<'d>(vmsd: &'d Vmsd, of_source: &BTreeSet<&str>) -> BTreeSet<&'d str> {
    let mut all = BTreeSet::new();
    for field in vmsd.fields() {
        match &field.description {
            Some(inner) => all.extend(names(inner, of_source)),
            None => _ = all.insert(&*field.name),
        }
    }
    let subsections = vmsd.subsections.iter();
    let sent = subsections.filter(|subsection| of_source.contains(&*subsection.name));
    all.extend(sent.flat_map(|subsection| names(subsection, of_source)));
    all
}

/// Collects what a test decides about: fields, and subsections.
fn tested<'d>(vmsd: &'d Vmsd, fields: &mut BTreeSet<&'d str>, subsections: &mut BTreeSet<&'d str>) {
    for field in vmsd.fields() {
        if field.conditional {
            fields.insert(&field.name);
        }
        if let Some(inner) = &field.description {
            tested(inner, fields, subsections);
        }
    }
    for subsection in &vmsd.subsections {
        subsections.insert(&subsection.name);
        tested(subsection, fields, subsections);
    }
}

/// A field that holds no others, by its name and the indices of the elements that it is in.
type Place<'d> = (&'d str, Rc<[u64]>);

/// Returns the field that some bytes are all of, from the first to the last.
fn whole<'d>(pieces: &[Piece<'d>]) -> Option<Place<'d>> {
    let Piece::Byte { field, element, .. } = pieces.first()? else {
        return None;
    };
    let own = (*field, Rc::clone(element));
    let is_next = |(piece, index): (&Piece<'d>, u64)| match piece {
        Piece::Byte {
            field,
            element,
            at,
            of,
        } => (*field, element) == (own.0, &own.1) && (*at, *of) == (index, pieces.len() as u64),
        Piece::Padding | Piece::Subsection { .. } => false,
    };
    pieces.iter().zip(0..).all(is_next).then_some(own)
}

/// Tells whether all that is sent with these answers arrives where it belongs: in the field of its name, or in one of a name
/// that the source has not sent, if its own is not loaded.
fn arrives<'d>(source: &'d Vmsd, destination: &'d Vmsd, answers: &Answers<'d>) -> bool {
    let mut stream = Vec::new();
    let version = source.version_id;
    send(source, version, answers, &[], &mut stream);
    let (mut left, mut loaded) = (&stream[..], Vec::new());
    let done = load(destination, version, answers, &[], &mut left, &mut loaded);
    if done.is_none() || !left.is_empty() || source.name != destination.name {
        return false;
    }
    let sent: BTreeSet<Place> = (stream.iter())
        .filter_map(|piece| match piece {
            Piece::Byte {
                field,
                element,
                at: 0,
                ..
            } => Some((*field, Rc::clone(element))),
            _ => None,
        })
        .collect();
    let taken: BTreeSet<Place> = (loaded.iter())
        .map(|(name, element, _)| (*name, Rc::clone(element)))
        .collect();
    let is_right = |(name, element, pieces): &Loaded<'d, '_>| {
        let own = (*name, Rc::clone(element));
        let from = whole(pieces);
        from.is_some_and(|from| from == own || !(sent.contains(&own) || taken.contains(&from)))
    };
    let (mut tests, mut subsections) = (BTreeSet::new(), BTreeSet::new());
    tested(source, &mut tests, &mut subsections);
    let known = names(destination, &subsections);
    let of_taken: BTreeSet<&str> = taken.iter().map(|(name, _)| *name).collect();
    let is_lost = |(name, _): &Place| known.contains(name) && !of_taken.contains(name);
    loaded.iter().all(is_right) && !sent.iter().any(is_lost)
}

/// What becomes of the streams that a source may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Truth {
    some_arrive: bool,
    some_do_not: bool,
}

/// Tries all answers. A test that one build alone has may say anything there; one that both have says the same in both.
fn truth(source: &Vmsd, destination: &Vmsd) -> Truth {
    let (mut fields, mut subsections) = (BTreeSet::new(), BTreeSet::new());
    tested(source, &mut fields, &mut subsections);
    let sent: BTreeSet<&str> = fields.iter().chain(&subsections).copied().collect();
    let (mut fields, mut subsections) = (BTreeSet::new(), BTreeSet::new());
    tested(destination, &mut fields, &mut subsections);
    let asked: Vec<&str> = sent.union(&fields).copied().collect();
    let mut truth = Truth {
        some_arrive: false,
        some_do_not: false,
    };
    for answers in 0u32..1 << asked.len().min(6) {
        let answers: Answers = (asked.iter().enumerate())
            .map(|(at, name)| (*name, answers >> at.min(31) & 1 == 1))
            .collect();
        match arrives(source, destination, &answers) {
            true => truth.some_arrive = true,
            false => truth.some_do_not = true,
        }
    }
    truth
}

/// A field before it has a name.
#[derive(Debug, Clone)]
enum Plan {
    Leaf {
        size: u64,
        num: Option<u64>,
        conditional: bool,
    },
    Padding(u64),
    Structure {
        num: Option<u64>,
        conditional: bool,
        fields: Vec<Plan>,
    },
}

fn sizes() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![1, 1, 2, 4, 4, 4, 8, 8])
}

fn numbers() -> impl Strategy<Value = Option<u64>> {
    prop::sample::select(vec![None, None, None, None, Some(2), Some(3), Some(4)])
}

fn plans() -> impl Strategy<Value = Plan> {
    let leaf = (sizes(), numbers(), prop::bool::weighted(0.08));
    let leaf = leaf.prop_map(|(size, num, conditional)| Plan::Leaf {
        size,
        num,
        conditional,
    });
    let leaf = prop_oneof![18 => leaf, 1 => (1..6u64).prop_map(Plan::Padding)];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let fields = prop::collection::vec(inner, 1..4);
        let structure = (numbers(), prop::bool::weighted(0.07), fields);
        structure.prop_map(|(num, conditional, fields)| Plan::Structure {
            num,
            conditional,
            fields,
        })
    })
}

/// Gives names that nothing else has.
#[derive(Default)]
struct Namer(usize);

impl Namer {
    fn next(&mut self, prefix: &str) -> String {
        self.0 += 1;
        // No name begins with another one.
        format!("{prefix}{:03}", self.0)
    }

    fn leaf(&mut self, size: u64) -> VmsdField {
        VmsdField {
            name: self.next("f"),
            version_id: 0,
            conditional: false,
            num: None,
            size,
            description: None,
        }
    }

    fn field(&mut self, plan: &Plan) -> VmsdField {
        match plan {
            Plan::Leaf {
                size,
                num,
                conditional,
            } => VmsdField {
                num: *num,
                conditional: *conditional,
                ..self.leaf(*size)
            },
            Plan::Padding(size) => padding(*size),
            Plan::Structure {
                num,
                conditional,
                fields,
            } => VmsdField {
                num: *num,
                conditional: *conditional,
                description: Some(Box::new(self.description("d", fields, &[]))),
                ..self.leaf(64)
            },
        }
    }

    fn description(&mut self, prefix: &str, fields: &[Plan], subsections: &[Vec<Plan>]) -> Vmsd {
        let name = self.next(prefix);
        let subsections = subsections.iter();
        let subsections = subsections
            .map(|fields| self.description(&format!("{name}/s"), fields, &[]))
            .collect();
        Vmsd {
            version_id: 1,
            minimum_version_id: 1,
            fields: Some(fields.iter().map(|plan| self.field(plan)).collect()),
            subsections,
            name,
        }
    }
}

fn padding(size: u64) -> VmsdField {
    VmsdField {
        name: PADDING.to_owned(),
        version_id: 0,
        conditional: false,
        num: None,
        size,
        description: None,
    }
}

/// A change that a developer makes.
#[derive(Debug, Clone, Copy)]
enum Edit {
    Add,
    AddPadding,
    AddTested,
    AddWithVersion,
    AddSubsection,
    Bump,
    Divide,
    Group,
    Move,
    Pad,
    RaiseMinimum,
    Remove,
    RemoveSubsection,
    Rename,
    RenameDescription,
    RenameSubsection,
    Renumber,
    SplitArray,
    Swap,
    Test,
    ToSubsection,
    Ungroup,
    Untest,
    Widen,
}

/// What a developer may do. An array that is divided is taken for one with a new field beside it where its length is not
/// stated, which is far more often so.
fn edits(lengths: [Lengths; 2]) -> impl Strategy<Value = Edit> {
    let mut all = vec![
        Edit::Add,
        Edit::AddPadding,
        Edit::AddTested,
        Edit::AddWithVersion,
        Edit::AddSubsection,
        Edit::Bump,
        Edit::Divide,
        Edit::Group,
        Edit::Move,
        Edit::Pad,
        Edit::RaiseMinimum,
        Edit::Remove,
        Edit::RemoveSubsection,
        Edit::Rename,
        Edit::RenameDescription,
        Edit::RenameSubsection,
        Edit::Renumber,
        Edit::Swap,
        Edit::Test,
        Edit::ToSubsection,
        Edit::Ungroup,
        Edit::Untest,
        Edit::Widen,
    ];
    if lengths == [Lengths::Stated; 2] {
        all.push(Edit::SplitArray);
    }
    prop::sample::select(all)
}

/// Returns the descriptions in one, and itself.
fn descriptions(vmsd: &mut Vmsd) -> usize {
    let nested = vmsd.fields.iter_mut().flatten();
    let nested = nested.filter_map(|field| field.description.as_deref_mut());
    1 + nested
        .chain(&mut vmsd.subsections)
        .map(descriptions)
        .sum::<usize>()
}

/// Finds one of the descriptions in one, counted from itself on.
fn nth<'d>(vmsd: &'d mut Vmsd, at: &mut usize) -> Option<&'d mut Vmsd> {
    if *at == 0 {
        return Some(vmsd);
    }
    *at -= 1;
    let nested = vmsd.fields.iter_mut().flatten();
    let nested = nested.filter_map(|field| field.description.as_deref_mut());
    let mut all = nested.chain(&mut vmsd.subsections);
    all.find_map(|inner| nth(inner, at))
}

/// Changes one field of one description, if the change fits it.
fn change(root: &mut Vmsd, namer: &mut Namer, edit: Edit, places: [Index; 3]) -> Option<()> {
    let mut at = places[0].index(descriptions(root));
    let vmsd = nth(root, &mut at)?;
    let fields = vmsd.fields.as_mut()?;
    if fields.is_empty() {
        return None;
    }
    let at = places[1].index(fields.len());
    let other = places[2].index(fields.len());
    let is_plain = fields[at].description.is_none() && fields[at].name != PADDING;
    match edit {
        Edit::Add => fields.insert(at, namer.leaf(4)),
        Edit::AddPadding => fields.insert(at, padding(1 + other as u64)),
        Edit::AddTested => fields.insert(
            at,
            VmsdField {
                conditional: true,
                ..namer.leaf(4)
            },
        ),
        Edit::AddWithVersion => {
            vmsd.version_id += 1;
            fields.push(VmsdField {
                version_id: vmsd.version_id,
                ..namer.leaf(4)
            });
        }
        Edit::AddSubsection => {
            let fields = [Plan::Leaf {
                size: 4,
                num: None,
                conditional: false,
            }];
            let prefix = format!("{}/s", vmsd.name);
            vmsd.subsections
                .push(namer.description(&prefix, &fields, &[]));
        }
        Edit::Bump => vmsd.version_id += 1,
        Edit::Group => {
            let (first, last) = (at.min(other), at.max(other));
            let inner = fields.drain(first..=last).collect();
            let structure = VmsdField {
                description: Some(Box::new(Vmsd {
                    fields: Some(inner),
                    ..namer.description("d", &[], &[])
                })),
                ..namer.leaf(64)
            };
            fields.insert(first, structure);
        }
        Edit::Divide if is_plain && fields[at].size > 1 && fields[at].num.is_none() => {
            fields[at].size /= 2;
            fields[at].num = Some(2);
        }
        Edit::Move if at != other => {
            let field = fields.remove(at);
            fields.insert(other, field);
        }
        Edit::Pad if is_plain => {
            let VmsdField { size, num, .. } = fields[at];
            fields[at] = VmsdField {
                version_id: fields[at].version_id,
                conditional: fields[at].conditional,
                ..padding(size * num.unwrap_or(1))
            };
        }
        Edit::RaiseMinimum if vmsd.minimum_version_id < vmsd.version_id => {
            vmsd.minimum_version_id += 1;
        }
        Edit::Remove => _ = fields.remove(at),
        Edit::RemoveSubsection => _ = vmsd.subsections.pop()?,
        Edit::Rename if is_plain => fields[at].name = namer.next("f"),
        Edit::RenameDescription => vmsd.name = namer.next("d"),
        Edit::RenameSubsection => {
            vmsd.subsections.last_mut()?.name = namer.next(&format!("{}/s", vmsd.name));
        }
        Edit::Renumber => fields[at].num = Some(fields[at].num? + 1),
        Edit::SplitArray if is_plain => {
            let num = fields[at].num.filter(|num| *num > 1)?;
            fields[at].num = Some(num - 1);
            let rest = VmsdField {
                name: namer.next("f"),
                num: Some(1),
                ..fields[at].clone()
            };
            fields.insert(at + 1, rest);
        }
        Edit::Swap if at != other => fields.swap(at, other),
        Edit::Test if !fields[at].conditional => fields[at].conditional = true,
        Edit::ToSubsection if is_plain => {
            let field = fields.remove(at);
            let prefix = format!("{}/s", vmsd.name);
            vmsd.subsections.push(Vmsd {
                fields: Some(vec![field]),
                ..namer.description(&prefix, &[], &[])
            });
        }
        Edit::Ungroup if fields[at].num.is_none() && !fields[at].conditional => {
            let inner = fields[at].description.take()?;
            fields.splice(at..=at, inner.fields?);
        }
        Edit::Untest if fields[at].conditional => fields[at].conditional = false,
        Edit::Widen if is_plain && fields[at].size < 8 => fields[at].size *= 2,
        _ => return None,
    }
    Some(())
}

/// Writes a description in a line: `a:4` is a field of four bytes, `a:4*3` an array, `a:4?` one with a test, `a:4@2` one of a
/// version.
fn shown(vmsd: &Vmsd) -> String {
    let fields = vmsd.fields().iter().map(|field| {
        let inner = field.description.as_deref();
        let inner = inner.map_or_else(|| format!(":{}", field.size), shown);
        let num = field.num.map_or_else(String::new, |num| format!("*{num}"));
        let test = if field.conditional { "?" } else { "" };
        let gate = match field.version_id {
            0 => String::new(),
            gate => format!("@{gate}"),
        };
        format!("{}{num}{test}{gate}{inner}", field.name)
    });
    let subsections = vmsd.subsections.iter();
    let subsections =
        subsections.map(|subsection| format!("+{}{}", subsection.name, shown(subsection)));
    let all: Vec<String> = fields.chain(subsections).collect();
    let versions = match (vmsd.version_id, vmsd.minimum_version_id) {
        (1, 1) => String::new(),
        (version, minimum) => format!("v{minimum}-{version} "),
    };
    format!("{{{versions}{}}}", all.join(" "))
}

fn dump(description: &Vmsd, lengths: Lengths) -> Dump {
    let section = |type_name: &str, description: Vmsd| Section {
        type_name: type_name.to_owned(),
        description,
    };
    // By an array with a length it is seen that the build states them.
    let array = VmsdField {
        num: Some(3),
        ..Namer::default().leaf(4)
    };
    let mut other = Namer::default().description("other", &[], &[]);
    other.fields = Some(vec![array]);
    let mut description = description.clone();
    if lengths == Lengths::Unstated {
        forget_lengths(&mut description);
        forget_lengths(&mut other);
    }
    Dump {
        sections: vec![section("dev", description), section("other", other)],
        ..Dump::default()
    }
}

/// Tells whether a dump has the lengths of arrays. Those of QEMU before 8.1 have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    Stated,
    Unstated,
}

fn forget_lengths(vmsd: &mut Vmsd) {
    for field in vmsd.fields.iter_mut().flatten() {
        field.num = None;
        if let Some(inner) = &mut field.description {
            forget_lengths(inner);
        }
    }
    vmsd.subsections.iter_mut().for_each(forget_lengths);
}

/// Holds what is found between two descriptions against what is true of them. Where lengths are not stated, not all that
/// is true can be found.
fn hold(old: &Vmsd, new: &Vmsd, lengths: [Lengths; 2]) -> Result<(), TestCaseError> {
    let dumps = [dump(old, lengths[0]), dump(new, lengths[1])];
    let findings = compare(&dumps[0], &dumps[1], &Direction::BOTH, &NoRenames);
    for direction in Direction::BOTH {
        let (source, destination) = direction.source_destination(old, new);
        let truth = truth(source, destination);
        let findings = findings.iter().filter(|f| f.direction == direction);
        let (levels, found): (Vec<Level>, Vec<String>) = findings
            .map(|f| (f.level, format!("{} {}: {}", f.level, f.rule, f.message)))
            .unzip();
        let says = |what: &str| {
            let (found, old, new) = (found.join("\n"), shown(old), shown(new));
            format!("{direction} {what}: {truth:?}\nold {old}\nnew {new}\n{found}")
        };
        let is_false = levels.contains(&Level::Error) && !truth.some_do_not;
        prop_assert!(!is_false, "{}", says("has a false error"));
        let is_told = levels.iter().any(|level| *level != Level::Note);
        let is_missed = truth.some_do_not && !is_told && lengths == [Lengths::Stated; 2];
        prop_assert!(!is_missed, "{}", says("is missed"));
    }
    Ok(())
}

/// A description, and what some changes made of it.
fn pairs(lengths: [Lengths; 2]) -> impl Strategy<Value = (Vmsd, Vmsd)> {
    let subsections = prop::collection::vec(prop::collection::vec(plans(), 1..3), 0..3);
    let fields = prop::collection::vec(plans(), 2..6);
    let gates = prop::collection::vec((any::<Index>(), 1..4i64), 0..3);
    let places = [any::<Index>(), any::<Index>(), any::<Index>()];
    let changes = prop::collection::vec((edits(lengths), places), 1..3);
    let all = (fields, subsections, 1..4i64, gates, changes);
    all.prop_map(|(plans, subsections, version, gates, changes)| {
        let mut namer = Namer::default();
        let mut old = namer.description("dev", &plans, &subsections);
        old.version_id = version;
        let fields = old.fields.get_or_insert_default();
        for (at, gate) in gates {
            fields[at.index(plans.len())].version_id = gate.min(version);
        }
        let mut new = old.clone();
        for (edit, places) in changes {
            _ = change(&mut new, &mut namer, edit, places);
        }
        (old, new)
    })
}

/// Holds many pairs, which are the same in each run. `PROPTEST_CASES` says how many.
fn hold_all(lengths: [Lengths; 2]) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let config = ProptestConfig {
        cases: config.cases.max(1000),
        ..config
    };
    let always = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, always);
    let held = runner.run(&pairs(lengths), |(old, new)| hold(&old, &new, lengths));
    if let Err(TestError::Fail(reason, _) | TestError::Abort(reason)) = held {
        panic!("{reason}");
    }
}

#[apply(test)]
fn what_is_found_is_what_a_loader_would_do() {
    hold_all([Lengths::Stated; 2]);
}

#[apply(test)]
fn no_error_rests_on_a_length_that_a_dump_does_not_state() {
    hold_all([Lengths::Unstated, Lengths::Stated]);
    hold_all([Lengths::Stated, Lengths::Unstated]);
    hold_all([Lengths::Unstated; 2]);
}
