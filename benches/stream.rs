//! Reading the device state of a stream with 1 GiB of guest memory, beside reading the file alone.
//! The goal is half the speed of the file.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use migcompat::internals::stream::{Options, open, parse, read};

const MEMORY: u64 = 1 << 30;
const PAGE: u64 = 4096;

/// The framing and devices of a real stream, with random pages in the place of its memory.
fn write_stream(file: &Path) -> u64 {
    let mut real = Vec::new();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/streams/10.0.13/x86_64-q35.stream.zst"
    );
    open(Path::new(fixture))
        .expect("the fixture is there")
        .read_to_end(&mut real)
        .expect("and sound");
    let stream = parse(&real).stream;
    let (ram, devices) = (&stream.sections[0], &stream.sections[1]);
    let footer = [&[0x7e][..], &ram.id.to_be_bytes()].concat();

    let mut out = BufWriter::new(File::create(file).expect("a new file"));
    let mut put = |bytes: &[u8]| out.write_all(bytes).expect("room for 1 GiB");
    put(&real[..ram.payload_offset as usize]);
    put(&(MEMORY | 0x04).to_be_bytes()); // the list of blocks
    put(b"\x06pc.ram");
    put(&MEMORY.to_be_bytes());
    put(&0x10u64.to_be_bytes()); // end of this part
    put(&footer);
    put(&[3]); // the last part
    put(&ram.id.to_be_bytes());
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut page = vec![0; PAGE as usize];
    for address in (0..MEMORY).step_by(PAGE as usize) {
        for word in page.chunks_exact_mut(8) {
            // xorshift: no two pages alike, none empty.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            word.copy_from_slice(&seed.to_le_bytes());
        }
        if address == 0 {
            put(&0x08u64.to_be_bytes());
            put(b"\x06pc.ram");
        } else {
            put(&(address | 0x28).to_be_bytes());
        }
        put(&page);
    }
    put(&0x10u64.to_be_bytes());
    put(&footer);
    put(&real[devices.offset as usize..]);
    out.flush().expect("room for 1 GiB");
    drop(out);
    std::fs::metadata(file).expect("it was written").len()
}

fn stream(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("random.stream");
    let size = write_stream(&file);
    let mut group = c.benchmark_group("stream of 1 GiB");
    group.throughput(Throughput::Bytes(size));
    group.sample_size(10);
    group.bench_function("the file alone", |b| {
        let mut buffer = vec![0; 256 << 10];
        b.iter(|| {
            let mut input = File::open(&file).expect("it is there");
            let mut total = 0;
            loop {
                match input.read(&mut buffer).expect("it can be read") {
                    0 => break total,
                    n => total += black_box(&buffer[..n]).len(),
                }
            }
        });
    });
    group.bench_function("its device state", |b| {
        b.iter(|| {
            let input = open(&file).expect("it is there");
            let reading = read(input, Options::default(), ());
            assert!(reading.error.is_none(), "{:?}", reading.error);
            assert_eq!(reading.stream.ram.pages, MEMORY / PAGE);
            black_box(reading.stream.sections.len())
        });
    });
    group.finish();
}

criterion_group!(benches, stream);
criterion_main!(benches);
