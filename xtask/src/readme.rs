//! What the README says about cargo is so; what it says about lb is tried by the system tests.

use std::fs;

use clap::CommandFactory as _;

use crate::Cli;
use crate::cargo::{Metadata, workspace};

fn readme() -> String {
    fs::read_to_string(workspace().join("README.md")).unwrap()
}

/// What stands behind `prefix`, as far as a name goes.
fn names<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    text.split(prefix)
        .skip(1)
        .map(|rest| rest.split(|it| !is_name(it)).next().unwrap_or_default())
        .collect()
}

#[test]
fn every_task_the_readme_names_is_one() {
    let readme = readme();
    let named = names(&readme, "cargo xtask ");
    for expected in ["setup", "check", "test", "demo", "bench"] {
        let quoted = format!("`{expected}`");
        assert!(
            named.contains(&expected) || readme.contains(&quoted),
            "{expected} is not in the README"
        );
    }
    for name in named {
        assert!(
            Cli::command().find_subcommand(name).is_some(),
            "the README names `cargo xtask {name}`"
        );
    }
}

#[test]
fn what_the_readme_installs_is_what_cargo_builds() {
    let readme = readme();
    let installed = names(&readme, "target/release/");
    assert_eq!(installed, ["lbd", "lbctl"]);
    let metadata = Metadata::read().unwrap();
    let built = metadata.bins("lb-userspace");
    for name in installed {
        assert!(
            built.iter().any(|it| it == name),
            "{name} is not in {built:?}"
        );
    }
    // Without a selection, cargo builds the default members.
    assert!(readme.contains("\ncargo build --release\n"));
    assert!(metadata.is_built_by_default("lb-userspace"));
}

#[test]
fn names_end_where_they_end() {
    let text = "`cargo xtask check` (format), cargo xtask demo\n";
    assert_eq!(names(text, "cargo xtask "), ["check", "demo"]);
}
