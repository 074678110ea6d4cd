//! `action.yml` and the workflow of `ci/github/`: every step of every job that is a script, run as it is written.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use macro_rules_attribute::apply;
use serde_json::{Map, Value, json};

use crate::common::{cache_dir, follows_the_schema, root};
use crate::pipelines::{Runner, read};

/// Expressions, by what stands between their braces.
type Known = BTreeMap<String, String>;

/// Returns a text with its expressions evaluated: names, and the comparison with a text.
fn evaluate(text: &str, known: &Known) -> String {
    let mut rest = text;
    let mut made = String::new();
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}").expect("closed");
        made += before;
        made += &match expression.trim() {
            "always()" | "!cancelled()" => true.to_string(),
            expression => match expression.split_once(" == ") {
                Some((name, text)) => (known[name] == text.trim_matches('\'')).to_string(),
                None => known
                    .get(expression)
                    .unwrap_or_else(|| panic!("{expression} is unknown: {known:?}"))
                    .clone(),
            },
        };
        rest = after;
    }
    made + rest
}

fn evaluated(pairs: &Value, known: &Known) -> BTreeMap<String, String> {
    let pairs = pairs.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), evaluate(&text, known))
        })
        .collect()
}

/// The combinations of a matrix.
fn combinations(matrix: &Value) -> Vec<Known> {
    let mut all = vec![Known::new()];
    for (name, values) in matrix.as_object().into_iter().flatten() {
        let values = values.as_array().expect("a list");
        let with = |known: &Known, value: &Value| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let mut known = known.clone();
            known.insert(format!("matrix.{name}"), text);
            known
        };
        all = all
            .iter()
            .flat_map(|known| values.iter().map(move |value| with(known, value)))
            .collect();
    }
    all
}

struct Actions {
    action: Value,
    /// Where the action's own files are.
    sources: PathBuf,
    /// Variables of the job.
    set: BTreeMap<String, String>,
    runner: Runner,
    /// What others' actions were used.
    others: RefCell<Vec<String>>,
}

/// One use of the action, or of another one.
struct Used {
    succeeded: bool,
    said: String,
    summary: String,
    verdict: String,
    /// The inputs and what the steps put out.
    known: Known,
}

impl Actions {
    fn new() -> Actions {
        Actions {
            action: read("action.yml", "github-action.json.zst"),
            sources: root(),
            set: BTreeMap::new(),
            runner: Runner::new(),
            others: RefCell::default(),
        }
    }

    fn store(&self) -> PathBuf {
        let store = self.runner.path("artifacts");
        fs::create_dir_all(&store).expect("made");
        store
    }

    /// Uses the action with some inputs in a working folder.
    fn run(&self, folder: &Path, with: &BTreeMap<String, String>) -> Used {
        fs::create_dir_all(folder).expect("made");
        let mut known = Known::new();
        for (name, input) in self.action["inputs"].as_object().expect("inputs") {
            let given = with.get(name).map(String::as_str);
            let value = given.or(input["default"].as_str()).expect("it is required");
            known.insert(format!("inputs.{name}"), value.to_owned());
        }
        let every = with
            .keys()
            .all(|name| known.contains_key(&format!("inputs.{name}")));
        assert!(every, "{with:?}");
        let mut used = Used {
            succeeded: true,
            said: String::new(),
            summary: String::new(),
            verdict: String::new(),
            known: Known::new(),
        };
        for step in self.action["runs"]["steps"].as_array().expect("steps") {
            let condition = step["if"].as_str();
            let runs = condition.map_or("true".to_owned(), |text| evaluate(text, &known));
            let whatever_came = condition.is_some_and(|text| text.contains("always()"));
            if runs != "true" || !(used.succeeded || whatever_came) {
                continue;
            }
            match step["uses"].as_str() {
                Some(other) => self.stand_in(other, &evaluated(&step["with"], &known), folder),
                None => self.run_step(step, folder, &mut known, &mut used),
            }
        }
        let verdict = self.action["outputs"]["verdict"]["value"].as_str();
        used.verdict = evaluate(verdict.expect("an output"), &known);
        used.known = known;
        used
    }

    fn run_step(&self, step: &Value, folder: &Path, known: &mut Known, used: &mut Used) {
        assert_eq!(step["shell"], "bash");
        let file = |name: &str| {
            let path = self.runner.path(name);
            fs::write(&path, "").expect("written");
            path
        };
        let (output, summary, home) = (file("output"), file("summary"), self.runner.path("home"));
        let script = self.runner.path("step.sh");
        fs::write(&script, step["run"].as_str().expect("a script")).expect("written");
        let mut set = evaluated(&step["env"], known);
        for (name, value) in [
            ("GITHUB_OUTPUT", &output),
            ("GITHUB_STEP_SUMMARY", &summary),
            ("GITHUB_ACTION_PATH", &self.sources),
            ("HOME", &home),
            ("MIGCOMPAT_CACHE", &cache_dir()),
            ("RUNNER_OS", &PathBuf::from("Linux")),
            ("RUNNER_ARCH", &PathBuf::from("X64")),
        ] {
            set.insert(name.to_owned(), value.display().to_string());
        }
        set.extend(self.set.clone());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(&script);
        let ran = self.runner.run(bash, folder, &set);
        used.said += &String::from_utf8_lossy(&ran.stdout);
        used.said += &String::from_utf8_lossy(&ran.stderr);
        used.succeeded &= ran.status.success();
        used.summary += &fs::read_to_string(&summary).expect("a summary");
        let id = step["id"].as_str().unwrap_or("none");
        for line in fs::read_to_string(&output).expect("outputs").lines() {
            let (name, value) = line.split_once('=').expect("an output");
            known.insert(format!("steps.{id}.outputs.{name}"), value.to_owned());
        }
    }

    /// Does what the action of somebody else's would, as far as a test has to see it.
    fn stand_in(&self, action: &str, with: &BTreeMap<String, String>, folder: &Path) {
        self.others.borrow_mut().push(format!("uses: {action}"));
        let artifacts = self.store();
        match action {
            "actions/cache@v4" => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
                assert!(
                    with["key"].len() > 25 && with["key"].chars().all(allowed),
                    "{with:?}"
                );
                assert!(Path::new(&with["path"]).is_absolute(), "{with:?}");
            }
            "actions/upload-artifact@v4" => {
                let kept = artifacts.join(&with["name"]);
                let name = &with["name"];
                assert!(
                    !name.contains([':', '/', '*', '"']),
                    "{name} is no name of an artefact"
                );
                assert!(!kept.exists(), "there is an artefact {name} already");
                copy(&folder.join(&with["path"]), &kept);
            }
            "actions/download-artifact@v4" => {
                let wanted = with["pattern"].trim_end_matches('*');
                for kept in fs::read_dir(artifacts).expect("artefacts").flatten() {
                    let name = kept.file_name().to_string_lossy().into_owned();
                    if name.starts_with(wanted) {
                        copy(&kept.path(), &folder.join(&with["path"]).join(name));
                    }
                }
            }
            other => panic!("what {other} does is not known here"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("made");
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

/// Runs all jobs of the workflow, those that need others last. The sweep is told one more line, so that it takes few seconds.
fn run_workflow(actions: &Actions) -> BTreeMap<String, Vec<Used>> {
    let workflow = read("ci/github/migcompat.yml", "github-workflow.json.zst");
    let mut jobs: Vec<(&String, &Value)> =
        workflow["jobs"].as_object().expect("jobs").iter().collect();
    jobs.sort_by_key(|(_, job)| job["needs"].is_string());
    let mut all = BTreeMap::new();
    for (name, job) in jobs {
        let mut runs = Vec::new();
        for (index, mut known) in combinations(&job["strategy"]["matrix"])
            .into_iter()
            .enumerate()
        {
            known.insert("strategy.job-index".to_owned(), index.to_string());
            let folder = actions.runner.path(&format!("jobs/{name}-{index}"));
            for step in job["steps"].as_array().expect("steps") {
                let uses = step["uses"].as_str().expect("an action");
                let mut with = evaluated(&step["with"], &known);
                let (action, version) = uses.split_once('@').expect("a version");
                if action != "OWNER/migcompat" {
                    actions.stand_in(uses, &with, &folder);
                    continue;
                }
                assert_eq!(version, concat!("v", env!("CARGO_PKG_VERSION")));
                if name == "sweep" {
                    *with.get_mut("arguments").expect("builds") += "--only=a*\n";
                }
                runs.push(actions.run(&folder, &with));
            }
        }
        all.insert(name.clone(), runs);
    }
    all
}

#[apply(test)]
#[needs(Builds, Program("bash"))]
fn the_workflow_does_as_it_is_written() {
    let actions = Actions::new();
    let jobs = run_workflow(&actions);
    assert_eq!(jobs.values().map(Vec::len).collect::<Vec<_>>(), [4, 1, 4]);
    for shard in &jobs["sweep"] {
        assert!(
            shard.succeeded && shard.summary.is_empty(),
            "{}",
            shard.said
        );
        assert!(!shard.said.contains("::error"), "{}", shard.said);
    }
    for judged in jobs["check"].iter().chain(&jobs["merge"]) {
        assert_eq!(judged.succeeded, judged.verdict == "compatible");
        assert!(
            judged.summary.contains(&judged.verdict),
            "{}",
            judged.summary
        );
    }
    let merge = &jobs["merge"][0];
    assert_eq!(merge.verdict, "incompatible", "{}", merge.said);
    assert!(merge.said.contains("::error title="), "{}", merge.said);
    let kept = fs::read(actions.store().join("sweep/report.json")).expect("an artefact");
    follows_the_schema(&serde_json::from_slice(&kept).expect("JSON"));

    let set_up = actions.runner.stood_in("action.yml", actions.others.take());
    let mut installs = set_up.iter().filter(|line| !line.starts_with("uses: "));
    let install = installs.next().expect("it is installed");
    let source = format!("cargo install --locked --path {} --root ", root().display());
    assert!(install.starts_with(&source), "{install}");
}

#[apply(test)]
#[needs(Program("bash"))]
fn the_action_tells_what_came_and_runs_nothing_of_what_it_is_told() {
    let actions = Actions::new();
    let use_it = |name: &str, arguments: &[&str]| {
        let dumps = ["old", "new"]
            .map(|side| root().join(format!("fixtures/rules/field-added/{side}.json")));
        let dumps = dumps.map(|path| path.display().to_string());
        let words: Vec<&str> = dumps
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied())
            .collect();
        let given = [
            ("command", "static"),
            ("arguments", &words.join("\n")),
            ("artifact", name),
            ("program", env!("CARGO_BIN_EXE_migcompat")),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        actions.run(&actions.runner.path(name), &given.into())
    };
    let broken = use_it("broken", &[]);
    assert_eq!(
        (broken.succeeded, &*broken.verdict),
        (false, "incompatible"),
        "{}",
        broken.said
    );
    assert!(broken.said.contains("::error title="), "{}", broken.said);
    assert!(broken.summary.contains("field-added"), "{}", broken.summary);
    let allowed = use_it("allowed", &["--allow=field-added"]);
    assert_eq!(
        (allowed.succeeded, &*allowed.verdict),
        (true, "compatible"),
        "{}",
        allowed.said
    );
    let wrong = use_it("wrong", &["--no-such-option"]);
    assert_eq!(
        (wrong.succeeded, &*wrong.verdict),
        (false, "failed"),
        "{}",
        wrong.said
    );
    for hostile in [
        "--allow=$(touch ran)",
        "--allow=`touch ran`",
        "--allow=a; touch ran",
        "\"; touch ran",
    ] {
        let refused = use_it("hostile", &[hostile]);
        assert_eq!(&*refused.verdict, "failed", "{}", refused.said);
        assert!(!actions.runner.path("hostile/ran").exists());
        fs::remove_dir_all(actions.store().join("hostile")).expect("an artefact");
    }
    // A program that is there is not installed.
    assert_eq!(actions.runner.stood_in("action.yml", Vec::new()), [""; 0]);
}

/// Uses the action with a program that does nothing, and returns what its first step put out under a name.
fn planned(actions: &Actions, arguments: &str, name: &str) -> String {
    let given = [
        ("command", "check"),
        ("arguments", arguments),
        // A name in the path.
        ("program", "true"),
    ];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let used = actions.run(&actions.runner.path("keys"), &given.into());
    assert!(used.succeeded, "{}", used.said);
    fs::remove_dir_all(actions.store().join("migcompat-report")).expect("an artefact");
    used.known[&format!("steps.plan.outputs.{name}")].clone()
}

#[apply(test)]
#[needs(Program("bash"))]
fn what_is_reused_is_what_would_be_built_and_fetched() {
    let mut actions = Actions::new();
    actions.sources = actions.runner.path("sources");
    let write = |name: &str| {
        let file = actions.runner.path("sources").join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, name).expect("written");
    };
    let installed = || planned(&actions, "debian:trixie", "installed-key");
    write("src/main.rs");
    let one = installed();
    let system = fs::read_to_string("/etc/os-release").expect("a system");
    let mut lines = system.lines();
    let id = lines
        .find_map(|line| line.strip_prefix("ID="))
        .expect("it has an id");
    assert!(one.contains(&format!("-{}", id.trim_matches('"'))), "{one}");
    write("target/debug/migcompat");
    assert_eq!(installed(), one, "what is built is no source");
    write("rules/of-another-commit.toml");
    assert_ne!(installed(), one);

    let fetched = |arguments: &str| planned(&actions, arguments, "fetched-key");
    let one = fetched("debian:trixie\nbuild/qemu-system-x86_64");
    assert_eq!(
        fetched("build/qemu-system-x86_64\ndebian:trixie\n--shard=1/4\n--machine=q35"),
        one
    );
    let mut others = vec![one];
    for arguments in [
        "debian:bookworm",
        "build/qemu-system-x86_64",
        "debian:trixie\n--arch=aarch64",
        "debian:trixie\n--arch\nppc64",
        "debian:trixie\n--machine=riscv64/virt",
        "debian:trixie\n-M\ns390x/s390-ccw-virtio",
        "debian:trixie\n--all-arches",
        "debian:trixie\n--workload=linux",
    ] {
        others.push(fetched(arguments));
    }
    let all = others.len();
    others.sort();
    others.dedup();
    assert_eq!(others.len(), all, "{others:?}");
    assert_eq!(actions.runner.stood_in("action.yml", Vec::new()), [""; 0]);
}

/// The folders are the program's own: what is kept is what it looks for.
#[apply(test)]
#[needs(Program("bash"))]
fn what_is_fetched_is_kept_where_the_program_puts_it() {
    let mut actions = Actions::new();
    let home = actions.runner.path("home").display().to_string();
    for (own, common, folder) in [
        ("", "", format!("{home}/.cache/migcompat")),
        ("", "/var/cache/x", "/var/cache/x/migcompat".to_owned()),
        ("/srv/builds", "/var/cache/x", "/srv/builds".to_owned()),
    ] {
        let set = [("MIGCOMPAT_CACHE", own), ("XDG_CACHE_HOME", common)];
        actions.set = set
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(planned(&actions, "debian:trixie", "fetched"), folder);
    }
}

#[apply(test)]
#[needs(Program("bash"))]
fn the_report_of_an_earlier_step_is_a_baseline_and_no_answer() {
    let actions = Actions::new();
    let files =
        ["old", "new"].map(|side| root().join(format!("fixtures/rules/field-added/{side}.json")));
    let files = files.map(|path| path.display().to_string()).join("\n");
    let use_it = |artifact: &str, options: &str| {
        let given = [
            ("command", "static"),
            ("arguments", &*format!("{files}\n{options}")),
            ("artifact", artifact),
            ("program", env!("CARGO_BIN_EXE_migcompat")),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        actions.run(&actions.runner.path("job"), &given.into())
    };
    let first = use_it("first", "");
    assert!(first.summary.contains("field-added"), "{}", first.said);
    let wrong = use_it("wrong", "--no-such-option");
    assert_eq!(
        (&*wrong.verdict, &*wrong.summary),
        ("failed", ""),
        "{}",
        wrong.said
    );
    assert!(!wrong.said.contains("::error title="), "{}", wrong.said);
    let known = use_it(
        "known",
        "--baseline=migcompat-report/report.json\n--gate=new",
    );
    assert_eq!(&*known.verdict, "compatible", "{}", known.said);
    assert!(known.summary.contains("compatible"), "{}", known.summary);
}

#[apply(test)]
fn what_an_action_is_told_is_nowhere_part_of_a_script() {
    let action = read("action.yml", "github-action.json.zst");
    for step in action["runs"]["steps"].as_array().expect("steps") {
        let script = step["run"].as_str().unwrap_or_default();
        assert!(!script.contains("${{"), "{script}");
    }
    let inputs: &Map<String, Value> = action["inputs"].as_object().expect("inputs");
    let text = json!(action["runs"]).to_string();
    for name in inputs.keys() {
        assert!(
            text.contains(&format!("inputs.{name}")),
            "{name} is used nowhere"
        );
    }
}
