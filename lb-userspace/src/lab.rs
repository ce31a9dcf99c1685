//! Real hosts for the demo and the system tests: network namespaces joined by veth.
//!
//! A [`Topology`] says how the hosts are wired; building it gives a [`Lab`]: a client, the node that
//! the balancer runs on, and the endpoints, with a private bpffs and working directory. Each
//! [`Host`] runs closures, child processes and servers inside its namespace:
//!
//! - servers: [`Host::tcp_echo`], [`Host::udp_echo`], [`Host::bulk`], each living as long as its
//!   [`Server`]; [`Host::tcp_echo_apart`] is for more connections than fit into one process;
//! - clients: [`Host::ask`] counts which server answered, [`LongLived`] holds conversations open,
//!   [`Host::download`] and [`Host::upload`] compare the hash of what was sent with what came,
//!   [`Host::round_trips`] and [`Host::throughput`] measure;
//! - the balancer: [`Balancer`] is `lbd` on the node, with a [`Configuration`]; [`chance`] says
//!   whether what was counted can be right.
//!
//! The virtual addresses [`VIP_V4`] and [`VIP_V6`] stand on no interface; the client only has a
//! route for them that leads to the node. With no balancer nothing answers there, and every
//! endpoint is reached by its own address.
//!
//! Nothing of a lab outlives it: it goes when dropped, also by a panic; [`remove_on_signal`] covers
//! Ctrl-C, and the next lab built removes what a killed process left behind.

mod addresses;
mod apart;
mod ask;
mod balancer;
mod bulk;
pub mod chance;
mod command;
mod configuration;
mod content;
mod conversation;
mod echo;
mod footprint;
mod host;
mod leftovers;
mod links;
mod long_lived;
mod namespace;
mod one_net;
mod pass;
mod pods;
mod process;
mod round_trips;
mod server;
mod topology;
pub mod trial;
mod two_nets;
mod worker;

pub use addresses::{Family, Link, VIP_V4, VIP_V6};
pub use apart::serve_if_asked;
pub use ask::{Ask, Counts};
pub use balancer::{Balancer, lbd};
pub use bulk::{Throughput, Transfer};
pub use configuration::Configuration;
pub use conversation::Transport;
pub use footprint::{remove_all, remove_on_signal};
pub use host::Host;
pub use long_lived::{Held, Hold, LongLived, Outcome};
pub use process::Process;
pub use round_trips::{Latencies, RoundTrips};
pub use server::Server;
pub use topology::{Lab, Topology};
