//! What this machine has.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::toolchain::{self, Toolchain};

use crate::elevate::on_path;

/// A program the build or the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Its name on PATH.
    pub(crate) name: &'static str,
    /// The Debian packages it takes.
    pub(crate) packages: &'static [&'static str],
}

/// Everything but the compiler and the linker of the kernel program.
pub(crate) const TOOLS: [Tool; 5] = [
    Tool {
        name: "cc",
        packages: &["gcc", "libc6-dev"],
    },
    Tool {
        name: "ip",
        packages: &["iproute2"],
    },
    Tool {
        name: "ethtool",
        packages: &["ethtool"],
    },
    Tool {
        name: "bpftool",
        packages: &["bpftool"],
    },
    Tool {
        name: "curl",
        packages: &["curl"],
    },
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) toolchain: Option<Toolchain>,
    /// Major version of the LLVM inside `toolchain`.
    pub(crate) llvm: Option<u32>,
    pub(crate) linker: Option<PathBuf>,
    /// Whether the LLVM that a linker for `toolchain` is built against is installed.
    pub(crate) llvm_installed: bool,
    pub(crate) missing: Vec<Tool>,
    /// Whether this is a Debian or one of its children.
    pub(crate) apt: bool,
}

impl Machine {
    /// Looks. Takes a few runs of rustc, well under a second.
    pub(crate) fn survey() -> Self {
        let toolchain = Toolchain::find();
        let llvm = toolchain.and_then(Toolchain::llvm);
        Self {
            toolchain,
            llvm,
            linker: toolchain::linker().filter(|linker| runs(linker)),
            llvm_installed: llvm.is_some_and(|llvm| {
                Path::new(&format!("/usr/lib/llvm-{llvm}/bin/llvm-config")).exists()
            }),
            missing: TOOLS
                .into_iter()
                .filter(|tool| !on_path(tool.name))
                .collect(),
            apt: on_path("apt-get"),
        }
    }

    /// Whether nothing is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.toolchain.is_some() && self.linker.is_some() && self.missing.is_empty()
    }
}

/// A line a subject.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.toolchain {
            Some(toolchain) => write!(f, "compiler  {toolchain}")?,
            None => write!(f, "compiler  none that can build for {}", toolchain::TARGET)?,
        }
        match self.llvm {
            Some(llvm) => writeln!(f, ", LLVM {llvm}")?,
            None => writeln!(f)?,
        }
        match &self.linker {
            Some(linker) => writeln!(f, "linker    {}", linker.display())?,
            None => writeln!(f, "linker    no bpf-linker that starts")?,
        }
        let names = |tools: &[Tool]| {
            tools
                .iter()
                .map(|tool| tool.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match &*self.missing {
            [] => write!(f, "tools     {}", names(&TOOLS)),
            missing => write!(f, "tools     missing: {}", names(missing)),
        }
    }
}

/// A bpf-linker whose LLVM was removed is there and does not start.
fn runs(linker: &Path) -> bool {
    Command::new(linker)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
