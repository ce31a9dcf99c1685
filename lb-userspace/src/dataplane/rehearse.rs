//! The loaded programs on frames of one's own, and what the kernel says of them.

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, ProgramInfo, TestRun, TestRunOptions, TestRunResult};

use super::{Dataplane, Run, object};

impl Dataplane {
    /// Runs the loaded program on a frame as if it had come in on an interface (BPF_PROG_TEST_RUN).
    /// Everything happens as with a real packet (flows are opened, packets counted), but nothing is
    /// sent.
    ///
    /// # Errors
    /// If the kernel refuses the frame (shorter than 14 bytes) or the interface.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> Result<Run> {
        let mut context = [0_u8; 24];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&ingress.to_ne_bytes());
        run(object::xdp(&mut self.ebpf)?, frame, &context)
    }

    /// The tick it is for the program, see [`lb_common::limits::TICK_SHIFT`].
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn tick(&mut self) -> Result<u32> {
        let program = object::named(&mut self.ebpf, object::TICK)?;
        // Nothing but tests asks for it.
        if program.fd().is_err() {
            program
                .load()
                .context("load the program that tells the tick")?;
        }
        let frame = [0; 64];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(&frame),
                ..TestRunOptions::default()
            })
            .context("BPF_PROG_TEST_RUN")?;
        Ok(result.return_value)
    }

    /// As [`Dataplane::run`], of the program for replies of endpoints on this node. The frame is `packets`
    /// packets with `segment` bytes each after their headers; 1 and 0 if it is not to be parted.
    ///
    /// # Errors
    /// As there, and if the kernel refuses the program.
    pub fn run_local(
        &mut self,
        frame: &[u8],
        ingress: u32,
        (packets, segment): (u32, u32),
    ) -> Result<Run> {
        // struct __sk_buff: ifindex, gso_segs, gso_size, and what is zero; Linux 5.15 takes no ingress_ifindex.
        let mut context = [0_u8; 192];
        for (at, value) in [(40, ingress), (164, packets), (176, segment)] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        run(object::local(&mut self.ebpf)?, frame, &context)
    }

    /// What the kernel says of the loaded XDP program: sizes, verified instructions.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn program_info(&mut self) -> Result<ProgramInfo> {
        Ok(object::xdp(&mut self.ebpf)?.info()?)
    }

    /// The XDP program, for a program array.
    ///
    /// # Errors
    /// If it is not loaded.
    pub fn program_fd(&mut self) -> Result<&ProgramFd> {
        Ok(object::xdp(&mut self.ebpf)?.fd()?)
    }
}

/// Runs a program on a frame. A tunnel may put headers before it, an answer around it.
fn run<P>(program: &P, frame: &[u8], context: &[u8]) -> Result<Run>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut out = vec![0; frame.len() + 256];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        })
        .context("BPF_PROG_TEST_RUN")?;
    out.truncate(result.data_size_out as usize);
    Ok(Run {
        action: result.return_value,
        frame: out,
    })
}
