//! What a run shows of the user's own entries: which are past their end, and which match nothing of what it looked for.

use crate::model::{Direction, MachineNames, Pattern, Version};
use crate::report::{Case, Notice, NoticeKind, Outcome, Report, Sought};
use crate::rules::known_issues::failure::FailureScope;
use crate::rules::known_issues::{Break, Holds, KnownFailure, KnownIssues, Refused, Scope, Shown};

/// Returns a notice of each folder without a list, and of each entry of the user's own that concerns a report and is past
/// its end, or matches nothing in it.
pub(crate) fn review(
    lists: &KnownIssues,
    report: &Report,
    sought: &Sought,
    shown: &Shown,
) -> Vec<Notice> {
    let run = Run {
        report,
        sought,
        shown,
        releases: [report.old.version, report.new.version],
    };
    let folders = lists.empty_folders.iter().map(|folder| {
        let subject = folder.display().to_string();
        NoticeKind::NoList.about(subject, "no file in it ends in .toml")
    });
    let mut notices: Vec<Notice> = folders.collect();
    for entry in &lists.failures {
        let Some(seen) = run.failure(entry) else {
            continue;
        };
        let subject = entry.place.to_string();
        let owner = &entry.owner;
        let unmatched = |what| NoticeKind::KnownFailureUnmatched.about(&*subject, what);
        if entry.has_expired(lists.today, run.releases) {
            let detail = format!("it held {}; {owner} has to look at it again", entry.expires);
            notices.push(NoticeKind::KnownFailureExpired.about(&*subject, detail));
        } else if !entry.may_be_left_out(sought) {
            notices.extend(match seen {
                Seen::Matched => None,
                Seen::Unmatched => Some(unmatched(format!(
                    "nothing fails like that any more ({owner})"
                ))),
                Seen::Untried => Some(unmatched(format!("no case is about it ({owner})"))),
            });
        }
    }
    let own = lists.breaks.iter().skip(lists.shipped_breaks);
    let unmatched = own.filter(|entry| run.allowed_break(lists, entry) == Some(Seen::Unmatched));
    notices.extend(unmatched.map(|entry| {
        let detail = format!(
            "no finding between these builds is {} of {}",
            entry.rule, entry.section
        );
        NoticeKind::KnownFailureUnmatched.about(entry.place.to_string(), detail)
    }));
    let own = lists.migrations.iter().skip(lists.shipped_migrations);
    let unmatched = own.filter(|entry| run.refusal(lists, entry) == Some(Seen::Unmatched));
    notices.extend(unmatched.map(|entry| {
        let detail = match &entry.field {
            Some(field) => format!("no case is refused for {field} of {}", entry.section),
            None => format!("no case is refused for {}", entry.section),
        };
        NoticeKind::KnownFailureUnmatched.about(entry.place.to_string(), detail)
    }));
    notices
}

/// What a run shows of an entry that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It excuses something.
    Matched,
    /// It excuses nothing of what was tried.
    Unmatched,
    /// Nothing of all that there is can be what it means.
    Untried,
}

impl Seen {
    fn of(matched: bool) -> Seen {
        match matched {
            true => Seen::Matched,
            false => Seen::Unmatched,
        }
    }
}

/// A run that entries are held against.
struct Run<'r> {
    report: &'r Report,
    sought: &'r Sought,
    shown: &'r Shown,
    releases: [Option<Version>; 2],
}

impl<'r> Run<'r> {
    /// Returns the machines that findings are about.
    fn machines(&self) -> Vec<Option<&'r str>> {
        match self.report.swept.as_slice() {
            [] => vec![self.report.machine.as_deref()],
            swept => swept.iter().map(|one| Some(&*one.machine)).collect(),
        }
    }

    /// Tells whether the run is about what is meant on one of these machines and in a direction.
    fn is_about(&self, machines: &MachineNames, is_meant: impl Fn(Direction) -> bool) -> bool {
        let mut looked_at = self.machines().into_iter();
        let mut directions = self.sought.directions.iter();
        looked_at.any(|machine| machines.include(machine)) && directions.any(|&way| is_meant(way))
    }

    /// Returns whether something happens in a direction that came with a release and is listed for one direction, or for
    /// both; `None` where the builds are not on both sides of that release.
    fn happens(
        &self,
        by: Version,
        listed: Option<Direction>,
    ) -> Option<impl Fn(Direction) -> bool> {
        let [old, new] = self.releases;
        let holds = Holds::of(by, old, new);
        let same = move |way| listed.is_none_or(|listed| listed == way);
        matches!(holds, Holds::InOrder | Holds::Swapped)
            .then_some(move |way: Direction| holds.fits(|| same(way), || same(way.reversed())))
    }

    /// Returns what is seen of a known failure; `None` where the run did not try what it is about.
    fn failure(&self, entry: &KnownFailure) -> Option<Seen> {
        let matched = match &entry.kind {
            FailureScope::Cases { devices, .. } => {
                let mut about = self.report.cases.iter().filter(|case| {
                    !matches!(case.outcome, Outcome::Skip | Outcome::Broken)
                        && entry.concerns_case(case, self.releases)
                });
                let Some(first) = about.next() else {
                    let is_in_vain = self.would_have(entry, devices);
                    return is_in_vain.then_some(Seen::Untried);
                };
                let excuses = |case| entry.excuses_case(case, self.releases);
                excuses(first) || about.any(excuses)
            }
            FailureScope::Findings { .. } => {
                let is_meant = |way| entry.is_about(way, self.releases);
                if !self.sought.dumps || !self.is_about(&entry.machines, is_meant) {
                    return None;
                }
                self.report.findings.iter().any(|finding| {
                    let mut machines = self.machines().into_iter();
                    machines.any(|machine| entry.excuses_finding(finding, machine, self.releases))
                })
            }
        };
        Some(Seen::of(matched))
    }

    /// Tells whether a case about these devices would be there, if either build had any of them: the run is a whole
    /// sweep of a machine that the entry names.
    fn would_have(&self, entry: &KnownFailure, devices: &[Pattern]) -> bool {
        let mut swept = self.report.swept.iter();
        let is_whole = self.sought.among.is_empty()
            && self.report.shard.is_none()
            && self.report.interrupted.is_none();
        let mut directions = self.sought.directions.iter();
        // On every machine means on those of other architectures, too.
        let is_named = !entry.machines.are_all();
        let is_one = |name: &String| Pattern::any(devices, name);
        let is_known = |case: &Case| is_one(&case.device_set) || case.devices.iter().any(is_one);
        is_whole
            && is_named
            && directions.any(|&way| entry.is_about(way, self.releases))
            && swept.any(|one| entry.machines.include(Some(&one.machine)))
            && !self.report.cases.iter().any(is_known)
            && !self.report.swept.iter().any(|one| {
                let left_out = one.left_out.iter().map(|out| &out.device);
                let lone = one.only_old.iter().chain(&one.only_new);
                left_out.chain(lone).any(is_one)
            })
    }

    /// Returns what is seen of a migration that is refused by choice; `None` where the builds are not on both sides of that,
    /// or no guest came through with the section: one that failed before it says nothing.
    fn refusal(&self, lists: &KnownIssues, entry: &Refused) -> Option<Seen> {
        let [old, new] = self.releases;
        let happens = self.happens(entry.by, entry.direction)?;
        let is_meant = |way| self.shown.moved(&entry.section, way) && happens(way);
        // The other shards, or what was to come, may have it.
        let is_whole = self.report.shard.is_none() && self.report.interrupted.is_none();
        if !is_whole || !self.is_about(&entry.machines, is_meant) {
            return None;
        }
        let matched = self
            .report
            .cases
            .iter()
            .any(|case| Scope::of(lists, old, new, Some(&case.machine)).is_like(entry, case));
        Some(Seen::of(matched))
    }

    /// Returns what is seen of a break; `None` where the builds are not on both sides of it, nobody looked for it, or
    /// neither build has the section: it may be of another architecture.
    fn allowed_break(&self, lists: &KnownIssues, entry: &Break) -> Option<Seen> {
        let [old, new] = self.releases;
        let happens = self.happens(entry.by, entry.direction)?;
        if !self.sought.dumps
            || self.sought.new_doubts_alone
            || !self.shown.describes(&entry.section)
            || !self.is_about(&entry.machines, happens)
        {
            return None;
        }
        let findings = self.report.findings.iter();
        let mut there = findings.filter_map(|finding| {
            let mut there = finding.clone();
            there
                .keep_sections(|section| section == entry.section)
                .then_some(there)
        });
        let matched = there.any(|finding| {
            let mut machines = self.machines().into_iter();
            machines.any(|machine| Scope::of(lists, old, new, machine).applies(entry, &finding))
        });
        Some(Seen::of(matched))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::BuildRef;
    use crate::report::{
        Cause, Coverage, CoveredSection, Finding, LeftOut, Reached, Swept, testing,
    };
    use crate::rules::known_issues::load::tests::lists;

    const BREAK: &str = r#"
[[break]]
section = "dc390"
rule = "field-added"
path = ["pciespscsi"]
direction = "forward"
machines = ["pc-q35"]
by = "10.0"
reason = "chosen"
"#;

    const FAILURE: &str = r#"
[[failure]]
outcomes = ["crash"]
devices = ["virtio-gpu-pci"]
machines = ["q35"]
direction = "forward"
reason = "known"
owner = "Jo"
expires = "2999-12-31"
"#;

    fn report(old: Version, new: Version) -> Report {
        let build = |version| BuildRef {
            version: Some(version),
            ..testing::build("b")
        };
        Report::new(build(old), build(new), Some("pc-q35-7.2".to_owned()))
    }

    const MIGRATION: &str = r#"
[[migration]]
section = "pciespscsi"
direction = "forward"
machines = ["*"]
by = "10.0"
source = "s"
reason = "chosen"
"#;

    fn told(entry: &str, report: &Report, sought: &Sought, shown: &Shown) -> Vec<String> {
        let lists = lists(entry).expect("good");
        let notices = review(&lists, report, sought, shown);
        notices.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_break_that_no_finding_is_like_is_told_where_it_was_looked_for() {
        let (old, new) = (Version::new(7, 2, 0), Version::new(10, 0, 2));
        let finding = |section: &str| Finding {
            also_in: vec![section.to_owned()],
            also_paths: vec![vec!["pciespscsi".to_owned(), "esp".to_owned()]],
            ..testing::finding(json!({"section": "am53c974", "path": ["pciespscsi", "esp"]}))
        };
        let unmatched = "the known failure own.toml:2 matches nothing: \
            no finding between these builds is field-added of dc390";
        let sought = || Sought::with_dumps(&[Direction::Forward]);
        let of_new = Sought {
            new_doubts_alone: true,
            ..sought()
        };
        let without = Sought::without_dumps(&[Direction::Forward]);
        let back = Sought::with_dumps(&[Direction::Backward]);
        let elsewhere = BREAK.replace("pc-q35", "s390-ccw-virtio");
        let anywhere = BREAK.replace("pc-q35", "*");
        let shown = Shown::of_types(["dc390"]);
        let of_s390x = Shown::of_types(["virtio-net-ccw"]);
        for (shown, is_told) in [(&shown, true), (&of_s390x, false)] {
            let told = told(&anywhere, &report(old, new), &sought(), shown);
            assert_eq!(!told.is_empty(), is_told, "{shown:?}");
        }
        for (why, entry, (old, new), also_in, sought, is_told) in [
            ("it is there", BREAK, (old, new), "dc390", sought(), false),
            ("it is not", BREAK, (old, new), "dc", sought(), true),
            ("between others", BREAK, (new, new), "dc", sought(), false),
            (
                "another machine",
                &elsewhere,
                (old, new),
                "dc",
                sought(),
                false,
            ),
            ("another way", BREAK, (old, new), "dc", back, false),
            ("that way", BREAK, (new, old), "dc", sought(), false),
            ("no dumps", BREAK, (old, new), "dc", without, false),
            ("what is new", BREAK, (old, new), "dc", of_new, false),
        ] {
            let report = Report {
                findings: vec![finding(also_in)],
                ..report(old, new)
            };
            let wanted: &[&str] = if is_told { &[unmatched] } else { &[] };
            let told = told(entry, &report, &sought, &shown);
            assert_eq!(told, wanted, "{why}");
        }
    }

    #[test]
    fn a_refusal_that_no_case_is_like_is_told_where_a_guest_came_through_with_the_section() {
        let (old, new) = (Version::new(7, 2, 0), Version::new(10, 0, 2));
        let unmatched =
            "the known failure own.toml:2 matches nothing: no case is refused for pciespscsi";
        let sent = |reached: Reached, direction: Direction| {
            Shown::of_guests(&Coverage::of(vec![CoveredSection {
                section: "am53c974".to_owned(),
                vmsd: "pciespscsi".to_owned(),
                possible: true,
                reached,
                reason: None,
                subsections: vec![],
                conditional_fields: vec![],
                sent_in: vec![direction],
            }]))
        };
        let (forward, backward) = (Direction::Forward, Direction::Backward);
        let passed = || sent(Reached::Passed, forward);
        let refused = |section: &str| {
            let id = "q35/am53c974/unix/forward".to_owned();
            Case {
                outcome: Outcome::Fail,
                cause: Some(Cause {
                    section: Some(section.into()),
                    ..Cause::default()
                }),
                ..Case::untried(id, "pc-q35-7.2", "am53c974", "unix", forward)
            }
        };
        let addressed = MIGRATION.replace("pciespscsi", "0000:00:02.0/pciespscsi");
        let of_addressed = "the known failure own.toml:2 matches nothing: \
            no case is refused for 0000:00:02.0/pciespscsi";
        let elsewhere = MIGRATION.replace("\"*\"", "\"virt\"");
        for (why, entry, (old, new), shown, section, wanted) in [
            (
                "nothing is",
                MIGRATION,
                (old, new),
                passed(),
                "cpu",
                Some(unmatched),
            ),
            (
                "one is",
                MIGRATION,
                (old, new),
                passed(),
                "0000:00:02.0/pciespscsi",
                None,
            ),
            (
                "it was not sent",
                MIGRATION,
                (old, new),
                Shown::default(),
                "cpu",
                None,
            ),
            (
                "another failure came first",
                MIGRATION,
                (old, new),
                sent(Reached::Sent, forward),
                "cpu",
                None,
            ),
            (
                "another way",
                MIGRATION,
                (old, new),
                sent(Reached::Passed, backward),
                "cpu",
                None,
            ),
            (
                "between others",
                MIGRATION,
                (new, new),
                passed(),
                "cpu",
                None,
            ),
            (
                "another machine",
                &elsewhere,
                (old, new),
                passed(),
                "cpu",
                None,
            ),
            (
                "at an address",
                &addressed,
                (old, new),
                passed(),
                "cpu",
                Some(of_addressed),
            ),
        ] {
            let report = Report {
                cases: vec![refused(section)],
                ..report(old, new)
            };
            let sought = Sought::without_dumps(&Direction::BOTH);
            let told = told(entry, &report, &sought, &shown);
            assert_eq!(told, Vec::from_iter(wanted), "{why}");
        }
        let stopped = Report {
            interrupted: Some("SIGINT".to_owned()),
            ..report(old, new)
        };
        let sought = Sought::without_dumps(&Direction::BOTH);
        assert_eq!(told(MIGRATION, &stopped, &sought, &passed()), [""; 0]);
    }

    #[test]
    fn a_failure_that_no_case_is_about_is_told_of_a_whole_sweep_alone() {
        let (old, new) = (Version::new(7, 2, 0), Version::new(10, 0, 2));
        let swept = |left_out: &str| Report {
            swept: vec![Swept {
                architecture: "x86_64".to_owned(),
                machine: "pc-q35-7.2".to_owned(),
                left_out: vec![LeftOut {
                    device: left_out.to_owned(),
                    reason: "no display".to_owned(),
                }],
                ..Swept::default()
            }],
            ..report(old, new)
        };
        let untried = "the known failure own.toml:2 matches nothing: no case is about it (Jo)";
        let sought = || Sought::with_dumps(&[Direction::Forward]);
        let part = sought().among(["e1000".to_owned()]);
        let anywhere = FAILURE.replace("[\"q35\"]", "[\"*\"]");
        for (why, entry, report, sought, is_told) in [
            ("a slip", FAILURE, swept("e1000"), sought(), true),
            (
                "it was left out",
                FAILURE,
                swept("virtio-gpu-pci"),
                sought(),
                false,
            ),
            ("a part alone", FAILURE, swept("e1000"), part, false),
            ("no sweep", FAILURE, report(old, new), sought(), false),
            (
                "of another processor",
                &anywhere,
                swept("e1000"),
                sought(),
                false,
            ),
        ] {
            let wanted: &[&str] = if is_told { &[untried] } else { &[] };
            let told = told(entry, &report, &sought, &Shown::default());
            assert_eq!(told, wanted, "{why}");
        }
    }

    #[test]
    fn a_folder_without_a_list_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list.tml"), BREAK).unwrap();
        let of_folder = || {
            let lists = KnownIssues::load(&[folder.path().to_owned()]).unwrap();
            let (old, new) = (Version::new(10, 0, 0), Version::new(10, 0, 2));
            let notices = {
                let report = report(old, new);
                review(&lists, &report, &Sought::default(), &Shown::default())
            };
            notices.into_iter().map(|notice| notice.kind).collect()
        };
        let told: Vec<NoticeKind> = of_folder();
        assert_eq!(told, [NoticeKind::NoList]);
        std::fs::write(folder.path().join("list.toml"), BREAK).unwrap();
        let told: Vec<NoticeKind> = of_folder();
        assert_eq!(told, []);
    }
}
