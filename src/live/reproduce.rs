//! The line that does a case by hand.

use std::path::Path;

use super::vm::{Party, Recipe, quote};

/// One shell line that moves a guest along the route with nothing but the builds and a shell: each
/// stage saves its guest into a file, from which the next one loads it. `folder` is where the guest's
/// image stays.
pub fn line(route: &[&Party], recipe: &Recipe, folder: &Path) -> String {
    let mut stages = vec!["d=$(mktemp -d)".to_owned()];
    for (at, party) in route.iter().enumerate() {
        let mut words = vec![party.build.shell_prefix()];
        let args = recipe.args(party.info.version, folder);
        words.extend(args.iter().map(|arg| quote(&arg.to_string_lossy())));
        words.push("-monitor stdio".to_owned());
        if let Some(guest) = recipe.guest {
            words.push(format!("-chardev file,id=console,path=$d/console{at}"));
            for arg in guest.serial_args("console") {
                words.push(quote(&arg.to_string_lossy()));
            }
        }
        if recipe.guest.is_none() {
            words.push("-S".to_owned());
        }
        if at > 0 {
            words.push(format!("-incoming \"exec:cat $d/stream{}\"", at - 1));
        }
        let run = words.join(" ");
        // The guest gets a moment to work; a migration without -d is over before the next command.
        let typed = if at + 1 < route.len() {
            format!("echo \"migrate \\\"exec:cat > $d/stream{at}\\\"\"; sleep 2; echo quit")
        } else {
            "echo 'info status'; sleep 1; echo quit".to_owned()
        };
        stages.push(format!("(sleep 5; {typed}) | {run}"));
    }
    stages.join("; ")
}
