//! The whole system as its users have it: namespaces, real sockets, the real `lbd` and `lbctl`.
//!
//! | module | what stands or falls |
//! |---|---|
//! | [`shares`] | new flows follow the weights |
//! | [`select`] | turns, affinity and rules |
//! | [`sticky`] | flows stay where they are, also ten thousand of them |
//! | [`exchange`] | weights changed under load: the old ones or the new ones |
//! | [`flood`] | spoofed packets in masses harm nobody |
//! | [`life`] | `lbd` killed, stopped, started twice, told to read its file again, detached |
//! | [`paths`] | neighbours from cold, large transfers, generic mode, what is not ours |
//! | [`pods`] | endpoints on the node itself |
//! | [`modes`] | endpoints that answer themselves: dsr, ipip, gue |
//! | [`ports`] | services with several ports |
//! | [`kernel_tunnels`] | endpoints whose kernel unpacks |
//! | [`aside`] | large datagrams, errors, echo requests |
//! | [`beside`] | the same in the modes that carry |
//! | [`counters`] | what was counted stays counted |
//! | [`scale`] | a thousand services |
//! | [`socket`] | the API without our client |
//! | [`vlan`] | clients and endpoints in a VLAN |
//! | [`commands`] | `lbctl` and `lbd` as typed: answers, mistakes, exit codes |
//! | [`demonstration`] | `lbctl demo` |
//! | [`readme`] | what the README says to type |

mod aside;
mod beside;
mod changes;
mod commands;
mod counters;
mod demonstration;
mod exchange;
mod flood;
mod kernel_tunnels;
mod life;
mod modes;
mod paths;
mod pods;
mod ports;
mod readme;
mod scale;
mod scene;
mod select;
mod shares;
mod socket;
mod sticky;
mod trial;
mod vlan;

use libtest_mimic::Trial;

/// Every trial of the system. They need root; the program's `main` must begin with
/// [`lb_userspace::lab::serve_if_asked`].
pub fn trials() -> Vec<Trial> {
    [
        shares::trials(),
        select::trials(),
        sticky::trials(),
        exchange::trials(),
        flood::trials(),
        life::trials(),
        modes::trials(),
        kernel_tunnels::trials(),
        paths::trials(),
        pods::trials(),
        ports::trials(),
        aside::trials(),
        beside::trials(),
        vlan::trials(),
        counters::trials(),
        scale::trials(),
        socket::trials(),
        commands::trials(),
        demonstration::trials(),
        readme::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
