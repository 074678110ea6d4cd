//! `migcompat dump`: has a build write its vmstate dump.

use std::io::Write;
use std::path::Path;

use crate::api::{Builds, dumps};
use crate::cli::args::DumpArgs;
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, config};

/// Level of the compressed forms: dumps shrink to a twentieth at any.
const GZIP: flate2::Compression = flate2::Compression::new(6);
const ZSTD: i32 = 9;

pub(crate) fn run(args: &DumpArgs) -> Result<Exit, Failure> {
    let named = Some(args.output.as_path()).filter(|output| *output != Path::new("-"));
    let target = Target::new(named)?;
    let display = Display::new(args.quiet);
    let build = &*args.build_arg;
    let builds = Builds {
        architecture: args.build.arch.clone(),
        cache: config::cache(&args.build.cache),
        confine: args.build.confine.confine,
        ..Builds::new(build, build)
    };
    let machine = args.build.machine.as_deref();
    let bytes = dumps::dump_of(&builds, machine, &|event| display.fetch(event))?;
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
