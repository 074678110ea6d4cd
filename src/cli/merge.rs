//! `migcompat merge`: the reports of shards joined into one.

use crate::cli::args::MergeArgs;
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
    let mut inputs = Vec::new();
    for file in &args.reports {
        inputs.push(merge::read(file)?);
    }
    let missing = if args.partial {
        Missing::Allow
    } else {
        Missing::Refuse
    };
    let report = merge::merge(inputs, missing, args.coverage.min_coverage)?;
    output::write_report(&report, &args.output)
}
