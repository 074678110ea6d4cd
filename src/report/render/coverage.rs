//! Coverage for people: one line, and with `verbose` what is missing and why.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::report::{Coverage, Reached};

/// Writes the coverage as one line, and with `verbose` what is missing and why.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn write(coverage: &Coverage, verbose: bool, out: &mut dyn Write) -> io::Result<()> {
    let counts = coverage.counts;
    if verbose {
        lists(coverage, out)?;
    }
    write!(
        out,
        "coverage: {} of {} sections ({}%), {} of {} subsections sent; {} compared statically only; \
         {} could not be created",
        counts.sent,
        counts.sections,
        counts.percent,
        counts.subsections_sent,
        counts.subsections,
        counts.compared,
        counts.not_created,
    )?;
    if counts.elsewhere > 0 {
        write!(
            out,
            "; {} that no guest of this machine sends",
            counts.elsewhere
        )?;
    }
    // Where each way was as good as the other, one number says it.
    let mut percents = coverage.directions.iter().map(|of| of.percent);
    let first = percents.next();
    if percents.any(|percent| Some(percent) != first) {
        for of in &coverage.directions {
            write!(out, "; {} {}%", of.direction, of.percent)?;
        }
    }
    writeln!(out)?;
    if counts.conditional_fields > 0 {
        writeln!(
            out,
            "state: {} of {} fields sent that depend on a condition",
            counts.conditional_fields_sent, counts.conditional_fields
        )?;
    }
    for shortfall in coverage.shortfalls(coverage.required()) {
        writeln!(out, "{shortfall}")?;
    }
    Ok(())
}

fn lists(coverage: &Coverage, out: &mut dyn Write) -> io::Result<()> {
    let of = |reached: Reached| {
        let sections = coverage.sections.iter().filter(|s| s.possible);
        sections.filter(move |s| s.reached == reached)
    };
    for (title, reached) in [
        ("sent, but in no case that passed", Reached::Sent),
        ("compared statically only", Reached::Compared),
    ] {
        let names: Vec<&str> = of(reached).map(|s| s.section.as_str()).collect();
        if !names.is_empty() {
            writeln!(out, "{title}: {}", names.join(", "))?;
        }
    }
    // One reason holds for many.
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for section in of(Reached::NotCreated) {
        let reason = section.reason.as_deref().unwrap_or("no reason is known");
        reasons.entry(reason).or_default().push(&section.section);
    }
    for (reason, names) in reasons {
        writeln!(out, "not created, {reason}: {}", names.join(", "))?;
    }
    for section in coverage.sections.iter().filter(|s| s.possible) {
        let silent = section.subsections.iter().filter(|s| !s.sent);
        let silent: Vec<&str> = silent.map(|s| s.name.as_str()).collect();
        if matches!(section.reached, Reached::Passed | Reached::Sent) && !silent.is_empty() {
            writeln!(
                out,
                "subsections of {} not sent: {}",
                section.section,
                silent.join(", ")
            )?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction;
    use crate::report::{CoveredSection, CoveredSubsection, DirectionCoverage};

    fn coverage() -> Coverage {
        let section = |name: &str, possible, reached, reason: Option<&str>| CoveredSection {
            section: name.to_owned(),
            vmsd: name.to_owned(),
            possible,
            reached,
            reason: reason.map(str::to_owned),
            subsections: ["a", "b"]
                .map(|part| CoveredSubsection {
                    name: format!("{name}/{part}"),
                    sent: reached == Reached::Passed && part == "a",
                })
                .into(),
            conditional_fields: Vec::new(),
            sent_in: Vec::new(),
        };
        Coverage::of(vec![
            section("e1000e", true, Reached::Passed, None),
            section("am53c974", true, Reached::Sent, None),
            section("nvme", true, Reached::NotCreated, Some("it cannot migrate")),
            section("hpet", true, Reached::Compared, None),
            section("bcm2835-dma", false, Reached::Compared, None),
        ])
    }

    fn text(coverage: &Coverage, verbose: bool) -> String {
        let mut out = Vec::new();
        write(coverage, verbose, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_says_how_much_and_more_say_what_is_missing() {
        let line = "coverage: 2 of 4 sections (50%), 1 of 8 subsections sent; \
                    1 compared statically only; 1 could not be created; 1 that no guest of this machine sends\n";
        assert_eq!(text(&coverage(), false), line);
        let verbose = text(&coverage(), true);
        assert!(verbose.ends_with(line), "{verbose}");
        for wanted in [
            "sent, but in no case that passed: am53c974\n",
            "compared statically only: hpet\n",
            "not created, it cannot migrate: nvme\n",
            "subsections of e1000e not sent: e1000e/b\n",
        ] {
            assert!(verbose.contains(wanted), "{wanted}: {verbose}");
        }
        assert!(!verbose.contains("bcm2835"), "{verbose}");
    }

    #[test]
    fn too_little_coverage_is_reported() {
        let asked = |least| Coverage {
            required: Some(least),
            ..coverage()
        };
        let below = "coverage of 50% is below the 51% that --min-coverage asks for\n";
        assert!(text(&asked(51), false).ends_with(below));
        assert!(!text(&asked(50), false).contains("--min-coverage"));
        // The way back counts by itself.
        let mut uneven = asked(50);
        uneven.directions = [(Direction::Forward, 2, 50), (Direction::Backward, 1, 25)]
            .map(|(direction, sent, percent)| DirectionCoverage {
                direction,
                sent,
                percent,
            })
            .into();
        let shown = text(&uneven, false);
        assert!(shown.contains("; forward 50%; backward 25%"), "{shown}");
        assert!(
            shown.ends_with("coverage of 25% is below the 50% that --min-coverage asks for\n"),
            "{shown}"
        );
    }
}
