//! What the kernel program and the daemon share, so that they cannot disagree.
//!
//! | module | holds |
//! |---|---|
//! | [`limits`] | every size, with its memory cost |
//! | [`frame`] | the one-method view of a frame that makes parsing run in both worlds |
//! | [`address`] | IPv4 and IPv6 addresses in packet byte order, and the family trait |
//! | [`parse`] | frame → [`parse::Packet`]; fragments and ICMP messages |
//! | [`fragment`] | what is remembered of a first fragment |
//! | [`hash`] | the keyed hash of a flow, seen from either side |
//! | [`flow`] | the flow table: entries, buckets, finding, admitting, ending |
//! | [`phase`] | where a flow is in its life |
//! | [`checksum`] | RFC 1624 incremental update |
//! | [`rewrite`] | addresses, ports and checksums of a packet turned towards endpoint or client; of ICMP errors, of echoes |
//! | [`encapsulate`] | an outer header before a packet, for a tunnel |
//! | [`decapsulate`] | the other end of the tunnel |
//! | [`too_big`] | the answer to a packet that does not fit |
//! | [`clamp`] | the segment size a SYN announces |
//! | [`next_hop`] | the cache of where clients were sent |
//! | [`cpu`] | what each processor keeps for itself: counts, and the way to every endpoint |
//! | [`record`] | the values of the maps: service, endpoint, table page, counters |
//! | [`verifier`] | what the kernel's verifier must not know |
//! | [`verdict`] | what was decided and why; each reason is a counter |
//!
//! Everything is `no_std`, free of allocation and of panics, and tested on the host.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod address;
pub mod checksum;
pub mod clamp;
pub mod cpu;
pub mod decapsulate;
pub mod encapsulate;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod hash;
pub mod limits;
pub mod next_hop;
pub mod parse;
pub mod phase;
pub mod record;
pub mod rewrite;
pub mod too_big;
pub mod verdict;
pub mod verifier;
