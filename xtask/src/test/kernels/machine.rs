//! A virtual machine that runs the tests and ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Seconds until a machine that does not end is ended.
const LIMIT: &str = "1500";
/// What `timeout` answers then.
const TIMED_OUT: i32 = 124;

/// Everything but the fifth level of page tables, which emulated costs much and gives nothing, and
/// CMPXCHG16B: an interrupt right after it finds other flags than it left (seen in QEMU 7.2), which
/// the kernel's allocator does not survive.
const PROCESSOR: &str = "max,la57=off,cx16=off";

/// Megabytes.
const MEMORY: &str = "1024";

/// The kernel's own messages go to the first serial port, a kernel that
/// panics starts again, which ends the machine. The emulated processor leaks nothing that would have
/// to be mitigated. What the kernel does not know is the first process's environment.
const COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on PATH=/bin RUST_BACKTRACE=0";

/// What a machine starts with.
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initial: PathBuf,
}

/// Boots `image` and returns what the tests printed. Leaves it, and the kernel's messages, in
/// `directory`.
///
/// The processor is emulated: that takes no privilege and no hardware, and gives every kernel the same
/// one.
///
/// # Errors
/// When the emulator does not start, or the machine does not end by itself.
pub(super) fn run(image: &Image, directory: &Path) -> Result<String> {
    let (console, output) = (directory.join("console.log"), directory.join("output.log"));
    let mut command = Command::new("nice");
    command
        .args([
            "-n",
            "10",
            "timeout",
            "--foreground",
            "--kill-after=5",
            LIMIT,
        ])
        .args(["qemu-system-x86_64", "-machine", "pc,accel=tcg"])
        .args(["-cpu", PROCESSOR, "-smp", "1", "-m", MEMORY])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-serial")
        .arg(format!("file:{}", output.display()))
        .args(["-append", COMMAND_LINE])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initial)
        .stdin(Stdio::null());
    let status = command.status().context("start nice")?;
    match status.code() {
        Some(0) => {}
        Some(TIMED_OUT) => bail!(
            "not done after {LIMIT} s; see {} and {}",
            console.display(),
            output.display()
        ),
        _ => bail!("the emulator failed: {status}"),
    }
    let said = fs::read(&output).with_context(|| format!("read {}", output.display()))?;
    Ok(String::from_utf8_lossy(&said).replace('\r', ""))
}
