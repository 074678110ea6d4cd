//! Fields on which a test decides, as the dumps of both builds describe them: no stream shows that they are missing where
//! the test said no.

use crate::compare::layout::{Dumped, Interner, Layout};
use crate::compare::renames::Renames;
use crate::compare::sections;
use crate::compare::sections::{Subject, Wording};
use crate::model::{Direction, Rule};
use crate::report::Finding;
use crate::vmstate::dump::{Dump, Vmsd};

/// Returns the first field of a description on which a test decides and which one build has otherwise than the other, if
/// there is one: with the names that a cause gives the builds.
pub(super) fn first_tested(
    (source, sends): (&Dump, &Vmsd),
    (destination, takes): (&Dump, &Vmsd),
    renames: &dyn Renames,
    direction: Direction,
) -> Option<Finding> {
    let subject = |dump: &Dump, vmsd| Subject {
        type_name: "",
        layout: Layout::Dumped(Dumped {
            vmsd,
            states_lengths: dump.states_array_lengths(),
        }),
    };
    let (source, destination) = (subject(source, sends), subject(destination, takes));
    let (old, new) = direction.source_destination(source, destination);
    let (wording, interner) = (Wording::by_role(direction), &mut Interner::default());
    let found = sections::compare(old, new, None, wording, renames, interner);
    let mut found = found.into_iter();
    found.find(|finding| {
        matches!(
            finding.rule,
            Rule::ConditionalFieldAdded
                | Rule::ConditionalFieldRemoved
                | Rule::ConditionalFieldChanged
                | Rule::ConditionAdded
                | Rule::ConditionRemoved
        )
    })
}
