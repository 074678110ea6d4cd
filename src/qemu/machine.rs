//! Machine types: the one that both builds know, and its needs.

mod map;
mod missing;
mod pick;
mod resolve;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::model::Version;
pub use crate::model::machine_sides as sides;

pub(crate) use map::{ConfigSpace, Map, MmioMap, PciMap, Range};
pub use missing::NoCommonMachine;
pub(crate) use resolve::resolve_side;
pub use resolve::{resolve, resolve_one, versioned};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    architecture: Vec<Architecture>,
    machine: Vec<Profile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Architecture {
    targets: Vec<String>,
    packages: Vec<String>,
    /// Other names of a target, by the target.
    #[serde(default)]
    names: BTreeMap<String, Vec<String>>,
    /// Set if the boot code on PCI cards is for these targets.
    #[serde(default)]
    boot_code: bool,
}

/// The needs of a family of machine types; a `[[machine]]` of `device-sets/machines.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name without a version: `pc-q35`.
    pub family: String,
    /// Other names people use for the family.
    #[serde(default)]
    pub names: Vec<String>,
    /// The target it belongs to.
    pub architecture: String,
    /// Set if the family's name means this target unless another is given.
    #[serde(default)]
    pub default: bool,
    /// Targets of which it is the machine that people mostly run.
    #[serde(default)]
    pub usual: Vec<String>,
    /// Memory without which it does not start, in MiB.
    #[serde(default, rename = "memory")]
    pub memory_mib: u32,
    /// Bytes of zeroes it needs as firmware.
    pub blank_rom: Option<u64>,
    /// Bytes of each of its two banks of flash, where an image has to have just as many.
    pub flash_bank: Option<u64>,
    /// Its map, where a driver from outside can reach its devices.
    pub(crate) map: Option<Map>,
    #[serde(default)]
    option: Vec<ProfileOption>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileOption {
    args: Vec<String>,
    since: Option<Version>,
    /// The targets that need it; none are all.
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    start_only: bool,
}

impl Profile {
    /// Arguments for a dump. The version does not matter: an option that some QEMU lacks is for
    /// starts only.
    pub fn dump_args(&self) -> impl Iterator<Item = &str> {
        let always = |option: &&ProfileOption| !option.start_only && option.since.is_none();
        args(self.option.iter().filter(always))
    }

    /// Arguments to start a machine with, on a QEMU of this version for this target.
    pub fn start_args<'p>(
        &'p self,
        version: Version,
        target: &str,
        cpu: ProfileCpu,
    ) -> impl Iterator<Item = &'p str> {
        let known = move |option: &&ProfileOption| {
            let is_of_target =
                option.targets.is_empty() || option.targets.iter().any(|name| name == target);
            is_of_target && option.since.is_none_or(|since| since <= version)
        };
        let chosen = move |option: &&ProfileOption| {
            let is_cpu = option.args.first().is_some_and(|arg| arg == "-cpu");
            cpu == ProfileCpu::Given || !is_cpu
        };
        args(self.option.iter().filter(known).filter(chosen))
    }
}

/// The use of a profile's choice of a CPU model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileCpu {
    /// The machine is started with it.
    Given,
    /// The machine is left with its own default.
    LeftOut,
}

fn args<'a>(options: impl Iterator<Item = &'a ProfileOption>) -> impl Iterator<Item = &'a str> {
    options.flat_map(|option| option.args.iter().map(String::as_str))
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // Not external input: the file is part of the program, and a test reads it.
    let table = include_str!(concat!(env!("OUT_DIR"), "/device-sets/machines.json"));
    serde_json::from_str(table)
        .unwrap_or_else(|error| unreachable!("device-sets/machines.toml: {error}"))
});

/// The Debian packages that may hold the program for a target, the likelier first. `None` if QEMU
/// has no such target.
pub fn packages(target: &str) -> Option<&'static [String]> {
    architecture_of(target).map(|architecture| architecture.packages.as_slice())
}

/// Returns what is wrong with the names of targets, if one of them is none.
pub(crate) fn no_target<'t>(targets: impl IntoIterator<Item = &'t String>) -> Option<String> {
    let mut targets = targets.into_iter();
    let unknown = targets.find(|target| architecture_of(target).is_none())?;
    Some(format!("there is no target `{unknown}`"))
}

/// Tells whether the boot code on PCI cards is for a target: it is for x86, and often not installed with others.
pub(crate) fn runs_boot_code(target: &str) -> bool {
    architecture_of(target).is_some_and(|architecture| architecture.boot_code)
}

fn architecture_of(target: &str) -> Option<&'static Architecture> {
    let mut all = TABLE.architecture.iter();
    all.find(|architecture| architecture.targets.iter().any(|name| name == target))
}

/// Returns the target of QEMU that others call by a name: `ppc64` for Debian's `ppc64el`.
pub(crate) fn target_called(name: &str) -> Option<&'static str> {
    let mut named = TABLE.architecture.iter().flat_map(|of| &of.names);
    let called = named.find(|(_, names)| names.iter().any(|other| other == name));
    called.map(|(target, _)| target.as_str())
}

/// Returns all targets of QEMU.
pub(crate) fn targets() -> impl Iterator<Item = &'static str> {
    let all = TABLE.architecture.iter().flat_map(|of| &of.targets);
    all.map(String::as_str)
}

/// The target that a machine's name means unless another is given: `x86_64` for `pc-q35-7.2`.
pub fn default_architecture(machine: &str) -> Option<&'static str> {
    named(machine)
        .find(|profile| profile.default)
        .map(|profile| profile.architecture.as_str())
}

/// The targets that have a usual machine, and that machine's family, in the order of the table.
pub fn usual() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.machine.iter().flat_map(|profile| {
        let targets = profile.usual.iter().map(String::as_str);
        targets.map(|target| (target, profile.family.as_str()))
    })
}

/// Returns the usual families of a target, in the order of the table.
pub fn usual_of(target: &str) -> impl Iterator<Item = &'static str> {
    usual()
        .filter(move |(known, _)| *known == target)
        .map(|(_, family)| family)
}

/// The architecture when neither the machine type nor the user names one.
pub const USUAL_ARCHITECTURE: &str = "x86_64";

/// Returns the architecture that is meant: as requested, else as the machine type implies, else the
/// usual one.
pub fn architecture<'a>(asked: Option<&'a str>, machine: Option<&str>) -> &'a str {
    let implied = |machine: &str| {
        let (name, _) = sides(machine);
        // Options are no part of it, and are answered for by who takes none.
        default_architecture(name.split(',').next().unwrap_or(name))
    };
    asked
        .or_else(|| machine.and_then(implied))
        .unwrap_or(USUAL_ARCHITECTURE)
}

/// Returns the architectures that have a machine type of a name, in the order of the table.
pub(crate) fn architectures(machine: &str) -> impl Iterator<Item = &'static str> {
    named(machine).map(|profile| profile.architecture.as_str())
}

/// Returns what a machine needs. Without a target only a name that no two targets share has an
/// answer.
pub fn profile(machine: &str, target: Option<&str>) -> Option<&'static Profile> {
    let mut found = named(machine)
        .filter(|profile| target.is_none_or(|target| serves(target, &profile.architecture)));
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

/// A target that is a superset of another has its machines too.
fn serves(target: &str, architecture: &str) -> bool {
    target == architecture
        || matches!(
            (target, architecture),
            ("i386", "x86_64") | ("arm", "aarch64") | ("ppc", "ppc64") | ("riscv32", "riscv64")
        )
}

/// Returns the targets that have the machines of another one with processors of longer or shorter words.
pub(crate) fn of_other_words(target: &str) -> impl Iterator<Item = &'static str> {
    let is_related = |other: &&str| serves(target, other) || serves(other, target);
    targets().filter(move |other| *other != target && is_related(other))
}

fn named(machine: &str) -> impl Iterator<Item = &'static Profile> {
    let family = family(machine);
    let is_named = |profile: &&Profile| {
        profile.family == family || profile.names.iter().any(|name| name == family)
    };
    let known = TABLE.machine.iter().find(is_named);
    let family = known.map(|profile| profile.family.as_str());
    let family = family.or_else(|| plain_family(machine));
    TABLE
        .machine
        .iter()
        .filter(move |profile| Some(&*profile.family) == family)
}

/// Returns the family of which a name's own is a variant, if it is one.
fn plain_family(machine: &str) -> Option<&'static str> {
    let family = family(machine);
    let mut plain = TABLE.machine.iter().map(|profile| &*profile.family);
    plain.find(|plain| is_variant(family, plain))
}

/// Tells whether a name is a distribution's own variant of a family, `pc-q35-noble` or `pc-q35-rhel` of `pc-q35`, or one
/// of its generations, `powernv10` of `powernv`.
fn is_variant(name: &str, family: &str) -> bool {
    let Some(rest) = name.strip_prefix(family) else {
        return false;
    };
    let vendor = rest.strip_prefix('-').unwrap_or_default();
    rest.starts_with(|c: char| c.is_ascii_digit())
        || vendor.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The machine types of two builds: one, or two that a user pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    pub old: String,
    pub new: String,
}

impl Machines {
    /// One machine type in both builds.
    pub fn same(machine: impl Into<String>) -> Machines {
        let machine = machine.into();
        Machines {
            old: machine.clone(),
            new: machine,
        }
    }

    /// Tells whether the types have two names.
    pub fn are_paired(&self) -> bool {
        self.old != self.new
    }
}

impl fmt::Display for Machines {
    /// Writes them as a user names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.are_paired() {
            true => write!(f, "{}={}", self.old, self.new),
            false => f.write_str(&self.old),
        }
    }
}

/// The family and the version of a machine type. Versions have a point, so that the number in
/// `powernv10` or `raspi3b` is none. What a vendor writes before the version belongs to the family
/// (`pc-q35-rhel9.4.0`), and so does what follows it (`pseries-2.12-sxxm`): such types vary within
/// a version and are not the family's plain ones.
fn split(name: &str) -> Option<(&str, Vec<u32>)> {
    let (front, last) = name.rsplit_once('-')?;
    let digits = last.find(|c: char| c.is_ascii_digit())?;
    let (vendor, number) = last.split_at(digits);
    if !vendor.chars().all(|c| c.is_ascii_alphabetic()) || !number.contains('.') {
        return None;
    }
    let version = number
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<u32>>>()?;
    let family = if vendor.is_empty() {
        front
    } else {
        &name[..front.len() + 1 + vendor.len()]
    };
    Some((family, version))
}

/// The family of a versioned machine type (`pc-q35` of `pc-q35-7.2`); any other name is its own.
pub fn family(machine: &str) -> &str {
    split(machine).map_or(machine, |(family, _)| family)
}

/// Tells whether a machine type is one of several of a family, each of which stays as it is: it has a version, or what a
/// distribution has in its place (`pc-q35-noble`, `pseries-2.12-sxxm`). Any other is what each build makes of it. Of two that are
/// paired both have to be.
pub fn is_one_of_family(machine: &str) -> bool {
    let (machine, other) = sides(machine);
    if !other.is_none_or(is_one_of_family) {
        return false;
    }
    let rest = |profile: &Profile| machine.strip_prefix(profile.family.as_str());
    let is_of = |profile: &Profile| rest(profile).is_some_and(|rest| rest.starts_with('-'));
    split(machine).is_some() || TABLE.machine.iter().any(is_of)
}

/// The families a name may mean by the table, and itself.
fn families(wanted: &str) -> impl Iterator<Item = &str> {
    let of_table = TABLE
        .machine
        .iter()
        .filter(move |profile| profile.names.iter().any(|name| name == wanted))
        .map(|profile| profile.family.as_str());
    of_table.chain([wanted])
}

/// The names by which a build may call the newest type of a family: `q35` for `pc-q35`, and itself.
fn aliases(family: &str) -> impl Iterator<Item = &str> {
    let named = TABLE.machine.iter().filter(move |p| p.family == family);
    let names = named.flat_map(|profile| &profile.names).map(String::as_str);
    std::iter::once(family).chain(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Side;
    use crate::qemu::{BuildInfo, MachineType};

    /// A build with these machine types; behind `=`, the name that a type is also known by.
    fn build(version: Version, machines: &str) -> BuildInfo {
        let machine = |words: &str| {
            let (name, alias) = words.split_once('=').unzip();
            MachineType {
                name: name.unwrap_or(words).to_owned(),
                alias: alias.map(str::to_owned),
                ..MachineType::default()
            }
        };
        BuildInfo {
            version,
            package: String::new(),
            target: "x86_64".to_owned(),
            machines: machines.split_whitespace().map(machine).collect(),
            lacks_tcg: false,
            program: None,
        }
    }

    fn says(text: &str, part: &str) {
        assert!(text.contains(part), "{text}");
    }

    fn old() -> BuildInfo {
        build(
            Version::new(9, 2, 0),
            "pc-q35-4.0.1 pc-q35-4.2 pc-q35-9.0 pc-q35-9.2=q35 pc-i440fx-9.2=pc powernv9=powernv pseries-2.12-sxxm virt \
             isapc none",
        )
    }

    fn new() -> BuildInfo {
        build(
            Version::new(11, 1, 0),
            "pc-q35-11.1=q35 pc-q35-10.0 pc-q35-9.2 pc-q35-9.0 pc-q35-4.0.1 pc-i440fx-11.1=pc pc-i440fx-9.2 \
             powernv10=powernv powernv9 pseries-2.12-sxxm virt none",
        )
    }

    #[test]
    fn a_name_means_the_newest_type_that_both_list() {
        let (old, new) = (old(), new());
        for (wanted, machine) in [
            ("pc-q35-9.0", "pc-q35-9.0"),
            ("q35", "pc-q35-9.2"),
            ("pc-q35", "pc-q35-9.2"),
            ("pc", "pc-i440fx-9.2"),
            ("i440fx", "pc-i440fx-9.2"),
            ("pc-i440fx", "pc-i440fx-9.2"),
            ("powernv", "powernv9"),
            ("virt", "virt"),
            ("none", "none"),
        ] {
            let found = resolve(wanted, &old, &new);
            assert_eq!(found.as_deref(), Ok(machine), "{wanted}");
        }
        for (wanted, machine) in [("q35", "pc-q35-11.1"), ("pc-q35", "pc-q35-11.1")] {
            assert_eq!(resolve_one(wanted, &new).as_deref(), Ok(machine));
        }
    }

    #[test]
    fn a_distribution_has_families_of_its_own() {
        let (old, new) = (old(), new());
        let rhel = |newest| {
            let types = format!("pc-q35-rhel9.2.0 pc-q35-9.2 {newest}=q35");
            build(Version::new(9, 2, 0), &types)
        };
        let (rhel_old, rhel_new) = (rhel("pc-q35-rhel9.4.0"), rhel("pc-q35-rhel9.10.0"));
        let noble = "pc-q35-noble=q35 pc-q35-8.2 pc-q35-9.2";
        let noble = build(Version::new(8, 2, 2), noble);
        let noble_alone = build(Version::new(8, 2, 2), "pc-q35-noble=q35 pc-q35-jammy");
        for (wanted, old, new, machine) in [
            ("q35", &rhel_old, &rhel_new, Some("pc-q35-rhel9.2.0")),
            (
                "pc-q35-rhel",
                &rhel_new,
                &rhel_new,
                Some("pc-q35-rhel9.10.0"),
            ),
            ("pc-q35", &rhel_old, &rhel_new, Some("pc-q35-9.2")),
            ("q35", &noble, &noble, Some("pc-q35-noble")),
            ("pc-q35-noble", &noble, &noble, Some("pc-q35-noble")),
            // By what the builds themselves have in the place of the plain family.
            ("pc-q35", &noble_alone, &noble_alone, Some("pc-q35-noble")),
            // No other build has it.
            ("q35", &noble, &new, Some("pc-q35-9.2")),
            ("q35", &old, &noble, Some("pc-q35-9.2")),
            ("pc-q35-noble", &old, &noble, None),
        ] {
            let found = resolve(wanted, old, new).ok();
            assert_eq!(found.as_deref(), machine, "{wanted}");
        }
        assert_eq!(
            versioned(&noble, &noble),
            ["pc-q35-noble", "pc-q35-8.2", "pc-q35-9.2"]
        );
        assert_eq!(versioned(&noble, &rhel_old), ["pc-q35-9.2"]);
        for (machine, target) in [
            ("virt-rhel9.4.0", Some("aarch64")),
            ("s390-ccw-virtio-noble", Some("s390x")),
            ("pseries-jammy-sxxm", Some("ppc64")),
            ("pc-i440fx-noble", Some("x86_64")),
            ("pc-q35-rhel9.4.0", Some("x86_64")),
            // A variant of QEMU's own.
            ("pseries-2.12-sxxm", None),
            ("powernvx-9", None),
            // One of its generations.
            ("powernv10-rainier", Some("ppc64")),
        ] {
            assert_eq!(default_architecture(machine), target, "{machine}");
        }
        let of_vendor = profile("virt-rhel9.4.0", Some("riscv64")).unwrap();
        assert_eq!(of_vendor.architecture, "riscv64");
    }

    #[test]
    fn two_names_are_paired_and_options_are_none() {
        let both = sides("pc-q35-9.0=pc-q35-noble");
        assert_eq!(both, ("pc-q35-9.0", Some("pc-q35-noble")));
        assert_eq!(sides("pc-q35-9.0"), ("pc-q35-9.0", None));
        assert_eq!(sides("pc-q35-9.0,smm=off"), ("pc-q35-9.0,smm=off", None));
        let of = |machine| architecture(None, Some(machine));
        assert_eq!(of("virt-9.0=virt-rhel9.4.0"), "aarch64");
        assert_eq!(of("pseries-7.2,ic-mode=xive"), "ppc64");
        assert_eq!(Machines::same("virt").to_string(), "virt");
    }

    #[test]
    fn what_is_missing_is_reported_with_what_comes_closest() {
        let (old, new) = (old(), new());
        let message = |wanted| resolve(wanted, &old, &new).unwrap_err().to_string();
        let has = message("pc-q35-4.2");
        says(
            &has,
            "the new build (11.1.0) has no machine type pc-q35-4.2",
        );
        says(&has, "that both have is pc-q35-9.2");
        let has = message("pc-q35-10.0");
        says(&has, "the old build (9.2.0) has no");
        let has = message("pc-q35-9.22");
        says(&has, "have in common no machine type pc-q35-9.22");
        let has = message("isapc");
        says(&has, "the new build (11.1.0) has no machine type isapc");
        // As loongarch64's `virt`, which became versioned.
        let later = build(Version::new(11, 1, 0), "virt-11.1=virt");
        let has = resolve("virt", &old, &later).unwrap_err().to_string();
        assert_eq!(
            has,
            "the new build (11.1.0) has no machine type virt: there virt is short for virt-11.1, in the other build it \
             is a type of its own, and QEMU takes no guest of another machine type; without -M, `static` compares the \
             dumps alone"
        );
        // Types of a distribution's own, and of its next release.
        let rhel = |newest| build(Version::new(9, 2, 0), newest);
        let (el9, el10) = (rhel("pc-q35-rhel9.6.0=q35"), rhel("pc-q35-el10.0.0=q35"));
        let has = resolve("q35", &el9, &el10).unwrap_err().to_string();
        assert_eq!(
            has,
            "the two builds have in common no machine type q35, which is short for pc-q35-rhel9.6.0 in the old one and \
             for pc-q35-el10.0.0 in the new one; `-M pc-q35-rhel9.6.0=pc-q35-el10.0.0` pairs them"
        );
        assert_eq!(resolve("pc-q53", &old, &new).unwrap_err().near, ["pc-q35"]);
        assert_eq!(resolve("qq35", &old, &new).unwrap_err().near, ["q35"]);
        let has = resolve_one("vitr", &old).unwrap_err().to_string();
        assert_eq!(
            has,
            "the build (9.2.0) has no machine type vitr; it has virt"
        );
        let has = resolve_one("pc-q35-rhel9.4.0", &old)
            .unwrap_err()
            .to_string();
        assert_eq!(
            has,
            "the build (9.2.0) has no machine type pc-q35-rhel9.4.0; it has pc-q35"
        );
        let has = resolve_side("vitr", Side::New, &old);
        let has = has.unwrap_err().to_string();
        assert_eq!(
            has,
            "the new build (9.2.0) has no machine type vitr; it has virt"
        );
        let has = resolve_one("zzz", &old).unwrap_err().to_string();
        let known = "it has pc-i440fx, pc-q35, isapc, none, powernv9, pseries-2.12-sxxm, virt";
        let no = "the build (9.2.0) has no machine type zzz";
        let others = "these are for x86_64, and --arch names another architecture";
        assert_eq!(has, format!("{no}; {known}; {others}"));
    }

    #[test]
    fn a_version_that_a_family_never_had_is_misspelt() {
        let (old, new) = (old(), new());
        let error = |wanted| resolve(wanted, &old, &new).unwrap_err();
        // The name, and the nearest of those that both have; `None` where it may be a version to come, or one
        // that was dropped.
        for (wanted, nearest) in [
            ("pc-q35-9.1", Some("pc-q35-9.2")),
            ("pc-q35-4.3", Some("pc-q35-4.0.1")),
            ("pc-i440fx-10.5", Some("pc-i440fx-9.2")),
            ("pc-q35-99.0", None),
            ("pc-q35-2.4", None),
        ] {
            let error = error(wanted);
            assert_eq!(error.is_unknown(), nearest.is_some(), "{wanted}");
            if let Some(nearest) = nearest {
                assert_eq!(error.nearest.as_deref(), Some(nearest));
                assert!(error.to_string().contains(nearest), "{error}");
            }
        }
        // One build alone is asked for a dump.
        assert!(resolve_one("pc-q35-9.1", &new).unwrap_err().is_unknown());
        assert!(!resolve_one("pc-q35-11.2", &new).unwrap_err().is_unknown());
        // Another build has it.
        assert!(!error("pc-q35-4.2").is_unknown());
        assert!(!error("pc-q35-10.0").is_unknown());
        // The test of another name.
        assert!(!error("isapc").is_unknown());
    }

    #[test]
    fn options_behind_a_machine_type_are_sent_elsewhere() {
        let (old, new) = (old(), new());
        for wanted in [
            "pc-q35-9.0,smm=off",
            "q35,smm=off",
            "pseries-2.12-sxxm,smm=off",
        ] {
            let error = resolve(wanted, &old, &new).unwrap_err();
            let has = error.to_string();
            assert!(error.is_unknown(), "{wanted}");
            assert!(
                has.starts_with(&format!("{wanted}: the machine type is given alone")),
                "{has}"
            );
            says(&has, r#"`backend = ["-machine", "smm=off"]`"#);
        }
        let has = resolve_one("nosuch,smm=off", &old).unwrap_err().to_string();
        says(&has, "no machine type nosuch,smm=off");
    }

    #[test]
    fn names_are_split_where_the_version_begins() {
        for (name, parts) in [
            ("pc-q35-10.0", Some(("pc-q35", vec![10, 0]))),
            ("pc-q35-4.0.1", Some(("pc-q35", vec![4, 0, 1]))),
            ("s390-ccw-virtio-5.2", Some(("s390-ccw-virtio", vec![5, 2]))),
            ("pc-q35-rhel9.4.0", Some(("pc-q35-rhel", vec![9, 4, 0]))),
            ("pseries-2.12-sxxm", None),
            ("powernv10", None),
            ("mps2-an385", None),
            ("raspi3b", None),
            ("virt", None),
            ("x-1.", None),
            ("", None),
        ] {
            assert_eq!(split(name), parts, "{name}");
        }
    }

    #[test]
    fn a_generation_and_a_variant_of_a_vendor_need_what_their_family_does() {
        for (machine, family) in [
            ("powernv9", Some("powernv")),
            ("powernv10", Some("powernv")),
            ("powernv10-rainier", Some("powernv")),
            ("pc-q35-noble", Some("pc-q35")),
            ("powernvx", None),
            ("q800x", None),
        ] {
            let found = profile(machine, None).map(|profile| &*profile.family);
            assert_eq!(found, family, "{machine}");
        }
    }

    #[test]
    fn a_type_of_a_distribution_stays_as_it_is_like_a_version() {
        for (machine, stays) in [
            ("pc-q35-9.2", true),
            ("pc-q35-rhel9.6.0", true),
            ("pc-q35-noble", true),
            ("pc-i440fx-noble-v2", true),
            ("virt-noble", true),
            ("pseries-2.12-sxxm", true),
            ("virt", false),
            ("microvm", false),
            ("powernv10", false),
            ("powernv10-rainier", false),
            ("mps2-an385", false),
            ("pc-q35-8.2=pc-q35-noble", true),
            ("virt=virt-9.0", false),
            ("virt-9.0=virt", false),
        ] {
            assert_eq!(is_one_of_family(machine), stays, "{machine}");
        }
    }

    #[test]
    fn the_shipped_table_answers() {
        for (machine, target) in [
            ("q35", Some("x86_64")),
            ("pc-q35-7.2", Some("x86_64")),
            ("pc", Some("x86_64")),
            ("pc-i440fx-7.2", Some("x86_64")),
            ("pseries-7.2", Some("ppc64")),
            ("s390-ccw-virtio-7.2", Some("s390x")),
            ("virt", Some("aarch64")),
            ("virt-7.2", Some("aarch64")),
            ("q800", Some("m68k")),
            ("no-such", None),
        ] {
            assert_eq!(default_architecture(machine), target, "{machine}");
        }
        assert_eq!(packages("i386").map(<[String]>::len), Some(1));
        assert_eq!(packages("s390x").map(<[String]>::len), Some(2));
        assert_eq!(packages("vax"), None);
        for (target, runs) in [
            ("x86_64", true),
            ("i386", true),
            ("ppc", false),
            ("vax", false),
        ] {
            assert_eq!(runs_boot_code(target), runs, "{target}");
        }

        let q800 = profile("q800", None).unwrap();
        assert_eq!(q800.blank_rom, Some(1 << 20));
        assert_eq!(q800.dump_args().count(), 0);
        let args = |version| q800.start_args(version, "m68k", ProfileCpu::Given).count();
        assert_eq!(args(Version::new(7, 2, 0)), 0);
        assert_eq!(args(Version::new(8, 2, 0)), 4);
        // Several targets have a virt.
        assert!(profile("virt", None).is_none());
        let virt = profile("virt-9.0", Some("riscv64")).unwrap();
        assert_eq!(virt.architecture, "riscv64");
        for (target, names) in TABLE.architecture.iter().flat_map(|of| &of.names) {
            assert!(packages(target).is_some(), "{target}");
            for name in names {
                assert_eq!(packages(name), None, "{name} is QEMU's own");
                assert_eq!(target_called(name), Some(target.as_str()));
            }
        }
        for profile in &TABLE.machine {
            let of = packages(&profile.architecture);
            assert!(of.is_some(), "{}", profile.family);
        }
    }
}
