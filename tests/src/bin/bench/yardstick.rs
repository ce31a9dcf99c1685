//! The program compared with, loaded and filled with the same services and endpoints.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::ProgramFd;
use lb_common::address::wide;
use lb_common::parse::TCP;
use lb_userspace::lab::{Family, Host};

use super::ledger::{Place, SLOTS};
use super::rig::{load, xdp_mut};
use super::stage::{BACKENDS, ENDPOINTS};
use super::traffic::{SERVICE_PORT, endpoint, vip};

// SAFETY: `repr(C)`, integers and arrays of them without implicit padding, any bits.
unsafe impl aya::Pod for Place {}

/// The yardstick.
pub struct Yardstick(Ebpf);

impl Yardstick {
    /// Loads it with room for `flows` flows of each family: twice as many entries, and twice that
    /// again, so that the LRU never has to evict one of them.
    pub fn load(objects: &Path, flows: u32, node: &Host) -> Result<Self> {
        let entries = flows.saturating_mul(4);
        let mut object = load(
            &objects.join("yardstick"),
            &[("FLOWS4", entries), ("FLOWS6", entries)],
        )?;
        xdp_mut(&mut object, "yardstick")?.load()?;
        let mut yardstick = Self(object);
        for (service, family) in (0..).zip(Family::BOTH) {
            yardstick.serve(service, family, node.address(family))?;
        }
        Ok(yardstick)
    }

    /// For the driver.
    pub fn program(&mut self) -> Result<ProgramFd> {
        Ok(xdp_mut(&mut self.0, "yardstick")?.fd()?.try_clone()?)
    }

    fn serve(&mut self, service: u32, family: Family, node: IpAddr) -> Result<()> {
        let count = u32::from(BACKENDS * ENDPOINTS);
        let (_, node) = wide(node);
        let mut places: Array<_, Place> = Array::try_from(self.map("ENDPOINTS")?)?;
        for number in 0..BACKENDS * ENDPOINTS {
            let at = endpoint(family, number);
            let id = service * count + u32::from(number) + 1;
            places.set(id, place(at.ip(), node, at.port()), 0)?;
        }
        let vip = vip(family);
        let mut vips: Array<_, Place> = Array::try_from(self.map("VIPS")?)?;
        vips.set(service, place(vip.ip(), node, vip.port()), 0)?;
        let (_, [a, b]) = wide(vip.ip());
        let name = [a, b, u64::from(TCP) << 16 | u64::from(SERVICE_PORT)];
        let mut services: HashMap<_, [u64; 3], u32> = HashMap::try_from(self.map("SERVICES")?)?;
        services.insert(name, service, 0)?;
        let mut slots: Array<_, u32> = Array::try_from(self.map("SLOTS")?)?;
        for slot in 0..SLOTS {
            slots.set(
                service * SLOTS + slot,
                service * count + slot % count + 1,
                0,
            )?;
        }
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.0
            .map_mut(name)
            .with_context(|| format!("the yardstick has no map {name}"))
    }
}

fn place(address: IpAddr, node: [u64; 2], port: u16) -> Place {
    Place {
        address: wide(address).1,
        node,
        port,
        source_mac: [2, 0, 0, 0, 0, 9],
        destination_mac: [2, 0, 0, 0, 0, 2],
        padding: 0,
    }
}
