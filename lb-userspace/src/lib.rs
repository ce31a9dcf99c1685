//! The daemon `lbd`, the command `lbctl`, and everything both are made of.
//!
//! A tour, in the order a change of weights takes:
//! - [`cli`] turns what was typed into a request, [`client`] sends it, [`render`] prints the answer;
//! - [`server`] takes it from the socket, [`api`] is what both sides say to each other;
//! - [`control`] is the one writer: it lets [`state`] decide (pure), [`persist`] keep, and
//!   [`dataplane`] make the kernel follow;
//! - [`desired`] is what is wanted, [`weights`] the grammar of shares, [`config`] the file.
//!
//! Around it: [`daemon`] is the life of `lbd`, [`source`] and [`sysctl`] ask and tell the node,
//! [`exit`] says how a program ended. [`lab`] builds networks out of namespaces to try it all in.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod demo;
pub mod desired;
pub mod exit;
pub mod lab;
mod nearest;
pub mod persist;
pub mod plan;
pub mod render;
pub mod server;
pub mod source;
pub mod state;
pub mod sysctl;
pub mod table;
pub mod weights;
