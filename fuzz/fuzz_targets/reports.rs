//! Reports: each form that one is written in is well-formed, whatever the report says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migcompat::internals::report::{is_hidden, read_text};
use migcompat::report::render;
use serde::de::IgnoredAny;

fuzz_target!(|data: &[u8]| {
    let Ok(report) = read_text(data) else {
        return;
    };
    let written = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut bytes = Vec::new();
        write(&mut bytes).expect("memory takes all");
        String::from_utf8(bytes).expect("it is text")
    };
    for json in [
        written(&|out| render::json::write(&report, out)),
        written(&|out| render::sarif::write(&report, out)),
        written(&|out| render::codequality::write(&report, out)),
    ] {
        serde_json::from_str::<IgnoredAny>(&json).expect("it is JSON");
    }
    let xml = written(&|out| render::junit::write(&report, out));
    if let Err(error) = roxmltree::Document::parse(&xml) {
        panic!("{error}: {xml}");
    }
    let page = written(&|out| render::html::write(&report, out));
    assert!(page.trim_end().ends_with("</html>"));
    let hidden = |c: char| is_hidden(c) && c != '\n' && c != '\t';
    for text in [
        xml,
        page,
        written(&|out| render::markdown::write(&report, out)),
        written(&|out| render::github::write(&report, out)),
    ] {
        assert!(!text.contains(hidden), "{text:?}");
    }
});
