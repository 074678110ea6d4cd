//! The templates for GitLab, `ci/gitlab/`: every job run as it is written, in a folder of its own with the artefacts that it
//! needs and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{build, cache_dir, follows_the_schema, script, stderr, stdout};
use crate::firmware::bare;
use crate::pipelines::{Runner, read, texts};

const FILES: [&str; 2] = ["ci/gitlab/build.yml", "ci/gitlab/migcompat.yml"];
/// What is no job at the top of a file.
const GLOBAL: &str = "variables";

/// Lays one mapping over another, as `extends` and `include` do: lists and texts are replaced.
fn lay(over: &Value, below: &mut Value) {
    match (over, below) {
        (Value::Object(over), Value::Object(below)) => {
            for (key, value) in over {
                lay(value, below.entry(key).or_insert(Value::Null));
            }
        }
        (over, below) => *below = over.clone(),
    }
}

struct Pipeline {
    file: Value,
    runner: Runner,
    /// The repository that jobs are cloned from.
    origin: PathBuf,
    /// What the user has set for the whole pipeline.
    set: BTreeMap<String, String>,
    shell: &'static [&'static str],
}

/// One run of a job, of several if it is `parallel`.
struct Ran {
    output: Output,
    folder: PathBuf,
}

impl Ran {
    fn status(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn said(&self) -> String {
        format!("{}{}", stdout(&self.output), stderr(&self.output))
    }

    fn report(&self) -> Value {
        let text = fs::read(self.folder.join("report/report.json")).expect("a report");
        let report = serde_json::from_slice(&text).expect("JSON");
        follows_the_schema(&report);
        report
    }
}

impl Pipeline {
    fn new(runner: Runner, origin: PathBuf, shell: &'static [&'static str]) -> Pipeline {
        let mut file = json!({});
        for part in FILES {
            lay(&read(part, "gitlab-ci.json.zst"), &mut file);
        }
        let set = BTreeMap::new();
        Pipeline {
            file,
            runner,
            origin,
            set,
            shell,
        }
    }

    /// Returns a job with all that it extends.
    fn job(&self, name: &str) -> Value {
        let own = &self.file[name];
        assert!(own.is_object(), "there is no {name}");
        let mut job = match own["extends"].as_str() {
            Some(base) => self.job(base),
            None => json!({}),
        };
        lay(own, &mut job);
        job
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.file.as_object().expect("jobs").keys();
        names
            .map(String::as_str)
            .filter(|name| !name.starts_with('.') && *name != GLOBAL)
    }

    /// The folder in which the artefacts of a job are kept, and the one of a cache.
    fn store(&self, of: &str) -> PathBuf {
        let store = self.runner.path("store").join(of);
        fs::create_dir_all(&store).expect("made");
        store
    }

    /// The variables of a job, later ones written with earlier ones, as lines of a shell.
    fn variables(&self, job: &Value) -> String {
        let lists = [&self.file[GLOBAL], &job["variables"]];
        let pairs = lists.into_iter().filter_map(Value::as_object).flatten();
        let given = pairs.map(|(name, value)| (name, value.as_str().expect("a text")));
        let set = self.set.iter().map(|(name, value)| (name, value.as_str()));
        let lines = given.chain(set);
        lines
            .map(|(name, value)| format!("export {name}=\"{value}\"\n"))
            .collect()
    }

    /// Runs a job as a runner does: a clone, the caches, the artefacts of what it needs, both scripts in one shell; then its
    /// artefacts are kept.
    fn run(&self, name: &str) -> Vec<Ran> {
        let job = self.job(name);
        let nodes = job["parallel"].as_u64().unwrap_or(1);
        (1..=nodes)
            .map(|node| self.run_node(name, &job, node, nodes))
            .collect()
    }

    fn run_node(&self, name: &str, job: &Value, node: u64, nodes: u64) -> Ran {
        let folder = self.runner.path(&format!("jobs/{name}-{node}"));
        let _not_there = fs::remove_dir_all(&folder);
        sh(&format!(
            "git clone -q --depth 1 file://{} {}",
            self.origin.display(),
            folder.display()
        ));
        let cache = &job["cache"];
        let key = &cache["key"];
        let key = key.as_str().or(key["prefix"].as_str()).unwrap_or("none");
        let key = self.store(&format!("caches/{}", key.replace('$', "")));
        for from in texts(&job["needs"])
            .map(|job| self.store(job))
            .chain([key.clone()])
        {
            sh(&format!("cp -al {}/. {}", from.display(), folder.display()));
        }
        let set = BTreeMap::from([
            ("CI_PROJECT_DIR".to_owned(), folder.display().to_string()),
            ("CI_NODE_INDEX".to_owned(), node.to_string()),
            ("CI_NODE_TOTAL".to_owned(), nodes.to_string()),
        ]);
        let lines = texts(&job["before_script"]).chain(texts(&job["script"]));
        let text = self.variables(job) + &lines.collect::<Vec<_>>().join("\n");
        let mut shell = Command::new(self.shell[0]);
        shell.args(&self.shell[1..]).args(["-c", &text]);
        let output = self.runner.run(shell, &folder, &set);
        let artifacts = &job["artifacts"];
        if output.status.success() || artifacts["when"] == "always" {
            keep(&folder, &artifacts["paths"], &self.store(name));
            let reports = artifacts["reports"].as_object().into_iter().flatten();
            // With another status there is no report.
            for report in reports.filter(|_| matches!(output.status.code(), Some(0 | 1))) {
                let file = folder.join(report.1.as_str().expect("a path"));
                assert!(file.is_file(), "{name}: {}", file.display());
            }
        }
        if output.status.success() {
            fs::remove_dir_all(&key).expect("a cache is replaced");
            fs::create_dir(&key).expect("made");
            keep(&folder, &cache["paths"], &key);
        }
        Ran { output, folder }
    }

    /// Runs a job that is one.
    fn run_one(&self, name: &str) -> Ran {
        let mut runs = self.run(name);
        assert_eq!(runs.len(), 1, "{name}");
        runs.remove(0)
    }
}

fn sh(line: &str) {
    let output = Command::new("sh").args(["-ec", line]).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{line}: {}", stderr(&output));
}

/// Keeps files as an artefact or a cache does: with their paths, and links as links.
fn keep(folder: &Path, paths: &Value, store: &Path) {
    for path in texts(paths) {
        let folder = folder.display();
        sh(&format!(
            "cd {folder} && cp -a --parents {path} {}",
            store.display()
        ));
    }
}

/// A repository with the tag of a release and a later commit, which are built into programs of two suites.
fn tree(folder: &Path) -> PathBuf {
    let origin = folder.join("origin");
    let mut steps = format!("git init -q -b main {0}; cd {0}\n", origin.display());
    for (suite, version, then) in [
        ("debian:bookworm", "7.2.0", "git tag v7.2.0"),
        ("debian:trixie", "7.2.50", "true"),
    ] {
        let built = folder.join(version);
        let (start, firmware) = bare(&built, suite);
        let text = fs::read_to_string(&start).expect("a script");
        let text = text.replace(&*built.to_string_lossy(), "$(dirname \"$0\")");
        fs::write(&start, text.replace("/program", "/qemu-system-x86_64.real")).expect("written");
        fs::rename(built.join("program"), built.join("qemu-system-x86_64.real")).expect("moved");
        fs::create_dir(built.join("firmware")).expect("made");
        for from in &firmware {
            sh(&format!(
                "cp -L {}/*.bin {0}/*.rom {}/firmware 2>/dev/null || true",
                from.display(),
                built.display()
            ));
        }
        let configure = format!(
            "cat > Makefile <<'END'\n\
             all:\n\
             \tcp {0}/qemu-system-* .\n\
             \tmkdir -p qemu-bundle/usr/local/share qemu-system-x86_64.p\n\
             \tln -s {0}/firmware qemu-bundle/usr/local/share/qemu\n\
             install:\n\
             \tmkdir -p $(DESTDIR)/usr/local/share/qemu\n\
             \tcp {0}/firmware/* $(DESTDIR)/usr/local/share/qemu\n\
             END",
            built.display()
        );
        script(&built, "configure", &configure);
        steps += &format!(
            "cp {}/configure .; echo {version} > VERSION; git add .; git -c user.name=a -c user.email=b commit -qm {version}; {then}\n",
            built.display()
        );
    }
    sh(&steps);
    origin
}

#[apply(test)]
fn jobs_have_names_of_one_form_and_need_what_there_is() {
    let pipeline = Pipeline::new(Runner::new(), PathBuf::new(), &["sh"]);
    let names: Vec<&str> = pipeline.names().collect();
    for name in &names {
        let job = pipeline.job(name);
        let mut words = name.split('-');
        assert_eq!(words.next(), job["stage"].as_str(), "{name}");
        if job["stage"] == "test" {
            let parts: Vec<&str> = words.collect();
            assert!(matches!(parts[..], [_, "x86_64", "debian"]), "{name}");
            assert_eq!(job["artifacts"]["when"], "always", "{name}");
        }
        for needed in texts(&job["needs"]) {
            assert!(names.contains(&needed), "{name} needs {needed}");
        }
    }
    for name in ["build-previous-qemu", "build-system-debian"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[apply(test)]
#[needs(Builds, Program("git"), Program("make"), Program("bash"))]
fn the_pipeline_does_as_it_is_written() {
    let runner = Runner::new();
    let origin = tree(&runner.path("qemu"));
    // GitLab runs the lines in bash where an image has it, and else in its sh.
    let mut pipeline = Pipeline::new(runner, origin, &["bash", "-eo", "pipefail"]);
    // Few devices, one way: the jobs are what is tried.
    let few = [("MIGCOMPAT_ONLY", "a*"), ("MIGCOMPAT_DIRECTION", "forward")];
    pipeline.set = few
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let fetched = pipeline
        .store("caches/migcompat-fetched")
        .join("fetched/debian");
    fs::create_dir_all(fetched.join("trixie")).expect("made");
    build("debian:trixie");
    let cached = cache_dir().join("debian/trixie/qemu-system-x86");
    sh(&format!(
        "cp -a {} {}/trixie",
        cached.display(),
        fetched.display()
    ));

    for name in [
        "build-migcompat-debian",
        "build-previous-qemu",
        "build-system-debian",
    ] {
        let ran = pipeline.run_one(name);
        assert_eq!(ran.status(), Some(0), "{name}: {}", ran.said());
    }
    for (job, folder) in [
        ("build-previous-qemu", "build-previous"),
        ("build-system-debian", "build"),
    ] {
        let kept = pipeline.store(job).join(folder);
        let firmware = kept.join("qemu-bundle/usr/local/share/qemu/kvmvapic.bin");
        let data = fs::symlink_metadata(&firmware).expect("firmware");
        assert!(data.is_file(), "{}", firmware.display());
        assert!(!kept.join("Makefile").exists() && !kept.join("qemu-system-x86_64.p").exists());
    }

    let check = pipeline.run_one("test-check-x86_64-debian");
    assert_eq!(check.status(), Some(1), "{}", check.said());
    let report = check.report();
    assert_eq!(report["old"]["label"], "build-previous");
    assert!(
        report["old"]["version"]
            .as_str()
            .is_some_and(|version| version.starts_with("7.2."))
    );
    let kept = pipeline.store("test-check-x86_64-debian").join("report");
    let failed = report["cases"].as_array().expect("cases").iter();
    let mut failed = failed.filter_map(|case| case["reproducer"].as_str());
    let reproducer = failed.next().expect("a case that failed");
    let reproducer = Path::new(reproducer).strip_prefix(check.folder.join("report"));
    assert!(kept.join(reproducer.expect("in the folder")).is_file());

    for shard in pipeline.run("test-sweep-x86_64-debian") {
        assert_eq!(shard.status(), Some(0), "{}", shard.said());
    }
    let merge = pipeline.run_one("test-merge-x86_64-debian");
    assert_eq!(merge.status(), Some(1), "{}", merge.said());
    assert!(merge.said().contains("incompatible: "), "{}", merge.said());
    let devices = merge.report()["cases"].as_array().expect("cases").len();
    assert!(devices >= 5, "{devices}");

    // What the cache has is not fetched.
    let offline = || "MIGCOMPAT_OFFLINE".to_owned();
    pipeline.set.insert(offline(), "1".to_owned());
    let distro = pipeline.run_one("test-distro-x86_64-debian");
    pipeline.set.remove(&offline());
    assert_eq!(distro.status(), Some(0), "{}", distro.said());
    assert_eq!(distro.report()["old"]["label"], "debian:trixie");

    // The second pipeline builds the release no more, and what is known is green; in the other shell.
    pipeline.shell = &["sh", "-e"];
    fs::remove_dir_all(pipeline.origin.join(".git/refs/tags")).expect("tags");
    let ran = pipeline.run_one("build-previous-qemu");
    assert_eq!(ran.status(), Some(0), "{}", ran.said());
    let baseline = pipeline.runner.path("baseline.json");
    fs::copy(merge.folder.join("report/report.json"), &baseline).expect("a report");
    pipeline.set.insert(
        "MIGCOMPAT_BASELINE".to_owned(),
        baseline.display().to_string(),
    );
    pipeline
        .set
        .insert("MIGCOMPAT_GATE".to_owned(), "new".to_owned());
    for shard in pipeline.run("test-sweep-x86_64-debian") {
        assert_eq!(shard.status(), Some(0), "{}", shard.said());
    }
    let merge = pipeline.run_one("test-merge-x86_64-debian");
    assert_eq!(merge.status(), Some(0), "{}", merge.said());
    // One shard less is no verdict.
    let lost = pipeline
        .store("test-sweep-x86_64-debian")
        .join("report/shard-3.json");
    fs::remove_file(lost).expect("removed");
    let merge = pipeline.run_one("test-merge-x86_64-debian");
    assert!(!matches!(merge.status(), Some(0 | 1)), "{}", merge.said());

    let set_up = pipeline.runner.stood_in("ci/gitlab", Vec::new());
    let version = concat!("migcompat@", env!("CARGO_PKG_VERSION"));
    let install = set_up
        .iter()
        .find(|line| line.starts_with("cargo install "));
    let install = install.expect("it is installed");
    assert!(
        install.ends_with(version) && install.contains(" --locked "),
        "{install}"
    );
}

/// The lines that stand-ins take above.
#[apply(test)]
#[needs(PackageLists)]
fn what_jobs_install_is_in_debian() {
    let mut lines = 0;
    let pipeline = Pipeline::new(Runner::new(), PathBuf::new(), &["sh"]);
    for job in pipeline.names().map(|name| pipeline.job(name)) {
        for line in texts(&job["before_script"]) {
            if let Some(install) = line.strip_prefix("apt-get install ") {
                sh(&format!("apt-get install --simulate {install}"));
                lines += 1;
            }
        }
    }
    assert!(lines > 4, "{lines}");
}
