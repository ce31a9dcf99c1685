//! What the running kernel can do. It is asked; a version tells little, for distributions give new
//! features to old kernels.

use anyhow::{Context as _, Result, bail};
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use nix::sys::utsname::uname;

use super::frags;
use super::interface::xdp_features_of_all;

/// Fails on a kernel that the program cannot run on.
///
/// # Errors
/// With what is missing and the version that has it.
pub fn require() -> Result<()> {
    // There is no way to ask for an instruction. This helper and compare-and-swap, without which there
    // is no flow table, came with the same kernel, as did the MTU of a route.
    let witness = BpfHelper::BPF_FUNC_check_mtu;
    if is_helper_supported(ProgramType::Xdp, witness).context("ask what the kernel can do")? {
        return Ok(());
    }
    let version = version()?;
    bail!(
        "lb needs Linux 5.12 or later (tried from 5.15): this is {version}, whose BPF cannot compare \
         and swap, and the flow table is built on that"
    )
}

/// What the kernel lacks that lb can do without, and what it does instead: a sentence each.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn lacks() -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if xdp_features_of_all()?.is_none() {
        notes.push(
            "this kernel does not tell what drivers can do with XDP (Linux 6.3 does): hardware is \
             taken to send what XDP gives it"
                .to_owned(),
        );
    }
    if !frags::are_taken()? {
        notes.push(
            "this kernel gives XDP programs no frames in several buffers (Linux 5.18 does): interfaces \
             whose MTU is too large for one run it in generic mode"
                .to_owned(),
        );
    }
    Ok(notes)
}

/// The running kernel's version.
///
/// # Errors
/// If the kernel does not tell.
pub fn version() -> Result<String> {
    let name = uname().context("ask for the kernel's version")?;
    Ok(name.release().to_string_lossy().into_owned())
}
