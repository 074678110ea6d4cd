//! Parts of the guest that was saved which the guest here lacks: what a build refuses for want of them says nothing of it.

use std::fmt;

use crate::guest::{GuestSpec, Lacking, What};
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::leg::save::save_new_machine;
use crate::migration::result::RunResult;
use crate::model::{Accelerator, RAM, Rule, SectionName};
use crate::report::{Cause, Outcome, Treatment};
use crate::stream::Stream;
use crate::vmstate::senders::Senders;
use crate::workload::linux::Network;

/// The guest that was saved, as far as the one here may lack something of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saved {
    /// The parts of its description that the guest here has not as they were given.
    lacks: Vec<Lacking>,
    /// The accelerator that it ran under, where that is known.
    accelerator: Option<Accelerator>,
}

/// A want of the guest here that a load failed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack<'l> {
    /// The section, or the block of memory.
    name: SectionName,
    why: Why<'l>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why<'l> {
    /// It ran under the first of them, and the guest here runs under the other one.
    Accelerators(Accelerator, Accelerator),
    /// These parts of its description may have it; the machine here does not.
    Absent(Vec<&'l Lacking>),
    /// These parts of its description may have it as it was saved.
    Other(Vec<&'l Lacking>),
}

/// Parts of a description that a sentence lists.
const LISTED: usize = 3;

impl fmt::Display for Lack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lack { name, why } = self;
        let parts = match why {
            Why::Accelerators(was, is) => {
                return write!(
                    f,
                    "the guest was saved under {was}, and one under {is} has another {name} or none: load it with \
                     --accel {was}, on a host that can"
                );
            }
            Why::Absent(parts) => {
                write!(f, "the guest here lacks {name}, which was saved")?;
                parts
            }
            Why::Other(parts) => {
                write!(
                    f,
                    "{name} of the guest here is not as it was when it was saved"
                )?;
                parts
            }
        };
        for part in parts.iter().take(LISTED) {
            write!(f, "; {part}")?;
        }
        match parts.len().saturating_sub(LISTED) {
            0 => {}
            more => write!(f, "; and {more} more")?,
        }
        f.write_str("; what --arg adds may make up for it")
    }
}

impl Saved {
    /// Tells what is known of a guest by its description.
    pub(crate) fn of(guest: &GuestSpec) -> Saved {
        Saved {
            lacks: guest.lacks.clone(),
            accelerator: guest.board.accelerator,
        }
    }

    /// Takes note that the guest here has the processor of the one that was saved after all.
    pub(crate) fn has_its_processor(&mut self) {
        self.lacks.retain(|part| part.what != What::Processor);
    }

    /// Tells whether it is a card that a load has failed by on a hub, although it was on a network that takes work off it.
    pub(crate) fn is_of_card(&self, config: &MigrationConfig, run: &RunResult) -> bool {
        failed_by(run).is_some_and(|name| {
            let senders = senders(&name, config);
            self.lacks.iter().any(|part| is_of_card(part, &senders))
        })
    }

    /// Tells whether a load has failed by what another accelerator than the one here has or runs.
    pub(crate) fn is_of_accelerator(&self, config: &MigrationConfig, run: &RunResult) -> bool {
        let is_memory = run.cause.as_ref().is_some_and(is_of_memory);
        let failed_by = failed_by(run).filter(|_| !is_memory);
        failed_by.is_some_and(|name| {
            let otherwise = self.run_otherwise(config, &name);
            is_of_other(&senders(&name, config), config.new.accelerator)
                || matches!(otherwise, Some(Why::Accelerators(..)))
        })
    }

    /// Returns what the guest here lacks, if that is why a build refused the state.
    pub(super) async fn lack<'l>(
        &'l self,
        config: &MigrationConfig,
        launch: &LaunchSpec,
        state: &Stream,
        run: &RunResult,
    ) -> Option<Lack<'l>> {
        let cause = run.cause.as_ref()?;
        let name = blamed(cause)?;
        if run.outcome == Outcome::Lost {
            let why = self.run_otherwise(config, &name)?;
            let mut lost = run.state.diffs.iter().map(|diff| &diff.section);
            let is_alike = lost.all(|section| self.run_otherwise(config, section).is_some());
            return is_alike.then_some(Lack { name, why });
        }
        let own = save_new_machine(&config.new, launch, config.timeouts.leg);
        let own = own.await.ok()?;
        let place = |of: &Stream| is_there(of, cause, &name);
        if !place(state) {
            return None;
        }
        let why = self.why(
            config,
            (cause, &name),
            place(&own),
            is_described(state, &name),
        )?;
        Some(Lack { name, why })
    }

    fn why(
        &self,
        config: &MigrationConfig,
        (cause, name): (&Cause, &SectionName),
        is_here: bool,
        is_described: bool,
    ) -> Option<Why<'_>> {
        let senders = senders(name, config);
        let is_memory = is_of_memory(cause);
        let is = config.new.accelerator;
        let parts = |fits: &dyn Fn(&Lacking) -> bool| self.parts(fits);
        let may_send = |part: &Lacking| match &part.what {
            What::Type(driver) => senders.may_include(driver),
            What::Card(_) | What::Processor | What::Network | What::Anything => false,
        };
        if !is_here {
            if is_of_other(&senders, is) {
                return Some(Why::Accelerators(WITH_DEVICES, is));
            }
            let is_anything = |part: &Lacking| part.what == What::Anything;
            // No device type describes what a backend has, nor what some devices have that handlers alone save.
            let by_hand = |part: &Lacking| !matches!(part.what, What::Card(_) | What::Processor);
            let is_by_hand = !is_memory && !is_described;
            let found = parts(&may_send);
            let found = found.or_else(|| parts(&by_hand).filter(|_| is_by_hand));
            return found.or_else(|| parts(&is_anything)).map(Why::Absent);
        }
        // A build refuses a version whatever else there is.
        if matches!(cause.rule, Some(Rule::VersionTooNew | Rule::VersionTooOld)) {
            return None;
        }
        let otherwise = self.run_otherwise(config, name).filter(|_| !is_memory);
        if otherwise.is_some() {
            return otherwise;
        }
        if cause.rule.is_some() && !is_memory {
            return None;
        }
        let in_part = |part: &Lacking| part.treatment == Treatment::Kept && may_send(part);
        let on_hub = config.network == Network::Hub;
        let is_other = |part: &Lacking| in_part(part) || (on_hub && is_of_card(part, &senders));
        parts(&is_other).map(Why::Other)
    }

    /// Returns why a section is of what another accelerator or another processor runs: that itself or the machine, which no
    /// device sends, or a device that an accelerator has one of its own for.
    fn run_otherwise(&self, config: &MigrationConfig, name: &SectionName) -> Option<Why<'_>> {
        config.new.dump.as_ref()?;
        let senders = senders(name, config);
        let is = config.new.accelerator;
        let is_of = |was: &Accelerator| senders.is_none() || senders.include_one_of(*was);
        match self.accelerator.filter(|was| *was != is) {
            Some(was) => is_of(&was).then_some(Why::Accelerators(was, is)),
            None if senders.is_none() => {
                let processor = self.parts(&|part| part.what == What::Processor);
                processor.map(Why::Other)
            }
            None => None,
        }
    }

    /// Returns the parts of the description that fit, if any does.
    fn parts(&self, fits: &dyn Fn(&Lacking) -> bool) -> Option<Vec<&Lacking>> {
        let parts: Vec<&Lacking> = self.lacks.iter().filter(|part| fits(part)).collect();
        (!parts.is_empty()).then_some(parts)
    }
}

/// The accelerator that has devices of its own.
const WITH_DEVICES: Accelerator = Accelerator::Kvm;

/// Tells whether a section that a machine lacks is a device's of another accelerator than its own.
fn is_of_other(senders: &Senders<'_>, own: Accelerator) -> bool {
    own != WITH_DEVICES && senders.are_of(WITH_DEVICES)
}

/// Returns the accelerator of which one of some sections is that a machine lacks, if it is another than its own.
pub(super) fn other_accelerator<'s>(
    config: &MigrationConfig,
    lacked: impl IntoIterator<Item = &'s SectionName>,
) -> Option<Accelerator> {
    let is_other = |name: &SectionName| is_of_other(&senders(name, config), config.new.accelerator);
    lacked.into_iter().any(is_other).then_some(WITH_DEVICES)
}

fn is_of_card(part: &Lacking, senders: &Senders<'_>) -> bool {
    matches!(&part.what, What::Card(driver) if senders.may_include(driver))
}

fn is_of_memory(cause: &Cause) -> bool {
    cause
        .section
        .as_ref()
        .is_some_and(|section| *section == RAM)
}

/// Returns the section, or the block of memory, that a load has failed by.
fn failed_by(run: &RunResult) -> Option<SectionName> {
    run.failed().then(|| blamed(run.cause.as_ref()?)).flatten()
}

/// Returns the section that a build refused, or the block of memory.
fn blamed(cause: &Cause) -> Option<SectionName> {
    let section = cause.section.as_ref()?;
    match *section == RAM {
        true => cause.field.as_deref().map(SectionName::from),
        false => Some(section.clone()),
    }
}

fn senders<'a>(name: &'a SectionName, config: &'a MigrationConfig) -> Senders<'a> {
    Senders::of(name.vmsd_name(), config.new.dump.as_deref())
}

/// Tells whether a stream has the section or the block of memory that was refused.
fn is_there(stream: &Stream, cause: &Cause, name: &SectionName) -> bool {
    if is_of_memory(cause) {
        return stream.ram.blocks.iter().any(|block| *name == *block.name);
    }
    let is_it = |instance: u32| cause.instance.is_none_or(|of| of == u64::from(instance));
    let mut sections = stream.devices();
    sections.any(|section| section.name == *name && is_it(section.instance_id))
}

/// Tells whether a stream describes the fields of a section.
fn is_described(stream: &Stream, name: &SectionName) -> bool {
    let mut sections = stream.devices().filter(|section| section.name == *name);
    sections.any(|section| section.content.is_described())
}
