//! Two dumps with a NUL between them, or one and the same with a byte changed: reading, comparing and judging them end.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use migcompat::internals::compare::compare;
use migcompat::internals::rules::{KnownIssues, Scope, judge};
use migcompat::internals::vmstate::parse_dump;
use migcompat::model::Direction;
use migcompat::report::LevelOverrides;

fuzz_target!(|data: &[u8]| {
    static LISTS: LazyLock<KnownIssues> =
        LazyLock::new(|| KnownIssues::load(&[]).expect("the shipped lists are sound"));
    let (first, second) = match data.iter().position(|&byte| byte == 0) {
        Some(end) => (data[..end].to_vec(), data[end + 1..].to_vec()),
        None => {
            let mut changed = data.to_vec();
            let place = data.iter().map(|&byte| usize::from(byte)).sum::<usize>();
            let place = place % changed.len().max(1);
            if let Some(byte) = changed.get_mut(place) {
                *byte ^= 1;
            }
            (data.to_vec(), changed)
        }
    };
    let Ok(old) = parse_dump(&first, "old") else {
        return;
    };
    let scope = Scope::anywhere(&LISTS);
    let judged = |new| {
        let found = compare(&old, new, &Direction::BOTH, &scope);
        judge(found, &scope, &LevelOverrides::new())
    };
    for finding in judged(&old) {
        assert!(!finding.message.is_empty());
    }
    if let Ok(new) = parse_dump(&second, "new") {
        judged(&new);
    }
});
