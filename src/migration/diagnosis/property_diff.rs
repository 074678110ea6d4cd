//! Comparing how two builds set up the same machine: defaults that changed and that nothing pins, which
//! the dumps do not show and which explain many a failed load.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::{Direction, Rule};
use crate::qemu::machine::{is_one_of_family, sides};
use crate::qemu::object::{Kind, Object, Setting, is_on, same};
use crate::qemu::properties::Snapshot;
use crate::report::{ChangeKey, Evidence, Finding, Shape};
use crate::rules::known_issues::KnownIssues;

/// One and the same machine as both builds set it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    pub old: Snapshot,
    pub new: Snapshot,
}

impl Snapshots {
    /// Leaves the properties of those objects alone that are wanted.
    pub(crate) fn only(mut self, wanted: impl Fn(&[Object]) -> Vec<bool>) -> Snapshots {
        for snapshot in [&mut self.old, &mut self.new] {
            let wanted = wanted(&snapshot.objects);
            let others = snapshot.objects.iter_mut().zip(wanted);
            for (object, _) in others.filter(|(_, wanted)| !wanted) {
                object.properties.clear();
            }
        }
        self
    }

    /// Leaves the devices of which either build has a block of memory of that name, by the place that both have
    /// in common; the machine, where it is of no device.
    pub(crate) fn owners_of(mut self, block: &str) -> Snapshots {
        let name = block.rsplit('/').next().unwrap_or(block);
        let owns = |object: &Object| object.kind == Kind::Device && object.memory.contains(name);
        let places = |snapshot: &Snapshot| -> BTreeSet<(String, usize)> {
            let all = in_turn(snapshot).into_iter();
            let owners = all.filter(|(_, object)| owns(object));
            owners
                .map(|((like, turn), _)| (like.to_owned(), turn))
                .collect()
        };
        let mut owners = places(&self.old);
        owners.extend(places(&self.new));
        if owners.is_empty() {
            owners.insert((MACHINE.to_owned(), 0));
        }
        for snapshot in [&mut self.old, &mut self.new] {
            let of_owners = in_turn(snapshot);
            let of_owners = of_owners
                .into_iter()
                .filter(|((like, turn), _)| owners.contains(&((*like).to_owned(), *turn)));
            snapshot.objects = of_owners.map(|(_, object)| object.clone()).collect();
        }
        self
    }
}

/// A property that is set up differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The QOM type; of a CPU the old one.
    pub type_name: String,
    /// The property, or `cpu` where the machine has another CPU by default.
    pub property: String,
    pub how: How,
    /// The object that is set up differently.
    pub kind: Kind,
    /// Set if the device offers features in the old build that it does not offer in the new one, and the other
    /// way round, by its own word. `None` where a build does not tell.
    pub offered_alone: [Option<bool>; 2],
    /// Set if the device is a card: what it offers is also what its network lets it offer.
    pub is_of_card: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Both builds have the property, with other values.
    Changed { old: Setting, new: Setting },
    /// The new build alone has it, with an effect that the machine type does not undo.
    Added { new: Setting },
    /// The old build alone has it, and its machine type chose another value than the default.
    Removed { old: Setting },
    /// The machine has another CPU by default.
    OtherCpu { old: String, new: String },
    /// The machine has other devices by default: those of the old build alone and those of the new one alone.
    OtherDevices { old: String, new: String },
}

/// The extent of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Values that changed, and features of virtio devices that one build alone has.
    Values,
    /// Includes properties that one build alone has, of which hardly any matters. For the one
    /// device that failed they are worth a look.
    Everything,
}

/// Returns the differences, each once however many devices show it, without those that the lists
/// call unrelated. Devices are compared with their counterparts: the second of a type with the
/// second of that type.
pub fn compare(snapshots: &Snapshots, what: Compared, lists: &KnownIssues) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |difference: Difference| {
        if !is_unrelated(&difference, lists) && !differences.contains(&difference) {
            differences.push(difference);
        }
    };
    let new = in_turn(&snapshots.new);
    for (place, old) in in_turn(&snapshots.old) {
        let Some(new) = new.get(&place) else {
            continue;
        };
        let lost = |from: &Object, to: &Object| {
            let (from, to) = (from.offers.as_ref()?, to.offers.as_ref()?);
            Some(!from.is_subset(to))
        };
        let offered_alone = [lost(old, new), lost(new, old)];
        let is_of_card = [old, new].into_iter().any(is_card);
        if old.kind == Kind::Cpu && old.type_name != new.type_name {
            let types = [old, new].map(|object| object.type_name.clone());
            add(Difference::of_default_cpu(types));
            // Models differ in all that makes them.
            continue;
        }
        let names: BTreeSet<&String> = old.properties.keys().chain(new.properties.keys()).collect();
        for name in names {
            let (old_setting, new_setting) = (old.properties.get(name), new.properties.get(name));
            if let Some(how) = how(old_setting, new_setting, what) {
                let mut offered_alone = offered_alone;
                // A property that is gone says nothing of what the device does now.
                if let (How::Removed { .. }, Some(offers)) = (&how, &new.offers)
                    && !offers.iter().any(|feature| is_feature_of(feature, name))
                {
                    offered_alone[1] = Some(false);
                }
                add(Difference {
                    type_name: old.type_name.clone(),
                    property: name.clone(),
                    how,
                    kind: old.kind,
                    offered_alone,
                    is_of_card,
                });
            }
        }
    }
    differences
}

/// Tells whether a feature such as `VIRTIO_GPU_F_VIRGL` is called like a property: `virgl`.
fn is_feature_of(feature: &str, property: &str) -> bool {
    let (_, feature) = feature.split_once("_F_").unwrap_or(("", feature));
    let property = property.replace('-', "_").to_uppercase();
    feature.ends_with(&property) || property.ends_with(feature)
}

/// The property that connects a card to a network.
const NETWORK: &str = "netdev";

/// Tells whether an object is a card. On a hub, to which those of our guests are connected, it offers none of what its
/// network would have to do for it (`virtio_net_get_features()`).
fn is_card(object: &Object) -> bool {
    object.properties.contains_key(NETWORK)
}

/// The name in the place of a property where the whole CPU is another one.
const CPU: &str = "cpu";
/// The name in the place of a type for the machine, whatever type it is.
const MACHINE: &str = "";

/// Returns the objects by what makes them counterparts: the kind or type, and the position among
/// those.
fn in_turn(snapshot: &Snapshot) -> BTreeMap<(&str, usize), &Object> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for object in &snapshot.objects {
        let like = match object.kind {
            Kind::Machine => MACHINE,
            Kind::Cpu => CPU,
            Kind::CpuModel | Kind::Device => object.type_name.as_str(),
        };
        let turn = seen.entry(like).or_default();
        places.insert((like, *turn), object);
        *turn += 1;
    }
    places
}

fn how(old: Option<&Setting>, new: Option<&Setting>, what: Compared) -> Option<How> {
    match (old, new) {
        (Some(old), Some(new)) => (!same(&old.value, &new.value)).then(|| How::Changed {
            old: old.clone(),
            new: new.clone(),
        }),
        (None, Some(new)) if new.is_feature && new.is_on() => Some(How::Added { new: new.clone() }),
        (Some(old), None) if old.is_feature && old.is_pinned().unwrap_or(old.is_on()) => {
            Some(How::Removed { old: old.clone() })
        }
        _ if what == Compared::Values => None,
        // A property is introduced with the value that changes nothing, or with a new default that
        // the old machine types undo.
        (None, Some(new)) => (!is_idle(&new.value) && new.is_pinned() == Some(false))
            .then(|| How::Added { new: new.clone() }),
        // A property is removed when no machine needs another value than the default any more.
        (Some(old), None) => {
            (old.is_pinned() == Some(true)).then(|| How::Removed { old: old.clone() })
        }
        (None, None) => None,
    }
}

/// Tells whether a value is one by which a new property changes nothing.
fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64().is_some_and(|n| n == 0 || n == -1),
        Value::String(text) => matches!(text.as_str(), "" | "auto" | "off" | "none"),
    }
}

fn is_unrelated(difference: &Difference, lists: &KnownIssues) -> bool {
    let text = |setting: Option<&Setting>| setting.map(|setting| setting.value.to_string());
    let (old, new) = difference.how.settings();
    let (old, new) = (text(old), text(new));
    let Difference {
        type_name,
        property,
        ..
    } = difference;
    let (old, new) = (old.as_deref(), new.as_deref());
    let has_values = old.is_some() || new.is_some();
    has_values && lists.unrelated(type_name, property, old, new).is_some()
}

impl How {
    /// Returns how the builds set the property up; neither does where a whole CPU or the devices are other ones.
    fn settings(&self) -> (Option<&Setting>, Option<&Setting>) {
        match self {
            How::Changed { old, new } => (Some(old), Some(new)),
            How::Added { new } => (None, Some(new)),
            How::Removed { old } => (Some(old), None),
            How::OtherCpu { .. } | How::OtherDevices { .. } => (None, None),
        }
    }
}

impl Difference {
    /// Makes that of a machine which has another CPU by default: types of the old and of the new build.
    pub fn of_default_cpu([old, new]: [String; 2]) -> Difference {
        Difference {
            type_name: old.clone(),
            property: CPU.to_owned(),
            how: How::OtherCpu { old, new },
            kind: Kind::Machine,
            offered_alone: [None; 2],
            is_of_card: false,
        }
    }

    /// Returns the option that turns a switch of the new build alone the other way.
    pub(crate) fn other_way(&self) -> Option<[String; 2]> {
        let How::Added { new } = &self.how else {
            return None;
        };
        let other = match &new.value {
            Value::Bool(on) => !on,
            _ => return None,
        };
        let word = word(&Value::Bool(other));
        let value = format!("{}.{}={word}", self.type_name, self.property);
        Some(["-global".to_owned(), value])
    }

    /// Returns the option that gives the new build the value of the old one, where a value changed and an option can.
    pub(crate) fn as_in_old(&self) -> Option<[String; 2]> {
        let How::Changed { old, .. } = &self.how else {
            return None;
        };
        let (name, value) = (&self.property, word(&old.value));
        match &old.value {
            Value::Bool(_) | Value::Number(_) if self.kind != Kind::Machine => Some([
                "-global".to_owned(),
                format!("{}.{name}={value}", self.type_name),
            ]),
            // A machine has what it is made of as words.
            Value::Bool(_) | Value::Number(_) | Value::String(_)
                if self.kind == Kind::Machine && !value.contains([',', '/']) =>
            {
                Some(["-machine".to_owned(), format!("{name}={value}")])
            }
            _ => None,
        }
    }

    /// Formats it for people; `machine` is the machine type, or one of each build.
    pub fn message(&self, machine: &str) -> String {
        let name = &self.property;
        let [of_old, of_new] = types(machine);
        match &self.how {
            How::OtherCpu { old, new } => {
                format!("{machine} has another CPU by default: {old} in old, {new} in new")
            }
            How::OtherDevices { old, new } => {
                format!("{machine} has other devices by default: {old} in old, {new} in new")
            }
            How::Added { new } => format!(
                "`{name}` is {} in new and unknown to old, and {of_new} does not pin it",
                word(&new.value)
            ),
            How::Removed { old } => format!(
                "old sets `{name}` to {} with {of_old}; new has no such property",
                word(&old.value)
            ),
            How::Changed { old, new } => {
                let (a, b) = (word(&old.value), word(&new.value));
                match (old.is_pinned(), new.is_pinned()) {
                    (Some(false), Some(false)) => format!(
                        "the default of `{name}` changed from {a} to {b} in new, and {of_new} does not pin it"
                    ),
                    (Some(true), Some(false)) => format!(
                        "old sets `{name}` to {a} with {of_old}; new leaves it at its default, {b}"
                    ),
                    (Some(false), Some(true)) => format!(
                        "new sets `{name}` to {b} with {of_new}; old leaves it at its default, {a}"
                    ),
                    _ => format!("with {machine}, `{name}` is {a} in old and {b} in new"),
                }
            }
        }
    }

    /// Returns the direction in which a virtio device or a CPU loses a feature, if the property is one: there the source
    /// offers it and the destination does not.
    ///
    /// A feature is introduced with its property: a build that does not know it yet does not offer
    /// it. A property is removed when no machine type needs another value than the default any
    /// more, and the device then behaves as by that default; a feature of a CPU has none, and is gone.
    pub fn feature_dropped(&self) -> Option<Direction> {
        // If one build lists it as a plain switch, it is one.
        let (old, new) = self.how.settings();
        let mut settings = old.into_iter().chain(new);
        if !settings.all(|setting| setting.is_feature) {
            return None;
        }
        let offered = match (old, new) {
            (Some(old), Some(new)) => [old.is_on(), new.is_on()],
            (None, Some(new)) => [false, new.is_on()],
            (Some(old), None) => [old.is_on(), old.default.as_ref().is_some_and(is_on)],
            (None, None) => return None,
        };
        // A switch that changes nothing of what the device offers is no feature, unless a network of another kind
        // would let it offer more.
        let offers = |alone: Option<bool>| self.is_of_card || alone != Some(false);
        match (offered, self.offered_alone) {
            ([true, false], [alone, _]) if offers(alone) => Some(Direction::Forward),
            ([false, true], [_, alone]) if offers(alone) => Some(Direction::Backward),
            _ => None,
        }
    }

    /// Tells whether the feature that is lost in a direction is none that the device offers on the network that it was
    /// asked on.
    fn takes_another_network(&self, direction: Direction) -> bool {
        let [old, new] = self.offered_alone;
        self.is_of_card && direction.source_destination(old, new).0 == Some(false)
    }

    /// Makes the warning of a feature that is lost: a guest without a driver, or that does not use it, still passes.
    fn dropped_feature(&self, direction: Direction, machine: &str) -> Finding {
        let name = &self.property;
        let (source, destination) = direction.source_destination("old", "new");
        let [of_old, of_new] = types(machine);
        let of_source = direction.source_destination(of_old, of_new).0;
        let lacking = match &self.how {
            How::Changed { .. } | How::OtherCpu { .. } | How::OtherDevices { .. } => {
                format!("{destination} has it off")
            }
            How::Added { .. } => format!("{destination} does not know it"),
            How::Removed { .. } if direction == Direction::Forward => {
                format!("{destination} has no such property any more, and does not offer it")
            }
            How::Removed { .. } => format!("{destination} has it off"),
        };
        let network = match self.takes_another_network(direction) {
            true => " on a network that lets it",
            false => "",
        };
        let (rule, message) = match self.kind {
            Kind::Cpu | Kind::CpuModel => (
                Rule::CpuFeatureDropped,
                format!(
                    "{source} gives the guest `{name}` with {of_source}, and {lacking}: a guest that uses it loses it on its way"
                ),
            ),
            Kind::Device | Kind::Machine => (
                Rule::FeatureDropped,
                format!(
                    "{source} offers `{name}` with {of_source}{network}, and {lacking}: a guest whose driver accepted it \
                     is refused"
                ),
            ),
        };
        Finding {
            rule,
            level: rule.level(),
            message,
            ..self.finding(direction, machine)
        }
    }

    /// Makes a finding of the weakest level: it has caused no failure yet.
    pub(crate) fn finding(&self, direction: Direction, machine: &str) -> Finding {
        let shape = |value: String| Shape {
            value: Some(value),
            ..Shape::default()
        };
        let (old, new) = match &self.how {
            How::OtherCpu { old, new } | How::OtherDevices { old, new } => {
                (Some(old.clone()), Some(new.clone()))
            }
            how @ (How::Changed { .. } | How::Added { .. } | How::Removed { .. }) => {
                let (old, new) = how.settings();
                let word = |setting: &Setting| word(&setting.value);
                (old.map(word), new.map(word))
            }
        };
        // One change of a base class shows in every type that is built on it.
        let change = ChangeKey::Property {
            name: self.property.clone(),
            old: old.clone(),
            new: new.clone(),
            // A board without versions is what each build makes of it.
            is_pinnable: self.kind != Kind::Machine && is_one_of_family(machine),
        };
        Finding {
            path: vec![self.property.clone()],
            message: self.message(machine),
            old: old.map(shape),
            new: new.map(shape),
            ..Finding::about(
                self.type_name.clone(),
                Rule::PropertyDefaultChanged,
                direction,
                Evidence::Properties,
                change,
            )
        }
    }
}

/// Returns the machine types of the old and of the new build that a name means.
fn types(machine: &str) -> [&str; 2] {
    let (old, new) = sides(machine);
    [old, new.unwrap_or(old)]
}

/// Formats a value as `-device` takes it.
fn word(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Makes the findings of a comparison: a note in each direction, or for a feature of a virtio device a warning
/// in the direction in which it is lost.
pub fn findings(
    differences: &[Difference],
    directions: &[Direction],
    machine: &str,
) -> Vec<Finding> {
    differences
        .iter()
        .flat_map(|difference| directions.iter().map(move |&d| (difference, d)))
        .filter_map(
            |(difference, direction)| match difference.feature_dropped() {
                None => Some(difference.finding(direction, machine)),
                Some(dropped) if dropped == direction => {
                    Some(difference.dropped_feature(direction, machine))
                }
                Some(_) => None,
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A machine with one virtio device, which offers these features and has this property, if any.
    fn machine(offers: Value, setting: Value) -> Snapshot {
        let object = json!({
            "path": "/machine/peripheral/dev0/virtio-backend",
            "type_name": "virtio-dev-device", "kind": "device", "is_virtio": true, "offers": offers,
            "properties": if setting.is_null() { json!({}) } else { json!({"f": setting}) }
        });
        let objects = vec![serde_json::from_value(object).expect("an object")];
        Snapshot { objects }
    }

    fn dropped(old: Snapshot, new: Snapshot) -> Option<Direction> {
        let lists = KnownIssues::default();
        let found = compare(&Snapshots { old, new }, Compared::Values, &lists);
        found.first().and_then(Difference::feature_dropped)
    }

    fn feature(value: bool, default: bool) -> Value {
        json!({"value": value, "default": default, "is_feature": true})
    }

    #[test]
    fn a_value_of_the_old_build_is_an_option_of_the_new_one() {
        let setting = |value: Value| -> Setting {
            serde_json::from_value(json!({"value": value})).expect("a setting")
        };
        use Kind::{Device, Machine};
        for (kind, old, new, option) in [
            (Device, json!(true), json!(false), Some("-global t.p=on")),
            (Device, json!(256), json!(128), Some("-global t.p=256")),
            (Device, json!("a"), json!("b"), None),
            (Machine, json!("2"), json!("3"), Some("-machine p=2")),
            (
                Machine,
                json!("none"),
                json!("smmuv3"),
                Some("-machine p=none"),
            ),
            (Machine, json!(false), json!(true), Some("-machine p=off")),
            // A file of one build, and what an option would take for two.
            (Machine, json!("/usr/share/a.fd"), json!(""), None),
            (Machine, json!("a,b"), json!(""), None),
        ] {
            let difference = Difference {
                type_name: "t".to_owned(),
                property: "p".to_owned(),
                how: How::Changed {
                    old: setting(old),
                    new: setting(new),
                },
                kind,
                offered_alone: [None; 2],
                is_of_card: false,
            };
            let found = difference.as_in_old().map(|words| words.join(" "));
            assert_eq!(found.as_deref(), option);
        }
    }

    #[test]
    fn a_feature_is_called_like_its_property() {
        for (feature, property, is_its) in [
            ("VIRTIO_GPU_F_VIRGL", "virgl", true),
            ("VIRTIO_F_RING_PACKED", "packed", true),
            ("VIRTIO_BLK_F_CONFIG_WCE", "config-wce", true),
            ("VIRTIO_NET_F_MQ", "virgl", false),
            ("bit 30", "virgl", false),
        ] {
            assert_eq!(is_feature_of(feature, property), is_its, "{feature}");
        }
    }

    #[test]
    fn a_switch_of_a_device_that_offers_the_same_is_no_feature() {
        for (old, new, lost) in [
            (json!(["MQ"]), json!(["MQ"]), None),
            (json!(["MQ"]), json!(["MQ", "FLUSH"]), None),
            (
                json!(["MQ", "FLUSH"]),
                json!(["MQ"]),
                Some(Direction::Forward),
            ),
            // One build does not tell.
            (Value::Null, json!(["MQ"]), Some(Direction::Forward)),
        ] {
            let (old, new) = (
                machine(old, feature(true, true)),
                machine(new, feature(false, true)),
            );
            assert_eq!(dropped(old, new), lost);
        }
    }

    #[test]
    fn a_card_that_offers_the_same_on_a_hub_may_offer_more_on_another_network() {
        let lists = KnownIssues::default();
        let with = |offers: Value, network: bool, uso: Value| {
            let mut machine = machine(offers, uso);
            if network {
                let unset = Setting::default();
                let properties = &mut machine.objects[0].properties;
                properties.insert(NETWORK.to_owned(), unset);
            }
            machine
        };
        let on_a_hub = json!(["MQ"]);
        for (offers, is_card, message) in [
            (&on_a_hub, false, None),
            (
                &on_a_hub,
                true,
                Some(
                    "new offers `f` with pc-q35-8.1 on a network that lets it, and old does not know it: a guest \
                     whose driver accepted it is refused",
                ),
            ),
            (
                &json!(["MQ", "GUEST_USO4"]),
                true,
                Some(
                    "new offers `f` with pc-q35-8.1, and old does not know it: a guest whose driver accepted it is \
                     refused",
                ),
            ),
        ] {
            let snapshots = Snapshots {
                old: with(on_a_hub.clone(), is_card, Value::Null),
                new: with(offers.clone(), is_card, feature(true, true)),
            };
            let differences = compare(&snapshots, Compared::Values, &lists);
            let both = [Direction::Forward, Direction::Backward];
            let found = findings(&differences, &both, "pc-q35-8.1");
            let dropped: Vec<&Finding> = found
                .iter()
                .filter(|finding| finding.rule == Rule::FeatureDropped)
                .collect();
            let told = dropped.iter().map(|finding| &*finding.message).next();
            assert_eq!(told, message, "{offers} {is_card}");
            assert!(dropped.iter().all(|f| f.direction == Direction::Backward));
        }
    }

    #[test]
    fn a_feature_is_lost_where_the_source_alone_offers_it() {
        use Direction::{Backward, Forward};
        let plain = |value: bool| json!({"value": value, "default": true});
        let of_cpu = |value: bool| json!({"value": value, "is_feature": true});
        for (old, new, lost) in [
            (feature(true, true), feature(false, true), Some(Forward)),
            (feature(false, true), feature(true, true), Some(Backward)),
            (feature(true, true), feature(true, false), None),
            // The new build introduced it, and pins it for the machine type or not.
            (Value::Null, feature(true, true), Some(Backward)),
            (Value::Null, feature(false, true), None),
            // The property is gone, and the device behaves as by its default.
            (feature(true, true), Value::Null, None),
            (feature(false, true), Value::Null, Some(Backward)),
            (feature(true, false), Value::Null, Some(Forward)),
            // A feature of a CPU has no default to go back to.
            (of_cpu(true), of_cpu(false), Some(Forward)),
            (of_cpu(true), Value::Null, Some(Forward)),
            (of_cpu(false), Value::Null, None),
            (Value::Null, of_cpu(true), Some(Backward)),
            // One build lists it as no bit of a mask.
            (plain(false), feature(true, true), None),
        ] {
            let of = |setting: &Value| machine(Value::Null, setting.clone());
            assert_eq!(dropped(of(&old), of(&new)), lost, "{old} {new}");
        }
    }
}
