//! A stream and the same with one byte changed: the comparison ends, and nothing differs from itself.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use migcompat::internals::rules::{KnownIssues, Scope};
use migcompat::internals::compare::diff;
use migcompat::internals::stream::parse;

fuzz_target!(|data: &[u8]| {
    static LISTS: LazyLock<KnownIssues> =
        LazyLock::new(|| KnownIssues::load(&[]).expect("the shipped lists are sound"));
    let Some(&[a, b, c]) = data.last_chunk::<3>() else {
        return;
    };
    let mut changed = data.to_vec();
    let place = (usize::from(a) << 8 | usize::from(b)) * 7 % data.len();
    changed[place] ^= c | 1;
    let (old, new) = (parse(data).stream, parse(&changed).stream);
    let scope = Scope::anywhere(&LISTS);
    diff(&old, &new, &scope, |_| true);
    // Sections may come twice under one name, of which the first is the partner.
    let unique = old.sections.iter().enumerate().all(|(i, a)| {
        let mut before = old.sections[..i].iter();
        !before.any(|b| (&a.name, a.instance_id) == (&b.name, b.instance_id))
    });
    if unique {
        assert_eq!(diff(&old, &old, &scope, |_| true), []);
    }
});
