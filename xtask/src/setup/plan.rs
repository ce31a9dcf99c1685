//! From what is there to what to install. Pure.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use xtask::environment;
use xtask::toolchain::{OLDEST_RUST, TARGET};

use super::apt::Offers;
use super::survey::{Machine, TOOLS, Tool};
use crate::cargo::workspace;

/// The version of bpf-linker lb is tested with.
const LINKER: &str = "0.13.0";

/// The LLVM versions that bpf-linker [`LINKER`] builds against.
const LINKABLE: std::ops::RangeInclusive<u32> = 21..=23;

/// One command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Install Debian packages.
    Install(Vec<String>),
    /// Build bpf-linker against an LLVM of this major version, for the user who asks.
    BuildLinker { llvm: u32 },
}

/// The steps that make `machine` complete, in order; none when it is.
///
/// # Errors
/// When this machine has no way to a compiler or a linker; the message holds what to type.
pub(crate) fn plan(machine: &Machine, offers: &Offers) -> Result<Vec<Step>> {
    if !machine.apt {
        return match machine.is_complete() {
            true => Ok(Vec::new()),
            false => bail!(without_apt(machine)),
        };
    }

    let mut packages: Vec<String> = machine
        .missing
        .iter()
        .flat_map(|tool| packages(tool, offers))
        .collect();
    let llvm = match (machine.toolchain, offers.compiler) {
        (Some(_), _) => machine.llvm,
        (None, Some(compiler)) => {
            packages.extend(compiler.packages.map(str::to_owned));
            Some(compiler.llvm)
        }
        (None, None) => bail!(without_compiler()),
    };

    let mut build = None;
    if machine.linker.is_none() {
        let Some(llvm) = llvm.filter(|llvm| LINKABLE.contains(llvm)) else {
            bail!(without_linker(llvm));
        };
        if !machine.llvm_installed {
            packages.push(format!("llvm-{llvm}-dev"));
        }
        build = Some(Step::BuildLinker { llvm });
    }

    let install = (!packages.is_empty()).then_some(Step::Install(packages));
    Ok(install.into_iter().chain(build).collect())
}

/// `steps` as a user without root's rights types them.
pub(crate) fn to_type(steps: &[Step]) -> String {
    let line = |step: &Step| match step.needs_root() {
        true => format!("    sudo {step}"),
        false => format!("    {step}"),
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn packages(tool: &Tool, offers: &Offers) -> Vec<String> {
    match (tool.name, offers.bpftool) {
        ("bpftool", Some(package)) => vec![package.to_owned()],
        _ => tool
            .packages
            .iter()
            .map(|&package| package.to_owned())
            .collect(),
    }
}

const NIGHTLY: &str = "    rustup toolchain install nightly --component rust-src";

fn install_linker() -> String {
    format!("    cargo install cargo-binstall && cargo binstall bpf-linker@{LINKER}")
}

fn without_compiler() -> String {
    format!(
        "apt's package lists offer no rustc of at least {OLDEST_RUST} with a core library for \
         {TARGET}. `sudo apt-get update` may change that; otherwise type\n{NIGHTLY}\nand run \
         `cargo xtask setup` again"
    )
}

fn without_linker(llvm: Option<u32>) -> String {
    let llvm = llvm.map_or_else(|| "an unknown version".to_owned(), |llvm| llvm.to_string());
    format!(
        "the compiler writes bitcode of LLVM {llvm}, and bpf-linker {LINKER} builds against {} to \
         {}. Type\n{}",
        LINKABLE.start(),
        LINKABLE.end(),
        install_linker()
    )
}

fn without_apt(machine: &Machine) -> String {
    let mut lines = vec!["lb needs more than this machine has, and there is no apt-get.".into()];
    if machine.toolchain.is_none() {
        lines.push(NIGHTLY.to_owned());
    }
    if machine.linker.is_none() {
        lines.push(install_linker());
    }
    let is_typed = lines.len() > 1;
    if is_typed {
        lines[0] += " Type";
    }
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|tool| machine.missing.contains(tool))
        .collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|tool| tool.name).collect();
        let install = if is_typed { "and install" } else { "Install" };
        lines.push(format!(
            "{install} {} with your package manager",
            names.join(", ")
        ));
    }
    lines.join("\n")
}

impl Step {
    /// Whether the command changes the system rather than the user's home.
    pub(crate) fn needs_root(&self) -> bool {
        matches!(self, Self::Install(_))
    }

    /// The command. Asks nothing and reads nothing.
    pub(crate) fn command(&self) -> Command {
        let [variables, words] = self.words();
        let (program, arguments) = (&words[0], &words[1..]);
        let mut command = environment::command(program);
        // Which toolchain builds bpf-linker does not matter; that there is one does.
        if let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") {
            command.env("RUSTUP_TOOLCHAIN", toolchain);
        }
        for assignment in variables {
            if let Some((name, value)) = assignment.split_once('=') {
                command.env(name, value);
            }
        }
        command
            .args(arguments)
            .current_dir(existing(workspace()))
            .stdin(Stdio::null());
        command
    }

    /// Variables to set, and the command line.
    fn words(&self) -> [Vec<String>; 2] {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match self {
            Self::Install(packages) => {
                // --no-remove: bookworm's rustc-web and plain rustc exclude each other, and what
                // the user has installed is not ours to take away.
                let mut words: Vec<String> = owned(&[
                    "apt-get",
                    "install",
                    "--yes",
                    "--quiet",
                    "--no-install-recommends",
                    "--no-remove",
                ]);
                words.extend(packages.iter().cloned());
                [owned(&["DEBIAN_FRONTEND=noninteractive"]), words]
            }
            Self::BuildLinker { llvm } => {
                let mut words: Vec<String> = owned(&[
                    "cargo",
                    "install",
                    "bpf-linker",
                    "--version",
                    LINKER,
                    "--no-default-features",
                    "--locked",
                    "--force",
                    "--features",
                ]);
                words.push(format!("llvm-{llvm}"));
                // Without the prefix its build script looks for LLVM in /usr/lib64.
                [vec![format!("LLVM_PREFIX=/usr/lib/llvm-{llvm}")], words]
            }
        }
    }
}

/// As one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().concat().join(" "))
    }
}

/// The binary may outlive the checkout it was built in.
fn existing(directory: &Path) -> &Path {
    if directory.is_dir() {
        directory
    } else {
        Path::new("/")
    }
}

#[cfg(test)]
mod tests {
    use super::super::apt::Compiler;
    use super::*;
    use xtask::toolchain::Toolchain;

    const BOOKWORM: Offers = Offers {
        compiler: Some(Compiler {
            packages: ["rustc-web", "libstd-rust-web-dev-bpf"],
            llvm: 22,
        }),
        bpftool: Some("bpftool"),
    };

    fn new_debian() -> Machine {
        Machine {
            apt: true,
            missing: TOOLS[1..].into(),
            ..Machine::default()
        }
    }

    fn complete() -> Machine {
        Machine {
            toolchain: Some(Toolchain::Debian),
            llvm: Some(22),
            linker: Some("/usr/bin/bpf-linker".into()),
            llvm_installed: true,
            missing: Vec::new(),
            apt: true,
        }
    }

    fn typed(machine: &Machine, offers: &Offers) -> Vec<String> {
        plan(machine, offers)
            .unwrap()
            .iter()
            .map(Step::to_string)
            .collect()
    }

    fn refusal(machine: &Machine, offers: &Offers) -> String {
        plan(machine, offers).unwrap_err().to_string()
    }

    #[test]
    fn a_complete_machine_needs_nothing() {
        assert_eq!(typed(&complete(), &BOOKWORM), Vec::<String>::new());
        let elsewhere = Machine {
            apt: false,
            ..complete()
        };
        assert_eq!(typed(&elsewhere, &Offers::default()), Vec::<String>::new());
    }

    #[test]
    fn a_new_debian_takes_one_installation_and_one_build() {
        assert_eq!(
            typed(&new_debian(), &BOOKWORM),
            [
                "DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
                 --no-install-recommends --no-remove iproute2 ethtool bpftool curl \
                 rustc-web libstd-rust-web-dev-bpf llvm-22-dev",
                "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 \
                 --no-default-features --locked --force --features llvm-22",
            ]
        );
    }

    #[test]
    fn nightly_with_rust_src_needs_no_compiler_from_apt() {
        let machine = Machine {
            toolchain: Some(Toolchain::Nightly),
            linker: None,
            ..complete()
        };
        assert_eq!(
            plan(&machine, &BOOKWORM).unwrap(),
            [Step::BuildLinker { llvm: 22 }]
        );
    }

    #[test]
    fn llvm_is_installed_only_for_building_the_linker() {
        let machine = Machine {
            llvm_installed: false,
            ..complete()
        };
        assert_eq!(plan(&machine, &BOOKWORM).unwrap(), []);
        let machine = Machine {
            linker: None,
            ..machine
        };
        assert_eq!(
            plan(&machine, &BOOKWORM).unwrap(),
            [
                Step::Install(vec!["llvm-22-dev".to_owned()]),
                Step::BuildLinker { llvm: 22 }
            ]
        );
    }

    #[test]
    fn a_missing_tool_is_installed_alone() {
        let machine = Machine {
            missing: vec![TOOLS[2]],
            ..complete()
        };
        assert_eq!(
            plan(&machine, &BOOKWORM).unwrap(),
            [Step::Install(vec!["ethtool".to_owned()])]
        );
    }

    #[test]
    fn ubuntu_keeps_bpftool_in_another_package() {
        let machine = Machine {
            missing: vec![TOOLS[3]],
            ..complete()
        };
        let ubuntu = Offers {
            bpftool: Some("linux-tools-generic"),
            ..BOOKWORM
        };
        assert_eq!(
            plan(&machine, &ubuntu).unwrap(),
            [Step::Install(vec!["linux-tools-generic".to_owned()])]
        );
    }

    #[test]
    fn a_debian_with_an_old_compiler_is_sent_to_nightly() {
        let said = refusal(&new_debian(), &Offers::default());
        assert!(
            said.contains("rustup toolchain install nightly --component rust-src"),
            "{said}"
        );
    }

    #[test]
    fn an_llvm_the_linker_does_not_know_is_sent_to_a_prebuilt_one() {
        let machine = Machine {
            toolchain: Some(Toolchain::Nightly),
            llvm: Some(99),
            linker: None,
            ..complete()
        };
        let said = refusal(&machine, &BOOKWORM);
        assert!(said.contains("LLVM 99"), "{said}");
        assert!(said.contains("cargo binstall bpf-linker@0.13.0"), "{said}");
    }

    #[test]
    fn another_distribution_is_told_every_command() {
        let machine = Machine {
            apt: false,
            missing: vec![TOOLS[1]],
            ..Machine::default()
        };
        let said = refusal(&machine, &Offers::default());
        for part in [
            "rustup toolchain install nightly",
            "cargo binstall bpf-linker",
            "install ip ",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }

    #[test]
    fn another_distribution_without_a_tool_is_told_to_install_it_and_nothing_else() {
        let machine = Machine {
            apt: false,
            missing: vec![TOOLS[1]],
            ..complete()
        };
        assert_eq!(
            refusal(&machine, &Offers::default()),
            "lb needs more than this machine has, and there is no apt-get.\n\
             Install ip with your package manager"
        );
    }

    #[test]
    fn only_the_installation_is_typed_with_sudo() {
        let steps = plan(&new_debian(), &BOOKWORM).unwrap();
        let typed = to_type(&steps);
        assert!(
            typed.starts_with("    sudo DEBIAN_FRONTEND=noninteractive apt-get"),
            "{typed}"
        );
        assert!(
            typed.contains("\n    LLVM_PREFIX=/usr/lib/llvm-22 cargo install"),
            "{typed}"
        );
    }
}
