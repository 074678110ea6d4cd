//! The remedies of findings as code of QEMU: the templates of `rules/code/`, filled with the names of a finding.
//!
//! A template has `@NAME@` for each of them. One that needs a name which a finding does not have is left out.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::model::{Direction, Rule, joined};
use crate::report::{ChangeKey, Code, FieldKey, Finding, Level, LoneType, Report, Shape, Source};

/// A file of `rules/code/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    title: String,
    code: String,
}

/// The files by their names.
static TEMPLATES: LazyLock<BTreeMap<String, Template>> = LazyLock::new(|| {
    let files = include_str!(concat!(env!("OUT_DIR"), "/code.json"));
    let mut files = serde_json::Deserializer::from_str(files);
    match serde_path_to_error::deserialize(&mut files) {
        Ok(templates) => templates,
        // The files are part of the program; the tests fill every one.
        Err(error) => panic!("a file of the shipped rules/code is malformed: {error}"),
    }
});

/// The function of QEMU that looks whether bytes are all 0.
const IS_ZERO: &str = "buffer_is_zero";

/// The name that stands for the structure of a device where no source says it.
const STATE: &str = "STATE";

/// The name that stands for the structure of a device which has the one of a description in it.
const DEVICE: &str = "DEVICE";

/// Sections that a change shows in and that get a line of their own.
const MOST_LINES: usize = 8;

/// Gives each finding that asks for a change in QEMU the code for it. One that a report was read with keeps its own.
pub(crate) fn attach(report: &mut Report) {
    let release = report.new.version.map(|version| {
        let last = version.last_release();
        format!("{}_{}", last.major, last.minor)
    });
    for finding in &mut report.findings {
        let is_read = finding.change == ChangeKey::Unknown;
        // Of what is a note by itself, a maintainer asks what to do so that it stays one.
        let is_settled = finding.level == Level::Note && finding.rule.level() != Level::Note;
        // No device sends anything as an abstract type.
        let is_abstract = finding.lone_type == Some(LoneType::Abstract);
        if is_settled || is_abstract || finding.allowed_by.is_some() {
            finding.code.clear();
        } else if !is_read {
            finding.code = code(finding, release.as_deref());
        }
    }
}

/// Returns the code for a finding, of which the machine types up to a release are to stay as they are.
fn code(finding: &Finding, release: Option<&str>) -> Vec<Code> {
    let values = values(finding, release);
    let entries = finding.rule.entry().code.iter();
    let fill = |name: &str| TEMPLATES.get(name)?.fill(&values);
    entries
        .filter_map(|entry| alternatives(entry).find_map(fill))
        .collect()
}

/// Returns the templates of an entry of a rule, of which the first that fits is taken.
fn alternatives(entry: &str) -> impl Iterator<Item = &str> {
    entry.split('|').map(str::trim)
}

impl Template {
    fn fill(&self, values: &BTreeMap<&'static str, String>) -> Option<Code> {
        let mut code = String::new();
        let mut rest = self.code.as_str();
        while let Some((before, behind)) = rest.split_once('@') {
            code.push_str(before);
            // An `@` that is in no pair around a name stands for itself.
            rest = match behind.split_once('@').filter(|(name, _)| is_name(name)) {
                Some((name, behind)) => {
                    code.push_str(values.get(name)?);
                    behind
                }
                None => {
                    code.push('@');
                    behind
                }
            };
        }
        code.push_str(rest);
        Some(Code {
            title: self.title.clone(),
            code: code.trim_matches('\n').to_owned(),
        })
    }
}

/// Tells whether a text is the name of a value.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'))
}

/// Returns the names of a finding.
fn values(finding: &Finding, release: Option<&str>) -> BTreeMap<&'static str, String> {
    let mut values = BTreeMap::new();
    values.insert("type", finding.section.clone());
    values.insert("release", release.unwrap_or("X_Y").to_owned());
    values.insert("named_release", release.unwrap_or("X_Y").replace('_', "."));
    let version = |shape: &Option<Shape>| shape.as_ref()?.version_id;
    if let Some(old) = version(&finding.old) {
        values.insert("old_version", old.to_string());
    }
    let name = |shape: &Option<Shape>| shape.as_ref()?.name.clone();
    if let (Some(old), Some(new)) = (name(&finding.old), name(&finding.new)) {
        values.insert("old_name", old);
        values.insert("new_name", new);
    }
    let source = finding.source.as_ref();
    let state = source.and_then(|source| source.state.as_deref());
    values.insert("state", state.unwrap_or(STATE).to_owned());
    match &finding.change {
        ChangeKey::Fields { old, new } => of_fields(&mut values, finding, (old, new)),
        ChangeKey::Property {
            name,
            old,
            is_pinnable,
            ..
        } => {
            values.insert("property", name.clone());
            let value = old.as_ref().filter(|_| *is_pinnable);
            values.extend(value.map(|value| ("value", value.clone())));
        }
        ChangeKey::Section { vmsd, .. } => {
            about(&mut values, source, vmsd);
            if let Some(sent) =
                version(&finding.old).filter(|_| finding.direction == Direction::Forward)
            {
                values.insert("oldest", sent.to_string());
            }
        }
        ChangeKey::Lone(section) => {
            let id = identifier(section);
            let property = format!("x-migrate-{}", id.replace('_', "-"));
            values.extend([
                ("vmsd", finding.path.first().unwrap_or(section).clone()),
                ("flag", format!("migrate_{id}")),
                ("compat", compat(finding, &property)),
                ("property", property),
                ("id", id),
            ]);
        }
        ChangeKey::Unknown | ChangeKey::Subsection(_) | ChangeKey::CommonWidth { .. } => {}
    }
    values
}

/// Adds where a description is defined, and what it is called in C.
fn about(values: &mut BTreeMap<&'static str, String>, source: Option<&Source>, description: &str) {
    let (head, variable) = match source {
        Some(Source {
            file,
            line,
            variable,
            ..
        }) => (format!("/* {file}:{line} */"), variable.clone()),
        None => (
            format!("/* {STATE} is the structure that the description \"{description}\" is of */"),
            format!("vmstate_{}", identifier(description)),
        ),
    };
    values.insert("head", head);
    values.insert("variable", variable);
}

fn of_fields(
    values: &mut BTreeMap<&'static str, String>,
    finding: &Finding,
    (old, new): (&[FieldKey], &[FieldKey]),
) {
    let fields = if new.is_empty() { old } else { new };
    let Some(first) = fields.first() else {
        return;
    };
    let source = finding.source.as_ref();
    about(values, source, &first.description);
    let state = values.get("state").cloned().unwrap_or_default();
    values.extend(device(&state, is_of_part(&finding.path)));
    let is_subsection = finding.rule == Rule::SubsectionUnknown;
    let own = match first.name.rsplit_once('/') {
        Some((_, own)) => own,
        None => &first.name,
    };
    let known = source.filter(|_| is_subsection);
    let used: Vec<String> = match known.map(|source| &*source.fields) {
        Some(own @ [_, ..]) => own
            .iter()
            .map(|field| in_use(&field.name, field.is_number))
            .collect(),
        _ if is_subsection => vec!["s->FIELD != 0".to_owned()],
        _ => fields
            .iter()
            .map(|field| in_use(&member(&field.name), bits(field).is_some()))
            .collect(),
    };
    let test = known.and_then(|source| source.needed.clone());
    let id = match is_subsection {
        true => identifier(&first.name),
        false => identifier(&format!("{}_{}", first.description, first.name)),
    };
    if is_subsection && source.is_none() {
        values.insert("variable", format!("vmstate_{id}"));
    }
    let compares_bytes = used.iter().any(|used| used.contains(IS_ZERO));
    values.insert("includes", includes(compares_bytes));
    // One that is there already is not written again.
    if test.is_none() {
        values.insert("in_use", used.join(" ||\n           "));
    }
    values.insert("needed", test.unwrap_or_else(|| format!("{id}_needed")));
    let macros = fields.iter().map(|field| macro_of(field, source, &state));
    let bytes: u64 = fields.iter().map(wire_size).sum();
    let property = format!("x-migrate-{}", identifier(own).replace('_', "-"));
    values.extend([
        ("field", member(&first.name)),
        ("subsection", format!("{}/{own}", first.description)),
        ("flag", format!("migrate_{}", identifier(own))),
        ("compat", compat(finding, &property)),
        ("macros", joined(macros, "\n        ")),
        ("reset", joined(fields.iter().map(reset), "\n    ")),
        ("bytes", bytes.to_string()),
        ("property", property),
        ("id", id),
    ]);
    if let ([old], [new]) = (old, new) {
        // A wider or narrower number; anything else is not copied by an assignment.
        if let (Some(old), Some(_)) = (bits(old), bits(new)) {
            values.insert("old_bits", old.to_string());
        }
        of_array(values, old, new, source);
    }
}

/// Adds what an array has more or less of. Only elements of which it is known what they are have a macro.
fn of_array(
    values: &mut BTreeMap<&'static str, String>,
    old: &FieldKey,
    new: &FieldKey,
    source: Option<&Source>,
) {
    let size = old.size;
    let (Some(before), Some(now)) = (old.num, new.num) else {
        return;
    };
    if size == 0 || size != new.size {
        return;
    }
    if let Some(missing) = before.checked_sub(now) {
        values.insert("missing", (missing * size).to_string());
        return;
    }
    let name = member(&new.name);
    let macro_of = in_source(&name, source).unwrap_or("VMSTATE_UINT");
    let state = values.get("state").cloned().unwrap_or_default();
    let (bits, more) = (size * 8, now - before);
    let elements = |start: u64, num: u64| {
        let these = format!("{name}, {state}, {start}, {num}");
        match macro_of {
            of if of.starts_with("VMSTATE_UINT") => {
                Some(format!("VMSTATE_UINT{bits}_SUB_ARRAY({these})"))
            }
            // There is no shorter one of numbers with a sign.
            of if of.starts_with("VMSTATE_INT") => Some(format!(
                "VMSTATE_SUB_ARRAY({these}, 0, vmstate_info_int{bits}, int{bits}_t)"
            )),
            of if of.starts_with("VMSTATE_BOOL") => {
                Some(format!("VMSTATE_BOOL_SUB_ARRAY({these})"))
            }
            _ => None,
        }
    };
    if let (Some(as_before), Some(others)) = (elements(0, before), elements(before, more))
        && matches!(size, 1 | 2 | 4 | 8)
    {
        values.extend([
            ("includes", includes(true)),
            ("old_elements", as_before),
            ("other_elements", others),
            ("old_num", before.to_string()),
            ("surplus", (more * size).to_string()),
        ]);
    }
}

/// Tells whether a path leads into a structure that a device has in its own. Names of subsections have the name of what they
/// are of in front.
fn is_of_part(path: &[String]) -> bool {
    match path {
        [_section, parts @ .., _field] => parts.iter().any(|part| !part.contains('/')),
        _ => false,
    }
}

/// Returns what the device of a description is called, which alone has properties.
fn device(state: &str, is_of_part: bool) -> [(&'static str, String); 3] {
    let (device, device_of, part) = match is_of_part {
        true => (
            DEVICE,
            format!("s->{DEVICE}"),
            format!("/* {DEVICE} is the structure of the device that has {state} in it */\n\n"),
        ),
        false => (state, "s".to_owned(), String::new()),
    };
    [
        ("device", device.to_owned()),
        ("device_of", device_of),
        ("part", part),
    ]
}

/// Returns the lines by which old machine types turn a property of the sections of a finding off.
fn compat(finding: &Finding, property: &str) -> String {
    let sections = finding.sections();
    let lines = sections.clone().take(MOST_LINES);
    let lines = lines.map(|name| format!("    {{ \"{name}\", \"{property}\", \"off\" }},"));
    let more = sections.count().checked_sub(MOST_LINES).filter(|&n| n > 0);
    let more = more.map(|more| format!("    /* and {more} more */"));
    joined(lines.chain(more), "\n")
}

/// Returns the bits of a number, if a field is one.
fn bits(field: &FieldKey) -> Option<u64> {
    let is_number = field.num.is_none() && matches!(field.size, 1 | 2 | 4 | 8);
    is_number.then_some(field.size * 8)
}

fn wire_size(field: &FieldKey) -> u64 {
    field.size * field.num.unwrap_or(1)
}

/// Returns the lines that a file may still lack for the code that it gets.
fn includes(compares_bytes: bool) -> String {
    match compares_bytes {
        true => "/* among the includes */\n#include \"qemu/cutils.h\"\n\n".to_owned(),
        false => String::new(),
    }
}

/// Returns a field as an expression of C: dumps print some with a cast.
fn member(name: &str) -> String {
    name.rsplit_once(')')
        .map_or(name, |(_, name)| name)
        .trim()
        .to_owned()
}

/// Returns an expression of C that is true where a field is not as after reset.
fn in_use(name: &str, is_number: bool) -> String {
    match is_number {
        true => format!("s->{name} != 0"),
        false => format!("!{IS_ZERO}(&s->{name}, sizeof(s->{name}))"),
    }
}

fn reset(field: &FieldKey) -> String {
    let name = member(&field.name);
    match bits(field) {
        Some(_) => format!("s->{name} = 0;"),
        None => format!("memset(&s->{name}, 0, sizeof(s->{name}));"),
    }
}

/// Returns the text of a field in the source, if that is known.
fn in_source<'s>(name: &str, source: Option<&'s Source>) -> Option<&'s str> {
    let own = source?.fields.iter().find(|own| own.name == name)?;
    Some(&own.text)
}

/// Returns the macro of a field, as the source has it or else by its size.
fn macro_of(field: &FieldKey, source: Option<&Source>, state: &str) -> String {
    let name = member(&field.name);
    if let Some(own) = in_source(&name, source) {
        return format!("{own},");
    }
    let bits = field.size * 8;
    match (field.size, field.num) {
        (1 | 2 | 4 | 8, None) => format!("VMSTATE_UINT{bits}({name}, {state}),"),
        (1 | 2 | 4 | 8, Some(num)) => {
            format!("VMSTATE_UINT{bits}_ARRAY({name}, {state}, {num}),")
        }
        _ => format!("VMSTATE_BUFFER({name}, {state}),"),
    }
}

/// Returns a text as a name of C.
fn identifier(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let words: String = text.chars().map(plain).collect();
    let words = words.split('_').filter(|word| !word.is_empty());
    joined(words, "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::{SourceField, testing};

    fn finding(rule: &str, change: ChangeKey) -> Finding {
        Finding {
            change,
            ..testing::finding(json!({"rule": rule, "also_in": ["twin"]}))
        }
    }

    fn field(name: &str, size: u64, num: Option<u64>) -> FieldKey {
        FieldKey {
            description: "dev".to_owned(),
            name: name.to_owned(),
            size,
            num,
        }
    }

    fn fields(old: &[FieldKey], new: &[FieldKey]) -> ChangeKey {
        ChangeKey::Fields {
            old: old.to_vec(),
            new: new.to_vec(),
        }
    }

    #[test]
    fn a_property_is_one_of_the_device_and_not_of_a_part_of_it() {
        for (path, device) in [
            (&["dev", "x"][..], "in STATE */"),
            (&["dev", "dev/sub", "x"], "in STATE */"),
            (&["dev", "regs", "x"], "in DEVICE */"),
            (&["dev", "regs", "part/sub", "x"], "in DEVICE */"),
        ] {
            let change = fields(&[], &[field("x", 4, None)]);
            let mut finding = finding("field-added", change);
            finding.path = path.iter().map(|&part| part.to_owned()).collect();
            let told = told(&finding);
            assert!(told.contains(device), "{path:?}: {told}");
        }
    }

    /// Lines of the code of each of these rules, in their order.
    const WANTED: &str = r#"#include "qemu/cutils.h"
return !buffer_is_zero(&s->regs[8], 16);
VMSTATE_UINT32_SUB_ARRAY(regs, STATE, 8, 4),
VMSTATE_UINT32_SUB_ARRAY(regs, STATE, 0, 8),
.name = "dev/regs"

behind regs
VMSTATE_UNUSED(16),

/* in vmstate_dev;
.minimum_version_id = 3,

vmstate_dev_gone
.name = "dev"
up to 10.1

bool migrate_dev;
    { "dev", "x-migrate-dev", "off" },
    { "twin",
/* in hw_compat_10_1 of

        VMSTATE_UINT32(count, STATE),
        VMSTATE_UINT16_ARRAY(table, STATE, 8),
return s->count != 0 ||
           !buffer_is_zero(&s->table, sizeof(s->table));
.name = "dev/count"
static bool dev_count_needed(
DEFINE_PROP_BOOL("x-migrate-count", STATE, migrate_count, true)
/* in hw_compat_10_1 of
    { "dev", "x-migrate-count", "off" },
    { "twin",
s->count = 0;
    memset(&s->table, 0, sizeof(s->table));

VMSTATE_UINT32(count,

VMSTATE_UNUSED(16),
vmstate_dev

VMSTATE_UNUSED_TEST(dev_count_sent, 4),

uint16_t count_wire;
VMSTATE_UINT16(count_wire, STATE),

static bool dev_ltim_needed(
"x-migrate-ltim"

/* in vmstate_dev */
.version_id = 3,

.name = "older",

{ "dev", "msix", "on" },

{ "dev", "msix", "on" },

{ "dev", "msix", "on" },"#;

    /// The code of a finding in one text.
    fn told(finding: &Finding) -> String {
        let all = code(finding, Some("10_1"));
        let all: Vec<String> = all.into_iter().map(|one| one.code).collect();
        all.join("\n")
    }

    #[test]
    fn each_rule_has_code_with_the_names_of_its_finding() {
        let property = |old: &str| ChangeKey::Property {
            name: "msix".to_owned(),
            old: Some(old.to_owned()),
            new: Some("off".to_owned()),
            is_pinnable: true,
        };
        let section = || ChangeKey::Section {
            vmsd: "dev".to_owned(),
            sides: Box::default(),
        };
        let count = field("count", 4, None);
        let table = field("table", 2, Some(8));
        let many = |num| field("regs", 4, Some(num));
        let lone = || ChangeKey::Lone("dev".to_owned());
        let one = std::slice::from_ref;
        let msix = || property("on");
        let (small, ltim) = (field("count", 2, None), field("dev/ltim", 0, None));
        let cases = [
            ("array-resized", fields(&[many(8)], &[many(12)])),
            ("array-resized", fields(&[many(12)], &[many(8)])),
            ("version-too-old", section()),
            ("section-removed", lone()),
            ("section-added", lone()),
            ("field-added", fields(&[], &[count.clone(), table.clone()])),
            ("conditional-field-added", fields(&[], one(&count))),
            ("field-removed", fields(one(&table), &[])),
            ("conditional-field-removed", fields(one(&count), &[])),
            ("field-resized", fields(&[small], &[count])),
            ("subsection-unknown", fields(&[], &[ltim])),
            ("version-too-new", section()),
            ("vmsd-renamed", section()),
            ("property-default-changed", msix()),
            ("feature-dropped", msix()),
            ("cpu-feature-dropped", msix()),
        ];
        let shape = |name: &str, version| {
            Some(Shape {
                name: Some(name.to_owned()),
                version_id: Some(version),
                ..Shape::default()
            })
        };
        let wanted: Vec<&str> = WANTED.split("\n\n").collect();
        assert_eq!(wanted.len(), cases.len());
        for ((rule, change), wanted) in cases.iter().zip(wanted) {
            let finding = Finding {
                old: shape("older", 3),
                new: shape("newer", 4),
                ..finding(rule, change.clone())
            };
            let told = told(&finding);
            for line in wanted.lines() {
                assert!(told.contains(line), "{rule}: {line} is not in\n{told}");
            }
            assert!(!told.contains('@'), "{rule}: {told}");
        }
        let with_code = Rule::ALL
            .iter()
            .filter(|rule| !rule.entry().code.is_empty());
        for rule in with_code {
            assert!(
                cases.iter().any(|(id, _)| *id == rule.id()),
                "the code of {rule} is not tried: it needs a case above, and lines of its code in WANTED"
            );
        }
    }

    #[test]
    fn a_remedy_that_lacks_a_name_is_left_out() {
        let block = field("block", 300, None);
        let resized = fields(std::slice::from_ref(&block), std::slice::from_ref(&block));
        let resized = finding("field-resized", resized);
        assert_eq!(told(&resized), "", "no number is copied by an assignment");
        for (old, is_pinnable) in [(None, true), (Some("on".to_owned()), false)] {
            let unpinned = ChangeKey::Property {
                name: "msix".to_owned(),
                old,
                new: Some("off".to_owned()),
                is_pinnable,
            };
            assert_eq!(told(&finding("property-default-changed", unpinned)), "");
        }
    }

    #[test]
    fn the_names_of_the_sources_come_first() {
        let source = Source {
            file: "hw/dev.c".to_owned(),
            line: 7,
            variable: "vmstate_of_dev".to_owned(),
            state: Some("DevState".to_owned()),
            needed: None,
            fields: vec![SourceField {
                name: "count".to_owned(),
                is_number: true,
                text: "VMSTATE_INT32(count, DevState)".to_owned(),
            }],
        };
        let added = Finding {
            source: Some(source.clone()),
            ..finding("field-added", fields(&[], &[field("count", 4, None)]))
        };
        let text = told(&added);
        for part in [
            "/* hw/dev.c:7 */",
            "VMSTATE_INT32(count, DevState),",
            "in vmstate_of_dev:",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        // An array with a sign has no macro of its own for a part of it.
        let mut signed = source.clone();
        signed.fields[0].text = "VMSTATE_INT32_ARRAY(count, DevState, 3)".to_owned();
        let longer = |num| [field("count", 4, Some(num))];
        let resized = Finding {
            source: Some(signed),
            ..finding("array-resized", fields(&longer(2), &longer(3)))
        };
        let text = told(&resized);
        for part in [
            "VMSTATE_SUB_ARRAY(count, DevState, 0, 2, 0, vmstate_info_int32, int32_t),",
            "VMSTATE_SUB_ARRAY(count, DevState, 2, 1, 0, vmstate_info_int32, int32_t),",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        // A test that is there is not written again.
        let unknown = Finding {
            source: Some(Source {
                needed: Some("dev_in_use".to_owned()),
                ..source
            }),
            ..finding(
                "subsection-unknown",
                fields(&[], &[field("dev/ltim", 0, None)]),
            )
        };
        let text = told(&unknown);
        assert!(
            text.contains("/* in dev_in_use() */") && !text.contains(".needed"),
            "{text}"
        );
    }

    #[test]
    fn every_rule_names_files_that_are_there_and_every_file_is_named() {
        let entries = Rule::ALL.iter().flat_map(|rule| &rule.entry().code);
        let named: Vec<&str> = entries.flat_map(|entry| alternatives(entry)).collect();
        for name in &named {
            assert!(TEMPLATES.contains_key(*name), "rules/code/{name}.toml");
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/code");
        for file in std::fs::read_dir(folder).expect("a folder") {
            let file = file.expect("readable").file_name();
            let name = file.to_string_lossy().replace(".toml", "");
            assert!(named.contains(&&*name), "no rule has {name}");
        }
    }

    #[test]
    fn names_become_names_of_c() {
        assert_eq!(
            identifier("virtio-net/rss.enabled"),
            "virtio_net_rss_enabled"
        );
        assert_eq!(identifier("PCIDevice"), "pcidevice");
        assert_eq!(member("(Foo)bar.baz"), "bar.baz");
    }
}
