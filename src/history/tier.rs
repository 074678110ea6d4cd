//! The tier of a case: whether it only is observed, or may fail a run.
//!
//! A tier is of a case and a series of old releases: a point release of the old build changes nothing. Each change is
//! recorded as the run is that causes it.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::history::row::{self, day};
use crate::history::{Run, Trial};
use crate::model::{Version, from_word};
use crate::report::{Outcome, Tier};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The rules by which a case changes its tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TierRules {
    /// The number of runs in a row that have to pass for a promotion.
    pub passes: u32,
    /// The number of days for which a case has to be observed before a promotion.
    pub days: u32,
    /// The number of failures in a row for a demotion.
    pub failures: u32,
    /// The number of hours in which it may be repaired before a demotion.
    pub hours: u32,
}

impl Default for TierRules {
    fn default() -> TierRules {
        TierRules {
            passes: 100,
            days: 60,
            failures: 2,
            hours: 24,
        }
    }
}

/// A promotion or a demotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierChange {
    /// The series of old releases.
    pub series: String,
    /// Seconds since 1970.
    pub at: u64,
    /// The new tier.
    pub tier: Tier,
    /// The results in a row that it rests on.
    pub results: u64,
    /// Seconds since 1970: the begin of the observation, or the first of the failures.
    pub since: u64,
}

impl fmt::Display for TierChange {
    /// Writes the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TierChange { results, since, .. } = self;
        let since = day(*since);
        match self.tier {
            Tier::Gate => write!(
                f,
                "it passed {results} times in a row, and is observed since {since}"
            ),
            Tier::Observe => write!(
                f,
                "it failed {results} times in a row, and is not repaired since {since}"
            ),
        }
    }
}

/// Returns the changes of a case's tier, oldest first.
pub(super) fn changes(
    connection: &Connection,
    key: &str,
    series: Option<&str>,
) -> rusqlite::Result<Vec<TierChange>> {
    let mut statement = connection.prepare_cached(
        "SELECT series, at, tier, results, since FROM tiers
         WHERE case_id = (SELECT id FROM cases WHERE key = ?1) AND (?2 IS NULL OR series = ?2)
         ORDER BY at",
    )?;
    let rows = statement.query_map(params![key, series], change)?;
    rows.collect()
}

fn change(row: &Row<'_>) -> rusqlite::Result<TierChange> {
    let tier: String = row.get(2)?;
    Ok(TierChange {
        series: row.get(0)?,
        at: row.get(1)?,
        tier: match tier == Tier::Gate.to_string() {
            true => Tier::Gate,
            false => Tier::Observe,
        },
        results: row.get(3)?,
        since: row.get(4)?,
    })
}

/// Changes the tier of a case if the result that was just added calls for it.
pub(super) fn advance(
    connection: &Connection,
    rules: TierRules,
    case: i64,
    run: &Run,
    trial: &Trial,
) -> rusqlite::Result<()> {
    let series = run.old.series();
    connection
        .prepare_cached(
            "INSERT INTO seen (case_id, series, since) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET since = min(since, excluded.since)",
        )?
        .execute(params![case, series, run.at])?;
    // What is excused is neither for it nor against it.
    if !trial.is_tested() || trial.allowed_by.is_some() {
        return Ok(());
    }
    let last = last_change(connection, case, &series)?;
    if last.as_ref().is_some_and(|last| last.at >= run.at) {
        return Ok(());
    }
    let results = Results {
        connection,
        case,
        series: &series,
        after: last.as_ref().map(|last| last.at),
        until: run.at,
        releases: releases(connection, case, &series)?,
    };
    // An older run that is imported later changes nothing.
    if results.has_later()? {
        return Ok(());
    }
    let tier = last.map_or(Tier::Observe, |last| last.tier);
    let fails = trial.fails();
    let (results, since) = match (tier, fails) {
        (Tier::Observe, true) | (Tier::Gate, false) => return Ok(()),
        (Tier::Observe, false) => {
            let since = results.first()?;
            let (passed, _) = results.streak(rules.passes.into(), None, false)?;
            let observed = run.at.saturating_sub(since) >= u64::from(rules.days) * DAY;
            if !observed || passed < u64::from(rules.passes) {
                return Ok(());
            }
            (passed, since)
        }
        (Tier::Gate, true) => {
            let deadline = run.at.saturating_sub(u64::from(rules.hours) * HOUR);
            let (failed, since) = results.streak(rules.failures.into(), Some(deadline), true)?;
            if failed < u64::from(rules.failures) || since > deadline {
                return Ok(());
            }
            (failed, since)
        }
    };
    let other = match tier {
        Tier::Observe => Tier::Gate,
        Tier::Gate => Tier::Observe,
    };
    connection
        .prepare_cached(
            "INSERT INTO tiers (case_id, series, at, tier, results, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            case,
            series,
            run.at,
            other.to_string(),
            results,
            since
        ])?;
    Ok(())
}

/// Returns the change that a case's tier is from.
fn last_change(
    connection: &Connection,
    case: i64,
    series: &str,
) -> rusqlite::Result<Option<TierChange>> {
    connection
        .prepare_cached(
            "SELECT series, at, tier, results, since FROM tiers WHERE case_id = ?1 AND series = ?2
             ORDER BY at DESC LIMIT 1",
        )?
        .query_row(params![case, series], change)
        .optional()
}

/// Notes the results in a row that each case has at a moment, as those before it are about to be removed.
pub(super) fn keep(connection: &Connection, before: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT case_id, series FROM seen")?;
    let seen = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let seen: Vec<(i64, String)> = seen.collect::<rusqlite::Result<_>>()?;
    for (case, series) in seen {
        let results = Results {
            connection,
            case,
            series: &series,
            after: last_change(connection, case, &series)?.map(|last| last.at),
            until: before.saturating_sub(1),
            releases: releases(connection, case, &series)?,
        };
        let passed = results.streak(u64::MAX, None, false)?;
        let (fails, (streak, since)) = match passed {
            (0, _) => (true, results.streak(u64::MAX, None, true)?),
            passed => (false, passed),
        };
        connection
            .prepare_cached(
                "UPDATE seen SET streak = ?3, fails = ?4, streak_since = ?5
                 WHERE case_id = ?1 AND series = ?2",
            )?
            .execute(params![case, series, streak, fails, since])?;
    }
    Ok(())
}

/// Returns the old releases of a series that a case was tried from. There are few; the rows are many.
fn releases(connection: &Connection, case: i64, series: &str) -> rusqlite::Result<Vec<String>> {
    let is_of = |release: &str| {
        let version = release.parse::<Version>();
        release == series || version.is_ok_and(|version| version.series() == series)
    };
    let mut statement =
        connection.prepare_cached("SELECT min(old) FROM trials WHERE case_id = ?1 AND old > ?2")?;
    let mut releases = Vec::new();
    let mut last = String::new();
    loop {
        let next: Option<String> = statement.query_row(params![case, last], |row| row.get(0))?;
        let Some(next) = next else {
            return Ok(releases);
        };
        if is_of(&next) {
            releases.push(next.clone());
        }
        last = next;
    }
}

/// The results of a case that count for its tier.
struct Results<'c> {
    connection: &'c Connection,
    case: i64,
    series: &'c str,
    /// Later than this.
    after: Option<u64>,
    until: u64,
    releases: Vec<String>,
}

impl Results<'_> {
    /// Returns the moment from which the case is observed.
    fn first(&self) -> rusqlite::Result<u64> {
        // The failure that demoted it is the begin of another observation.
        if let Some(after) = self.after {
            return Ok(after);
        }
        self.connection
            .prepare_cached("SELECT since FROM seen WHERE case_id = ?1 AND series = ?2")?
            .query_row(params![self.case, self.series], |row| row.get(0))
    }

    /// Tells whether there is a result after the last one that counts.
    fn has_later(&self) -> rusqlite::Result<bool> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM trials WHERE case_id = ?1 AND old = ?2 AND at > ?3
                AND NOT is_search)",
        )?;
        for release in &self.releases {
            if statement.query_row(params![self.case, release, self.until], |row| row.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns how many of the newest results all fail, or all pass, and since when: at least this many if there are,
    /// and those since a moment.
    fn streak(&self, most: u64, since: Option<u64>, fails: bool) -> rusqlite::Result<(u64, u64)> {
        let mut newest: Vec<(u64, bool)> = Vec::new();
        let mut all_read = true;
        let mut statement = self.connection.prepare_cached(
            "SELECT at, outcome, failed FROM trials
             WHERE case_id = ?1 AND old = ?2 AND at > ?3 AND at <= ?4 AND allowed_by IS NULL AND NOT is_search
             ORDER BY at DESC, run_id DESC",
        )?;
        let after = self.begin();
        for release in &self.releases {
            let mut rows = statement.query(params![self.case, release, after, self.until])?;
            let mut taken = 0;
            while let Some(row) = rows.next()? {
                let (at, outcome, failed): (u64, String, u32) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                let Some(outcome) = from_word::<Outcome>(&outcome) else {
                    continue;
                };
                let bad = row::fails(outcome, failed);
                if outcome.is_idle() && !bad {
                    continue;
                }
                newest.push((at, bad));
                taken += 1;
                let enough = taken >= most && since.is_none_or(|since| at <= since);
                if enough || bad != fails {
                    all_read = false;
                    break;
                }
            }
        }
        newest.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let alike = newest.iter().take_while(|(_, bad)| *bad == fails);
        let alike: Vec<u64> = alike.map(|(at, _)| *at).collect();
        let since = alike.last().copied().unwrap_or(self.until);
        let count = alike.len() as u64;
        // Those before them were removed.
        let (streak, streak_since) = match all_read {
            true => self.removed(fails)?,
            false => (0, since),
        };
        match streak {
            0 => Ok((count, since)),
            streak => Ok((count + streak, streak_since)),
        }
    }

    /// Returns how many of the newest results that were removed all fail, or all pass, and since when.
    fn removed(&self, fails: bool) -> rusqlite::Result<(u64, u64)> {
        let removed = self
            .connection
            .prepare_cached(
                "SELECT streak, streak_since FROM seen
                 WHERE case_id = ?1 AND series = ?2 AND fails = ?3 AND streak_since > ?4",
            )?
            .query_row(
                params![self.case, self.series, fails, self.begin()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        Ok(removed.unwrap_or_default())
    }

    /// Returns a moment that all of them are later than.
    fn begin(&self) -> i64 {
        self.after
            .map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Access, BuildId, History, Purpose, Row};
    use crate::model::Direction;
    use crate::report::Case;
    use Outcome::{Broken, Crash, Fail, Hang, Lost, Pass, Skip};

    const KEY: &str = "pc-q35-7.2 q35/e1000/unix/forward";

    /// A history of one case with a run of each outcome, so many hours after 1970.
    struct Past {
        history: History,
        _folder: tempfile::TempDir,
    }

    impl Past {
        fn new() -> Past {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("history.db");
            Past {
                history: History::open(&file, Access::Write).expect("made"),
                _folder: folder,
            }
        }

        fn add(&mut self, hour: u64, outcome: Outcome) {
            self.add_of(hour, outcome, |_, _| ());
        }

        /// Adds a run that is as others are but for this.
        fn add_of(&mut self, hour: u64, outcome: Outcome, but: impl FnOnce(&mut Run, &mut Trial)) {
            let build = |version| BuildId {
                version: Some(version),
                ..BuildId::default()
            };
            let mut run = Run {
                at: hour * HOUR,
                old: build(Version::new(7, 2, 22)),
                new: build(Version::new(10, 0, 2)),
                ..Run::default()
            };
            let id = "q35/e1000/unix/forward".to_owned();
            let case = Case::untried(id, "pc-q35-7.2", "e1000", "unix", Direction::Forward);
            let mut row = Row::of(&Case { outcome, ..case });
            but(&mut run, &mut row.trial);
            self.history.add(&run, &[row]).expect("added");
        }

        /// The changes of tier, each with its hour.
        fn changes(&self) -> Vec<(Tier, u64)> {
            let changes = self.history.tier_changes(KEY, Some("7.2")).expect("read");
            let changes = changes.into_iter();
            changes
                .map(|change| (change.tier, change.at / HOUR))
                .collect()
        }
    }

    #[test]
    fn a_promotion_needs_the_runs_and_the_months() {
        // Enough runs long before the months are over, and enough months long before the runs are.
        for (every, promoted) in [(1, 60 * 24), (24 * 10, 99 * 24 * 10)] {
            let mut past = Past::new();
            let mut hour = 0;
            while hour < promoted {
                past.add(hour, Pass);
                hour += every;
            }
            assert_eq!(past.changes(), [], "every {every} hours");
            past.add(promoted, Pass);
            assert_eq!(past.changes(), [(Tier::Gate, promoted)]);
            let reason = past.history.tier_changes(KEY, None).expect("read")[0].to_string();
            let wanted = "it passed 100 times in a row, and is observed since 1970-01-01";
            assert_eq!(reason, wanted);
        }
    }

    #[test]
    fn a_failure_begins_the_passes_anew_and_what_is_excused_or_not_tried_does_not() {
        let mut past = Past::new();
        let day = 24;
        for number in 0..100 {
            past.add(number * day, Pass);
            past.add(number * day + 1, Broken);
            past.add_of(number * day + 2, Fail, |_, trial| {
                trial.allowed_by = Some("a list".to_owned());
            });
        }
        assert_eq!(past.changes(), [(Tier::Gate, 99 * day)]);
        let mut past = Past::new();
        for number in 0..=149 {
            let outcome = if number == 49 { Lost } else { Pass };
            // A point release of the old build is of the same series; another series is not.
            let micro = if number < 90 { 22 } else { 23 };
            let with = |old| move |run: &mut Run, _: &mut Trial| run.old.version = Some(old);
            past.add_of(number * day, outcome, with(Version::new(7, 2, micro)));
            past.add_of(number * day + 1, Fail, with(Version::new(7, 20, 0)));
        }
        assert_eq!(past.changes(), [(Tier::Gate, 149 * day)]);
    }

    #[test]
    fn a_demotion_needs_two_failures_and_a_day_without_a_repair() {
        let rules = TierRules {
            passes: 1,
            days: 0,
            ..TierRules::default()
        };
        let gate = || {
            let past = Past::new();
            let mut past = Past {
                history: past.history.tiers(rules),
                ..past
            };
            past.add(0, Pass);
            past
        };
        for (then, demoted) in [
            (vec![(1, Fail), (2, Fail), (24, Fail)], None),
            (vec![(1, Fail), (25, Crash)], Some(25)),
            (vec![(1, Fail), (2, Fail), (30, Hang)], Some(30)),
            (vec![(1, Fail), (2, Pass), (26, Fail)], None),
            (vec![(1, Fail), (49, Skip)], None),
            (vec![(1, Broken), (25, Broken)], Some(25)),
        ] {
            let mut past = gate();
            for (hour, outcome) in &then {
                // By a defect of the new build alone.
                let by_new = |_: &mut Run, trial: &mut Trial| trial.failed = 1;
                past.add_of(*hour, *outcome, by_new);
            }
            let mut wanted = vec![(Tier::Gate, 0)];
            wanted.extend(demoted.map(|hour| (Tier::Observe, hour)));
            assert_eq!(past.changes(), wanted, "{then:?}");
            let last = then.last().expect("one").0;
            past.add(last + 1, Pass);
            let again = demoted.map(|_| (Tier::Gate, last + 1));
            wanted.extend(again);
            assert_eq!(past.changes(), wanted, "{then:?}");
            // An older run that comes later changes nothing.
            past.add(last, Fail);
            assert_eq!(past.changes(), wanted, "{then:?}");
        }
    }

    #[test]
    fn a_search_changes_no_tier() {
        let mut past = Past::new();
        let search = |run: &mut Run, _: &mut Trial| run.purpose = Purpose::Search;
        for number in 0..100 {
            past.add_of(number * 24, Pass, search);
        }
        assert_eq!(past.changes(), []);
        for number in 100..200 {
            past.add(number * 24, Pass);
            past.add_of(number * 24, Fail, search);
        }
        let promoted = past.changes().len();
        assert_eq!(promoted, 1, "it is promoted after its own 100 runs");
        past.add_of(201 * 24, Fail, search);
        past.add(202 * 24, Fail);
        past.add_of(204 * 24, Fail, search);
        let changes = past.changes().len();
        assert_eq!(changes, 1, "one failure of its own is no demotion");
    }

    #[test]
    fn a_tier_outlives_the_runs_that_gave_it_but_not_its_case() {
        let mut past = Past::new();
        for number in 0..100 {
            past.add(number * 24, Pass);
        }
        assert_eq!(past.changes().len(), 1);
        past.history.prune(99 * 24 * HOUR).expect("cut");
        assert_eq!(past.changes().len(), 1);
        assert_eq!(past.history.stats().expect("counted").rows, 1);
        past.history.prune(u64::MAX >> 1).expect("cut");
        assert_eq!(past.changes(), []);
        assert_eq!(past.history.integrity(), "ok");
    }

    #[test]
    fn runs_that_are_removed_count_for_the_tier() {
        let rules = TierRules {
            passes: 20,
            days: 60,
            failures: 3,
            hours: 48,
        };
        let day = 24;
        let told = |kept: Option<u64>| {
            let past = Past::new();
            let mut past = Past {
                history: past.history.tiers(rules),
                ..past
            };
            for number in 0..200 {
                let outcome = match number {
                    // It fails once, is promoted, demoted, and repaired.
                    30 | 70..73 => Fail,
                    _ => Pass,
                };
                // A point release of the old build goes away with the runs before it.
                let micro = if number < 40 { 22 } else { 23 };
                past.add_of(number * day, outcome, |run, _| {
                    run.old.version = Some(Version::new(7, 2, micro));
                });
                if let Some(before) = kept.and_then(|days| (number + 1).checked_sub(days)) {
                    past.history.prune(before * day * HOUR).expect("cut");
                }
            }
            let changes = past.history.tier_changes(KEY, Some("7.2")).expect("read");
            let changes = changes.into_iter();
            changes
                .map(|change| [change.at, change.since].map(|at| at / HOUR / day))
                .collect::<Vec<_>>()
        };
        for kept in [None, Some(45), Some(10), Some(1)] {
            assert_eq!(told(kept), [[60, 0], [72, 70], [132, 72]], "{kept:?} days");
        }
    }
}
