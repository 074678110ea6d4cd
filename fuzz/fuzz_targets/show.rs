//! Any bytes: what could be read is printed, and the JSON is JSON.
#![no_main]

use std::io::sink;

use libfuzzer_sys::fuzz_target;
use migcompat::internals::stream::{parse, show};

fuzz_target!(|data: &[u8]| {
    let reading = parse(data);
    let error = reading.error.as_ref();
    show::text(&reading.stream, error, |_| true, &mut sink()).expect("a sink takes all");
    let mut json = Vec::new();
    show::json(&reading.stream, error, |_| true, &mut json).expect("so does memory");
    serde_json::from_slice::<serde::de::IgnoredAny>(&json).expect("it is JSON");
});
