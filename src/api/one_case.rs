//! A run that is about one case alone: what is left of it, and what cannot be tested then.

use crate::api::config::{Builds, Guests};
use crate::api::error::{Error, Problem};
use crate::api::names;
use crate::devices::DeviceSet;
use crate::model::CaseName;
use crate::qemu::{Pair, QemuError};
use crate::report::{Notice, NoticeKind, Policy, Report};

/// Leaves the direction of the case, where there is one, and has it decide alone.
pub(crate) fn narrow(case: Option<&CaseName>, builds: &mut Builds, policy: &mut Policy) {
    if let Some(case) = case {
        builds.directions = vec![case.direction()];
        policy.case = Some(case.clone());
    }
}

/// Leaves the direction of the case, and takes its machine and its architecture where nobody named a machine: its id has
/// all of them. A guest of one's own has its machine.
pub(crate) fn place(
    case: Option<&CaseName>,
    builds: &mut Builds,
    machine: &mut Option<String>,
    guests: &Guests,
    policy: &mut Policy,
) {
    narrow(case, builds, policy);
    if let (Some(case), None, None) = (case, &machine, &guests.own) {
        *machine = Some(case.machine().to_owned());
        let of_case = case.architecture().map(str::to_owned);
        builds.architecture = builds.architecture.take().or(of_case);
    }
}

/// Tells whether the case is of this set, or of devices that are to blame for a failure of it.
pub(crate) fn is_of_set(case: &CaseName, set: &DeviceSet) -> bool {
    match case.subject().strip_prefix(set.name.as_str()) {
        Some(rest) => rest.is_empty() || rest.starts_with(':'),
        None => false,
    }
}

/// Adds a notice if a report has nothing of the case that is to decide, and its device means nothing to any build.
pub(crate) fn look_up<'p>(
    report: &mut Report,
    policy: &Policy,
    pairs: impl IntoIterator<Item = &'p Pair>,
) {
    let Some(case) = policy
        .case
        .as_ref()
        .filter(|case| report.case(case.as_str()).is_none())
    else {
        return;
    };
    let is_set = DeviceSet::all().iter().any(|set| is_of_set(case, set));
    if let (false, Err(unknown)) = (is_set, names::check_case(case, pairs)) {
        let notice = NoticeKind::CaseMissing.about(case.as_str(), unknown);
        report.notices.push(notice);
    }
}

/// Returns a notice if a report has nothing of the case that is to decide, and does not say so yet.
pub(crate) fn missing(report: &Report, policy: &Policy) -> Option<Notice> {
    let case = policy.case.as_ref()?;
    let mut notices = report.notices.iter();
    if report.case(case.as_str()).is_some()
        || notices.any(|notice| notice.kind == NoticeKind::CaseMissing)
    {
        return None;
    }
    let known: Vec<&str> = report.cases.iter().map(|known| &*known.id).collect();
    let detail = match known.as_slice() {
        [] => "no case was run".to_owned(),
        known => format!("these cases were run: {}", known.join(", ")),
    };
    Some(NoticeKind::CaseMissing.about(case.as_str(), detail))
}

/// Returns the error of a run about a case. A build that is not there cannot be tested then: a search through
/// revisions would take wrong usage for a break.
pub(crate) fn error(case: Option<&CaseName>, error: Error) -> Error {
    match error {
        Error::Usage(reason) if case.is_some() && reason.0.is_missing_build() => {
            Error::Untestable(reason)
        }
        error => error,
    }
}

impl Problem {
    /// Tells whether a build that is named is not there.
    pub(crate) fn is_missing_build(&self) -> bool {
        match self {
            Problem::Build(QemuError::Spec(error)) => error.is_missing_file(),
            _ => false,
        }
    }
}
