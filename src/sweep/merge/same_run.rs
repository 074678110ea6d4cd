//! The check that two reports are of one run.

use crate::model::BuildRef;
use crate::report::ShardRef;
use crate::report::read::Input;
use crate::sweep::merge::MergeError;
use crate::sweep::shard::Shard;

/// Returns the shard that a report is of.
///
/// # Errors
/// The report is of a whole run, or of a shard that none has.
pub(super) fn shard_of(input: &Input) -> Result<ShardRef, MergeError> {
    match &input.report.shard {
        None => Err(MergeError::Whole(input.origin.clone())),
        Some(shard) => match Shard::new(shard.index, shard.of) {
            Ok(_) => Ok(shard.clone()),
            Err(_) => Err(MergeError::NoSuchShard(input.origin.clone(), shard.clone())),
        },
    }
}

/// Two reports that are compared.
#[derive(Clone, Copy)]
pub(super) struct Reports<'i> {
    pub one: &'i Input,
    pub other: &'i Input,
}

impl Reports<'_> {
    /// Verifies that a fact, which `show` puts into words, is the same in both.
    ///
    /// # Errors
    /// The two reports differ in it.
    pub(super) fn agree_on<T: PartialEq>(
        self,
        what: &'static str,
        [of_one, of_other]: [&T; 2],
        show: impl Fn(&T) -> String,
    ) -> Result<(), MergeError> {
        if of_one == of_other {
            return Ok(());
        }
        Err(MergeError::Mixed {
            one: self.one.origin.clone(),
            other: self.other.origin.clone(),
            what,
            of_one: show(of_one),
            of_other: show(of_other),
        })
    }

    /// Verifies that both are of one run, of which they are these shards.
    ///
    /// # Errors
    /// The two reports are not of one run, or are of the same shard.
    pub(super) fn are_of_one_run(self, shards: [&ShardRef; 2]) -> Result<(), MergeError> {
        let reports = [&self.one.report, &self.other.report];
        let versions = reports.map(|report| &report.tool.version);
        self.agree_on("migcompat", versions, String::clone)?;
        let old = reports.map(|report| &report.old);
        self.agree_on("the old build", old, build)?;
        let new = reports.map(|report| &report.new);
        self.agree_on("the new build", new, build)?;
        let machines = reports.map(|report| &report.machine);
        self.agree_on("the machine", machines, |machine| {
            machine.clone().unwrap_or("none".to_owned())
        })?;
        let counts = shards.map(|shard| &shard.of);
        self.agree_on("the number of shards", counts, u32::to_string)?;
        let options = shards.map(|shard| &shard.options);
        self.agree_on("the request", options, |options| match options.as_slice() {
            [] => "none".to_owned(),
            options => options.join(" "),
        })?;
        let [one, other] = shards;
        if one.plan != other.plan {
            return Err(MergeError::OtherPlan {
                one: self.one.origin.clone(),
                other: self.other.origin.clone(),
            });
        }
        Ok(())
    }
}

fn build(build: &BuildRef) -> String {
    let kind = build.kind;
    match build.version {
        Some(version) => format!("{} ({kind}, {version})", build.label),
        None => format!("{} ({kind})", build.label),
    }
}
