//! Runs a program under test on packet after packet and says how long one took.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::course::{Course, Stop};
use super::traffic::Headers;

/// What XDP programs return.
pub const TX: u32 = 3;

// SAFETY: `repr(C)`, integers and arrays of them without implicit padding, any bits.
unsafe impl aya::Pod for Course {}
// SAFETY: as above.
unsafe impl aya::Pod for Stop {}

/// The driver, loaded, and the interface that packets seem to come in on.
pub struct Rig {
    driver: Ebpf,
    course: Array<MapData, Course>,
    walk: Array<MapData, Stop>,
    program: ProgramArray<MapData>,
    ingress: u32,
}

/// A stretch of the walk: flows visited one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Where in the walk it starts.
    pub start: u32,
    /// Flows in it, a power of two; none: every packet is a new flow's.
    pub flows: Option<u32>,
}

impl Rig {
    /// Loads the driver with room for `stops` stops. To be called and used in the namespace of the
    /// interface `ingress`, which has an XDP program attached.
    pub fn load(objects: &Path, stops: u32, ingress: u32) -> Result<Self> {
        let mut driver = load(&objects.join("driver"), &[("WALK", stops)])?;
        let mut map = |name: &str| {
            driver
                .take_map(name)
                .with_context(|| format!("the driver has no map {name}"))
        };
        let course = Array::try_from(map("COURSE")?)?;
        let walk = Array::try_from(map("WALK")?)?;
        let program = ProgramArray::try_from(map("PROGRAM")?)?;
        for name in ["driver", "transmit", "swap_macs"] {
            xdp_mut(&mut driver, name)?.load()?;
        }
        Ok(Self {
            driver,
            course,
            walk,
            program,
            ingress,
        })
    }

    /// One of the driver's own programs to compare with: `transmit`, `swap_macs`.
    pub fn program(&self, name: &str) -> Result<ProgramFd> {
        Ok(xdp(&self.driver, name)?.fd()?.try_clone()?)
    }

    /// Writes stops into the walk from `start` on.
    pub fn lay(&mut self, start: u32, stops: &[Stop]) -> Result<()> {
        for (index, stop) in (start..).zip(stops) {
            self.walk.set(index, stop, 0).context("write the walk")?;
        }
        Ok(())
    }

    /// The program to test from now on.
    pub fn test(&mut self, program: &ProgramFd) -> Result<()> {
        self.program
            .set(0, program, 0)
            .context("put the program under test into the driver")
    }

    /// What the next runs send. `position` is the number of the first packet; `length` that of the frame,
    /// for programs that make it longer.
    pub fn aim(
        &mut self,
        headers: &Headers,
        stretch: Stretch,
        position: u64,
        length: Option<usize>,
    ) -> Result<()> {
        let course = Course {
            position,
            start: u64::from(stretch.start),
            mask: stretch
                .flows
                .map_or(Course::ENDLESS, |flows| u64::from(flows) - 1),
            lead: headers.lead,
            words: headers.words,
            family: headers.family.into(),
            length: length.unwrap_or(0) as u64,
        };
        self.course
            .set(0, course, 0)
            .context("tell the driver what to send")
    }

    /// Sends `packets` packets; the time one took, in whole nanoseconds, the driver's own included.
    pub fn run(&self, length: usize, packets: u32) -> Result<Duration> {
        let frame = vec![0; length];
        let result = self.test_run(&frame, None, packets)?;
        ensure!(
            result.0 == TX,
            "the program under test returned {} and not XDP_TX",
            result.0
        );
        Ok(result.1)
    }

    /// Sends one packet into `out`, which is as long as the frame; returns what the program returned.
    pub fn run_once(&self, out: &mut [u8]) -> Result<u32> {
        let frame = [0; 128];
        Ok(self.test_run(&frame[..out.len()], Some(out), 1)?.0)
    }

    fn test_run(
        &self,
        frame: &[u8],
        out: Option<&mut [u8]>,
        repeat: u32,
    ) -> Result<(u32, Duration)> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let length = u32::try_from(frame.len())?;
        let context = [0, length, 0, self.ingress, 0, 0].map(u32::to_ne_bytes);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: out,
            ctx_in: Some(context.as_flattened()),
            repeat,
            ..TestRunOptions::default()
        };
        let result = xdp(&self.driver, "driver")?
            .test_run(options)
            .context("BPF_PROG_TEST_RUN")?;
        Ok((result.return_value, result.duration))
    }
}

/// Loads an object with these sizes of its maps.
pub fn load(object: &Path, sizes: &[(&'static str, u32)]) -> Result<Ebpf> {
    let bytes = std::fs::read(object)
        .with_context(|| format!("read {}; `cargo xtask bench` builds it", object.display()))?;
    let mut loader = EbpfLoader::new();
    for (map, size) in sizes {
        loader.map_max_entries(map, *size);
    }
    loader
        .load(&bytes)
        .with_context(|| format!("load {}", object.display()))
}

/// An XDP program of an object, to be loaded.
pub fn xdp_mut<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

fn xdp<'a>(object: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    Ok(object
        .program(name)
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}
