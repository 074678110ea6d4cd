//! The evidence of guests that settle a question beside those that were asked for.

use crate::migration::coverage::Observed;
use crate::report::{Case, Described, Finding, Notice};

/// Cases, the streams in them, and what they show.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub findings: Vec<Finding>,
    pub cases: Vec<Case>,
    pub observed: Vec<Observed>,
    pub described: Option<Described>,
    pub notices: Vec<Notice>,
}
