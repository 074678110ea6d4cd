//! Collects the tests and runs them, those apart that this machine cannot run.
//!
//! libtest decides when it compiles what is ignored, and a test that finds out later can only pass. Here
//! what a test needs is looked for before it runs, so that it is ignored by `cargo test` and skipped by
//! `cargo nextest run`, which asks for a list first.

use std::collections::HashMap;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, FormatSetting, Trial};
use macro_rules_attribute::apply;

use crate::common::root;
use crate::deadline::{self, Running};
use crate::needs::{Need, OFFLINE};

/// The number of tests whose time is told, where more than these ran.
const SLOWEST: usize = 40;

/// A function that `test!` registered.
pub struct Test {
    /// With the module, and the name of this program in front.
    pub path: &'static str,
    pub needs: &'static [Need],
    pub run: fn(),
}

inventory::collect!(Test);

/// Registers a function as a test: `#[apply(test)]`, with `#[needs(Builds, ..)]` below it if need be.
macro_rules! test {
    ($(#[doc = $doc:expr])* $(#[needs($($need:ident $(($of:literal))?),+)])? fn $name:ident() $body:block) => {
        $(#[doc = $doc])*
        fn $name() $body

        inventory::submit! {
            crate::harness::Test {
                path: concat!(module_path!(), "::", stringify!($name)),
                needs: &[$($(crate::needs::Need::$need $(($of))?),+)?],
                run: $name,
            }
        }
    };
}

impl Test {
    fn name(&self) -> &'static str {
        self.path
            .split_once("::")
            .map_or(self.path, |(_, name)| name)
    }

    fn trial(&'static self) -> Trial {
        Trial::test(self.name(), || {
            let _running = Running::new(self.name());
            (self.run)();
            Ok(())
        })
    }
}

/// All of them, by name.
fn tests() -> Vec<&'static Test> {
    let mut tests: Vec<_> = inventory::iter::<Test>().collect();
    tests.sort_by_key(|test| test.path);
    tests
}

pub fn run() -> ExitCode {
    let mut args = Arguments::from_args();
    // With one at a time on each core, a third of the cores' time is idle: tests wait for a deadline or a process's end.
    args.test_threads = args.test_threads.or_else(|| {
        let cores = std::thread::available_parallelism().ok()?;
        Some(2 * cores.get())
    });
    // Asked for by name, what is ignored is run and fails as it may.
    let ignores = !args.ignored && !args.include_ignored;
    let mut absent: HashMap<Need, Option<String>> = HashMap::new();
    let mut ignored = Vec::new();
    let mut trials = Vec::new();
    for test in tests() {
        let trial = test.trial().with_ignored_flag(true);
        // What nobody asks for is not looked for.
        if args.is_filtered_out(&trial) {
            trials.push(trial);
            continue;
        }
        let mut needs = test.needs.iter();
        let reason =
            needs.find_map(|need| absent.entry(*need).or_insert_with(|| need.absent()).clone());
        trials.push(match reason {
            None => trial.with_ignored_flag(false),
            Some(reason) if ignores && !args.list => {
                ignored.push(format!("    {}: {reason}", test.name()));
                Trial::ignorable_test(test.name(), || Ok(Completion::ignored_with(reason)))
            }
            Some(_) => trial,
        });
    }
    deadline::watch();
    let conclusion = libtest_mimic::run(&args, trials);
    if !ignored.is_empty() && !matches!(args.format, Some(FormatSetting::Json)) {
        println!(
            "ignored, and nothing is known of it:\n{}\n",
            ignored.join("\n")
        );
    }
    if SLOWEST < conclusion.num_passed as usize && args.format.is_none() {
        let (slowest, all) = deadline::slowest(SLOWEST);
        println!(
            "slowest, of {} s that all tests took one after the other:",
            all.as_secs()
        );
        for (time, test) in slowest {
            println!("    {:5.1} s {test}", time.as_secs_f64());
        }
    }
    conclusion.exit_code()
}

/// This program once more, where no build can be had; what it prints.
fn offline(args: &[&str]) -> String {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).args(args).env(OFFLINE, "1").output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[apply(test)]
fn without_builds_all_that_need_them_are_listed_as_ignored() {
    let list = offline(&["--list", "--format", "terse", "--ignored"]);
    let listed: Vec<&str> = list.lines().collect();
    let mut count = 0;
    for test in tests()
        .iter()
        .filter(|test| test.needs.contains(&Need::Builds))
    {
        let line = format!("{}: test", test.name());
        assert!(listed.contains(&&*line), "{line} in {list}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[apply(test)]
fn what_is_ignored_is_named_with_its_reason_and_counted_and_does_not_pass() {
    let printed = offline(&["state::"]);
    let of_state = |test: &&&Test| test.name().starts_with("state::");
    let count = tests().iter().filter(of_state).count();
    let summary = format!("test result: ok. 0 passed; 0 failed; {count} ignored; 0 measured; ");
    assert!(
        count > 5 && printed.contains(&summary),
        "{count}: {printed}"
    );
    let reason = "MIGCOMPAT_OFFLINE=1 is set: no real build is fetched or run";
    let (run, last) = printed.split_once(&summary).expect("a summary");
    for test in tests().iter().filter(of_state) {
        for (lines, line) in [
            (run, format!(" ignored ({reason})")),
            (last, format!("    {}: {reason}", test.name())),
        ] {
            let there = lines
                .lines()
                .any(|l| l.contains(test.name()) && l.ends_with(&line));
            assert!(there, "{line}: {printed}");
        }
    }
}

/// Nobody would run it.
#[apply(test)]
fn no_test_is_left_to_libtest() {
    let folder = root().join("tests/integration");
    let mut files = 0;
    for file in std::fs::read_dir(folder).expect("the tests").flatten() {
        let Ok(text) = std::fs::read_to_string(file.path()) else {
            continue;
        };
        let line = text
            .lines()
            .position(|line| line.trim() == concat!("#[", "test]"));
        assert_eq!(line, None, "{}", file.path().display());
        files += 1;
    }
    assert!(files > 10, "{files}");
}
