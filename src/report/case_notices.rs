//! The notices of cases: what the evidence of each lacks.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::joined;
use crate::report::{Case, Notice, NoticeKind};

impl Case {
    /// Returns a notice of a guest that did not run, of devices that a guest did not use, and of logs that are lost.
    pub fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        let not_running = self.not_running.iter();
        let not_running = not_running.map(|why| NoticeKind::NotRunning.about(&*self.id, why));
        let undriven = self.linux.iter().filter(|linux| !linux.undriven.is_empty());
        let undriven = undriven.map(|linux| {
            let detail = format!("Linux {} has no driver for it", linux.kernel);
            NoticeKind::NotDriven.about(linux.undriven.join(", "), detail)
        });
        let lost = self.logs_lost.iter();
        let lost = lost.map(|why| NoticeKind::LogsNotKept.about(&*self.id, why));
        let lacking = self.cause.iter().filter(|_| self.lacks_host());
        let lacking = lacking.map(|cause| NoticeKind::HostLacks.about(&*self.id, &cause.message));
        not_running.chain(undriven).chain(lost).chain(lacking)
    }
}

/// Returns the notices of all cases, each once.
pub(crate) fn notices_of(cases: &[Case]) -> BTreeSet<Notice> {
    let mut changed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for one in cases.iter().flat_map(|case| &case.changed_by_load) {
        let builds = changed.entry(one.place()).or_default();
        for build in &one.builds {
            if !builds.contains(&build.as_str()) {
                builds.push(build);
            }
        }
    }
    let changed = changed.into_iter().map(|(place, builds)| {
        let within = match builds.as_slice() {
            [] => "within a build".to_owned(),
            builds => {
                let within = builds.iter().map(|build| format!("from {build} to itself"));
                joined(within, " and ")
            }
        };
        let detail = format!("a load changes it in the same way {within}");
        NoticeKind::ChangedByLoad.about(place, detail)
    });
    let mut senders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sent in cases.iter().flat_map(|case| &case.own_addresses) {
        let builds = senders.entry(&sent.section).or_default();
        builds.insert(&sent.build);
    }
    let addresses = senders.into_iter().map(|(section, builds)| {
        let builds = joined(builds, " and ");
        let detail = format!("of {builds}; what loads them may die of that, or not, by chance");
        NoticeKind::OwnAddresses.about(section, detail)
    });
    cases
        .iter()
        .flat_map(Case::notices)
        .chain(changed)
        .chain(addresses)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction;
    use crate::report::{ChangedByLoad, OwnAddresses};

    #[test]
    fn a_value_that_loads_change_is_named_once_for_all_cases() {
        let changed = |field: Option<&str>, block: Option<&str>, builds: &[&str]| ChangedByLoad {
            section: field.map(|_| "ide".to_owned()),
            field: field.map(str::to_owned),
            block: block.map(str::to_owned),
            count: 1,
            builds: builds.iter().map(|&build| build.to_owned()).collect(),
        };
        let case = |changed| Case {
            changed_by_load: vec![changed],
            ..Case::untried("id".to_owned(), "pc", "set", "unix", Direction::Forward)
        };
        let of = |cases: &[ChangedByLoad]| -> Vec<String> {
            let cases: Vec<Case> = cases.iter().cloned().map(case).collect();
            notices_of(&cases).iter().map(Notice::to_string).collect()
        };
        let sector = |builds: &[&str]| changed(Some("bmdma/sector"), None, builds);
        let page = |builds: &[&str]| changed(None, Some("vmclock_page"), builds);
        for (cases, said) in [
            (
                vec![sector(&["old"]), sector(&["new"]), sector(&["old", "new"])],
                vec![
                    "ide/bmdma/sector is not compared: a load changes it in the same way from old to itself and from new to itself",
                ],
            ),
            (
                vec![page(&["new"]), sector(&["old"]), page(&["old"])],
                vec![
                    "ide/bmdma/sector is not compared: a load changes it in the same way from old to itself",
                    "vmclock_page is not compared: a load changes it in the same way from new to itself and from old to itself",
                ],
            ),
            (
                vec![page(&[]), page(&[])],
                vec![
                    "vmclock_page is not compared: a load changes it in the same way within a build",
                ],
            ),
        ] {
            assert_eq!(of(&cases), said);
        }
    }

    #[test]
    fn a_section_with_addresses_is_named_once_with_the_builds_that_send_it() {
        let case = |build: &str| Case {
            own_addresses: OwnAddresses::of(build, &["vga".into(), "0000:00:01.0/vga".into()]),
            ..Case::untried("id".to_owned(), "pc", "set", "unix", Direction::Forward)
        };
        let notices = notices_of(&["old", "new", "old"].map(case));
        let said: Vec<String> = notices.iter().map(Notice::to_string).collect();
        assert_eq!(
            said,
            [
                "the section vga has addresses of the process that sends it: of new and old; what loads them may die of that, \
                 or not, by chance"
            ]
        );
    }
}
