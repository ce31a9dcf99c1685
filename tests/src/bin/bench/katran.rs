//! The program in Katran's layout, loaded and filled with the same services and endpoints.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map};
use aya::programs::ProgramFd;
use lb_common::address::wide;
use lb_common::parse::TCP;
use lb_userspace::lab::Family;

use super::katran_maps::{RING_SIZE, Real, VipKey, VipMeta};
use super::rig::{load, xdp_mut};
use super::stage::{BACKENDS, ENDPOINTS};
use super::traffic::{TUNNEL_PORT, endpoint, vip};

// SAFETY: `repr(C)`, integers without implicit padding, any bits.
unsafe impl aya::Pod for VipKey {}
// SAFETY: as above.
unsafe impl aya::Pod for VipMeta {}
// SAFETY: as above.
unsafe impl aya::Pod for Real {}

/// Katran's layout.
pub struct Katran(Ebpf);

impl Katran {
    /// Loads it with an LRU of that many entries.
    pub fn load(objects: &Path, entries: u32) -> Result<Self> {
        let mut object = load(&objects.join("katran"), &[("LRU", entries)])?;
        xdp_mut(&mut object, "katran")?.load()?;
        let mut katran = Self(object);
        let mut macs: Array<_, [u8; 8]> = Array::try_from(katran.map("CTL_ARRAY")?)?;
        macs.set(0, [2, 0, 0, 0, 0, 2, 0, 0], 0)?;
        for (service, family) in (0..).zip(Family::BOTH) {
            katran.serve(service, family)?;
        }
        Ok(katran)
    }

    /// For the driver.
    pub fn program(&mut self) -> Result<ProgramFd> {
        Ok(xdp_mut(&mut self.0, "katran")?.fd()?.try_clone()?)
    }

    fn serve(&mut self, service: u32, family: Family) -> Result<()> {
        let count = u32::from(BACKENDS * ENDPOINTS);
        let mut reals: Array<_, Real> = Array::try_from(self.map("REALS")?)?;
        for number in 0..BACKENDS * ENDPOINTS {
            let (_, address) = wide(endpoint(family, number).ip());
            let real = Real { address, flags: 0 };
            reals.set(service * count + u32::from(number) + 1, real, 0)?;
        }
        let key = VipKey {
            address: wide(vip(family).ip()).1,
            port: TUNNEL_PORT,
            protocol: u16::from(TCP),
            padding: 0,
        };
        let meta = VipMeta {
            flags: 0,
            number: service,
        };
        let mut vips: HashMap<_, VipKey, VipMeta> = HashMap::try_from(self.map("VIP_MAP")?)?;
        vips.insert(key, meta, 0)?;
        let mut rings: Array<_, u32> = Array::try_from(self.map("CH_RINGS")?)?;
        for place in 0..RING_SIZE {
            let real = service * count + place % count + 1;
            rings.set(service * RING_SIZE + place, real, 0)?;
        }
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.0
            .map_mut(name)
            .with_context(|| format!("Katran's layout has no map {name}"))
    }
}
