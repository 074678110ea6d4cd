//! The form of the file, and its upgrades.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, MAIN_DB, TransactionBehavior};

/// Marks a file as ours: "migc" in ASCII.
const APPLICATION: i64 = 0x6d69_6763;
/// Time to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(60);

/// Each makes a file of the form before it one of its own form, which is its place from 1. A form that was
/// released does not change.
pub(super) const UPGRADES: &[&str] = &[
    "CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        at INTEGER NOT NULL,
        host TEXT NOT NULL,
        tool TEXT NOT NULL,
        lists TEXT NOT NULL,
        device_sets TEXT NOT NULL,
        old_label TEXT NOT NULL, old_version TEXT, old_hash TEXT,
        new_label TEXT NOT NULL, new_version TEXT, new_hash TEXT
    ) STRICT;
    CREATE TABLE cases (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        machine TEXT NOT NULL,
        device_set TEXT NOT NULL,
        devices TEXT NOT NULL,
        direction TEXT NOT NULL,
        transport TEXT NOT NULL
    ) STRICT;
    -- The runs of one case from one old release lie side by side, by time.
    CREATE TABLE trials (
        case_id INTEGER NOT NULL REFERENCES cases (id),
        old TEXT NOT NULL,
        at INTEGER NOT NULL,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        outcome TEXT NOT NULL,
        section TEXT,
        field TEXT,
        rule TEXT,
        message TEXT,
        allowed_by TEXT,
        failed INTEGER NOT NULL,
        tries INTEGER NOT NULL,
        total_ms INTEGER,
        downtime_ms INTEGER,
        elapsed_ms INTEGER NOT NULL,
        PRIMARY KEY (case_id, old, at, run_id)
    ) STRICT, WITHOUT ROWID;",
    "CREATE INDEX runs_by_time ON runs (at);
    CREATE INDEX trials_by_run ON trials (run_id);",
    "ALTER TABLE cases ADD COLUMN kind TEXT NOT NULL DEFAULT 'case';
    -- Counted as rows come and go: a million are not counted in time.
    ALTER TABLE cases ADD COLUMN results INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE cases ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;
    UPDATE cases SET
        results = (SELECT count(*) FROM trials t WHERE t.case_id = cases.id),
        passed = (SELECT count(*) FROM trials t WHERE t.case_id = cases.id AND t.outcome = 'pass');
    -- Promotions and demotions, each with the streak of results that it rests on.
    CREATE TABLE tiers (
        case_id INTEGER NOT NULL REFERENCES cases (id),
        series TEXT NOT NULL,
        at INTEGER NOT NULL,
        tier TEXT NOT NULL,
        results INTEGER NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (case_id, series, at)
    ) STRICT, WITHOUT ROWID;",
    // Beside each result, since those that count for a tier are looked up without their runs.
    "ALTER TABLE trials ADD COLUMN is_search INTEGER NOT NULL DEFAULT 0;",
    // What is known of results that are removed: when the first was, and those in a row at their end.
    "CREATE TABLE seen (
        case_id INTEGER NOT NULL REFERENCES cases (id),
        series TEXT NOT NULL,
        since INTEGER NOT NULL,
        streak INTEGER NOT NULL DEFAULT 0,
        fails INTEGER NOT NULL DEFAULT 0,
        streak_since INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (case_id, series)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO seen (case_id, series, since)
    SELECT t.case_id,
        -- 7.2.22 is of the series 7.2, and a build without a version one of its own.
        CASE WHEN r.old_version IS NULL THEN t.old
        ELSE rtrim(rtrim(t.old, '0123456789'), '.') END AS series,
        min(t.at)
    FROM trials t JOIN runs r ON r.id = t.run_id JOIN cases c ON c.id = t.case_id
    WHERE c.kind = 'case' AND NOT t.is_search GROUP BY t.case_id, series;",
    // Of what fails within a build, none was told as a defect of the new one before.
    "UPDATE trials SET failed = 0 WHERE outcome = 'broken';",
];

/// The reason why a file is not taken.
pub(super) enum Refusal {
    Sqlite(rusqlite::Error),
    /// Nothing is in it: who wanted to fill it died, or had no room.
    Empty,
    Foreign,
    Newer {
        found: i64,
        known: i64,
    },
    /// It would have to be brought up, and cannot be written.
    Older {
        found: i64,
        known: i64,
    },
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Sqlite(error)
    }
}

/// Makes a connection ready to write: many processes may do so at once, and the form is the newest one.
///
/// # Errors
/// The file is of something else or of a newer program, or cannot be used.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Refusal> {
    connection.busy_timeout(BUSY)?;
    // Before anything is changed.
    if !is_empty(connection)? {
        check(connection)?;
    }
    // With a log of its own, readers do not wait for a writer; a commit outlives the process.
    use_log(connection)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    match form(connection)? == latest() {
        true => check(connection),
        false => upgrade(connection, UPGRADES),
    }
}

/// Gives the file a log of its own. The library does not wait where another process is just doing so.
fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    let end = Instant::now() + BUSY;
    loop {
        let set = connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()));
        match set {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            set => return set,
        }
    }
}

/// Makes a connection ready to read, from a file that is there. One of an older form is brought up.
///
/// # Errors
/// As for [`prepare`].
pub(super) fn prepare_to_read(connection: &mut Connection) -> Result<(), Refusal> {
    check(connection)?;
    let (found, known) = (form(connection)?, latest());
    if found == known {
        return Ok(());
    }
    match connection.is_readonly(MAIN_DB)? {
        true => Err(Refusal::Older { found, known }),
        false => upgrade(connection, UPGRADES),
    }
}

/// Checks that a file is ours, and of no newer form.
///
/// # Errors
/// As for [`prepare`].
fn check(connection: &Connection) -> Result<(), Refusal> {
    connection.busy_timeout(BUSY)?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let (found, known) = (form(connection)?, latest());
    match (application, found) {
        (APPLICATION, found) if found > known => Err(Refusal::Newer { found, known }),
        (APPLICATION, _) => Ok(()),
        _ if is_empty(connection)? => Err(Refusal::Empty),
        _ => Err(Refusal::Foreign),
    }
}

/// Tells whether a file has nothing in it yet.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && form(connection)? == 0)
}

fn latest() -> i64 {
    i64::try_from(UPGRADES.len()).unwrap_or(i64::MAX)
}

fn form(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a file to the form after the last of these upgrades, or leaves it as it is.
pub(super) fn upgrade(connection: &mut Connection, upgrades: &[&str]) -> Result<(), Refusal> {
    // Of processes that come at once, one does it, and the others find it done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = form(&transaction)?;
    if is_empty(&transaction)? {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
    } else {
        check(&transaction)?;
    }
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    for sql in upgrades.iter().skip(done) {
        transaction.execute_batch(sql)?;
    }
    let reached = i64::try_from(upgrades.len()).unwrap_or(i64::MAX).max(found);
    transaction.pragma_update(None, "user_version", reached)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Access, History, HistoryError, Run};
    use std::path::Path;

    #[test]
    fn a_file_of_every_older_form_is_brought_up() {
        for form in 1..UPGRADES.len() {
            brought_up(form);
        }
    }

    fn brought_up(older: usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("old.db");
        let mut old = Connection::open(&file).expect("made");
        assert!(upgrade(&mut old, &UPGRADES[..older]).is_ok());
        old.execute_batch(
            "INSERT INTO runs VALUES (1, 'd', 5, 'h', 't', 'l', 's', 'o', '7.2.22', NULL, 'n', NULL, NULL);
             INSERT INTO cases (id, key, name, machine, device_set, devices, direction, transport)
             VALUES (1, 'k', 'q35/a', 'pc', 'a', 'a', 'forward', 'unix');
             INSERT INTO trials (case_id, old, at, run_id, outcome, section, field, rule, message, allowed_by,
                failed, tries, total_ms, downtime_ms, elapsed_ms)
             VALUES (1, '7.2.22', 5, 1, 'lost', 's', NULL, NULL, 'm', NULL, 1, 1, 3, 2, 9),
                (1, '7.2.22', 6, 1, 'broken', 's', NULL, NULL, 'm', NULL, 2, 4, 3, 2, 9);",
        )
        .expect("filled");
        if older >= 3 {
            old.execute_batch("UPDATE cases SET results = 2")
                .expect("counted");
        }
        if older >= 5 {
            old.execute_batch("INSERT INTO seen (case_id, series, since) VALUES (1, '7.2', 5)")
                .expect("seen");
        }
        assert_eq!(form(&old).expect("read"), older as i64);
        drop(old);
        let history = History::open(&file, Access::Write).expect("it is brought up");
        let past = history.past("k", "7.2.22", 9).expect("read");
        assert_eq!((past.len(), past[0].run.at), (2, 5));
        let tested: Vec<bool> = past.iter().map(|entry| entry.trial.is_tested()).collect();
        // Whose defect it was is not in the older forms.
        assert_eq!(tested, [true, false]);
        let stats = history.stats().expect("read");
        assert_eq!((stats.cases, stats.rows, stats.passed), (1, 2, 0));
        assert_eq!(history.integrity(), "ok");
        drop(history);
        // A case is observed since it was first seen.
        let file = Connection::open(&file).expect("opened");
        let seen = file.query_row("SELECT series, since FROM seen", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?))
        });
        assert_eq!(seen.expect("one"), ("7.2".to_owned(), 5));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("new.db");
        drop(History::open(&file, Access::Write).expect("made"));
        let newer = Connection::open(&file).expect("opened");
        assert_eq!(form(&newer).expect("read"), latest());
        newer.pragma_update(None, "user_version", 99).expect("set");
        // A log is not made of another journal, either.
        let set = newer.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()));
        set.expect("set");
        drop(newer);
        let content = |file: &Path| std::fs::read(file).expect("there");
        let before = content(&file);
        for access in [Access::Write, Access::Read] {
            let error = History::open(&file, access).expect_err("it is newer");
            assert!(
                matches!(error, HistoryError::Newer { found: 99, .. }),
                "{error}"
            );
        }
        assert!(content(&file) == before, "it is as it was");

        let other = folder.path().join("other.db");
        let foreign = Connection::open(&other).expect("made");
        foreign.execute_batch("CREATE TABLE a (b)").expect("made");
        drop(foreign);
        let before = content(&other);
        for access in [Access::Write, Access::Read] {
            let error = History::open(&other, access).expect_err("it is another's");
            assert!(matches!(error, HistoryError::Foreign { .. }), "{error}");
        }
        assert!(content(&other) == before, "it is as it was");
        let text = folder.path().join("text.db");
        std::fs::write(
            &text,
            "no database, and longer than a header of one has to be, to be read as one",
        )
        .expect("written");
        let error = History::open(&text, Access::Write).expect_err("it is none");
        assert!(matches!(error, HistoryError::Sqlite { .. }), "{error}");
        assert!(
            std::error::Error::source(&error).is_none(),
            "it is said once"
        );
        let missing = History::open(&folder.path().join("none.db"), Access::Read);
        assert!(matches!(missing, Err(HistoryError::Missing { .. })));
        let empty = folder.path().join("empty.db");
        std::fs::write(&empty, "").expect("written");
        let missing = History::open(&empty, Access::Read);
        assert!(matches!(missing, Err(HistoryError::Missing { .. })));
        drop(History::open(&empty, Access::Write).expect("it becomes one"));
        // As a disk that is full leaves it: with a log, and nothing in it.
        let begun = folder.path().join("begun.db");
        let connection = Connection::open(&begun).expect("made");
        use_log(&connection).expect("set");
        drop(connection);
        let missing = History::open(&begun, Access::Read);
        assert!(matches!(missing, Err(HistoryError::Missing { .. })));
        let whole = folder.path().join("whole.db");
        drop(History::open(&whole, Access::Write).expect("made"));
        // What follows the head of the file; its log is not copied.
        let mut bytes = content(&whole);
        bytes[100..].fill(0xff);
        let damaged = folder.path().join("damaged.db");
        std::fs::write(&damaged, bytes).expect("written");
        for access in [Access::Write, Access::Read] {
            let counted = History::open(&damaged, access).and_then(|history| history.stats());
            let error = counted.expect_err("it is damaged");
            assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
        }
    }

    /// Has a file as it is for who may only read it: what lies beside a log cannot be made.
    fn protect(file: &Path) {
        let mut index = file.as_os_str().to_owned();
        index.push("-shm");
        std::fs::create_dir(index).expect("made");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["h.db", "a ?b=c#d%20 \u{e9}.db"] {
            let file = folder.path().join(name);
            let mut history = History::open(&file, Access::Write).expect("made");
            history.add(&Run::default(), &[]).expect("added");
            drop(history);
            protect(&file);
            let mut history = History::open(&file, Access::Read).expect("it is read");
            assert_eq!(history.stats().expect("counted").runs, 1);
            let error = history.prune(9).expect_err("it is not written");
            assert!(matches!(error, HistoryError::Sqlite { .. }), "{error}");
        }
        let file = folder.path().join("older.db");
        let mut older = Connection::open(&file).expect("made");
        use_log(&older).expect("set");
        assert!(upgrade(&mut older, &UPGRADES[..2]).is_ok());
        drop(older);
        protect(&file);
        let error = History::open(&file, Access::Read).expect_err("it is older");
        assert!(
            matches!(error, HistoryError::Older { found: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn what_is_in_a_log_alone_is_not_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = folder.path().join("made.db");
        let mut history = History::open(&made, Access::Write).expect("made");
        history.add(&Run::default(), &[]).expect("added");
        // As a process leaves it that is killed.
        let file = folder.path().join("left.db");
        for part in ["", "-wal"] {
            let [from, to] =
                ["made", "left"].map(|name| folder.path().join(format!("{name}.db{part}")));
            std::fs::copy(from, to).expect("copied");
        }
        protect(&file);
        let history = History::open(&file, Access::Read).expect("it is read");
        assert_eq!(history.stats().expect("counted").runs, 1);
    }
}
