//! The devices that there were to try on each machine, over all shards.

use crate::report::Swept;
use crate::report::read::Input;
use crate::sweep::merge::MergeError;
use crate::sweep::merge::same_run::Reports;

/// Joins what there was to try on each machine. Shards look at the same machine and find the same devices,
/// of which each moves its own: those add up, as do the guests. Shards run side by side, so that the
/// time is that of the slowest one.
pub(super) fn join_swept(shards: &[Input]) -> Result<Vec<Swept>, MergeError> {
    let mut all: Vec<(&Input, Swept)> = Vec::new();
    for input in shards {
        for swept in &input.report.swept {
            let is_same = |known: &Swept| {
                (&known.architecture, &known.machine) == (&swept.architecture, &swept.machine)
            };
            match all.iter_mut().find(|(_, known)| is_same(known)) {
                None => all.push((input, swept.clone())),
                Some((first, known)) => {
                    let reports = Reports {
                        one: first,
                        other: input,
                    };
                    verify_same_devices(reports, known, swept)?;
                    add(known, swept);
                }
            }
        }
    }
    Ok(all.into_iter().map(|(_, swept)| swept).collect())
}

/// Verifies that two shards found the same devices.
fn verify_same_devices(reports: Reports<'_>, one: &Swept, other: &Swept) -> Result<(), MergeError> {
    let counts = |swept: &Swept| {
        [
            ("the number of device types in both builds", swept.shared),
            ("the number of CPU models", swept.cpu_models),
            (
                "the number of device types in the old build alone",
                swept.only_old.len(),
            ),
            (
                "the number of device types in the new build alone",
                swept.only_new.len(),
            ),
        ]
    };
    for ((what, one), (_, other)) in counts(one).into_iter().zip(counts(other)) {
        reports.agree_on(what, [&one, &other], usize::to_string)?;
    }
    Ok(())
}

fn add(known: &mut Swept, swept: &Swept) {
    known.cpu_models_compared += swept.cpu_models_compared;
    known.exercised += swept.exercised;
    known.by_fall_back += swept.by_fall_back;
    known.fall_back.extend_from_slice(&swept.fall_back);
    known.fall_back.sort();
    known.guests += swept.guests;
    known.elapsed_ms = known.elapsed_ms.max(swept.elapsed_ms);
    for left in &swept.left_out {
        let mut all = known.left_out.iter();
        if !all.any(|known| known.device == left.device) {
            known.left_out.push(left.clone());
        }
    }
    known.left_out.sort_by(|a, b| a.device.cmp(&b.device));
}
