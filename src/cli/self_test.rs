//! `migcompat self-test`: migrations with known outcomes, and what the host has.

use std::io::{self, Write};

use crate::api::{self, KnownCase, SelfTest, Trust};
use crate::cli::args::{BySuffix, DataFormat, SelfTestArgs};
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, config};
use crate::report::render::text::build;

pub(crate) fn run(args: &SelfTestArgs) -> Result<Exit, Failure> {
    let file = args.output.as_deref();
    let format = DataFormat::chosen(args.format, file).map_err(Failure::usage)?;
    let target = Target::new(file)?;
    let config = config::self_test(args);
    let result = api::self_test(&config, &Display::new(args.quiet))?;
    target.write_text(|out: &mut dyn Write| match format {
        DataFormat::Text => text(&result, args.quiet, out),
        DataFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &result)?;
            writeln!(out)
        }
    })?;
    Ok(match result.verdict {
        Trust::Trusted => Exit::Compatible,
        Trust::NotTrusted => Exit::Incompatible,
        Trust::Untested => Exit::Untested,
    })
}

fn text(result: &SelfTest, quiet: bool, out: &mut dyn Write) -> io::Result<()> {
    for case in &result.cases {
        if quiet && case.is_as_known() {
            continue;
        }
        let came = case
            .outcome
            .map_or("-".to_owned(), |outcome| outcome.to_string());
        let word = if case.is_as_known() { "ok" } else { "WRONG" };
        writeln!(
            out,
            "{word:7}  {:6}  {came:6}  {}",
            case.expected, case.what
        )?;
        if let Some(detail) = case.detail.as_ref().filter(|_| !case.is_as_known()) {
            writeln!(out, "         {detail}")?;
        }
    }
    for check in &result.host {
        if !quiet || check.state != api::HostState::Ok {
            writeln!(
                out,
                "{:7}  {:13}  {}",
                check.state, check.name, check.detail
            )?;
        }
    }
    let build = match (&result.build, &result.no_build) {
        (Some(of), _) => build(of),
        (None, why) => format!("no build: {}", why.as_deref().unwrap_or("none is at hand")),
    };
    let known = result
        .cases
        .iter()
        .filter(|case| KnownCase::is_as_known(case));
    writeln!(
        out,
        "{}: {build}: {} of {} outcomes as known",
        result.verdict,
        known.count(),
        result.cases.len()
    )
}
