//! The kernel program: a packet's way through the node.
//!
//! ```text
//!  frame ─ parse ─┬─ service? ─┬─ flow? ─┬─ select ─ admit ─┬─ rewrite ─ forward ─ count
//!                 │            │         └──────────────────┤
//!                 │            └─ reply of an endpoint? ────┤
//!                 ├─ fragment ─ first, or the first known? ─┤
//!                 └─ ICMP ─ error about a flow, or echo? ───┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `pipeline` | the steps in order |
//! | `service`, `flow`, `select`, `forward`, `count` | a step each |
//! | `carry` | what an endpoint gets as it is: to its link-layer address, in a tunnel |
//! | `elsewhere` | services that are not where the hash says, or have many ports |
//! | `rule` | which table a client of a service has |
//! | `rare` | admission and each step of a flow's life: once a flow, not once a packet |
//! | `too_big` | the answer to a packet larger than its way out |
//! | `fragment`, `icmp` | the ways of what is not a whole TCP or UDP packet |
//! | `aside` | these as programs of their own |
//! | `local` | replies of endpoints on this node, at the ingress hook of what leads to them |
//! | `deliver` | what XDP cannot send, sent by the kernel |
//! | `maps` | every map: key → value, who writes, who reads |
//! | `frame`, `skb` | the only pointer arithmetic: a frame under XDP, and one of the kernel's network code |
//!
//! Parsing, hashing, the flow table and rewriting are `lb-common`'s, where they are tested.
#![expect(
    missing_docs,
    reason = "the program macros make public functions without their docs"
)]
#![no_std]
#![no_main]

mod aside;
mod carry;
mod count;
mod deliver;
mod elsewhere;
mod flow;
mod forward;
mod fragment;
mod frame;
mod icmp;
mod local;
mod maps;
mod object;
mod pipeline;
mod rare;
mod rule;
mod select;
mod service;
mod skb;
mod too_big;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// Every frame that comes in on an attached interface.
#[xdp(frags)]
#[inline(always)]
pub fn lb(ctx: XdpContext) -> u32 {
    pipeline::run::<true>(ctx)
}

/// Every frame with VLAN tags, IPv4 options or IPv6 extension headers, from [`lb`].
#[xdp(frags)]
#[inline(always)]
pub fn lb_not_plain(ctx: XdpContext) -> u32 {
    pipeline::run::<false>(ctx)
}

/// Every frame with a fragment, from [`lb`].
#[xdp(frags)]
#[inline(always)]
pub fn lb_fragment(ctx: XdpContext) -> u32 {
    aside::run_fragment(ctx)
}

/// Every frame with an IP packet that is neither TCP nor UDP, from [`lb`].
#[xdp(frags)]
#[inline(always)]
pub fn lb_message(ctx: XdpContext) -> u32 {
    aside::run_message(ctx)
}

/// Every frame that is larger than its way out, from the others.
#[xdp(frags)]
#[inline(always)]
pub fn lb_too_big(ctx: XdpContext) -> u32 {
    too_big::run(ctx)
}

/// The tick it is, for tests: not attached anywhere.
#[xdp(frags)]
#[inline(always)]
pub fn lb_tick(_ctx: XdpContext) -> u32 {
    maps::now()
}

/// Every frame that [`lb`] passed to the kernel, on the same interface.
#[classifier]
#[inline(always)]
pub fn lb_deliver(ctx: TcContext) -> i32 {
    deliver::run(&ctx)
}

/// Every frame that comes in on an interface that leads to endpoints and that [`lb`] is not attached to.
#[classifier]
#[inline(always)]
pub fn lb_local(ctx: TcContext) -> i32 {
    local::run(ctx)
}
