//! What must not be where: the architecture's absences, checked.
//!
//! A rule is a sentence, a reason, the files it is about and what it does not want in them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::tokens::{Tests, Token, find, tokens};

/// Where the kernel program makes addresses: packet bytes and map values.
const ADDRESSES_IN_KERNEL: &[&str] = &[
    "lb-ebpf/src/frame.rs",
    "lb-ebpf/src/skb.rs",
    "lb-ebpf/src/maps.rs",
];

/// Where it may step outside the compiler's guarantees: there, and where it calls the kernel's
/// helpers (routes, redirection).
const UNSAFE_IN_KERNEL: &[&str] = &[
    "lb-ebpf/src/frame.rs",
    "lb-ebpf/src/skb.rs",
    "lb-ebpf/src/maps.rs",
    "lb-ebpf/src/forward.rs",
    "lb-ebpf/src/deliver.rs",
    // The other end of tunnels: one file, with maps of its own.
    "lb-ebpf/src/decap/",
    "lb-ebpf/src/clock/",
    // What the benchmark compares with: two programs, each one file.
    "lb-ebpf/src/bench/",
];

/// Where the daemon may: memory shared with the kernel, a system call that aya has not, and namespaces of
/// the lab.
const UNSAFE_IN_DAEMON: &[&str] = &[
    "lb-userspace/src/dataplane/batch.rs",
    "lb-userspace/src/dataplane/mapped.rs",
    "lb-userspace/src/lab/",
    "lb-userspace/src/lab.rs",
];

/// Who may talk to aya in the daemon. A name stands for the file and for the directory.
const AYA: &[&str] = &["lb-userspace/src/dataplane", "lb-userspace/src/attach"];

/// One rule.
struct Rule {
    /// What is not allowed, as a sentence.
    says: &'static str,
    /// What it protects.
    because: &'static str,
    /// Whether the rule is about the file at this path, relative to the root of the workspace.
    about: fn(&str) -> bool,
    /// Whether test code is held to it.
    tests: Tests,
    /// The lines that break it.
    broken: fn(&[Token]) -> Vec<usize>,
}

const RULES: &[Rule] = &[
    Rule {
        says: "aya is used in dataplane and attach only",
        because: "one writer of the maps: everything else is values, testable without a kernel",
        about: |path| path.starts_with("lb-userspace/src/") && !starts_with_any(path, AYA),
        tests: Tests::Included,
        broken: |tokens| find(tokens, &["aya", ":", ":"]),
    },
    Rule {
        says: "lb-common takes nothing from aya but `Pod`",
        because: "it is compiled into the kernel program too",
        about: |path| path.starts_with("lb-common/src/"),
        tests: Tests::Included,
        broken: |tokens| {
            let pod = find(tokens, &["aya", ":", ":", "Pod"]);
            let mut lines = find(tokens, &["aya", ":", ":"]);
            lines.retain(|line| !pod.contains(line));
            lines
        },
    },
    Rule {
        says: "no floating point in the table builder",
        because: "every node with the same input must build the same table, bit for bit",
        about: |path| path.starts_with("lb-userspace/src/table"),
        tests: Tests::LeftOut,
        broken: |tokens| [find(tokens, &["f32"]), find(tokens, &["f64"])].concat(),
    },
    Rule {
        says: "no address becomes a pointer in the kernel program outside frame and maps",
        because: "one place to read when asking whether an access is within bounds",
        about: |path| {
            path.starts_with("lb-ebpf/src/") && !starts_with_any(path, ADDRESSES_IN_KERNEL)
        },
        tests: Tests::Included,
        broken: |tokens| {
            [
                find(tokens, &["as", "*", "const"]),
                find(tokens, &["as", "*", "mut"]),
            ]
            .concat()
        },
    },
    Rule {
        says: "no `unsafe` in the kernel program outside frame, maps and the callers of helpers",
        because: "the pipeline and its decisions are checked by the compiler",
        about: |path| path.starts_with("lb-ebpf/src/") && !starts_with_any(path, UNSAFE_IN_KERNEL),
        tests: Tests::Included,
        broken: unsafe_code,
    },
    Rule {
        says: "no `unsafe` in the daemon outside mapped memory, batches and the lab",
        because: "what decides about weights and flows cannot corrupt memory",
        about: |path| {
            path.starts_with("lb-userspace/src/") && !starts_with_any(path, UNSAFE_IN_DAEMON)
        },
        tests: Tests::Included,
        broken: unsafe_code,
    },
    Rule {
        says: "no `unwrap` in config, api and server",
        because: "what comes from outside must be answered with an error, not end the daemon",
        about: |path| {
            starts_with_any(
                path,
                &[
                    "lb-userspace/src/config",
                    "lb-userspace/src/api",
                    "lb-userspace/src/server",
                ],
            )
        },
        tests: Tests::LeftOut,
        broken: |tokens| find(tokens, &[".", "unwrap", "("]),
    },
    Rule {
        says: "lb-userspace does not link lb-ebpf",
        because: "it embeds the object built for the kernel; the crate is not for the host",
        about: |path| path.starts_with("lb-userspace/"),
        tests: Tests::Included,
        broken: |tokens| find(tokens, &["lb_ebpf"]),
    },
];

/// The same for the manifest, which is not Rust.
const UNLINKED: (&str, &str) = ("lb-userspace/Cargo.toml", "lb-ebpf");

/// A rule broken at a line.
pub(crate) struct Violation {
    path: String,
    line: usize,
    says: &'static str,
    because: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            says,
            because,
        } = self;
        write!(f, "{path}:{line}: {says} ({because})")
    }
}

/// Every violation in the workspace at `root`.
///
/// # Errors
/// When a source file cannot be read or is not Rust.
pub(crate) fn violations(root: &Path) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    for member in ["lb-common", "lb-ebpf", "lb-userspace"] {
        for file in rust_files(&root.join(member))? {
            let path = file
                .strip_prefix(root)
                .unwrap_or(&file)
                .to_string_lossy()
                .into_owned();
            let source = fs::read_to_string(&file).with_context(|| format!("read {path}"))?;
            found.extend(in_source(&path, &source).with_context(|| path)?);
        }
    }
    let (path, crate_name) = UNLINKED;
    let manifest = fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
    found.extend(in_manifest(path, crate_name, &manifest));
    Ok(found)
}

fn in_source(path: &str, source: &str) -> Result<Vec<Violation>> {
    let is_test_file = path.ends_with("/tests.rs") || path.contains("/tests/");
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.about)(path)) {
        if rule.tests == Tests::LeftOut && is_test_file {
            continue;
        }
        let mut lines = (rule.broken)(&tokens(source, rule.tests)?);
        lines.sort_unstable();
        lines.dedup();
        found.extend(lines.into_iter().map(|line| Violation {
            path: path.to_owned(),
            line,
            says: rule.says,
            because: rule.because,
        }));
    }
    Ok(found)
}

fn in_manifest(path: &str, crate_name: &str, manifest: &str) -> Vec<Violation> {
    let depends = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix(crate_name)
            .is_some_and(|rest| rest.starts_with([' ', '.', '=']))
            || line.ends_with(&format!("dependencies.{crate_name}]"))
    };
    let lines = manifest
        .lines()
        .enumerate()
        .filter(|(_, line)| depends(line));
    lines
        .map(|(index, _)| Violation {
            path: path.to_owned(),
            line: index + 1,
            says: "lb-userspace does not depend on lb-ebpf",
            because: "it embeds the object built for the kernel; the crate is not for the host",
        })
        .collect()
}

/// `unsafe` as in a block, function or impl, not as in `#[unsafe(no_mangle)]`.
fn unsafe_code(tokens: &[Token]) -> Vec<usize> {
    let is_code = |pair: &&[Token]| pair[0].text == "unsafe" && pair[1].text != "(";
    tokens
        .windows(2)
        .filter(is_code)
        .map(|pair| pair[0].line)
        .collect()
}

fn starts_with_any(path: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| path.starts_with(start))
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || format!("read {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `line: sentence` of each violation.
    fn broken(path: &str, source: &str) -> Vec<(usize, &'static str)> {
        let found = in_source(path, source).unwrap();
        found
            .into_iter()
            .map(|violation| (violation.line, violation.says))
            .collect()
    }

    #[test]
    fn aya_stays_in_dataplane_and_attach() {
        let source = "use std::fs;\nuse aya::Ebpf;\n";
        let rule = "aya is used in dataplane and attach only";
        assert_eq!(broken("lb-userspace/src/server.rs", source), [(2, rule)]);
        assert_eq!(broken("lb-userspace/src/dataplane/mod.rs", source), []);
        assert_eq!(broken("lb-userspace/src/attach.rs", source), []);
        assert_eq!(
            broken(
                "lb-userspace/src/server.rs",
                "// aya::Ebpf\nuse aya_log::L;"
            ),
            []
        );
    }

    #[test]
    fn lb_common_implements_pod_and_takes_nothing_else() {
        assert_eq!(
            broken("lb-common/src/record.rs", "unsafe impl aya::Pod for S {}"),
            []
        );
        assert_eq!(
            broken("lb-common/src/record.rs", "use aya::maps::Array;").len(),
            1
        );
    }

    #[test]
    fn the_table_builder_has_no_float() {
        let rule = "no floating point in the table builder";
        let source = "fn a() {}\nfn share(x: u32) -> f64 { f64::from(x) }\n";
        assert_eq!(broken("lb-userspace/src/table.rs", source), [(2, rule)]);
        assert_eq!(
            broken("lb-userspace/src/table/score.rs", source),
            [(2, rule)]
        );
        assert_eq!(broken("lb-userspace/src/render.rs", source), []);
        let test = "#[cfg(test)]\nmod tests { const CHI: f64 = 1.0; }";
        assert_eq!(broken("lb-userspace/src/table.rs", test), []);
    }

    #[test]
    fn the_kernel_program_reaches_memory_through_frame_and_maps() {
        let source = "fn f(p: usize) {\n  let h = p as *const u8;\n  unsafe { *h };\n}\n";
        let address = "no address becomes a pointer in the kernel program outside frame and maps";
        let code =
            "no `unsafe` in the kernel program outside frame, maps and the callers of helpers";
        assert_eq!(
            broken("lb-ebpf/src/pipeline.rs", source),
            [(2, address), (3, code)]
        );
        assert_eq!(broken("lb-ebpf/src/forward.rs", source), [(2, address)]);
        assert_eq!(broken("lb-ebpf/src/frame.rs", source), []);
        assert_eq!(broken("lb-ebpf/src/maps.rs", source), []);
    }

    #[test]
    fn an_unsafe_attribute_is_not_unsafe_code() {
        assert_eq!(
            broken(
                "lb-ebpf/src/main.rs",
                "#[unsafe(no_mangle)]\nstatic A: u8 = 0;"
            ),
            []
        );
    }

    #[test]
    fn the_daemon_is_safe_outside_mapped_memory_and_the_lab() {
        let source = "unsafe fn f() {}";
        assert_eq!(broken("lb-userspace/src/state.rs", source).len(), 1);
        assert_eq!(broken("lb-userspace/src/dataplane/mod.rs", source).len(), 1);
        assert_eq!(broken("lb-userspace/src/dataplane/mapped.rs", source), []);
        assert_eq!(broken("lb-userspace/src/lab/namespace.rs", source), []);
    }

    #[test]
    fn what_comes_from_outside_is_not_unwrapped() {
        let source = "fn f() {\n x.unwrap();\n y.unwrap_or(0);\n}\n\
                      #[cfg(test)]\nmod tests { fn g() { z.unwrap(); } }\n";
        for path in ["config/mod.rs", "api.rs", "server/accept.rs"] {
            let path = format!("lb-userspace/src/{path}");
            assert_eq!(
                broken(&path, source),
                [(2, "no `unwrap` in config, api and server")]
            );
        }
        assert_eq!(broken("lb-userspace/src/table.rs", source), []);
        assert_eq!(broken("lb-userspace/src/config/tests.rs", source), []);
    }

    #[test]
    fn the_daemon_does_not_link_the_kernel_program() {
        assert_eq!(
            broken("lb-userspace/src/lib.rs", "use lb_ebpf::maps;").len(),
            1
        );
        let lines = |manifest| {
            let found = in_manifest("Cargo.toml", "lb-ebpf", manifest);
            found
                .into_iter()
                .map(|violation| violation.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("[dependencies]\nlb-ebpf = { path = \"x\" }\n"), [2]);
        assert_eq!(lines("[dependencies]\nlb-ebpf.workspace = true\n"), [2]);
        assert_eq!(lines("[build-dependencies.lb-ebpf]\n"), [1]);
        assert_eq!(
            lines("# lb-ebpf is built by build.rs\nlb-common = \"1\"\n"),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn a_violation_says_where_what_and_why() {
        let found = in_source("lb-userspace/src/api.rs", "\nfn f() { x.unwrap() }").unwrap();
        assert_eq!(
            found[0].to_string(),
            "lb-userspace/src/api.rs:2: no `unwrap` in config, api and server (what comes from \
             outside must be answered with an error, not end the daemon)"
        );
    }
}
