//! The loaded program, for a thread of its own.

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::xdp::XdpAttachType;
use lb_userspace::dataplane::Run;

/// Runs the loaded program on frames (BPF_PROG_TEST_RUN) while another thread changes the maps. It must be
/// [within](super::Node::within), too.
pub struct Runner(Xdp);

impl Runner {
    /// Another handle of a loaded program.
    pub(super) fn of(program: ProgramInfo) -> Result<Self> {
        let again = Xdp::from_program_info(program, "lb".into(), XdpAttachType::Interface);
        Ok(Self(again.context("open the loaded program again")?))
    }

    /// As [`super::Node::run`], from an interface of this index.
    ///
    /// # Errors
    /// As there.
    pub fn run(&self, frame: &[u8], ingress: u32) -> Result<Run> {
        let mut out = vec![0; frame.len() + 256];
        let mut context = [0_u8; 24];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&ingress.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = self.0.test_run(options).context("BPF_PROG_TEST_RUN")?;
        out.truncate(result.data_size_out as usize);
        Ok(Run {
            action: result.return_value,
            frame: out,
        })
    }
}
