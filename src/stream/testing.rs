//! Real streams for unit tests.

use std::path::Path;

use super::open;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams"))
}

/// The stream `VERSION/NAME`, unpacked.
pub fn fixture(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    open(&folder().join(format!("{name}.stream.zst")))
        .expect("the fixture is there")
        .read_to_end(&mut bytes)
        .expect("and sound");
    bytes
}

/// All of them.
pub fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut names = Vec::new();
    for version in folder().read_dir().expect("fixtures").flatten() {
        for file in version.path().read_dir().expect("a folder").flatten() {
            let file = format!(
                "{}/{}",
                version.file_name().display(),
                file.file_name().display()
            );
            names.extend(file.strip_suffix(".stream.zst").map(str::to_owned));
        }
    }
    names.sort();
    assert!(!names.is_empty());
    let load = |name: String| {
        let bytes = fixture(&name);
        (name, bytes)
    };
    names.into_iter().map(load).collect()
}
