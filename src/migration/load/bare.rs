//! The machine of a state that nobody has described: a bare one, with the memory that the state has.

use std::collections::BTreeSet;

use crate::guest::Board;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::leg::save::save_new_machine;
use crate::migration::load::architecture::OtherArchitecture;
use crate::migration::load::lack::other_accelerator;
use crate::model::{Accelerator, Rule, SectionName};
use crate::stream::{Section, Stream};
use crate::vmstate::dump::Dump;

/// The reason why a state cannot be loaded into a bare machine.
#[derive(Debug, Clone)]
pub(crate) enum Unfit {
    /// No machine loads a section of it, whatever devices it has.
    Refused {
        section: SectionName,
        instance: u32,
        rule: Rule,
        why: String,
    },
    /// It has sections of devices that a bare machine lacks.
    Devices(BTreeSet<String>),
    /// It has sections that a machine has under another accelerator alone.
    Accelerator(Accelerator),
    /// It is of another architecture, of which the machine type has the same name.
    Architecture(OtherArchitecture),
    /// The machine did not start, or did not save itself; in words.
    NotKnown(String),
}

/// Returns a board with the memory of a state, with or without the devices that QEMU adds by itself, whichever has
/// its sections.
///
/// # Errors
/// Neither has all of them.
pub(crate) async fn bare(config: &MigrationConfig, state: &Stream) -> Result<Board, Unfit> {
    let deadline = config.timeouts.leg;
    let mut missing: Option<BTreeSet<String>> = None;
    let mut unknown = None;
    // A section of which the machine has one with another instance, as of a second processor, is loaded somewhere.
    let mut loaded: BTreeSet<String> = BTreeSet::new();
    let memories = [Some(PROBE_MIB << 20), None];
    let boards = memories
        .into_iter()
        .flat_map(|memory| [false, true].map(|has_defaults| (memory, has_defaults)));
    for (probe, has_defaults) in boards {
        if probe.is_none() && missing.is_some() {
            // The board takes the memory of the probe: it lacks devices, and would whatever memory it has.
            break;
        }
        let launch = LaunchSpec {
            board: Some(board(probe, has_defaults).into()),
            ..config.launch(Vec::new())
        };
        let own = match save_new_machine(&config.new, &launch, deadline).await {
            Ok(own) => own,
            Err(why) => {
                unknown.get_or_insert(why);
                continue;
            }
        };
        let lacks: BTreeSet<String> = state
            .devices()
            .filter(|section| !own.devices().any(|known| known.is_same(section)))
            .map(|section| section.name.to_string())
            .collect();
        if lacks.is_empty() {
            let memory = probe.map(|probe| main_memory(&own, state).unwrap_or(probe));
            return Ok(board(memory, has_defaults));
        }
        let names = own.devices().map(|known| known.name.vmsd_name());
        loaded.extend(names.map(str::to_owned));
        if missing
            .as_ref()
            .is_none_or(|known| lacks.len() < known.len())
        {
            missing = Some(lacks);
        }
    }
    let Some(missing) = missing else {
        return Err(Unfit::NotKnown(unknown.unwrap_or_default()));
    };
    let lacking = |section: &&Section| missing.contains(section.name.as_str());
    let refused = config.new.dump.as_deref().and_then(|dump| {
        let mut sections = state.devices().filter(lacking);
        let program = config.new.info.program.as_ref();
        let is_named = |name: &str| program.and_then(|program| program.names(name)) != Some(false);
        sections.find_map(|section| refused(section, dump, &loaded, is_named))
    });
    let names: Vec<SectionName> = missing.iter().map(|name| SectionName::new(name)).collect();
    let of_another = other_accelerator(config, &names).map(Unfit::Accelerator);
    let unfit = refused.or(of_another);
    Err(unfit.unwrap_or(Unfit::Devices(missing)))
}

/// Memory of the machine that shows which block is the guest's, in MiB. A board that does not take it has one size alone, or
/// few.
const PROBE_MIB: u64 = 32;

/// Returns a board with so much memory in bytes, or with as much as it has by default.
fn board(memory: Option<u64>, has_defaults: bool) -> Board {
    let size = memory.map(|bytes| ["-m".to_owned(), format!("{}k", bytes >> 10)]);
    Board {
        has_defaults,
        args: size.into_iter().flatten().collect(),
        memory: memory.unwrap_or_default(),
        ..Board::default()
    }
}

/// Returns the length that a state has of the block which has all of a machine's memory.
fn main_memory(own: &Stream, state: &Stream) -> Option<u64> {
    let mut blocks = own.ram.blocks.iter();
    let main = blocks.find(|block| block.length == PROBE_MIB << 20)?;
    let mut blocks = state.ram.blocks.iter();
    Some(blocks.find(|block| block.name == main.name)?.length)
}

/// Returns why a build does not load a section in any machine, if it is so. It is known to load some, of whichever version,
/// and its program may name others.
fn refused(
    section: &Section,
    dump: &Dump,
    loaded: &BTreeSet<String>,
    is_named: impl Fn(&str) -> bool,
) -> Option<Unfit> {
    let name = section.name.vmsd_name();
    let known = dump.sections.iter().map(|known| &known.description);
    let known = known.filter(|known| known.name == name).collect::<Vec<_>>();
    let version = i64::from(section.version_id);
    let (rule, why) = match known.as_slice() {
        // What is registered by hand is in no dump, be it described or not.
        [] if loaded.contains(name) => return None,
        [] if !section.content.is_described() => return None,
        // So is what a backend sends, which is at no place of a bus: no machine that was tried has it.
        [] if section.name.device_path().is_none() && is_named(name) => return None,
        [] => (
            Rule::SectionRemoved,
            format!("the build has no device that loads the section {name}"),
        ),
        several => {
            let highest = several.iter().map(|known| known.version_id).max()?;
            let lowest = several.iter().map(|known| known.minimum_version_id).min()?;
            let (rule, limit) = if version > highest {
                (Rule::VersionTooNew, format!("{highest} at most"))
            } else if version < lowest {
                (Rule::VersionTooOld, format!("{lowest} at least"))
            } else {
                return None;
            };
            let why = format!(
                "the state has version {version} of the section {name}, and the build loads {limit}"
            );
            (rule, why)
        }
    };
    Some(Unfit::Refused {
        section: section.name.clone(),
        instance: section.instance_id,
        rule,
        why,
    })
}
