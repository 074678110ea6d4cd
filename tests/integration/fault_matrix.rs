//! What can go wrong with either side of a migration, at each point of it: every fault has one answer, which
//! `fixtures/faults.tsv` keeps.
//!
//! Some of the cells are tried by default, each fault and each point among them; `MIGCOMPAT_FAULTS=all` tries all,
//! `MIGCOMPAT_FAULTS=write` writes down what comes out, and anything else is a part of the names of those that are tried,
//! such as `device state SIGSTOP`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use macro_rules_attribute::apply;

use crate::common::{build, changed, root};
use crate::live::Run;
use crate::processes::{Fault, faulty};

const OLD: &str = "debian:trixie";
const NEW: &str = "debian:trixie-backports";
const RECORD: &str = "fixtures/faults.tsv";
/// Set to `all`, `write` or a part of the names of cells.
const WHICH: &str = "MIGCOMPAT_FAULTS";
/// Cells of a side at once: most of their time is spent in waiting.
const AT_ONCE: usize = 2;

const FAULTS: [(&str, Fault); 10] = [
    ("SIGKILL", Fault::Signal("SIGKILL", 0)),
    ("SIGSEGV", Fault::Signal("SIGSEGV", 0)),
    ("exit 0", Fault::Exit(0)),
    ("exit 1", Fault::Exit(1)),
    ("garbage", Fault::Garbage),
    ("long line", Fault::LongLine),
    ("events", Fault::Events),
    ("closed", Fault::Close),
    ("SIGSTOP", Fault::Signal("SIGSTOP", 0)),
    ("silence", Fault::Silence),
];

/// The last ones end by a deadline alone.
const SLOW: usize = 2;

/// The point of a migration, and the way to hit it.
const SOURCE: [(&str, &str); 11] = [
    ("before the greeting", "<"),
    ("greeting", "<\"QMP\""),
    ("capabilities", "qmp_capabilities"),
    ("cont", "cont"),
    ("after cont", "<\"RESUME\""),
    ("migrate", "migrate"),
    ("setup", "<\"status\":\"setup\""),
    ("active", "<\"status\":\"active\""),
    ("device state", "<\"status\":\"device\""),
    ("completed", "<\"status\":\"completed\""),
    ("quit", "!quit"),
];

const DESTINATION: [(&str, &str); 11] = [
    ("before the greeting", "<"),
    ("greeting", "<\"QMP\""),
    ("capabilities", "qmp_capabilities"),
    ("incoming", "migrate-incoming"),
    ("setup", "<\"status\":\"setup\""),
    ("active", "<\"status\":\"active\""),
    // Only the source says when it sends that.
    ("device state", "@"),
    ("completed", "<\"status\":\"completed\""),
    ("cont", "cont"),
    ("after cont", "<\"RESUME\""),
    ("quit", "!quit"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Destination => "destination",
        }
    }
}

/// One fault at one point.
#[derive(Debug, Clone, Copy)]
struct Cell {
    side: Side,
    point: usize,
    fault: usize,
}

impl Cell {
    fn all() -> impl Iterator<Item = Cell> {
        [Side::Source, Side::Destination]
            .into_iter()
            .flat_map(|side| {
                (0..SOURCE.len()).flat_map(move |point| {
                    (0..FAULTS.len()).map(move |fault| Cell { side, point, fault })
                })
            })
    }

    /// Each point once on each side, with another fault from one to the next, few of which take long.
    fn is_tried_by_default(self) -> bool {
        let at = self.point + SOURCE.len() * self.side as usize;
        let quick = FAULTS.len() - SLOW;
        match at % 8 {
            6 => self.fault == quick + (at / 8) % SLOW,
            _ => self.fault == (at * 5 + at / 8) % quick,
        }
    }

    fn point(self) -> (&'static str, &'static str) {
        match self.side {
            Side::Source => SOURCE[self.point],
            Side::Destination => DESTINATION[self.point],
        }
    }

    fn key(self) -> String {
        format!(
            "{}\t{}\t{}",
            self.side.name(),
            self.point().0,
            FAULTS[self.fault].0
        )
    }

    /// Moves a guest, with the fault once, and returns what is said of it.
    fn answer(self) -> String {
        let dir = tempfile::tempdir().unwrap();
        let (mut old, mut new) = (OLD.to_owned(), NEW.to_owned());
        let (_, at) = self.point();
        let fault = FAULTS[self.fault].1;
        let struck = dir.path().join("struck");
        match self.side {
            Side::Source => old = broken(dir.path(), OLD, self.side, at, fault, &struck),
            Side::Destination if at == "@" => {
                let sent = dir.path().join("sent");
                let (there, here) = (dir.path().join("old"), dir.path().join("new"));
                fs::create_dir(&there).unwrap();
                fs::create_dir(&here).unwrap();
                let at = format!("@{}", sent.display());
                let shows = SOURCE[8].1;
                old = broken(&there, OLD, Side::Source, shows, Fault::Nothing, &sent);
                new = broken(&here, NEW, self.side, &at, fault, &struck);
            }
            Side::Destination => new = broken(dir.path(), NEW, self.side, at, fault, &struck),
        }
        let args = ["live", &old, &new, "-M", "q35", "--device", "e1000"];
        let mut args = [&args[..], &["--direction", "forward", "--retries", "0"]].concat();
        if self.fault >= FAULTS.len() - SLOW {
            args.extend(["--timeout", "5"]);
        }
        let run = Run::new(&args);
        run.leaves_nothing();
        if !struck.exists() {
            return "not reached".to_owned();
        }
        let cause = &run.case(0)["cause"];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        let status = run
            .status()
            .map_or_else(|| "-".to_owned(), |status| status.to_string());
        let outcomes = run.outcomes().join(",");
        // The answer alone does not tell why it is another one.
        println!("{}: {}", self.key(), text(&cause["message"]));
        format!(
            "{}\t{status}\t{}\t{}",
            if outcomes.is_empty() { "-" } else { &outcomes },
            text(&cause["kind"]),
            text(&cause["side"]),
        )
    }
}

/// A build with a fault in one role, the first time.
fn broken(dir: &Path, suite: &str, side: Side, at: &str, fault: Fault, marker: &Path) -> String {
    let prefix = build(suite).shell_prefix();
    let line = faulty(&prefix, at, fault, Some(marker));
    let role = match side {
        Side::Source => "*-incoming*|*-dump-vmstate*) ;; *e1000*",
        Side::Destination => "*-incoming*",
    };
    changed(
        dir,
        suite,
        &format!("case \"$*\" in {role}) {line} ;; esac"),
    )
}

/// Returns the answers that are kept. Where a build is through before the fault comes, the other one is behind an "or".
fn recorded() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(RECORD)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (at, _) = line.match_indices('\t').nth(2).unwrap();
            (line[..at].to_owned(), line[at + 1..].to_owned())
        })
        .collect()
}

/// Tries the faults of one side.
fn every_answer_is_as_recorded(side: Side) {
    let which = std::env::var(WHICH).unwrap_or_default();
    let of_side: Vec<Cell> = Cell::all().filter(|cell| cell.side == side).collect();
    let tried = of_side.iter().filter(|cell| match which.as_str() {
        "" => cell.is_tried_by_default(),
        "all" | "write" => true,
        part => cell.key().replace('\t', " ").contains(part),
    });
    let cells: Vec<Cell> = tried.copied().collect();
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let answer = cell.answer();
                    let took = begun.elapsed().as_secs_f32();
                    println!("{}: {answer}, {took:.1} s", cell.key());
                    answers.lock().unwrap().insert(cell.key(), answer);
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers.values() {
        *counts
            .entry(answer.split('\t').next().unwrap())
            .or_default() += 1;
    }
    let (of, side) = (of_side.len(), side.name());
    println!("{} of {of} faults of the {side}: {counts:?}", cells.len());
    if which.is_empty() {
        println!("{WHICH}=all tries all of them");
    }
    if which == "write" {
        record(&answers);
    }
    let recorded = recorded();
    let wrong: Vec<String> = answers
        .iter()
        .filter(|(key, answer)| {
            let known = recorded.get(*key);
            !known.is_some_and(|known| known.split(" or ").any(|one| one == *answer))
        })
        .map(|(key, answer)| format!("{key}: {answer}, not {:?}", recorded.get(key)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writes down what came out on one side.
fn record(answers: &BTreeMap<String, String>) {
    static FILE: Mutex<()> = Mutex::new(());
    let _one_side_at_once = FILE.lock().unwrap();
    let mut all = recorded();
    all.extend(answers.clone());
    let mut text =
        "# side, point, fault, outcome, exit status, kind and side of the cause\n".to_owned();
    for key in Cell::all().map(Cell::key) {
        if let Some(answer) = all.get(&key) {
            writeln!(text, "{key}\t{answer}").unwrap();
        }
    }
    fs::write(root().join(RECORD), text).unwrap();
}

#[apply(test)]
#[needs(Builds)]
fn every_fault_of_the_source_has_its_answer() {
    every_answer_is_as_recorded(Side::Source);
}

#[apply(test)]
#[needs(Builds)]
fn every_fault_of_the_destination_has_its_answer() {
    every_answer_is_as_recorded(Side::Destination);
}

#[apply(test)]
fn each_fault_and_each_point_is_among_those_that_are_tried_by_default() {
    let tried: Vec<Cell> = Cell::all()
        .filter(|cell| cell.is_tried_by_default())
        .collect();
    for fault in 0..FAULTS.len() {
        assert!(tried.iter().any(|cell| cell.fault == fault), "{fault}");
    }
    for side in [Side::Source, Side::Destination] {
        for point in 0..SOURCE.len() {
            let is_there = |cell: &&Cell| cell.side == side && cell.point == point;
            assert_eq!(tried.iter().filter(is_there).count(), 1);
        }
    }
    // The record has all of them.
    assert_eq!(recorded().len(), Cell::all().count());
}
