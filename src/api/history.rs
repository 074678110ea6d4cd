//! The history of earlier runs: shown, counted, filled from reports, written out and cut.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::api::error::Error;
use crate::history::{
    Access, Entry, History, Kind, MOST, Purpose, Run, Stats, TierChange, TierRules, Written, judge,
    over, rows_of,
};
use crate::model::{Date, Pattern};
use crate::report::Memory;
use crate::report::read::read;

/// A case or a finding, its results from the oldest on, and what they say of the last.
pub(crate) struct Shown {
    pub kind: Kind,
    pub name: String,
    pub entries: Vec<Entry>,
    pub memory: Option<Memory>,
    /// The changes of its tier, oldest first.
    pub tiers: Vec<TierChange>,
}

/// Adds the runs of saved reports. `on_added` is told of each once it is in the file.
///
/// # Errors
/// A file is no report, or the history cannot be written; what was added before stays.
pub(crate) fn import(
    file: &Path,
    reports: &[impl AsRef<Path>],
    tiers: TierRules,
    mut on_added: impl FnMut(&Path, Written),
) -> Result<(), Error> {
    let mut history = History::open(file, Access::Write)?.tiers(tiers);
    for path in reports.iter().map(AsRef::as_ref) {
        let report = read(path)?.report;
        // A report of an earlier version does not say when it was made.
        let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let run = Run::of(&report, written.unwrap_or(SystemTime::UNIX_EPOCH));
        let added = history.add(&run, &rows_of(&report))?;
        on_added(path, added);
    }
    Ok(())
}

/// Returns the cases and findings that a pattern fits, by id.
///
/// # Errors
/// There is no history, or it cannot be read.
pub(crate) fn show(file: &Path, pattern: &Pattern) -> Result<Vec<Shown>, Error> {
    let history = History::open(file, Access::Read)?;
    let mut shown = Vec::new();
    for known in history.cases(pattern)? {
        let over_looks = |found: Vec<Entry>, looks: Option<Vec<Entry>>| match looks {
            Some(looks) => over(&looks, found),
            None => found,
        };
        let of = |key: &String| history.of_case(key);
        let entries = over_looks(of(&known.key)?, known.look.as_ref().map(of).transpose()?);
        // A search says nothing of the result that was asked for last.
        let is_asked = |entry: &&Entry| entry.run.purpose == Purpose::Verdict;
        let memory = match entries.iter().rfind(is_asked) {
            Some(now) => {
                let past = |key: &String| history.past(key, &now.run.old.release(), MOST);
                let looks = known.look.as_ref().map(past).transpose()?;
                let mut past = over_looks(past(&known.key)?, looks);
                past.truncate(past.iter().rposition(|known| known == now).unwrap_or(0));
                judge(known.kind, &past, now)
            }
            None => None,
        };
        shown.push(Shown {
            kind: known.kind,
            tiers: history.tier_changes(&known.key, None)?,
            name: known.name,
            entries,
            memory,
        });
    }
    Ok(shown)
}

/// Counts what is there.
///
/// # Errors
/// There is no history, or it cannot be read.
pub(crate) fn stats(file: &Path) -> Result<Stats, Error> {
    Ok(History::open(file, Access::Read)?.stats()?)
}

/// Removes the runs before a day, and returns their number.
///
/// # Errors
/// There is no history, or it cannot be written.
pub(crate) fn prune(file: &Path, before: Date) -> Result<usize, Error> {
    let moment = before.begins().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = moment.unwrap_or(Duration::ZERO).as_secs();
    Ok(History::open(file, Access::Read)?.prune(seconds)?)
}

/// A line of an exported history.
#[derive(Serialize)]
struct Line<'e> {
    kind: Kind,
    case: &'e str,
    #[serde(flatten)]
    entry: &'e Entry,
}

/// Returns every row as a line of JSON, oldest first.
///
/// # Errors
/// There is no history, or it cannot be read.
pub(crate) fn export(file: &Path) -> Result<Vec<u8>, Error> {
    let mut lines = Vec::new();
    for (kind, case, entry) in History::open(file, Access::Read)?.all()? {
        let line = Line {
            kind,
            case: &case,
            entry: &entry,
        };
        // Strings and numbers alone, into memory.
        if serde_json::to_writer(&mut lines, &line).is_ok() {
            let _memory = writeln!(lines);
        }
    }
    Ok(lines)
}
