//! `migcompat dump`: has a build write its vmstate dump.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::api::dumps;
use crate::api::dumps::DumpRequest;
use crate::cli::args::DumpArgs;
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, output};

/// Level of the compressed forms: dumps shrink to a twentieth at any.
const GZIP: flate2::Compression = flate2::Compression::new(6);
const ZSTD: i32 = 9;

pub(crate) fn run(args: &DumpArgs) -> Result<Exit, Failure> {
    let display = Display::new(args.quiet);
    let bytes = dumps::dump_of(&DumpRequest {
        old: &args.build_arg,
        new: &args.build_arg,
        machine: args.build.machine.as_deref(),
        architecture: args.build.arch.as_deref(),
        cache: args.build.cache.clone(),
        watcher: &|event| display.fetch(event),
    })
    .map_err(Failure::from)?;
    if args.output == Path::new("-") {
        output::print(|out| out.write_all(&bytes))
            .context("cannot write the dump")
            .map_err(Failure::usage)?;
        return Ok(Exit::Compatible);
    }
    let extension = args.output.extension().and_then(|e| e.to_str());
    output::write_file(&args.output, |out| match extension {
        Some("gz") => {
            let mut gz = flate2::write::GzEncoder::new(out, GZIP);
            gz.write_all(&bytes)?;
            gz.finish().map(drop)
        }
        Some("zst") => {
            let mut zst = zstd::Encoder::new(out, ZSTD)?;
            zst.include_checksum(true)?;
            zst.write_all(&bytes)?;
            zst.finish().map(drop)
        }
        _ => out.write_all(&bytes),
    })?;
    Ok(Exit::Compatible)
}
