//! `migcompat dump`: has a build write its vmstate dump.

use std::io::Write;
use std::path::Path;

use crate::api::dumps;
use crate::api::dumps::DumpRequest;
use crate::cli::args::DumpArgs;
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::qemu::CacheConfig;

/// Level of the compressed forms: dumps shrink to a twentieth at any.
const GZIP: flate2::Compression = flate2::Compression::new(6);
const ZSTD: i32 = 9;

pub(crate) fn run(args: &DumpArgs) -> Result<Exit, Failure> {
    let named = Some(args.output.as_path()).filter(|output| *output != Path::new("-"));
    let target = Target::new(named)?;
    let display = Display::new(args.quiet);
    let bytes = dumps::dump_of(&DumpRequest {
        old: &args.build_arg,
        new: &args.build_arg,
        machine: args.build.machine.as_deref(),
        architecture: args.build.arch.as_deref(),
        cache: CacheConfig::from(&args.build.cache),
        confine: args.build.confine.confine,
        watcher: &|event| display.fetch(event),
    })
    .map_err(Failure::from)?;
    let extension = args.output.extension().and_then(|e| e.to_str());
    target.write_bytes(|| match extension {
        Some("gz") => {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), GZIP);
            gz.write_all(&bytes)?;
            gz.finish()
        }
        Some("zst") => {
            let mut zst = zstd::Encoder::new(Vec::new(), ZSTD)?;
            zst.include_checksum(true)?;
            zst.write_all(&bytes)?;
            zst.finish()
        }
        _ => Ok(bytes),
    })?;
    Ok(Exit::Compatible)
}
