//! The cargo that runs us, and where it puts things.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// `cargo <subcommand>` with the toolchain and flags the user called us with.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(workspace());
    command
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Runs `command` and says what it runs.
///
/// # Errors
/// When it cannot start or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// `command` as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![
        program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy(),
    ];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

/// What `cargo metadata` says of the workspace.
pub(crate) struct Metadata(Value);

impl Metadata {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let mut command = cargo("metadata");
        command.args(["--no-deps", "--format-version", "1"]);
        let output = command.output().context("start `cargo metadata`")?;
        if !output.status.success() {
            bail!(
                "`cargo metadata` failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let value = serde_json::from_slice(&output.stdout).context("read `cargo metadata`")?;
        Ok(Self(value))
    }

    /// The target directory, `CARGO_TARGET_DIR` and cargo's config included.
    pub(crate) fn target_dir(&self) -> Result<PathBuf> {
        let path = self.0["target_directory"].as_str();
        Ok(path
            .context("`cargo metadata` names no target_directory")?
            .into())
    }

    /// The names of the binaries of `package`.
    pub(crate) fn bins(&self, package: &str) -> Vec<String> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        list(&self.0["packages"])
            .iter()
            .filter(|found| found["name"] == package)
            .flat_map(|found| list(&found["targets"]))
            .filter(|target| list(&target["kind"]).iter().any(|kind| kind == "bin"))
            .filter_map(|target| target["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Whether `cargo build` without a selection builds `package`.
    #[cfg(test)]
    pub(crate) fn is_built_by_default(&self, package: &str) -> bool {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let default = list(&self.0["workspace_default_members"]);
        list(&self.0["packages"])
            .iter()
            .any(|found| found["name"] == package && default.contains(&found["id"]))
    }
}
