//! Changes of a description by hand, and what is found of each.
//!
//! `a:4` is a field of four bytes, `q:0` one of which the dump does not say how wide it is, `a:4*3` an array of three,
//! `a:4@2` one with a gate, and `a:4?` one with a test; `s{ … }` is a structure, `e*4{ … }` an array of four, and
//! `+x{ … }` a subsection. A dump that begins with `~` does not state the lengths of arrays.

mod layouts;

use std::collections::BTreeMap;

use crate::compare::dump::compare::compare;
use crate::compare::renames::{NoRenames, Renames};
use crate::model::Direction;
use crate::report::Finding;
use crate::vmstate::dump::{Dump, Section, Vmsd, VmsdField};

fn description<'t>(name: &str, words: &mut impl Iterator<Item = &'t str>) -> Vmsd {
    let (mut fields, mut subsections) = (Vec::new(), Vec::new());
    while let Some(word) = words.next().filter(|&word| word != "}") {
        let open = word.strip_suffix('{');
        let word = open.unwrap_or(word);
        if let Some(subsection) = word.strip_prefix('+') {
            subsections.push(description(&format!("{name}/{subsection}"), words));
            continue;
        }
        let (word, conditional) = match word.strip_suffix('?') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let number = |text: &str| text.parse().expect("a number");
        let (word, gate) = word.split_once('@').unwrap_or((word, "0"));
        let (word, num) = match word.split_once('*') {
            Some((word, num)) => (word, Some(number(num))),
            None => (word, None),
        };
        let (word, size) = word.split_once(':').unwrap_or((word, "99"));
        fields.push(VmsdField {
            name: word.to_owned(),
            version_id: gate.parse().expect("a version"),
            conditional,
            num,
            size: number(size),
            description: open.map(|_| Box::new(description("el", words))),
        });
    }
    Vmsd {
        name: name.to_owned(),
        version_id: 1,
        minimum_version_id: 1,
        fields: Some(fields),
        subsections,
    }
}

fn dump(text: &str) -> Dump {
    let section = |name: &str, text: &str| Section {
        type_name: name.to_owned(),
        description: description(name, &mut text.split_whitespace()),
    };
    let (text, other) = match text.strip_prefix('~') {
        Some(text) => (text, "regs:4"),
        None => (text, "regs:4*3"),
    };
    Dump {
        sections: vec![section("dev", text), section("other", other)],
        ..Dump::default()
    }
}

/// Level, rule and path of each finding, and its direction where that is not both.
fn found(findings: &[Finding]) -> Vec<String> {
    let mut directions: BTreeMap<String, Vec<Direction>> = BTreeMap::new();
    for finding in findings {
        let path = finding.path[1..].join("/");
        let found = format!("{} {} {path}", finding.level, finding.rule);
        directions.entry(found).or_default().push(finding.direction);
    }
    let said = directions.into_iter().map(|(found, ways)| match *ways {
        [way] => format!("{way} {found}"),
        _ => found,
    });
    said.collect()
}

fn between(old: &str, new: &str, renames: &dyn Renames) -> Vec<Finding> {
    compare(&dump(old), &dump(new), &Direction::BOTH, renames)
}

/// Compares by rows: what they show, the old and the new description, and what is found.
fn hold(rows: &[&str]) {
    hold_with(&NoRenames, rows);
}

/// Compares by such rows where names are known.
fn hold_with(renames: &dyn Renames, rows: &[&str]) {
    let held = rows.iter().map(|row| {
        let [what, old, new, _] = *row.split(" | ").collect::<Vec<_>>() else {
            panic!("{row}");
        };
        let found = found(&between(old, new, renames)).join(", ");
        format!("{what} | {old} | {new} | {found}")
    });
    assert_eq!(held.collect::<Vec<_>>(), rows);
}

#[test]
fn elements_are_compared_whatever_their_array_is_called() {
    hold(&[
        "a new name alone | e*4{ a:4 b:4 } c:4 | ee*4{ a:4 b:4 } c:4 | note field-renamed e",
        "swapped | e*4{ a:4 b:4 } c:4 | ee*4{ b:4 a:4 } c:4 | error fields-swapped e/b, note field-renamed e",
        "a test | e*4{ a:4 b:4? } c:4 | ee*4{ a:4 } c:4 | note field-renamed e, warning conditional-field-removed e/b",
        "a subsection of the elements | e*4{ a:4 +x{ b:4 } } c:4 | ee*4{ a:4 } c:4 | \
         note field-renamed e, forward warning subsection-unknown e/el/x",
        "two neighbours | e*4{ a:4 b:4 } f*2{ a:4 b:2 } c:4 | ee*4{ a:4 b:4 } ff*2{ b:2 a:4 } c:4 | \
         error fields-swapped f/b, note field-renamed e",
        "an array in an array | e*4{ i*2{ a:4 b:4 } } c:4 | ee*4{ j*2{ b:4 a:4 } } c:4 | \
         error fields-swapped e/i/b, note field-renamed e, note field-renamed e/i",
        "a test for the whole array | e*4{ a:4 b:4 } c:4 | e*4?{ b:4 a:4 } c:4 | \
         warning condition-added e, warning fields-swapped e/b",
        "more elements, of which each is less | e*4{ a:4 b:4 } c:4 | ee*8{ a:4 } c:4 | warning fields-recut e",
        "an array of each number | e*4{ a:4 b:4 } c:4 | a:4*4 b:4*4 c:4 | warning fields-recut e",
        "one number in each | e*4{ a:4 } c:4 | a:4*4 c:4 | note field-renamed e",
        "numbers of other widths | e*4{ a:4 b:4 } c:4 | ee:8*4 c:4 | warning fields-recut e",
        "one structure | e{ a:4 b:4 } c:4 | ee{ a:8 b:4 } c:4 | error field-resized e/a, note field-renamed e/b",
    ]);
}

#[test]
fn the_bytes_are_the_same_where_nothing_else_is_found() {
    for (old, new, same) in [
        ("e*4{ a:4 b:4 }", "ee*4{ a:4 b:4 }", true),
        ("e*4{ a:4 b:4 }", "ee*4{ a:4 bb:4 }", true),
        ("e*4{ a:4 b:4 }", "ee*4{ b:4 a:4 }", false),
        ("s{ e*4{ a:4 } }", "t{ e*4{ a:4 } }", true),
        ("s{ e*4{ a:4 } }", "t{ e*4{ a:8 } }", false),
        ("s{ e*4{ a:4 } }", "e*4{ a:8 }", false),
        ("s{ e*4{ a:4 } }", "t{ e*5{ a:4 } }", false),
    ] {
        for finding in between(old, new, &NoRenames) {
            if ["field-renamed", "field-regrouped"].contains(&finding.rule.id()) {
                let message = &finding.message;
                let said = message.ends_with("; the bytes are the same");
                assert!(
                    said == (same || finding.path.ends_with(&["b".into()])),
                    "{old} {new}: {message}"
                );
            }
        }
    }
}

/// Knows that `e` is called `ee`.
struct Listed;

impl Renames for Listed {
    fn mentions(&self, field: &str) -> bool {
        field == "e"
    }
    fn field(&self, _: &str, _: &str, old: &str, new: &str) -> Option<String> {
        [["e", "ee"], ["ee", "e"]]
            .contains(&[old, new])
            .then(|| "listed".to_owned())
    }
    fn section(&self, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
}

#[test]
fn a_known_name_says_nothing_of_the_elements() {
    hold_with(
        &Listed,
        &[
            "a new name alone | e*4{ a:4 } | ee*4{ a:4 } | note field-renamed e",
            "a field more | e*4{ a:4 } | ee*4{ a:4 b:4 } | error field-added ee/b, note field-renamed e",
            "a wider field | e*4{ a:4 } | ee*4{ a:8 } | error field-resized e/a, note field-renamed e",
            "a test | e*4?{ a:4 } | ee*4?{ a:8 } | note field-renamed e, warning field-resized e/a",
            "another length | e*4{ a:4 } | ee*5{ a:4 } | error array-resized e, note field-renamed e",
        ],
    );
}

#[test]
fn a_number_of_elements_that_one_build_leaves_to_the_state_is_a_doubt() {
    hold(&[
        "structures | e*4{ a:4 b:2 } c:4 | e{ a:4 b:2 } c:4 | warning array-length-unstated e",
        "the other way | e{ a:4 b:2 } c:4 | e*4{ a:4 b:2 } c:4 | warning array-length-unstated e",
        "in a structure | s{ e*4{ a:4 } } c:4 | s{ e{ a:4 } } c:4 | warning array-length-unstated s/e",
        "in elements, of a build that sends more of each | e*4{ i*2{ a:4 } } c:4 | e*4{ i{ a:4 b:4 } } c:4 | \
         error field-added e/i/b, warning array-length-unstated e/i",
        "in a subsection | c:4 +x{ e*4{ a:4 } } | c:4 +x{ e{ a:4 } } | warning array-length-unstated dev/x/e",
        "numbers | e:4*4 c:4 | e:4 c:4 | warning array-length-unstated e",
        "structures with a test | e*4{ a:4 b:2 } c:4 | e?{ a:4 b:2 } c:4 | warning condition-added e",
        "numbers with a test | e:4 c:4 | e:4*4? c:4 | warning condition-added e",
        "one | e*1{ a:4 } c:4 | e{ a:4 } c:4 | ",
        "left to the state by both | e{ a:4 } c:4 | e{ a:4 } c:4 | ",
        "of a build that states none | ~e{ a:4 } c:4 | e*4{ a:4 } c:4 | ",
    ]);
}

#[test]
fn what_stands_in_the_place_of_a_field_of_unknown_width_is_a_doubt() {
    hold(&[
        "a number | c:4 q:0 b:4 | c:4 a:4 b:4 | warning opaque-field-changed q",
        "a structure of its name | c:4 q:0 b:4 | c:4 q{ x:4 y:2 } b:4 | warning opaque-field-changed q",
        "an array | c:4 q:0 b:4 | c:4 a*4{ x:4 } b:4 | warning opaque-field-changed q",
        "with a neighbour that goes, too | c:4 q:0 x:2 b:4 | c:4 a:8 b:4 | warning opaque-field-changed q",
        "what is wider than a field beside it | c:4 q:0 b:4 | c:4 q:4*4 a:4 b:4 | \
         warning field-added a, warning size-undecided q",
        "less than what stood beside it | c:4 q:0 x:4 b:4 | c:4 a:2 b:4 | \
         error field-added a, error field-removed x, warning opaque-field-changed q",
        "a place that it left | q:0 c:4 b:4 | a:4 c:4 b:4 q:0 | error field-added a, warning opaque-field-changed q",
    ]);
}

/// The messages of what is found.
fn said(old: &str, new: &str) -> Vec<String> {
    let found = between(old, new, &NoRenames).into_iter();
    found.map(|finding| finding.message).collect()
}

#[test]
fn sizes_are_called_the_same_only_where_they_are_known() {
    let unstated = "does not say how many elements `flag` has";
    let became = format!("`flag` (1 byte an element) became padding (4 bytes); old {unstated}");
    let took = format!("`flag` (1 byte an element) took the place of padding; new {unstated}");
    let arrives = |from: &str, to: &str, in_build: &str| {
        format!(
            "{from} sends padding where {to} reads `flag` (1 byte an element): it arrives as zeros; {in_build} {unstated}"
        )
    };
    let regrouped = format!("`flag` is grouped differently in new; old {unstated}");
    let agrees = |build: &str, lengths: &str| {
        format!("{build} {unstated}; `regs` agrees only if the lengths do ({lengths})")
    };
    let of_old = agrees("old", "2×? against 4×4");
    let of_new = agrees("new", "4×4 against 2×?");
    for (old, new, wanted) in [
        (
            "~flag:1 b:4",
            "unused:4 b:4",
            [became, arrives("new", "old", "old")],
        ),
        (
            "unused:4 b:4",
            "~flag:1 b:4",
            [arrives("old", "new", "new"), took],
        ),
        ("~flag:1 b:4", "flag:16 b:4", [regrouped.clone(), regrouped]),
        ("~flag:2 b:4", "regs:4*4 b:4", [of_old.clone(), of_old]),
        ("regs:4*4 b:4", "~flag:2 b:4", [of_new.clone(), of_new]),
        (
            "flag:4 b:4",
            "unused:4 b:4",
            [
                "`flag` (4 bytes) became padding of the same size".to_owned(),
                "new sends padding where old reads `flag` (4 bytes): it arrives as zeros"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(said(old, new), wanted, "{old} {new}");
    }
}

#[test]
fn a_number_has_the_bytes_in_front_of_it_as_its_upper_ones() {
    hold(&[
        "wider | unused:2 a:2 b:4 | a:4 b:4 | warning fields-recut unused",
        "narrower | a:8 b:4 | unused:3 unused:1 a:4 b:4 | warning fields-recut a",
        "with a new name | unused:3 a:1 b:4 | aa:4 b:4 | warning fields-recut unused",
        "beside others that changed | x:4 unused:2 a:2 z:2 b:4 | y:4 a:4 zz:2 b:4 | \
         note field-renamed x, note field-renamed z, warning fields-recut unused",
        "padding behind | a:2 unused:2 b:4 | a:4 b:4 | error fields-recut a",
        "padding on either side | unused:1 a:2 unused:1 b:4 | a:4 b:4 | error fields-recut unused",
        "less padding than it takes | unused:1 a:2 b:4 | a:4 b:4 | error field-removed unused, error field-resized a",
        "elements | unused:4 a:2*2 b:4 | a:4*2 b:4 | warning fields-recut unused",
    ]);
    assert_eq!(
        said("unused:2 a:2 b:4", "a:4 b:4"),
        [
            "old sends 2 bytes of padding and `a` (2 bytes) where new reads `a` (4 bytes): it arrives as it is, unless it is \
             negative",
            "new sends `a` (4 bytes) where old skips 2 bytes and reads `a` (2 bytes): it arrives as it is, if it fits",
        ]
    );
}

#[test]
fn a_field_that_the_other_build_has_elsewhere_is_not_renamed() {
    hold(&[
        "two swapped with two between | a:4 r:1 s:2 b:4 | b:4 r:1 s:2 a:4 | \
         error fields-swapped a, error fields-swapped b",
        "one moved, beside a new name and one that is gone | a:4 r:1 s:2 u:4 z:1 | x:4 r:1 s:2 a:4 z:1 | \
         error fields-swapped a",
        "a rotation | a:4 r:1 s:2 b:4 t:1 v:2 c:4 | c:4 r:1 s:2 a:4 t:1 v:2 b:4 | \
         error fields-swapped a, error fields-swapped b, error fields-swapped c",
        "beside neighbours that were renamed | p:4 a:4 r:1 s:2 q:4 b:4 | pp:4 b:4 r:1 s:2 qq:4 a:4 | \
         error fields-swapped a, error fields-swapped b, note field-renamed p, note field-renamed q",
        "in elements | e*4{ a:4 r:1 s:2 b:4 } | e*4{ b:4 r:1 s:2 a:4 } | \
         error fields-swapped e/a, error fields-swapped e/b",
        "in a subsection | z:1 +x{ a:4 r:1 s:2 b:4 } | z:1 +x{ b:4 r:1 s:2 a:4 } | \
         warning fields-swapped dev/x/a, warning fields-swapped dev/x/b",
        "neighbours that are timers | t:8 u:8 | u:48 t:48 | error fields-swapped t, error fields-swapped u",
        "neighbours that became elements | a:4*2 b:4*2 | s*2{ b:4 } q*2{ a:4 } | \
         error fields-swapped a, error fields-swapped b",
        "in structures that were renamed | s{ a:4 } r:1 t:2 u{ b:4 } | v{ b:4 } r:1 t:2 w{ a:4 } | \
         error fields-swapped s/a, error fields-swapped u/b",
        "behind a field that its array took in | a:8*1 b:8*2 | b:8*3 | warning fields-swapped b",
        "in front of a field that its array took in | b:8*2 a:8*1 | b:8*3 | note field-regrouped b",
        "in another cut | a:4*4 b:4 | x:4 h*4{ a:4 } | error fields-swapped a",
        "names that are gone | a:4 r:1 s:2 b:4 | x:4 r:1 s:2 y:4 | note field-renamed a, note field-renamed b",
        "a name that several have | s{ a:4 } r:1 t:2 u{ a:4 } v{ c:4 } | x{ d:4 } r:1 t:2 u{ a:4 } y{ a:4 } | \
         note field-renamed s/a, note field-renamed v/c",
    ]);
}

#[test]
fn what_stands_past_a_test_alone_is_a_doubt() {
    hold(&[
        "a field behind a test, then before it | c:4? a:1 z:8 | a:1 c:4? z:8 | warning fields-swapped a",
        "past a test and another field | c:4? k:2 a:1 z:8 | a:1 c:4? k:2 z:8 | error fields-swapped a",
        "a field that is gone on one side of a test and a new one on the other | r:1? s:4 e:2 | j:4 r:1? e:2 | \
         warning field-added j, warning field-removed s",
        "a new one of another width | r:1? s:4 e:2 | j:8 r:1? e:2 | error field-added j, error field-removed s",
        "one that gets a test, on the other side of another | r:1? s:4 e:2 | s:4? r:1? e:2 | \
         warning conditional-field-added s, warning field-removed s",
        "a new one on the other side of a field that gets a test | q:4 c:2? | qq:4? c:2? d:4 | \
         error field-added d, warning condition-added q",
        "past the place of a subsection | s{ x:4 +w{ b:4 } } a:2 | s{ x:4 a:2 +w{ b:4 } } | \
         note field-regrouped a, warning subsection-moved s/el/w",
        "past an array of which each element is sent by a test | e*3{ b:4? } a:1 z:8 | a:1 e*3{ b:4? } z:8 | \
         warning fields-swapped a",
        "such an array past fields | e*3{ b:4? } a:1 k:2 z:8 | a:1 k:2 e*3{ b:4? } z:8 | warning fields-swapped e",
    ]);
}

#[test]
fn padding_is_one_stretch_however_it_is_divided() {
    hold(&[
        "in another order | a:4 unused:4 unused:2 q:1 | a:4 unused:2 unused:4 q:1 | ",
        "in three pieces | a:4 unused:4 unused:2 unused:1 q:1 | a:4 unused:1 unused:4 unused:2 q:1 | ",
        "as one | a:4 unused:4 unused:2 q:1 | a:4 unused:6 q:1 | ",
        "with a field at its end | a:4 unused:4 unused:2 q:1 | a:4 unused:2 b:4 q:1 | \
         backward note field-padded unused, forward warning field-padded unused",
        "less of it | a:4 unused:4 unused:2 q:1 | a:4 unused:2 q:1 | error field-removed unused",
        "of which a part is sent by a test | a:4 unused:4? unused:4 unused:2 q:1 | \
         a:4 unused:4? unused:2 unused:4 q:1 | ",
        "in a structure, and other padding behind | a:4 unused:1 w:8 v:1 | a:4 s{ unused:1 } w:8 unused:1 | \
         forward note field-padded v, backward warning field-padded v",
    ]);
}

#[test]
fn a_field_of_as_many_bytes_is_not_resized() {
    hold(&[
        "beside a new name with a test | m:8*4 t:4 z:1 | m:32 j:4? z:1 | \
         note field-regrouped m, warning condition-added t",
        "a timer, beside a new field | t:8 k:1 | t:48 n:4 k:1 | error field-added n, note type-size-only t",
        "in another cut, beside one that is | r:4 t:8 z:1 | r:2*2 t:4 z:1 | \
         error field-resized t, warning fields-recut r",
        "in elements, beside one that is | r:4*2 t:8 z:1 | r*2{ x:4 } t:4 z:1 | \
         error field-resized t, note field-regrouped r",
        "which its array took in, beside a new name without a test | l:8*1 f:8*3 e:4? z:1 | l:8*4 c:4 z:1 | \
         note field-regrouped l, warning condition-removed e",
        "two new names with tests | a:4 b:2 c:8 z:1 | x:4? y:2 w:8? z:1 | \
         note field-renamed b, warning condition-added a, warning condition-added c",
        "a new name with a test at another place | a:4 b:4*2 c:8 z:1 | x:4? b:8 y:2 w:8 z:1 | \
         error field-added y, note field-renamed c, warning condition-added a, warning fields-recut b",
    ]);
    assert_eq!(
        said("p:4 m:4*2 z:1", "p:4*3 z:1"),
        ["`p` and `m` are grouped differently in new; the bytes are the same"; 2]
    );
}

#[test]
fn a_known_name_is_not_elsewhere() {
    let (old, new) = ("e:4 r:1 s:2 b:4", "ee:4 r:1 s:2 e:4");
    assert_eq!(
        found(&between(old, new, &NoRenames)),
        ["error fields-swapped e"]
    );
    assert_eq!(
        found(&between(old, new, &Listed)),
        ["note field-renamed b", "note field-renamed e"]
    );
}

#[test]
fn elements_that_a_test_adds_to_are_no_array_of_numbers() {
    hold(&[
        "a field of the elements | a:4*3 z:1 | e*3{ a:4 b:2? } z:1 | warning fields-recut a",
        "a subsection of them | e*3{ a:4 +x{ b:2 } } z:1 | a:4*3 z:1 | warning fields-recut e",
        "with another name | a:4*3 z:1 | e*3{ b:2? c:4 } z:1 | warning fields-recut a",
        "in elements of both | e*3{ a:4 b:2? } z:1 | ee*3{ a:4 b:2? } z:1 | note field-renamed e",
    ]);
}
