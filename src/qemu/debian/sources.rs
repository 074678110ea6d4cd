//! apt's sources: finding the Debian archive among the machine's, writing one of our own.

use std::fs;
use std::path::Path;

/// The format of a target for `apt-get indextargets --format`, as [`debian_archive`] reads it.
pub(crate) const TARGET_FORMAT: &str =
    "$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(SOURCESENTRY)";

/// The Debian archive as the machine's apt reaches it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub uri: String,
    /// The value of the source's `Signed-By`: paths, fingerprints, or a key itself.
    pub signed_by: Option<String>,
}

/// The archive in a list of targets: the first that is Debian's main archive, not that of security
/// updates, which has other suites.
pub(crate) fn debian_archive(targets: &str) -> Option<Archive> {
    targets.lines().find_map(|line| {
        // apt leaves a name it has no value for as it stands.
        let parts = line.splitn(6, '|');
        let parts: Vec<&str> = parts
            .map(|part| if part.starts_with("$(") { "" } else { part })
            .collect();
        let &[uri, release, origin, label, component, entry] = parts.as_slice() else {
            return None;
        };
        if component != "main" || !is_debian(uri, release, origin, label) {
            return None;
        }
        // FILE:NUMBER, of a line or of a stanza.
        let file = entry.rsplit_once(':').map_or(entry, |(file, _)| file);
        let text = fs::read_to_string(Path::new(file)).unwrap_or_default();
        Some(Archive {
            uri: uri.to_owned(),
            signed_by: signed_by(&text, uri, release),
        })
    })
}

fn is_debian(uri: &str, release: &str, origin: &str, label: &str) -> bool {
    let other = ["security", "updates", "backports", "debug"];
    if uri.starts_with("cdrom:") || other.iter().any(|word| release.contains(word)) {
        return false;
    }
    if origin.is_empty() {
        // Nothing was ever downloaded: the address is all there is.
        return uri.split('/').any(|part| part == "debian");
    }
    origin == "Debian" && label == "Debian"
}

/// Finds the keys for an archive's release in a sources file, in either of apt's two formats.
fn signed_by(text: &str, uri: &str, release: &str) -> Option<String> {
    let same = |word: &str| word.trim_end_matches('/') == uri.trim_end_matches('/');
    for line in text.lines() {
        let Some(line) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let (options, rest) = match line.trim_start().strip_prefix('[') {
            Some(line) => line.split_once(']')?,
            None => ("", line),
        };
        let mut words = rest.split_whitespace();
        if words.next().is_some_and(same) && words.next() == Some(release) {
            return options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(|value| value.replace(',', " "));
        }
    }
    for stanza in stanzas(text) {
        let field = |name: &str| {
            let (_, value) = stanza
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(value.as_str())
        };
        let has = |name: &str, wanted: &dyn Fn(&str) -> bool| {
            field(name).is_some_and(|value| value.split_whitespace().any(wanted))
        };
        if has("URIs", &same) && has("Suites", &|suite| suite == release) {
            return field("Signed-By").map(str::to_owned);
        }
    }
    None
}

/// The stanzas of a deb822 file, each a list of fields; a value keeps its further lines.
fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut stanzas = vec![Vec::<(String, String)>::new()];
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanzas.last_mut().and_then(|stanza| stanza.last_mut()) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':')
            && let Some(stanza) = stanzas.last_mut()
        {
            stanza.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

/// A deb822 source for these suites, with nothing but the lists of binary packages.
pub(crate) fn source(
    uri: &str,
    suites: &[String],
    architecture: &str,
    signed_by: Option<&str>,
) -> String {
    let suites = suites.join(" ");
    let mut text = format!(
        "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n\
         Architectures: {architecture}\nTargets: Packages\n"
    );
    if let Some(keys) = signed_by {
        text += &format!("Signed-By: {keys}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debian_archive_is_found_among_others() {
        let uri = |targets: &str| debian_archive(targets).map(|archive| archive.uri);
        let all = "\
https://apt.example/ubuntu/|noble|Ubuntu|Ubuntu|main|/none:1
http://mirror/debian-security/|bookworm-security|Debian|Debian-Security|main|/none:2
http://mirror/debian/|bookworm-updates|Debian|Debian|main|/none:1
http://mirror/other/|bookworm|Debian|Debian|contrib|/none:1
http://mirror/some/where/|bookworm|Debian|Debian|main|/none:1
http://mirror/later/|trixie|Debian|Debian|main|/none:1";
        assert_eq!(uri(all).as_deref(), Some("http://mirror/some/where/"));
        let fresh = "\
http://mirror/debian-security/|bookworm-security|$(ORIGIN)|$(LABEL)|main|/none:2
http://mirror/debian/2025/|bookworm|$(ORIGIN)|$(LABEL)|main|/none:1";
        assert_eq!(uri(fresh).as_deref(), Some("http://mirror/debian/2025/"));
        assert_eq!(
            uri("https://apt.example/ubuntu/|noble|Ubuntu|Ubuntu|main|/none:1"),
            None
        );
        assert_eq!(
            uri("cdrom:[Debian]/|bookworm|Debian|Debian|main|/none:1"),
            None
        );
        assert_eq!(uri(""), None);
    }

    #[test]
    fn keys_are_read_from_both_formats() {
        let uri = "http://mirror/debian/";
        for (text, keys) in [
            ("deb http://mirror/debian bookworm main\n", None),
            (
                "# deb [signed-by=/no] http://mirror/debian bookworm main\n\
                 deb [ arch=amd64 signed-by=/a.gpg,/b.gpg ] http://mirror/debian/ bookworm main\n",
                Some("/a.gpg /b.gpg"),
            ),
            (
                "deb [signed-by=/a.gpg] http://mirror/debian sid main\n",
                None,
            ),
            (
                "Types: deb\nURIs: http://other/debian\nSuites: bookworm\nSigned-By: /no.gpg\n\n\
                 Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                 # why\nSigned-By: /a.gpg\n",
                Some("/a.gpg"),
            ),
            (
                "URIs: http://mirror/debian\nSuites: bookworm\nsigned-by:\n -----BEGIN\n .\n AB\nX: y\n",
                Some("\n -----BEGIN\n .\n AB"),
            ),
            ("", None),
        ] {
            assert_eq!(signed_by(text, uri, "bookworm").as_deref(), keys, "{text}");
        }
    }

    #[test]
    fn a_source_has_one_field_a_line() {
        let suites = ["b-backports".to_owned(), "b".to_owned()];
        assert_eq!(
            source("http://mirror/debian/", &suites, "amd64", Some("/a.gpg")),
            "Types: deb\nURIs: http://mirror/debian/\nSuites: b-backports b\nComponents: main\n\
             Architectures: amd64\nTargets: Packages\nSigned-By: /a.gpg\n"
        );
    }
}
