//! What is sent by a test, behind a gate, or as often as nobody says.

use crate::compare::dump::tests::{between, hold, said};
use crate::compare::renames::NoRenames;

#[test]
fn elements_of_which_nothing_is_sent_always_are_told_of_like_a_structure() {
    hold(&[
        "a test in each | x:4 | x:4 n*3{ o:1? } | warning conditional-field-added n/o",
        "removed | n*3{ o:1? p:2? } x:4 | x:4 | warning conditional-field-removed n/o",
        "of an unknown width | x:4 | x:4 n*3{ o:0 } | warning opaque-field-changed n/o",
        "a subsection of each | n*3{ +y{ a:4 } } x:4 | x:4 | forward warning subsection-unknown n/el/y",
        "an array in each | x:4 | x:4 n*3{ m*2{ o:1? } } | warning conditional-field-added n/m/o",
        "a renamed neighbour does not hide it | a:4 n*3{ o:1? } | b:4 | \
         note field-renamed a, warning conditional-field-removed n/o",
        "more elements | y*2{ e:4? } x:4 | y*4{ e:4? } x:4 | warning array-resized y",
        "behind a gate | l*3{ i:4? } k:4 | l*3@2{ i:4? } k:4 | warning gate-excludes-field l",
        "moved | n*3{ o:1? } x:4 y:4 | x:4 y:4 n*3{ o:1? } | warning fields-swapped n",
        "numbers that make up for what the tests send | q*2{ k:8? } x:4 | s:8*2 x:4 | \
         warning conditional-field-removed q/k, warning field-added s",
    ]);
}

#[test]
fn a_test_that_came_or_went_is_told_of_wherever_it_stands() {
    hold(&[
        "gone from within | g?{ h:2? } i:4 | g?{ h:2 } i:4 | warning conditional-field-changed g/h",
        "put around | h:2? i:4 | g?{ h:2? } i:4 | warning conditional-field-changed h",
        "exchanged for another | g?{ h:2 } i?{ j:2 } | g?{ h:2 j:2 } | warning conditional-field-changed i/j",
        "two levels up | g?{ s{ h:2 } } i:4 | g?{ s?{ h:2 } } i:4 | warning conditional-field-changed g/s/h",
        "in an element | e*4?{ g?{ h:2 } } i:4 | e*4?{ g{ h:2? } } i:4 | warning conditional-field-changed e/g/h",
        "the same one in another structure | s{ h:2? } i:4 | t{ u{ h:2? } } i:4 | note field-regrouped s/h",
        "the array has it, not its elements | e*4?{ h:2? } i:4 | e*4{ h:2? } i:4 | warning condition-removed e",
    ]);
    assert_eq!(
        said("g?{ h:2? } i:4", "g?{ h:2 } i:4")[0],
        "`h` is sent when the tests of `g` and `h` say so in old and when the test of `g` says so in new: a dump does \
         not say whether that is the same"
    );
}

#[test]
fn a_conditional_timer_has_the_bytes_of_an_unconditional_one() {
    hold(&[
        "by a test | t:8? a:4 | t:48? a:4 | note type-size-only t",
        "always | t:8 a:4 | t:48 a:4 | note type-size-only t",
        "several | t:8*2? a:4 | t:48*3? a:4 | warning conditional-field-changed t",
    ]);
}

#[test]
fn a_closed_gate_does_not_take_the_place_of_what_is_sent() {
    // That of the one build alone, and nothing about the other.
    hold(&[
        "listed twice | d:4@2 d:4 t:4 | d:4 t:4 | forward warning gate-above-version d",
        "the second one is closed | d:4 d:4@2 t:4 | d:4 t:4 | forward warning gate-above-version d",
        "of another width | d:8@2 d:4 t:4 | d:4 t:4 | forward warning gate-above-version d",
        "arrays | d*2@2{ a:4 } d*2{ a:4 } t:4 | d*2{ a:4 } t:4 | forward warning gate-above-version d",
        "the only one | d:4@2 t:4 | d:4 t:4 | error gate-excludes-field d",
        "an array is told of once | d*2@2{ a:4 b:4 } t:4 | d*2{ a:4 b:4 } t:4 | error gate-excludes-field d",
    ]);
    let found = between("s@2{ i:4 } t:4", "s{ i:4 } t:4", &NoRenames);
    assert_eq!(
        found.last().map(|finding| &*finding.message),
        Some(
            "`i` is in `s`, which has gate 2 in old: at the version sent, new sends it and old does not read it"
        )
    );
}

#[test]
fn a_number_of_one_is_a_statement() {
    hold(&[
        "numbers | l:8*1 k:4 | l:8*4 k:4 | error array-resized l",
        "fewer | l:8*4 k:4 | l:8*1 k:4 | error array-resized l",
        "structures | l*1{ i:4 } k:4 | l*2{ i:4 } k:4 | error array-resized l",
        "fewer structures | l*2{ i:4 } k:4 | l*1{ i:4 } k:4 | error array-resized l",
        "no statement | l:8 k:4 | l:8*4 k:4 | warning array-length-unstated l",
        "one and no array at all | l:8*1 k:4 | l:8 k:4 | ",
        "one structure and no array | l*1{ i:4 } k:4 | l{ i:4 } k:4 | ",
    ]);
}

#[test]
fn an_array_is_held_against_what_stands_for_it_in_the_other_build() {
    hold(&[
        "a field | e*4{ a:4 } k:4 | e:7 k:4 | error array-resized e",
        "numbers | e*4{ a:4 } k:4 | e:4*5 k:4 | error array-resized e",
        "in the new build | e:7 k:4 | e*4{ a:4 } k:4 | error array-resized e",
        // Elements that send what no dump knows the width of may add up to it.
        "an unknown part | e*4{ q:0 } k:4 | e:7 k:4 | warning array-resized e",
        "both unknown | e*4{ q:0 } k:4 | e:0 k:4 | warning size-undecided e",
        "both unknown, the other way | e:0 k:4 | e*4{ q:0 } k:4 | warning size-undecided e",
        "a test sends it | e*4?{ a:4 } k:4 | e:7? k:4 | warning conditional-field-changed e",
        "a test sends what is unknown | e*4?{ q:0 } k:4 | e:7? k:4 | warning conditional-field-changed e",
    ]);
}

#[test]
fn a_number_is_borrowed_only_by_what_may_have_as_many() {
    hold(&[
        "a buffer | ~b:16 e:4 | b:1*16 e:4 | note field-regrouped b",
        "the other way | b:1*16 e:4 | ~b:16 e:4 | note field-regrouped b",
        "a wide number | ~b:8 e:4 | b:2*4 e:4 | warning fields-recut b",
        "some buffers | ~b:6 e:4 | b:1*12 e:4 | note field-regrouped b",
        "as many numbers of another width | ~b:4 e:4 | b:8*3 e:4 | error field-resized b",
        "timers | ~b:8 e:4 | b:48*3 e:4 | note type-size-only b",
    ]);
}

#[test]
fn a_number_is_borrowed_through_a_structure_that_one_build_alone_has() {
    hold(&[
        "grouped by the other build | ~b:4 e{ x:4 y:2 } c:4 | g{ b:4 e*3{ x:4 y:2 } } c:4 | note field-regrouped b",
        "grouped by this one | ~g{ b:4 e{ x:4 y:2 } } c:4 | b:4 e*3{ x:4 y:2 } c:4 | note field-regrouped g/b",
        "of another field of the name, in a structure that both have | ~e:4 s{ x:4 e:2 } c:4 | s{ x:4 e:2*3 } c:4 | \
         error field-removed e",
    ]);
}
