//! Coverage: how much of what two builds know was put to the test, section by section.

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::{DeviceSet, Driver};
use crate::migration::config::MigrationConfig;
use crate::model::Direction;
use crate::report::{Coverage, CoveredField, CoveredSection, CoveredSubsection, Reached};
use crate::stream;
use crate::stream::Stream;
use crate::vmstate::dump::{Dump, Vmsd};

/// A section that a source really sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentSection {
    pub vmsd_name: String,
    /// Names of the subsections that were sent, wherever in the section.
    pub subsections: BTreeSet<String>,
    /// Names of the fields that were sent, after those of the vmsds that they are in.
    pub fields: BTreeSet<(String, String)>,
}

impl SentSection {
    /// Collects the sections that a stream describes, if it does. Legacy sections (SaveVMHandlers) have no vmsd, and no
    /// dump knows them: they are left out.
    pub(crate) fn all(stream: &Stream) -> Vec<SentSection> {
        let devices = stream.vmdesc().into_iter().flat_map(|of| &of.devices);
        let described = devices.map(|device| &device.description);
        described
            .filter_map(|description| {
                let mut sent = SentSection {
                    vmsd_name: description.vmsd_name.as_deref()?.to_owned(),
                    ..SentSection::default()
                };
                sent.add(description);
                Some(sent)
            })
            .collect()
    }

    fn add(&mut self, description: &stream::StructDesc) {
        for subsection in &description.subsections {
            let name = subsection.vmsd_name.as_deref();
            self.subsections.extend(name.map(str::to_owned));
            self.add(subsection);
        }
        let vmsd = description.vmsd_name.as_deref().unwrap_or_default();
        for field in &description.fields {
            // Of fields with one name each is sent with its number among them.
            let name = field.name.split('[').next().unwrap_or_default();
            self.fields.insert((vmsd.to_owned(), name.to_owned()));
            field.nested.iter().for_each(|nested| self.add(nested));
        }
    }
}

/// The sections that one case sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub sections: Vec<SentSection>,
    /// The way that it went.
    pub direction: Direction,
    /// The case passed.
    pub passed: bool,
    /// QOM types that were plugged in. Of types that share a vmsd name these are the ones that sent
    /// it; where none of them is among them, the types that no case plugged in are counted for it.
    pub types: BTreeSet<String>,
}

impl Observed {
    /// A case that sent nothing.
    pub(crate) fn nothing(direction: Direction) -> Observed {
        Observed {
            sections: Vec::new(),
            direction,
            passed: false,
            types: BTreeSet::new(),
        }
    }
}

/// The types that a machine can have, as far as the builds or the catalogue know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// QOM types that are built into the machine or that a user can add.
    pub possible: BTreeSet<String>,
    /// Types that no guest could be given, and why.
    pub not_created: BTreeMap<String, String>,
}

impl Reach {
    /// Makes it for a run with some device sets. All that any guest of the machine can have counts: it is
    /// what was not tested.
    pub(crate) fn of(config: &MigrationConfig, sets: &[DeviceSet]) -> Reach {
        let mut reach = Reach::default();
        if let (Some(old), Some(new)) = (&config.old.drivers, &config.new.drivers) {
            let shared = old.names().filter(|name| new.contains(name));
            // A guest is given a CPU by `-cpu`, and none by `-device`.
            let devices = shared.filter(|name| !old.get(name).is_some_and(Driver::is_cpu));
            reach.possible = devices.map(str::to_owned).collect();
        }
        let places = config.buses.as_ref().zip(config.old.drivers.as_ref());
        let arch = &*config.arch;
        let reason = |name: &str| {
            let left_out = DeviceSet::left_out(name).map(str::to_owned);
            let Some((buses, drivers)) = places else {
                return left_out;
            };
            if buses.other_form(name, drivers, arch).is_some() {
                return None;
            }
            let no_place = || buses.no_place(name, drivers, arch);
            left_out.or_else(|| no_place().map(|reason| reason.to_string()))
        };
        let not_created = reach.possible.iter();
        reach.not_created = not_created
            .filter_map(|name| Some((name.clone(), reason(name)?)))
            .collect();
        for set in sets {
            let excluded = config.compose(set).excluded.into_iter();
            // What one build lacks is no part of what both can have.
            let excluded = excluded.filter(|one| reach.possible.contains(&one.driver));
            let reasons = excluded.map(|one| (one.driver, one.reason.to_string()));
            let reasons: Vec<(String, String)> = reasons.collect();
            reach.not_created.extend(reasons);
        }
        reach
    }
}

/// Sums up what was sent, of all sections in the two dumps. A section that was sent is possible;
/// one that both builds mark as unmigratable is in no stream, whatever the guest has.
pub(crate) fn cover(
    dumps: [&Dump; 2],
    observed: &[Observed],
    reach: &Reach,
    directions: &[Direction],
) -> Coverage {
    let mut sections = known_sections(dumps, reach);
    // A renamed vmsd has a name in each dump.
    let mut senders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for section in dumps.iter().flat_map(|dump| &dump.sections) {
        let types = senders.entry(&section.description.name).or_default();
        types.insert(&section.type_name);
    }
    let ever: BTreeSet<&str> = observed
        .iter()
        .flat_map(|case| &case.types)
        .map(String::as_str)
        .collect();
    for case in observed {
        for sent in &case.sections {
            let Some(types) = senders.get(sent.vmsd_name.as_str()) else {
                continue;
            };
            let plugged: Vec<&str> = types
                .iter()
                .copied()
                .filter(|name| case.types.contains(*name))
                .collect();
            // Where some can be plugged in, the others are parts of those.
            let pluggable = types.iter().any(|name| reach.possible.contains(*name));
            let taken = |name: &&str| {
                !ever.contains(name) && (!pluggable || reach.possible.contains(*name))
            };
            let others = types.iter().copied().filter(taken).collect();
            for name in if plugged.is_empty() { others } else { plugged } {
                if let Some(section) = sections.get_mut(name) {
                    mark(section, sent, case);
                }
            }
        }
    }
    Coverage::of(sections.into_values().collect()).counted_in(directions.iter().copied())
}

/// Returns all sections in the two dumps, by their types, of which nothing was sent yet.
fn known_sections<'d>(dumps: [&'d Dump; 2], reach: &Reach) -> BTreeMap<&'d str, CoveredSection> {
    /// A description, and the names of what is below it in either dump.
    type Below<'d> = (&'d Vmsd, BTreeSet<String>, BTreeSet<(String, String)>);
    let mut known: BTreeMap<&str, Below<'_>> = BTreeMap::new();
    for section in dumps.into_iter().flat_map(|dump| &dump.sections) {
        let none = || (&section.description, BTreeSet::new(), BTreeSet::new());
        let (_, names, fields) = known.entry(&section.type_name).or_insert_with(none);
        known_below(&section.description, names, fields);
    }
    let covered = |(type_name, (description, names, fields)): (&'d str, Below<'_>)| {
        let reason = reach.not_created.get(type_name).cloned();
        let covered = CoveredSection {
            section: type_name.to_owned(),
            vmsd: description.name.clone(),
            // A reason is given for what a user would expect.
            possible: (reach.possible.contains(type_name) || reason.is_some())
                && !is_unmigratable(dumps, type_name),
            reached: match reason {
                Some(_) => Reached::NotCreated,
                None => Reached::Compared,
            },
            reason,
            subsections: names
                .into_iter()
                .map(|name| CoveredSubsection { name, sent: false })
                .collect(),
            conditional_fields: fields
                .into_iter()
                .map(|(vmsd, field)| CoveredField {
                    vmsd,
                    field,
                    sent: false,
                })
                .collect(),
            sent_in: Vec::new(),
        };
        (type_name, covered)
    };
    known.into_iter().map(covered).collect()
}

fn is_unmigratable(dumps: [&Dump; 2], type_name: &str) -> bool {
    let mut known = dumps
        .iter()
        .filter_map(|dump| dump.section(type_name))
        .peekable();
    known.peek().is_some() && known.all(|section| section.description.fields.is_none())
}

fn mark(section: &mut CoveredSection, sent: &SentSection, case: &Observed) {
    if !section.sent_in.contains(&case.direction) {
        section.sent_in.push(case.direction);
        section.sent_in.sort();
    }
    let reached = if case.passed {
        Reached::Passed
    } else {
        Reached::Sent
    };
    section.possible = true;
    section.reason = None;
    section.reached = section.reached.min(reached);
    for subsection in &mut section.subsections {
        subsection.sent |= sent.subsections.contains(&subsection.name);
    }
    for field in &mut section.conditional_fields {
        let name = (field.vmsd.clone(), field.field.clone());
        field.sent |= sent.fields.contains(&name);
    }
}

/// Collects the subsections of a description, and the fields that are sent under a condition.
fn known_below(
    description: &Vmsd,
    names: &mut BTreeSet<String>,
    conditional: &mut BTreeSet<(String, String)>,
) {
    for subsection in &description.subsections {
        names.insert(subsection.name.clone());
        known_below(subsection, names, conditional);
    }
    for field in description.fields() {
        // Padding has no state.
        if field.conditional && field.name != "unused" {
            conditional.insert((description.name.clone(), field.name.clone()));
        }
        if let Some(nested) = &field.description {
            known_below(nested, names, conditional);
        }
    }
}

/// Joins the coverage of the shards of a run: for each section the strongest. `None` if no shard
/// has any.
pub(crate) fn join<'c>(shards: impl IntoIterator<Item = &'c Coverage>) -> Option<Coverage> {
    let mut sections: BTreeMap<&str, CoveredSection> = BTreeMap::new();
    let mut any = false;
    let mut directions = BTreeSet::new();
    for covered in shards.into_iter().flat_map(|shard| {
        any = true;
        directions.extend(shard.directions.iter().map(|of| of.direction));
        &shard.sections
    }) {
        let Some(known) = sections.get_mut(covered.section.as_str()) else {
            sections.insert(&covered.section, covered.clone());
            continue;
        };
        known.possible |= covered.possible;
        known.sent_in.extend(&covered.sent_in);
        known.sent_in.sort();
        known.sent_in.dedup();
        if covered.reached < known.reached {
            known.reached = covered.reached;
            known.reason.clone_from(&covered.reason);
        }
        for subsection in covered.subsections.iter().filter(|s| s.sent) {
            let same = known.subsections.iter_mut();
            for known in same.filter(|known| known.name == subsection.name) {
                known.sent = true;
            }
        }
        for field in covered.conditional_fields.iter().filter(|f| f.sent) {
            let same = known.conditional_fields.iter_mut();
            let name = (&field.vmsd, &field.field);
            for known in same.filter(|known| (&known.vmsd, &known.field) == name) {
                known.sent = true;
            }
        }
    }
    any.then(|| Coverage::of(sections.into_values().collect()).counted_in(directions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::testing;
    use crate::vmstate::testing::dump;

    /// The dumps of 7.2 and 10.0 of a machine.
    fn dumps(machine: &str) -> [Dump; 2] {
        ["7.2.22", "10.0.13"].map(|version| dump(&format!("{version}/{machine}")))
    }

    /// The dumps of the virt machine, and what 7.2 really sent of it.
    fn virt() -> ([Dump; 2], Vec<SentSection>) {
        let recorded = testing::fixture("7.2.22/aarch64-virt");
        let reading = stream::read(&*recorded, stream::Options::default(), ());
        let sent = SentSection::all(&reading.stream);
        (dumps("aarch64-virt"), sent)
    }

    fn standing<'c>(coverage: &'c Coverage, section: &str) -> &'c CoveredSection {
        let found = coverage.sections.iter().find(|s| s.section == section);
        found.unwrap_or_else(|| panic!("{section}"))
    }

    /// A case that went forward and passed, in which nothing was plugged in.
    fn passed_forward(sections: Vec<SentSection>) -> Observed {
        Observed {
            sections,
            passed: true,
            ..Observed::nothing(Direction::Forward)
        }
    }

    #[test]
    fn a_real_stream_covers_what_it_holds_and_nothing_else() {
        let ([old, new], sent) = virt();
        let case = passed_forward(sent);
        let reach = Reach {
            possible: ["e1000e".to_owned()].into(),
            not_created: ["rtl8139", "nvme"]
                .map(|name| (name.to_owned(), "there is none".to_owned()))
                .into(),
        };
        let coverage = cover([&old, &new], &[case], &reach, &[Direction::Forward]);
        let reached = |section: &str| standing(&coverage, section).reached;
        assert_eq!(reached("pl011"), Reached::Passed);
        assert_eq!(reached("e1000e"), Reached::Compared);
        assert_eq!(reached("rtl8139"), Reached::NotCreated);
        assert!(standing(&coverage, "rtl8139").possible);
        // Neither build has a wire form of it.
        assert!(!standing(&coverage, "nvme").possible);
        // A part of another board: counted apart.
        assert!(!standing(&coverage, "bcm2835-dma").possible);
        let counts = coverage.counts;
        assert_eq!(counts.sections + counts.elsewhere, coverage.sections.len());
        assert_eq!(counts.sent, counts.passed);
        assert_eq!((counts.compared, counts.not_created), (1, 1));
        assert_eq!(counts.sections, counts.sent + 2);
        assert!(counts.subsections_sent < counts.subsections, "{counts:?}");
        let (sent, all) = (counts.conditional_fields_sent, counts.conditional_fields);
        assert!(0 < sent && sent < all, "{counts:?}");
        let fields = coverage.sections.iter().flat_map(|s| &s.conditional_fields);
        assert!(fields.clone().all(|field| field.field != "unused"));
        assert!(fields.clone().any(|field| !field.sent), "{counts:?}");
    }

    #[test]
    fn of_types_with_one_name_the_plugged_one_is_covered() {
        let [old, new] = dumps("x86_64-q35");
        let case = |types: &[&str], passed| Observed {
            sections: vec![SentSection {
                vmsd_name: "pciespscsi".to_owned(),
                ..SentSection::default()
            }],
            direction: Direction::Forward,
            passed,
            types: types.iter().map(|t| (*t).to_owned()).collect(),
        };
        let among = |possible: &[&str], observed: &[Observed]| {
            let reach = Reach {
                possible: possible.iter().map(|t| (*t).to_owned()).collect(),
                ..Reach::default()
            };
            let coverage = cover([&old, &new], observed, &reach, &[Direction::Forward]);
            ["am53c974", "dc390"].map(|section| standing(&coverage, section).reached)
        };
        let of = |observed: &[Observed]| among(&[], observed);
        use Reached::{Compared, Passed, Sent};
        assert_eq!(of(&[]), [Compared, Compared]);
        assert_eq!(of(&[case(&["am53c974"], false)]), [Sent, Compared]);
        assert_eq!(of(&[case(&["usb-tablet"], true)]), [Passed, Passed]);
        // A device that has a guest of its own does not count for the sections of another guest.
        let apart = [case(&["usb-tablet"], true), case(&["dc390"], false)];
        assert_eq!(of(&apart), [Passed, Sent]);
        assert_eq!(among(&["dc390"], &apart), [Compared, Sent]);
        // A failure elsewhere does not undo a pass.
        let both = [case(&["dc390"], true), case(&["dc390"], false)];
        assert_eq!(of(&both), [Compared, Passed]);
    }

    #[test]
    fn shards_cover_together_what_the_whole_run_does() {
        let ([old, new], sent) = virt();
        let case = |sections: &[SentSection]| passed_forward(sections.to_vec());
        let reach = Reach::default();
        let whole = cover([&old, &new], &[case(&sent)], &reach, &[Direction::Forward]);
        let (one, other) = sent.split_at(sent.len() / 2);
        let parts = [one, other]
            .map(|part| cover([&old, &new], &[case(part)], &reach, &[Direction::Forward]));
        assert!(
            parts
                .iter()
                .all(|part| part.counts.sent < whole.counts.sent)
        );
        assert_eq!(join(&parts), Some(whole));
        assert_eq!(join(&[]), None);
    }

    #[test]
    fn each_direction_counts_what_was_sent_in_it() {
        let ([old, new], sent) = virt();
        let case = passed_forward(sent);
        let both = Direction::BOTH;
        let coverage = cover([&old, &new], &[case], &Reach::default(), &both);
        let sent: Vec<usize> = coverage.directions.iter().map(|of| of.sent).collect();
        assert_eq!(sent, [coverage.counts.sent, 0]);
        assert_eq!(coverage.counts.percent, 100);
        assert!(coverage.lowest() == 0, "nothing was tried backward");
        assert_eq!(join([&coverage]), Some(coverage));
    }
}
