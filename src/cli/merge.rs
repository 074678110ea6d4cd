//! `migcompat merge`: the reports of shards joined into one.

use crate::cli::args::MergeArgs;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, output};
use crate::sweep::merge;
use crate::sweep::merge::{MergeError, Missing, ReadError};

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Failure::usage(error)
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        if error.is_usage() {
            Failure::usage(error)
        } else {
            Failure::untestable(error)
        }
    }
}

pub(crate) fn run(args: &MergeArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let mut inputs = Vec::new();
    for file in &args.reports {
        inputs.push(merge::read(file)?);
    }
    let missing = if args.partial {
        Missing::Allow
    } else {
        Missing::Refuse
    };
    let merged = merge::merge(inputs, missing, args.coverage.min_coverage)?;
    if !merged.missing.is_empty() {
        let lacking = merge::lacking(&merged.missing);
        eprintln!(
            "{lacking} missing of {}: the report is not whole",
            merged.of
        );
    }
    output::write_report(&merged.report, target, &args.output, merged.strict)
}
