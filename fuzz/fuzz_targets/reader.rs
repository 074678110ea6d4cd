//! Any bytes: no panic, offsets within the input, and pieces give what the whole gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migcompat::internals::stream::{Content, Options, Parser, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    let length = data.len() as u64;
    assert_eq!(whole.stream.length, length);
    if let Some(error) = &whole.error {
        assert!(error.offset <= length, "{error}");
    }
    let mut kept = 0;
    for section in &whole.stream.sections {
        assert!(section.payload_offset <= length);
        kept += section.payload.len();
        if let Content::Broken(_, error) = &section.content {
            assert!(error.offset <= length, "{error}");
        }
    }
    assert!(kept <= data.len());

    let mut parser = Parser::new(Options::default(), ());
    let piece = 1 + data.first().map_or(0, |&b| usize::from(b));
    for bytes in data.chunks(piece) {
        if parser.feed(bytes).is_err() {
            break;
        }
    }
    let pieces = parser.finish();
    assert_eq!(
        pieces.error.map(|e| e.to_string()),
        whole.error.map(|e| e.to_string())
    );
});
