//! Options of what counts: levels, lists, earlier results, coverage.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::api::TierRules;
use crate::model::{CaseName, Rule};
use crate::report::RequiredCoverage;

/// Earlier results, and the breaks that count beside them.
#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    /// Say of every finding and case how it stands to an earlier report (of a map: to an earlier map) in JSON: new, same,
    /// fixed or gone
    #[arg(long, value_name = "REPORT")]
    pub baseline: Option<PathBuf>,
    /// File with the results of earlier runs, made if there is none: say of every case what they make of it,
    /// and add this run
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// File that holds migcompat, the lists and the device sets as they are, made if there is none: a run that
    /// differs is refused
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Run although something differs from the lock; the report shows the reason
    #[arg(long, value_name = "REASON", requires = "lock")]
    pub ack: Option<String>,
    /// Breaks that decide the exit status
    #[arg(long, value_enum, default_value_t = GateArg::All, value_name = "GATE")]
    pub gate: GateArg,
    /// File that says who owns which devices, in the style of QEMU's MAINTAINERS: the report names the people to tell
    #[arg(long, value_name = "FILE")]
    pub owners: Option<PathBuf>,
    /// Tree of QEMU's sources, in which the files of a device are looked for [default of --owners: its MAINTAINERS]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub tree: Option<PathBuf>,
    #[command(flatten)]
    pub tiers: TierArgs,
}

/// Cases that are left out on purpose.
#[derive(Debug, Args)]
pub(crate) struct ExcludeArgs {
    /// Leave out the cases whose ids fit GLOB, as a report has them; it shows them as excluded (repeatable)
    #[arg(
        long,
        value_name = "CASE-GLOB",
        requires = "reason",
        hide_short_help = true
    )]
    pub exclude: Vec<String>,
    /// Why they are left out; one for all, or one for each --exclude in turn
    #[arg(
        long,
        value_name = "TEXT",
        requires = "exclude",
        hide_short_help = true
    )]
    pub reason: Vec<String>,
}

/// The rules by which the history gives each case its tier.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tiers")]
pub(crate) struct TierArgs {
    /// Runs in a row that a case has to pass before it is in the gate tier
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_PASSES", default_value_t = TierRules::default().passes,
        value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub tier_passes: u32,
    /// Days for which it has to be observed before that
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_DAYS", default_value_t = TierRules::default().days,
        hide_short_help = true)]
    pub tier_days: u32,
    /// Failures in a row after which it is observed again
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_FAILURES", default_value_t = TierRules::default().failures,
        value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub tier_failures: u32,
    /// Hours in which it may be repaired before that
    #[arg(long, value_name = "N", env = "MIGCOMPAT_TIER_HOURS", default_value_t = TierRules::default().hours,
        hide_short_help = true)]
    pub tier_hours: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateArg {
    /// Every one that no list allows
    All,
    /// Those that the baseline does not have; only they are shown, but for -v
    New,
    /// Cases that passed with an earlier new build, and findings that were not there with it, by the history
    Regression,
    /// Cases in the gate tier, by the history: those that have passed for long enough
    Tier,
}

/// The case that a run is about.
#[derive(Debug, Args)]
pub(crate) struct CaseArgs {
    /// Run one case alone, as far as that can be, and have it alone decide the exit status, whatever the lists make
    /// of it: 0 it passes, 1 it fails, 125 it could not be tested. `git bisect run` takes a command with it
    #[arg(long, value_name = "CASE", conflicts_with = "direction")]
    pub case: Option<CaseName>,
}

/// The lists and options by which findings are judged.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// Folder with your own lists of known issues, beside the shipped ones (repeatable)
    #[arg(long, alias = "rules", value_name = "DIR")]
    pub lists: Vec<PathBuf>,
    /// Treat findings of RULE as errors (repeatable, like the next two)
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub deny: Vec<Rule>,
    /// Treat findings of RULE as warnings
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub warn: Vec<Rule>,
    /// Report findings of RULE, but do not fail for them
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub allow: Vec<Rule>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// The coverage that is required.
#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    /// Percentage of sections that guests have to send, or of what depends on their state, too:
    /// sections=90,subsections=40,fields=60; with less, a run is never compatible, but untested (125)
    #[arg(long, value_name = "PERCENT")]
    pub min_coverage: Option<RequiredCoverage>,
}

/// The least likeness, from 0 to 1, of a rule that is suggested for the one that was typed.
const LIKE: f64 = 0.6;

pub(super) fn rule(id: &str) -> Result<Rule, String> {
    Rule::from_id(id).ok_or_else(|| {
        let likeness = |rule: &Rule| strsim::normalized_damerau_levenshtein(rule.id(), id);
        let nearest = Rule::ALL
            .iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .filter(|rule| likeness(rule) >= LIKE);
        let meant = nearest.map_or_else(String::new, |rule| format!(" did you mean `{rule}`?"));
        format!("no such rule;{meant} `migcompat rules list` shows all")
    })
}
