//! A configuration file of QEMU (`-readconfig`): its sections as the options that they are. Incus keeps nearly all of a guest
//! in one, and Proxmox the buses of its boards.

use crate::guest::given::Given;
use crate::guest::opts::join;

/// Splits a text into what comes before a configuration file, if there is one in it, and the options of that.
pub(super) fn split(text: &str) -> (&str, Vec<Given>) {
    let is_header = |line: &str| header(line).is_some();
    let mut start = 0;
    // The words of a process end with a null byte, also before the first line of the file.
    for line in text.split_inclusive(['\n', '\0']) {
        if is_header(line) {
            let (before, config) = text.split_at(start);
            let first = before.matches('\n').count() + 1;
            return (before, options(config, first));
        }
        start += line.len();
    }
    (text, Vec::new())
}

/// Returns the options of a configuration file, of which the first line has this number.
fn options(text: &str, first: usize) -> Vec<Given> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some((group, id)) = header(line) {
            sections.push(Section {
                line: first + number,
                group,
                items: id.map(|id| ("id", id)).into_iter().collect(),
            });
        } else if let (Some(section), Some(item)) = (sections.last_mut(), setting(line)) {
            section.items.push(item);
        }
    }
    let options = sections.into_iter().map(|section| Given {
        line: section.line,
        name: option(section.group).to_owned(),
        value: Some(join(section.items)),
    });
    options.collect()
}

/// A section of a configuration file.
struct Section<'t> {
    line: usize,
    group: &'t str,
    items: Vec<(&'t str, &'t str)>,
}

/// Returns the group and the id of the line that a section begins with: `[group "id"]` or `[group]`.
fn header(line: &str) -> Option<(&str, Option<&str>)> {
    let inner = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (group, id) = match inner.split_once(' ') {
        Some((group, id)) => (group, Some(quoted(id)?)),
        None => (inner, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (!group.is_empty() && group.chars().all(is_name)).then_some((group, id))
}

/// Returns the name and the value of a line: `name = "value"`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    (!name.starts_with('#')).then_some((name, quoted(value)?))
}

fn quoted(text: &str) -> Option<&str> {
    text.trim().strip_prefix('"')?.strip_suffix('"')
}

/// Returns the option that a group of settings is (the names of `QemuOptsList`, system/vl.c).
fn option(group: &str) -> &str {
    match group {
        "memory" => "m",
        "acpi" => "acpitable",
        _ => group.strip_suffix("-opts").unwrap_or(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_section_is_an_option() {
        let text = "kvm -S\n\n# Board\n[machine]\n  type = \"q35\"\nusb = \"off\"\n[device \"a.b\"]\n#addr = \"1\"\ndriver = \"VGA\"\n\
                    [smp-opts]\ncpus=\"2\"\n[memory]\nsize = \"64M\"\n[name]\nguest = \"a, b\"\nno setting\n";
        let (before, options) = split(text);
        assert_eq!(before, "kvm -S\n\n# Board\n");
        let options: Vec<(usize, &str, &str)> = options
            .iter()
            .map(|given| {
                (
                    given.line,
                    &*given.name,
                    given.value.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        let expected = [
            (4, "machine", "type=q35,usb=off"),
            (7, "device", "id=a.b,driver=VGA"),
            (10, "smp", "cpus=2"),
            (12, "m", "size=64M"),
            (14, "name", "guest=a,, b"),
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn nothing_else_is_a_section() {
        for text in [
            "kvm -M pc",
            "[a b]",
            "[\"x\"]",
            "[]",
            "-device '[x]' y",
            "x [machine]",
        ] {
            assert_eq!(split(text), (text, Vec::new()));
        }
        let (before, options) = split("kvm\0-S\0[machine]\ntype = \"pc\"\n");
        assert_eq!((before, options.len()), ("kvm\0-S\0", 1));
    }
}
