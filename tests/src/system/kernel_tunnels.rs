//! Endpoints whose kernel unpacks: its own tunnel devices take what lb sends.
//!
//! Only where the kernel has them: in the machines of `cargo xtask test --kernels`, which load the modules.

use std::path::Path;

use anyhow::Result;
use lb_userspace::lab::Family;
use libtest_mimic::Trial;

use super::modes::carry_to;
use super::scene::Scene;
use super::trial::trial;

/// The kernel's modules for all of it.
const MODULES: [&str; 5] = ["ipip", "sit", "ip6_tunnel", "fou", "fou6"];

pub(super) fn trials() -> Vec<Trial> {
    let are_loaded = MODULES
        .iter()
        .all(|module| Path::new("/sys/module").join(module).exists());
    let all = [
        ("the kernel's own tunnel devices unpack ipip", "ipip", false),
        (
            "the kernel's own tunnel devices unpack ipip of the other family",
            "ipip",
            true,
        ),
        ("the kernel's own tunnel devices unpack gue", "gue", false),
        (
            "the kernel's own tunnel devices unpack gue of the other family",
            "gue",
            true,
        ),
    ];
    all.into_iter()
        .filter(|_| are_loaded)
        .map(|(name, mode, across)| trial(name, move || carry_to(mode, across, unpack)))
        .collect()
}

/// What a user of these devices would type.
fn unpack(scene: &Scene, name: &str) -> Result<()> {
    let host = scene.lab().endpoint(name)?;
    let [v4, v6] = [Family::V4, Family::V6].map(|family| host.address(family).to_string());
    for (device, words) in [
        ("lb4in4", ["type", "ipip", "local", &v4]),
        ("lb6in4", ["type", "sit", "local", &v4]),
    ] {
        host.ip(&[&["link", "add", device], &words[..]].concat())?;
        host.ip(&["link", "set", device, "up"])?;
    }
    let words = [
        "type", "ip6tnl", "local", &v6, "remote", "::", "mode", "any",
    ];
    host.ip(&[&["link", "add", "lbin6"], &words[..]].concat())?;
    host.ip(&["link", "set", "lbin6", "up"])?;
    for device in ["lb4in4", "lb6in4", "lbin6"] {
        host.set_sysctl(&format!("ipv4/conf/{device}/rp_filter"), "0")?;
    }
    host.ip(&["fou", "add", "port", "6080", "gue"])?;
    host.ip(&["-6", "fou", "add", "port", "6080", "gue"])
}
