//! Descriptions of guests (command lines, logs, domains): whatever they say, what is made of them concerns the guest alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migcompat::internals::guest::describe;

fuzz_target!(|data: &[u8]| {
    let Ok(described) = describe(data) else {
        return;
    };
    for word in &described.arguments {
        assert!(!word.contains('\0'), "{word:?}");
    }
    assert!(serde_json::to_vec(&described.report).is_ok());
});
