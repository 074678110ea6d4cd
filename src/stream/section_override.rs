//! Replacement of sections of a stream by those of another: a destination can get a section that it
//! refuses from its own build, so that the rest of the stream is loaded.

use crate::stream::record::footer;
use crate::stream::tree::{Section, SectionKind, Stream};

/// The replacements of sections, by their names.
#[derive(Debug, Clone, Default)]
pub struct SectionOverride {
    names: Vec<String>,
    sections: Vec<Section>,
}

impl SectionOverride {
    /// Takes all sections of this name from a stream, as replacements for those of another one.
    /// If it has none, the other's are left out. Returns `false` if that does not help: the
    /// section is guest memory or the like, or has been taken already.
    pub fn take(&mut self, name: &str, of: &Stream) -> bool {
        let mut like = of.sections.iter().filter(|section| section.name == *name);
        let sent_in_parts = like.clone().any(|s| s.kind != SectionKind::Device);
        if sent_in_parts || name == "ram" || self.has(name) {
            return false;
        }
        self.names.push(name.to_owned());
        self.sections.extend(like.by_ref().cloned());
        true
    }

    /// Leaves out all devices' sections of a stream that another one does not have.
    pub fn leave_out_unknown(&mut self, sent: &Stream, of: &Stream) {
        for section in sent.devices() {
            let name = section.name.as_str();
            if !of.has(name) && !self.has(name) {
                self.names.push(name.to_owned());
            }
        }
    }

    /// The names of all sections that are not sent as they were.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Tells whether sections of this name are not sent as they were.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Returns the bytes of a stream, which `read` describes, with the replacements of its
    /// sections.
    pub fn apply(&self, bytes: &[u8], read: &Stream) -> Vec<u8> {
        let mut replaced = Vec::with_capacity(bytes.len());
        let mut from = 0;
        let out = read.sections.iter().filter(|s| self.has(s.name.as_str()));
        for section in out {
            let (begin, body) = (section.offset as usize, section.payload_offset as usize);
            let body_end = body + section.size as usize;
            let mark = footer(section.id);
            let has_footer = bytes.get(body_end..).is_some_and(|b| b.starts_with(&mark));
            let end = body_end + if has_footer { mark.len() } else { 0 };
            let (Some(before), Some(header)) = (bytes.get(from..begin), bytes.get(begin..body))
            else {
                break;
            };
            replaced.extend_from_slice(before);
            if let Some(like) = self.like(section)
                && let Some((front, _version)) = header.split_at_checked(header.len() - VERSION)
            {
                // The id of the source's section, and the version of the replacement.
                replaced.extend_from_slice(front);
                replaced.extend_from_slice(&like.version_id.to_be_bytes());
                replaced.extend_from_slice(&like.payload);
                if has_footer {
                    replaced.extend_from_slice(&mark);
                }
            }
            from = end;
        }
        replaced.extend_from_slice(bytes.get(from..).unwrap_or_default());
        replaced
    }

    /// The stream without the sections whose place something else takes.
    pub fn without(&self, mut stream: Stream) -> Stream {
        stream
            .sections
            .retain(|section| !self.has(section.name.as_str()));
        stream
    }

    fn like(&self, section: &Section) -> Option<&Section> {
        self.sections.iter().find(|s| s.is_same(section))
    }
}

/// Bytes of a section's version, the last of its header.
const VERSION: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::parse;
    use crate::stream::testing::fixture;

    fn section<'s>(stream: &'s Stream, name: &str) -> &'s Section {
        let found = stream.sections.iter().find(|s| s.name == *name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn a_section_of_another_build_takes_the_place_of_its_like_and_all_else_stays() {
        let (old, new) = ("7.2.22/aarch64-virt", "10.0.13/aarch64-virt");
        let (old, new) = (fixture(old), fixture(new));
        let (sent, own) = (parse(&old).stream, parse(&new).stream);
        let mut replacement = SectionOverride::default();
        assert!(replacement.take("cpu", &own));
        assert!(!replacement.take("cpu", &own), "once is enough");
        assert!(!replacement.take("ram", &own), "memory is no device's");
        let replaced = parse(&replacement.apply(&old, &sent)).stream;
        assert_ne!(section(&sent, "cpu").payload, section(&own, "cpu").payload);
        assert_eq!(
            section(&replaced, "cpu").payload,
            section(&own, "cpu").payload
        );
        assert_eq!(
            section(&replaced, "cpu").version_id,
            section(&own, "cpu").version_id
        );
        assert_eq!(section(&replaced, "cpu").id, section(&sent, "cpu").id);
        let rest = |stream: Stream| {
            let sections = replacement.without(stream).sections.into_iter();
            let parts = |s: Section| (s.name, s.instance_id, s.version_id, s.payload);
            sections.map(parts).collect::<Vec<_>>()
        };
        assert_eq!(rest(replaced), rest(sent));
    }

    #[test]
    fn all_that_the_other_build_does_not_have_is_left_out_at_once() {
        let bytes = fixture("7.2.22/x86_64-q35");
        let sent = parse(&bytes).stream;
        let lacks = |name: &str| name.starts_with("ps2") || name == "ram";
        let mut own = parse(&bytes).stream;
        own.sections.retain(|section| !lacks(section.name.as_str()));
        let mut replacement = SectionOverride::default();
        replacement.take("ps2kbd", &own);
        replacement.leave_out_unknown(&sent, &own);
        assert_eq!(replacement.names(), ["ps2kbd", "ps2mouse"]);
    }

    #[test]
    fn what_the_other_build_does_not_have_is_left_out() {
        let bytes = fixture("7.2.22/x86_64-q35");
        let sent = parse(&bytes).stream;
        let mut replacement = SectionOverride::default();
        assert!(replacement.take("ps2kbd", &Stream::default()));
        let replaced = parse(&replacement.apply(&bytes, &sent)).stream;
        let names = |stream: &Stream| stream.sections.iter().map(|s| s.name.to_string()).collect();
        let mut expected: Vec<String> = names(&sent);
        expected.retain(|name| name != "ps2kbd");
        assert_eq!(names(&replaced), expected);
        assert_eq!(SectionOverride::default().apply(&bytes, &sent), bytes);
    }
}
