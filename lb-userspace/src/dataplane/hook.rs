//! The kernel's ingress hook, where `lb_deliver` takes what XDP could not send, and `lb_local` the replies of
//! endpoints on this node.
//!
//! Since kernel 6.6 a link holds the program there (TCX), pinned like XDP's. Before, a filter of the
//! `clsact` queueing discipline does, which stays by itself until it is taken away.

use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};

use super::bpffs;
use super::report::Hook;

/// Which filter is ours: the first to look at a packet.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x6c62);

/// Said where there are no links.
const FILTER: &str = "this kernel has no link for a program at the ingress hook (TCX, Linux 6.6): a \
     filter of `clsact` is used, which goes when somebody deletes or replaces that queueing discipline";

/// A program that belongs at the hook.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its name in the object.
    pub program: &'static str,
    /// What the name of its pinned link begins with; that of the interface follows.
    pub pin: &'static str,
}

/// Sends what XDP could not.
pub const DELIVER: Role = Role {
    program: "lb_deliver",
    pin: "tcx-",
};
/// Turns replies of endpoints on this node.
pub const LOCAL: Role = Role {
    program: "lb_local",
    pin: "local-",
};

impl Role {
    /// Where its link is pinned.
    pub fn pinned(self, pin_dir: &Path, interface: &str) -> PathBuf {
        pin_dir.join(bpffs::name(self.pin, interface))
    }
}

/// Puts the program at the ingress hook of an interface, in the place of an earlier daemon's. Returns what
/// holds it there; `notes` gets what an operator should know.
///
/// # Errors
/// If the kernel takes it in neither way.
pub fn attach(
    role: Role,
    program: &mut SchedClassifier,
    pin_dir: &Path,
    interface: &str,
    notes: &mut Vec<String>,
) -> Result<Hook> {
    let pin = role.pinned(pin_dir, interface);
    if pin.exists() {
        let link = FdLink::from(PinnedLink::from_pin(&pin)?);
        if let Ok(link) = program.attach_to_link(link.try_into()?) {
            drop(program.take_link(link)?);
            return Ok(Hook::Tcx);
        }
        // The link of an interface that is gone; this one only has its name.
        fs::remove_file(&pin).with_context(|| format!("unpin {}", pin.display()))?;
    }
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    match program.attach_with_options(interface, TcAttachType::Ingress, first) {
        Ok(link) => {
            let link: FdLink = program.take_link(link)?.try_into()?;
            link.pin(&pin)?;
            Ok(Hook::Tcx)
        }
        Err(_) => {
            attach_filter(program, interface)?;
            if !notes.iter().any(|note| note == FILTER) {
                notes.push(FILTER.to_owned());
            }
            Ok(Hook::Clsact)
        }
    }
}

fn attach_filter(program: &mut SchedClassifier, interface: &str) -> Result<()> {
    // Fails if it is there already, which is as good.
    let _ = qdisc_add_clsact(interface);
    let options = NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    };
    let ingress = TcAttachType::Ingress;
    let link =
        match program.attach_with_options(interface, ingress, TcAttachOptions::Netlink(options)) {
            Ok(link) => link,
            Err(_) => {
                let earlier =
                    SchedClassifierLink::attached(interface, ingress, PRIORITY, HANDLE, None)?;
                program
                    .attach_to_link(earlier)
                    .context("replace the filter of an earlier lbd")?
            }
        };
    // Dropped, it would take the filter with it.
    mem::forget(program.take_link(link)?);
    Ok(())
}

/// Takes our filter off an interface, if there is one.
pub fn detach_filter(role: Role, interface: &str) {
    // No filter, or no interface: nothing to take off.
    let _ = qdisc_detach_program(interface, TcAttachType::Ingress, role.program);
}
