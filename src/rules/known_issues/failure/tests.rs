use serde_json::json;

use super::*;
use crate::model::BuildRef;
use crate::report::{Cause, NoticeKind, Report, Split, testing};
use crate::rules::known_issues::load::tests::lists;
use crate::rules::known_issues::{Shown, review};

const ENTRY: &str = r#"
[[failure]]
outcomes = ["lost", "crash"]
devices = ["am53c974"]
section = "pciespscsi"
machines = ["pc-q35"]
direction = "forward"
by = "10.0"
reason = "the ESP sends one byte more"
owner = "Jo"
link = "https://example.org/1"
expires = "2027-03-31"
"#;

fn releases() -> (Version, Version) {
    (Version::new(7, 2, 22), Version::new(10, 0, 13))
}

fn case() -> Case {
    Case {
        outcome: Outcome::Crash,
        devices: vec!["am53c974".to_owned()],
        cause: Some(Cause {
            section: Some("0000:00:01.0/pciespscsi".into()),
            ..Cause::default()
        }),
        ..Case::untried(
            "q35/am53c974/unix/forward".to_owned(),
            "pc-q35-7.2",
            "am53c974",
            "unix",
            Direction::Forward,
        )
    }
}

fn known(entry: &str, case: &Case, (old, new): (Version, Version), today: &str) -> Option<String> {
    let mut lists = lists(entry).expect("good");
    lists.today = today.parse().expect("a date");
    let scope = Scope::of(&lists, Some(old), Some(new), Some(&case.machine));
    scope.allows_case(case, None)
}

#[test]
fn only_the_failure_that_is_meant_is_excused_and_only_until_its_end() {
    let before = "2027-03-31";
    let excused = |case: &Case| known(ENTRY, case, releases(), before).is_some();
    let reason = known(ENTRY, &case(), releases(), before).expect("excused");
    let words =
        "own.toml:2: the ESP sends one byte more (Jo, https://example.org/1, until 2027-03-31)";
    assert_eq!(reason, words);
    assert_eq!(
        known(ENTRY, &case(), releases(), "2027-04-01"),
        None,
        "expired"
    );
    let until = |release: &str| ENTRY.replace("2027-03-31", release);
    assert!(known(&until("10.1"), &case(), releases(), "2030-01-01").is_some());
    assert!(known(&until("10.0"), &case(), releases(), "2030-01-01").is_none());
    let (old, new) = releases();
    assert_eq!(known(ENTRY, &case(), (new, new), before), None);
    assert_eq!(
        known(ENTRY, &case(), (new, old), before),
        None,
        "builds swapped"
    );
    let diff = |section: &str| StateDiff {
        section: section.into(),
        ..testing::diff("a")
    };
    let changed = |change: &dyn Fn(&mut Case)| {
        let mut case = case();
        change(&mut case);
        case
    };
    let [one, another] = ["0000:00:01.0/pciespscsi", "0000:00:02.0/e1000"].map(diff);
    type Change<'c> = &'c dyn Fn(&mut Case);
    for (change, wanted) in [
        (&(|c: &mut Case| c.outcome = Outcome::Lost) as Change, true),
        (&|c| c.outcome = Outcome::Fail, false),
        (&|c| c.outcome = Outcome::Pass, false),
        (&|c| c.machine = "q800".to_owned(), false),
        (&|c| c.direction = Direction::Backward, false),
        (&|c| c.cause = None, false),
        (&|c| c.state_diff = vec![one.clone()], true),
        (
            &|c| c.state_diff = vec![one.clone(), another.clone()],
            false,
        ),
        // A set that failed for this device alone, and for another one as well.
        (&|c| by_default(c, &[&["am53c974"]]), true),
        (&|c| by_default(c, &[&["am53c974"], &["e1000"]]), false),
        (&|c| by_default(c, &[]), false),
    ] {
        let case = changed(change);
        assert_eq!(excused(&case), wanted, "{case:#?}");
    }
}

fn by_default(case: &mut Case, culprits: &[&[&str]]) {
    case.device_set = "default".to_owned();
    case.devices = vec!["e1000".to_owned(), "am53c974".to_owned()];
    let group = |group: &&[&str]| group.iter().map(|&name| name.to_owned()).collect();
    case.split = Some(Split {
        culprits: culprits.iter().map(group).collect(),
        ..Split::default()
    });
}

/// What of the entry becomes what, with a semicolon between lines, and what is said of it then.
const WRONG: &str = r#"outcomes = ["lost", "crash"]; =>  => own.toml:2: name outcomes
"lost" => "skip" => a case that is `skip` needs no excuse
["pc-q35"] => [] => machines is empty
owner = "Jo" => owner = " " => `owner` is empty
owner = "Jo"; =>  => missing field `owner`
2027-03-31 => 2027-02-30 => neither a date like
2027-03-31 => soon => neither a date like
2027-03-31 => 11.2-rc1 => neither a date like
by = "10.0" => after = "9.0" => after needs by
by = "10.0" => after = "10.0";by = "9.0" => after must be an older
devices = ["am53c974"];section = "pciespscsi" =>  => this excuses every device
devices = ["am53c974"];section = "pciespscsi" => devices = ["*"] => this excuses every device
direction = => rule = "field-added";direction = => one entry has one of them"#;

#[test]
fn an_entry_that_is_wrong_or_too_wide_says_where() {
    for line in WRONG.lines() {
        let parts: Vec<&str> = line.split(" => ").collect();
        let [from, to, wanted] = parts[..] else {
            panic!("{line}");
        };
        let [from, to] = [from, to].map(|text| text.replace(';', "\n"));
        assert!(ENTRY.contains(&from), "{from}");
        let text = ENTRY.replacen(&from, &to, 1);
        let message = lists(&text).expect_err(&text).to_string();
        assert!(message.contains(wanted), "wanted {wanted:?} in {message:?}");
    }
}

#[test]
fn a_finding_is_known_by_its_rule_and_place_and_what_is_out_of_date_is_noticed() {
    let entry = r#"
[[failure]]
rule = "field-added"
section = "am53c974"
path = ["pciespscsi", "esp"]
machines = ["*"]
reason = "known"
owner = "Jo"
expires = "11.0"
"#;
    let finding = testing::finding(json!({
        "section": "am53c974", "path": ["pciespscsi", "esp", "x"],
    }));
    let lists = lists(&format!("{entry}{ENTRY}")).expect("good");
    let build = |version| BuildRef {
        version: Some(version),
        ..testing::build("b")
    };
    let (old, new) = releases();
    let noticed_of = |new: Version, findings: Vec<Finding>, cases: Vec<Case>, looked: Sought| {
        let report = Report {
            findings,
            cases,
            ..Report::new(build(old), build(new), Some("pc-q35-7.2".to_owned()))
        };
        let sought = Sought {
            directions: vec![Direction::Forward],
            ..looked
        };
        let notices = review(&lists, &report, &sought, &Shown::default()).into_iter();
        let notices = notices.map(|notice| (notice.kind, notice.subject));
        notices.collect::<Vec<_>>()
    };
    let noticed = |new: Version, findings: Vec<Finding>, cases: Vec<Case>, dumps: bool| {
        let sought = Sought {
            dumps,
            ..Sought::default()
        };
        noticed_of(new, findings, cases, sought)
    };
    let scope = Scope::of(&lists, Some(old), Some(new), None);
    assert!(scope.allows(&finding).is_some());
    let elsewhere = Finding {
        path: vec!["pciespscsi".to_owned(), "other".to_owned()],
        ..finding.clone()
    };
    assert!(scope.allows(&elsewhere).is_none());
    let (expired, unmatched) = (
        NoticeKind::KnownFailureExpired,
        NoticeKind::KnownFailureUnmatched,
    );
    let first = || "own.toml:2".to_owned();
    assert_eq!(noticed(new, vec![finding.clone()], vec![case()], true), []);
    assert_eq!(noticed(new, vec![], vec![], true), [(unmatched, first())]);
    assert_eq!(noticed(new, vec![], vec![], false), [], "nobody looked");
    let of_new = || Sought {
        dumps: true,
        new_doubts_alone: true,
        ..Sought::default()
    };
    assert_eq!(noticed_of(new, vec![], vec![], of_new()), [], "it is known");
    let later = Version::new(11, 0, 0);
    let known_and_expired = noticed_of(later, vec![], vec![], of_new());
    assert_eq!(known_and_expired, [(expired, first())]);
    assert_eq!(
        noticed(later, vec![finding], vec![], true),
        [(expired, first())]
    );
    let passed = Case {
        outcome: Outcome::Pass,
        cause: None,
        ..case()
    };
    assert_eq!(
        noticed(new, vec![], vec![passed], false),
        [(unmatched, "own.toml:11".to_owned())]
    );
}
