//! The file: opening it, adding runs and asking for them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde::de::DeserializeOwned;

use crate::history::row::{Row as CaseRow, digest};
use crate::history::schema::{Refusal, prepare, prepare_to_read};
use crate::history::tier::{self, TierChange};
use crate::history::{BuildId, Entry, HistoryError, Kind, Purpose, Run, Tester, TierRules, Trial};
use crate::model::{Pattern, Version, from_word, uri_path};
use crate::report::Outcome;

/// The use of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is made where there is none.
    Write,
    Read,
}

/// An open history.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    file: PathBuf,
    rules: TierRules,
}

/// A case or a finding that a history knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub kind: Kind,
    pub key: String,
    /// The id.
    pub name: String,
    /// The key of the look that finds it, of a finding.
    pub look: Option<String>,
}

/// The result of adding a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Added,
    /// It was there already.
    Known,
}

/// Counts of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub runs: usize,
    pub cases: usize,
    pub rows: usize,
    pub passed: usize,
    /// Seconds since 1970 of the first run and the last.
    pub first: Option<u64>,
    pub last: Option<u64>,
}

impl History {
    /// Opens a history.
    ///
    /// # Errors
    /// There is none to read, or the file is something else or of a newer program.
    pub fn open(file: &Path, access: Access) -> Result<History, HistoryError> {
        if access == Access::Read && !file.exists() {
            return Err(HistoryError::Missing {
                file: file.to_owned(),
            });
        }
        let mut opened = connect(file, access);
        if let Err(Refusal::Sqlite(error)) = &opened
            && access == Access::Read
            && is_protected(file, error)
        {
            opened = connect_at_rest(file);
        }
        let connection = opened.map_err(|refusal| match refusal {
            Refusal::Sqlite(error) => HistoryError::of(file, error),
            Refusal::Empty => HistoryError::Missing {
                file: file.to_owned(),
            },
            Refusal::Foreign => HistoryError::Foreign {
                file: file.to_owned(),
            },
            Refusal::Newer { found, known } => HistoryError::Newer {
                file: file.to_owned(),
                found,
                known,
            },
            Refusal::Older { found, known } => HistoryError::Older {
                file: file.to_owned(),
                found,
                known,
            },
        })?;
        Ok(History {
            connection,
            file: file.to_owned(),
            rules: TierRules::default(),
        })
    }

    /// Sets the rules by which cases change their tier as runs are added.
    pub fn tiers(self, rules: TierRules) -> History {
        History { rules, ..self }
    }

    fn failed(&self, error: rusqlite::Error) -> HistoryError {
        HistoryError::of(&self.file, error)
    }

    /// Adds a run as a whole. Once this has returned, it is in the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, run: &Run, rows: &[CaseRow]) -> Result<Written, HistoryError> {
        let rules = self.rules;
        self.change(|transaction| insert(transaction, run, rows, rules))
    }

    /// Tells whether a run with these results is on record.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn has(&self, run: &Run, rows: &[CaseRow]) -> Result<bool, HistoryError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE digest = ?1)";
        self.connection
            .query_row(sql, [digest(run, rows)], |row| row.get(0))
            .map_err(|error| self.failed(error))
    }

    /// Makes a change as a whole.
    fn change<T>(
        &mut self,
        make: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        let begun = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate);
        let made = begun.and_then(|transaction| {
            let made = make(&transaction)?;
            transaction.commit()?;
            Ok(made)
        });
        made.map_err(|error| self.failed(error))
    }

    /// Returns the last results of a case from an old release, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn past(&self, key: &str, old: &str, most: usize) -> Result<Vec<Entry>, HistoryError> {
        let rows = self.entries(
            "WHERE t.case_id = (SELECT id FROM cases WHERE key = ?1) AND t.old = ?2
             ORDER BY t.at DESC, t.run_id DESC LIMIT ?3",
            params![key, old, i64::try_from(most).unwrap_or(i64::MAX)],
        );
        let mut rows = rows?;
        rows.reverse();
        Ok(rows.into_iter().map(|(.., entry)| entry).collect())
    }

    /// Returns the cases and findings that a pattern fits, by id.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cases(&self, pattern: &Pattern) -> Result<Vec<Known>, HistoryError> {
        let read = || {
            let sql = "SELECT kind, key, name, CASE kind WHEN 'finding' THEN device_set END
                FROM cases WHERE kind <> 'look' ORDER BY name, key";
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, String, String, Option<String>)>>>()
        };
        let mut cases = read().map_err(|error| self.failed(error))?;
        cases.retain(|(_, _, name, _)| pattern.fits(name));
        let known = |(kind, key, name, look)| {
            let kind = self.word("the kind of a row", kind)?;
            Ok(Known {
                kind,
                key,
                name,
                look,
            })
        };
        cases.into_iter().map(known).collect()
    }

    fn word<T: DeserializeOwned>(
        &self,
        what: &'static str,
        text: String,
    ) -> Result<T, HistoryError> {
        from_word(&text).ok_or_else(|| HistoryError::Unreadable {
            file: self.file.clone(),
            what,
            text,
        })
    }

    /// Returns the changes of a case's tier, oldest first; of one series of old releases, or of all.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tier_changes(
        &self,
        key: &str,
        series: Option<&str>,
    ) -> Result<Vec<TierChange>, HistoryError> {
        tier::changes(&self.connection, key, series).map_err(|error| self.failed(error))
    }

    /// Returns all results of a case, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_case(&self, key: &str) -> Result<Vec<Entry>, HistoryError> {
        let rows = self.entries(
            "WHERE t.case_id = (SELECT id FROM cases WHERE key = ?1) ORDER BY t.at, t.run_id",
            params![key],
        )?;
        Ok(rows.into_iter().map(|(.., entry)| entry).collect())
    }

    /// Returns every result with the id of its case, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all(&self) -> Result<Vec<(Kind, String, Entry)>, HistoryError> {
        self.entries("ORDER BY t.at, t.run_id, c.name", params![])
    }

    /// Counts what is there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stats(&self) -> Result<Stats, HistoryError> {
        let sql = "SELECT (SELECT count(*) FROM runs), count(*), coalesce(sum(results), 0),
            coalesce(sum(passed), 0), (SELECT min(at) FROM runs), (SELECT max(at) FROM runs)
            FROM cases WHERE kind = 'case'";
        self.connection
            .query_row(sql, [], |row| {
                Ok(Stats {
                    runs: row.get(0)?,
                    cases: row.get(1)?,
                    rows: row.get(2)?,
                    passed: row.get(3)?,
                    first: row.get(4)?,
                    last: row.get(5)?,
                })
            })
            .map_err(|error| self.failed(error))
    }

    /// Removes the runs before a moment, in seconds since 1970, and returns their number. What they mean for tiers stays.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prune(&mut self, before: u64) -> Result<usize, HistoryError> {
        self.change(|transaction| {
            tier::keep(transaction, before)?;
            transaction.execute(
                "DELETE FROM trials WHERE run_id IN (SELECT id FROM runs WHERE at < ?1)",
                [before],
            )?;
            let runs = transaction.execute("DELETE FROM runs WHERE at < ?1", [before])?;
            // The tier of a case that is still there outlives the runs that gave it.
            transaction.execute_batch(
                "DELETE FROM tiers WHERE case_id NOT IN (SELECT case_id FROM trials);
                 DELETE FROM seen WHERE case_id NOT IN (SELECT case_id FROM trials);
                 DELETE FROM cases WHERE id NOT IN (SELECT case_id FROM trials);
                 UPDATE cases SET
                    results = (SELECT count(*) FROM trials t WHERE t.case_id = cases.id),
                    passed = (SELECT count(*) FROM trials t
                        WHERE t.case_id = cases.id AND t.outcome = 'pass');",
            )?;
            Ok(runs)
        })
    }

    /// Returns what SQLite finds wrong with the file; `ok` if it is intact.
    #[cfg(test)]
    pub(crate) fn integrity(&self) -> String {
        let checked = self
            .connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0));
        checked.expect("it can be asked")
    }

    fn entries(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<(Kind, String, Entry)>, HistoryError> {
        let sql = format!(
            "SELECT c.name, r.at, r.host, r.tool, r.lists, r.device_sets,
                r.old_label, r.old_version, r.old_hash, r.new_label, r.new_version, r.new_hash,
                t.outcome, t.section, t.field, t.rule, t.message, t.allowed_by, t.failed, t.tries,
                t.total_ms, t.downtime_ms, t.elapsed_ms, c.kind, t.is_search
             FROM trials t JOIN runs r ON r.id = t.run_id JOIN cases c ON c.id = t.case_id {condition}"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map(values, |row| {
                let build = |at: usize| -> rusqlite::Result<BuildId> {
                    let version: Option<String> = row.get(at + 1)?;
                    Ok(BuildId {
                        label: row.get(at)?,
                        version: version.and_then(|text| text.parse::<Version>().ok()),
                        hash: row.get(at + 2)?,
                    })
                };
                let outcome: String = row.get(12)?;
                let entry = Entry {
                    run: Run {
                        at: row.get(1)?,
                        at_ms: 0,
                        old: build(6)?,
                        new: build(9)?,
                        tester: Tester {
                            host: row.get(2)?,
                            tool: row.get(3)?,
                            lists: row.get(4)?,
                            device_sets: row.get(5)?,
                        },
                        purpose: match row.get(24)? {
                            true => Purpose::Search,
                            false => Purpose::Verdict,
                        },
                    },
                    trial: Trial {
                        outcome: Outcome::Skip,
                        section: row.get(13)?,
                        field: row.get(14)?,
                        rule: row.get(15)?,
                        message: row.get(16)?,
                        allowed_by: row.get(17)?,
                        failed: row.get(18)?,
                        tries: row.get(19)?,
                        total_ms: row.get(20)?,
                        downtime_ms: row.get(21)?,
                        elapsed_ms: row.get(22)?,
                    },
                };
                let kind: String = row.get(23)?;
                Ok((kind, row.get::<_, String>(0)?, outcome, entry))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|error| self.failed(error))?;
        let whole = |(kind, name, outcome, mut entry): (String, String, String, Entry)| {
            entry.trial.outcome = self.word("the outcome", outcome)?;
            Ok((self.word("the kind of a row", kind)?, name, entry))
        };
        rows.into_iter().map(whole).collect()
    }
}

fn connect(file: &Path, access: Access) -> Result<Connection, Refusal> {
    // A reader of a log may have to take it over from a writer that was killed.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, access == Access::Write);
    let mut connection = Connection::open_with_flags(file, flags)?;
    match access {
        Access::Write => prepare(&mut connection),
        Access::Read => prepare_to_read(&mut connection),
    }?;
    Ok(connection)
}

/// Tells whether a file was not opened because nothing can be written where it is, while all of it is in the file itself.
fn is_protected(file: &Path, error: &rusqlite::Error) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let is_in_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
    // The last is what a full disk comes to where the log is made.
    let codes = [
        ErrorCode::ReadOnly,
        ErrorCode::CannotOpen,
        ErrorCode::SystemIoFailure,
    ];
    error
        .sqlite_error_code()
        .is_some_and(|code| codes.contains(&code))
        && !is_in_log
}

/// Opens a file to be read as it is, without a log beside it, which would have to be made.
fn connect_at_rest(file: &Path) -> Result<Connection, Refusal> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let path = uri_path(file.as_os_str().as_bytes());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(format!("file://{path}?immutable=1"), flags)?;
    prepare_to_read(&mut connection)?;
    Ok(connection)
}

fn insert(
    transaction: &Transaction<'_>,
    run: &Run,
    rows: &[CaseRow],
    rules: TierRules,
) -> rusqlite::Result<Written> {
    let Run {
        at,
        at_ms: _,
        old,
        new,
        tester,
        purpose,
    } = run;
    let version = |build: &BuildId| build.version.map(|version| version.to_string());
    let added = transaction.execute(
        "INSERT INTO runs (digest, at, host, tool, lists, device_sets, old_label, old_version, old_hash,
            new_label, new_version, new_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING",
        params![
            digest(run, rows),
            at,
            tester.host,
            tester.tool,
            tester.lists,
            tester.device_sets,
            old.label,
            version(old),
            old.hash,
            new.label,
            version(new),
            new.hash
        ],
    )?;
    if added == 0 {
        return Ok(Written::Known);
    }
    let run_id = transaction.last_insert_rowid();
    let release = old.release();
    for row in rows {
        let trial = &row.trial;
        let case = case_id(transaction, row)?;
        let inserted = transaction
            .prepare_cached(
                "INSERT INTO trials (case_id, old, at, run_id, outcome, section, field, rule, message,
                    allowed_by, failed, tries, total_ms, downtime_ms, elapsed_ms, is_search)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                case,
                release,
                at,
                run_id,
                trial.outcome.to_string(),
                trial.section,
                trial.field,
                trial.rule,
                trial.message,
                trial.allowed_by,
                trial.failed,
                trial.tries,
                trial.total_ms,
                trial.downtime_ms,
                trial.elapsed_ms,
                *purpose == Purpose::Search
            ])?;
        let passed = usize::from(trial.outcome == Outcome::Pass).min(inserted);
        transaction
            .prepare_cached(
                "UPDATE cases SET results = results + ?2, passed = passed + ?3 WHERE id = ?1",
            )?
            .execute(params![case, inserted, passed])?;
        if row.kind == Kind::Case && *purpose == Purpose::Verdict {
            tier::advance(transaction, rules, case, run, trial)?;
        }
    }
    Ok(Written::Added)
}

/// Returns the number of a case in the file, which gets one if it has none.
fn case_id(transaction: &Transaction<'_>, row: &CaseRow) -> rusqlite::Result<i64> {
    let known = transaction
        .prepare_cached("SELECT id FROM cases WHERE key = ?1")?
        .query_row([&row.key], |found| found.get(0))
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    transaction.execute(
        "INSERT INTO cases (kind, key, name, machine, device_set, devices, direction, transport)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            row.kind.to_string(),
            row.key,
            row.name,
            row.machine,
            row.device_set,
            row.devices.join(" "),
            row.direction.to_string(),
            row.transport
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}
