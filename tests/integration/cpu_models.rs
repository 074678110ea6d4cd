//! CPU models, which lose features between real builds where no machine type with a version holds them.

use std::process::Output;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{report, stdout, with_builds};

const BUILDS: [&str; 2] = ["debian:bookworm", "debian:trixie"];

fn run(command: &str, args: &[&str]) -> Output {
    let args = [&[command], &BUILDS[..], args].concat();
    with_builds(&args).output().expect("it runs")
}

/// Returns the lost features, each with the direction and the models.
fn lost(report: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let findings = report["findings"].as_array().expect("findings").iter();
    let lost = findings.filter(|finding| finding["rule"] == "cpu-feature-dropped");
    lost.map(|finding| {
        assert_eq!(finding["level"], "warning");
        let others = finding["also_in"].as_array().expect("models").iter();
        let models = [&finding["section"]].into_iter().chain(others).map(text);
        let feature = text(&finding["path"][0]);
        (feature, text(&finding["direction"]), models.collect())
    })
    .collect()
}

#[apply(test)]
#[needs(Builds)]
fn a_sweep_tells_which_cpu_models_lose_features() {
    let args = ["-M", "microvm", "--only", "*-cpu", "--format", "json", "-q"];
    let swept = report(&run("sweep", &args));
    let compared = swept["swept"][0]["cpu_models_compared"].as_u64();
    assert!(compared > Some(100), "{compared:?}");
    let lost = lost(&swept);
    let lost = lost.iter().map(|(feature, direction, models)| {
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        (&**feature, &**direction, models)
    });
    let lost: Vec<_> = lost.collect();
    // A machine type without a version has the newest version of each model.
    for (feature, direction, model) in [
        ("xsaves", "forward", "EPYC-Rome-x86_64-cpu"),
        ("rtm", "backward", "Icelake-Server-x86_64-cpu"),
        // The old build does not know it.
        ("amd-psfd", "backward", "EPYC-Milan-x86_64-cpu"),
    ] {
        let wanted = (feature, direction, vec![model]);
        assert!(lost.contains(&wanted), "no {wanted:?} in {lost:?}");
    }
    // Neither what the builds and hosts can, nor what a CPU does otherwise.
    let told = format!("{lost:?}");
    assert!(!told.contains("max-x86_64-cpu"), "{told}");
    assert!(!told.contains("x-l1-cache-per-thread"), "{told}");
    let one = ["-M", "microvm", "--only", "Icelake*-cpu", "-v"];
    let told = stdout(&run("sweep", &one));
    assert!(told.contains("CPU models compared"), "{told}");
    assert!(!told.contains("is left out"), "{told}");
    assert!(
        told.contains("new gives the guest `hle` with microvm, and old has it off:"),
        "{told}"
    );
    assert!(!told.contains("EPYC-Rome-x86_64-cpu ›"), "{told}");
}

#[apply(test)]
#[needs(Builds)]
fn a_machine_type_with_a_version_holds_the_models() {
    let args = [
        "-M",
        "pc-q35-7.2",
        "--only",
        "*-cpu",
        "--format",
        "json",
        "-q",
    ];
    let swept = report(&run("sweep", &args));
    assert_eq!(lost(&swept), []);
    assert!(swept["swept"][0]["cpu_models_compared"].as_u64() > Some(100));
    // Without its models nothing of them is asked.
    let args = [
        "-M",
        "pc-q35-7.2",
        "--only",
        "e1000",
        "--format",
        "json",
        "-q",
    ];
    let swept = report(&run("sweep", &args));
    assert_eq!(swept["swept"][0]["cpu_models_compared"], json!(0));
}

#[apply(test)]
#[needs(Builds)]
fn a_check_tells_what_the_cpu_of_its_machine_loses() {
    let args = |machine| {
        [
            "-M",
            machine,
            "--cpu",
            "Skylake-Server-IBRS",
            "--format",
            "json",
            "-q",
        ]
    };
    let checked = report(&run("check", &args("pc-q35-3.1=pc-q35-4.0")));
    let model = vec!["Skylake-Server-IBRS-x86_64-cpu".to_owned()];
    let wanted = ("mpx".to_owned(), "forward".to_owned(), model);
    assert!(lost(&checked).contains(&wanted), "{:?}", lost(&checked));
    let checked = report(&run("check", &args("pc-q35-7.2")));
    assert_eq!(lost(&checked), []);
}
