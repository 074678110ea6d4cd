//! What the tests of CI templates share: a file of YAML held against the schema of its kind, and its script lines run as
//! they are written, where `apt-get` and `cargo` alone are stand-ins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

use crate::common::{follows, root, script};

/// Reads a file of the project's, and holds it against a schema of `fixtures/ci`.
pub fn read(path: &str, schema: &str) -> Value {
    let text = fs::read_to_string(root().join(path)).expect("a file");
    let mut documents =
        Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path}");
    let value = value(documents.remove(0));
    let schema = fs::read(root().join("fixtures/ci").join(schema)).expect("a schema");
    let schema = zstd::decode_all(schema.as_slice()).expect("compressed");
    follows(&String::from_utf8(schema).expect("text"), &value);
    value
}

fn value(yaml: Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(is)) => is.into(),
        Yaml::Value(Scalar::Integer(number)) => number.into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::String(text)) => text.into_owned().into(),
        Yaml::Sequence(items) => items.into_iter().map(value).collect(),
        Yaml::Mapping(pairs) => {
            let pairs = pairs.into_iter().map(|(key, of)| match key {
                Yaml::Value(Scalar::String(key)) => (key.into_owned(), value(of)),
                key => panic!("{key:?} is no name"),
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        // None of the templates needs more, and not every reader of YAML has it.
        other => panic!("{other:?} is more than plain YAML"),
    }
}

/// The texts of a list.
pub fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item.as_str().expect("a text"))
}

/// A machine of a CI system: a folder of programs that come before those of the system.
pub struct Runner {
    folder: tempfile::TempDir,
}

impl Runner {
    pub fn new() -> Runner {
        let folder = tempfile::tempdir().expect("a folder");
        let tools = folder.path().join("tools");
        fs::create_dir(&tools).expect("made");
        let installed = folder.path().join("installed").display().to_string();
        script(
            &tools,
            "apt-get",
            &format!("echo apt-get \"$@\" >> {installed}"),
        );
        // It has what a build of the crate makes.
        let cargo = format!(
            "echo cargo \"$@\" >> {installed}\n\
             while [ \"$1\" != --root ]; do shift; done\n\
             mkdir -p \"$2/bin\" && cp {} \"$2/bin\"",
            env!("CARGO_BIN_EXE_migcompat")
        );
        script(&tools, "cargo", &cargo);
        Runner { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script, with nothing of ours in its environment.
    pub fn run(&self, mut shell: Command, folder: &Path, set: &BTreeMap<String, String>) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MIGCOMPAT_") {
                shell.env_remove(name);
            }
        }
        shell
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", self.path("tools").display()))
            .envs(set)
            .output()
            .expect("a shell")
    }

    /// Returns the set-up lines, which a stand-in took, and says loudly that nobody ran them; these other ones neither.
    pub fn stood_in(&self, what: &str, others: Vec<String>) -> Vec<String> {
        let text = fs::read_to_string(self.path("installed")).unwrap_or_default();
        let mut lines = others;
        lines.extend(text.lines().map(str::to_owned));
        lines.sort();
        lines.dedup();
        for line in &lines {
            println!("{what}: NOT RUN, a stand-in took it: {line}");
        }
        lines
    }
}
