//! Streams in what they are packed into: memory at fixed places, libvirt's images, other data in front.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{migcompat, root, stderr, stdout};

fn unpacked(name: &str) -> Vec<u8> {
    let file = root().join(format!("fixtures/containers/{name}.zst"));
    zstd::decode_all(&*std::fs::read(file).expect("there")).expect("sound")
}

fn written(folder: &Path, name: &str, content: &[u8]) -> String {
    let file = folder.join(name);
    std::fs::write(&file, content).expect("writable");
    file.display().to_string()
}

fn shown(args: &[&str]) -> Value {
    let output = migcompat(&[&["stream", "show", "--format", "json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What does not depend on how memory was saved: the sections of devices, by name and size, and what is in RAM.
fn content(shown: &Value) -> (Vec<(String, u64)>, &Value, &Value) {
    let sections = shown["sections"].as_array().expect("a list").iter();
    let sections = sections
        .filter(|section| section["name"] != "ram")
        .map(|section| {
            let name = section["name"].as_str().expect("a name").to_owned();
            (name, section["size"].as_u64().expect("a size"))
        });
    (
        sections.collect(),
        &shown["ram"]["blocks"],
        &shown["ram"]["pages"],
    )
}

/// An image as libvirt saves it, with the stream as it is or packed.
fn saved_by_libvirt(stream: &[u8]) -> Vec<u8> {
    let xml = b"<domain/>\0";
    let mut image = b"LibvirtQemudSave".to_vec();
    image.extend(2u32.to_le_bytes());
    image.extend((xml.len() as u32).to_le_bytes());
    image.resize(92, 0);
    image.extend(xml);
    image.extend(stream);
    image
}

#[apply(test)]
fn a_stream_is_the_same_in_every_container() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &[u8]| written(folder.path(), name, content);
    let stream = unpacked("plain.stream");
    let plain = shown(&[&file("plain", &stream)]);
    let expected = content(&plain);
    assert!(expected.0.len() > 20, "{expected:?}");
    assert_eq!(*expected.2, 5, "pages that are not zero");
    let mapped = file("mapped", &unpacked("mapped-ram.stream"));
    let mapped_behind = file("behind", &unpacked("mapped-ram-offset.stream"));
    let behind = file("offset", &[&[0; 4096][..], &stream].concat());
    let image = file("image", &saved_by_libvirt(&stream));
    let packed = zstd::encode_all(&stream[..], 1).expect("in memory");
    let packed = file("packed", &saved_by_libvirt(&packed));
    for args in [
        &[&*mapped][..],
        &["fixtures/containers/mapped-ram.stream.zst"],
        &[&*mapped_behind, "--offset", "8192"],
        &[&*behind, "--offset", "4096"],
        &[&*image],
        &[&*packed],
    ] {
        assert_eq!(content(&shown(args)), expected, "{args:?}");
    }
}

#[apply(test)]
fn a_snapshot_of_a_qcow2_image_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let stream = written(folder.path(), "stream", &unpacked("plain.stream"));
    let image = written(folder.path(), "disk.qcow2", &unpacked("snapshot.qcow2"));
    let stream = shown(&[&stream]);
    let plain = content(&stream);
    for args in [
        &[&*image][..],
        &[&*image, "--snapshot", "one"],
        &[&*image, "--snapshot", "1"],
    ] {
        let snapshot = shown(args);
        let (sections, blocks, pages) = content(&snapshot);
        // The disk that was needed for it has a section of its own.
        let common = sections
            .iter()
            .filter(|section| plain.0.contains(section))
            .count();
        assert!(common >= plain.0.len() - 1, "{sections:?}");
        assert_eq!((blocks, pages), (plain.1, plain.2), "{args:?}");
    }
    let output = migcompat(&["stream", "show", &image, "--snapshot", "two"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("it has one"),
        "{}",
        stderr(&output)
    );
}

#[apply(test)]
fn what_is_no_stream_is_named_once_and_shown_as_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &[u8]| written(folder.path(), name, content);
    let stream = unpacked("plain.stream");
    let mapped = unpacked("mapped-ram.stream");
    for (file, words) in [
        (
            file("text", b"root:x:0:0:root:/root:/bin/sh\n"),
            "not a migration stream",
        ),
        (
            file("offset", &[&[0; 4096][..], &stream].concat()),
            "is read with `--offset BYTES`",
        ),
        (
            "fixtures/containers/snapshot.qcow2.zst".to_owned(),
            "not where it is compressed",
        ),
        (
            file("empty.qcow2", &unpacked("snapshot.qcow2")[..72]),
            "cannot read",
        ),
        (file("bz2", b"BZh91AY&SY"), "`bzip2 -dc`"),
        (file("nothing", b""), "is empty: "),
        (
            file("packed", &zstd::encode_all(&b""[..], 1).expect("in memory")),
            "is empty: ",
        ),
        (file("no-stream", &saved_by_libvirt(b"")), "is empty: "),
        (
            file("cut.qcow2", &unpacked("snapshot.qcow2")[..4096]),
            "it is cut off",
        ),
        (file("lzop", &saved_by_libvirt(b"\x89LZO\0")), "lzop -dc`"),
        (
            file("part", b"LibvirtQemudPart and more"),
            "not finished saving",
        ),
    ] {
        for command in [
            &["stream", "show", &file][..],
            &["stream", "diff", &file, &file],
        ] {
            let output = migcompat(command);
            assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
            assert_eq!(stdout(&output), "");
            let text = stderr(&output);
            assert_eq!(text.matches(words).count(), 1, "{text}");
            assert_eq!(text.matches(&file).count(), 1, "{text}");
        }
    }
    // The places that a mapped stream names are those of the file that it was saved to.
    let moved = file("moved", &[&vec![0; 64 << 20][..], &mapped].concat());
    let offset = (64u32 << 20).to_string();
    let output = migcompat(&["stream", "show", &moved, "--offset", &offset]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("a place before its own"), "{text}");
}
