//! Builds the kernel program.
//!
//! The library is what the build script of `lb-userspace` and the `cargo xtask` commands have in
//! common, and depends on anyhow only: it is compiled before anything else. The commands
//! themselves (`setup`, `check`, `test`, `demo`, `bench`) belong to the binary.
//!
//! - [`toolchain`]: which compiler on this machine can build for `bpfel-unknown-none`.
//! - [`ebpf`]: one call that compiles a binary of `lb-ebpf` into an object file.
//! - [`environment`]: commands that do not inherit the settings of the cargo around them.

pub mod ebpf;
pub mod environment;
pub mod toolchain;
