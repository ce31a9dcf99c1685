//! What labs of killed processes left behind.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::footprint::{
    DIRECTORY, DIRECTORY_PREFIX, NAMESPACE_PREFIX, delete_namespace, remove_directory,
};
use super::namespace;

/// Removes the namespaces and directories of labs whose process is gone.
pub(super) fn remove() -> Result<()> {
    for name in names(namespace::DIRECTORY) {
        if is_dead(&name, NAMESPACE_PREFIX) {
            removed(delete_namespace(&name), || namespace::path(&name).exists())?;
        }
    }
    for name in names(DIRECTORY) {
        if is_dead(&name, DIRECTORY_PREFIX) {
            let path = Path::new(DIRECTORY).join(&name);
            removed(remove_directory(&path), || path.exists())?;
        }
    }
    Ok(())
}

/// Another lab that starts now removes the same leftovers: what is gone in the end is fine.
fn removed(result: Result<()>, still_there: impl Fn() -> bool) -> Result<()> {
    match result {
        Err(error) if still_there() => Err(error),
        _ => Ok(()),
    }
}

/// The names in a directory; none when it cannot be read.
fn names(directory: &str) -> Vec<String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Whether the name is `PREFIX` `PID` `-…` of a process that is gone.
fn is_dead(name: &str, prefix: &str) -> bool {
    owner(name, prefix).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// The pid in the name of something that a lab made.
fn owner(name: &str, prefix: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(prefix)?.split_once('-')?;
    number
        .starts_with(|first: char| first.is_ascii_digit())
        .then_some(())?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_name_carries_the_pid_of_its_process() {
        assert_eq!(owner("lb-4711-0-client", NAMESPACE_PREFIX), Some(4711));
        assert_eq!(owner("lb-lab-4711-12", DIRECTORY_PREFIX), Some(4711));
    }

    #[test]
    fn a_name_of_somebody_else_has_no_owner() {
        for name in [
            "lb-production",
            "lb-4711-web",
            "lb-4711",
            "client",
            "lb--1-0",
        ] {
            assert_eq!(owner(name, NAMESPACE_PREFIX), None, "{name}");
        }
    }

    #[test]
    fn a_lab_of_this_process_is_alive() {
        assert!(!is_dead(
            &format!("lb-{}-0-client", std::process::id()),
            NAMESPACE_PREFIX
        ));
    }
}
