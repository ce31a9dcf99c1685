//! What the tests and the benchmark stand on.
//!
//! | module | holds |
//! |---|---|
//! | [`packet`] | described packets and their bytes |
//! | [`model`] | what the kernel program should do with any frame, said the naive way |
//! | [`node`] | a node in a namespace that the loaded program runs on |
//! | [`witness`] | which table a new flow may meet while tables are exchanged |
//!
//! The tests themselves are the binary `lb` of this crate.

pub mod model;
pub mod node;
pub mod packet;
pub mod witness;
