//! The kernel side as the daemon sees it: the only writer of the maps.

mod attach;
mod batch;
mod bpffs;
mod census;
mod clock;
mod counters;
pub mod decap;
mod flows;
mod frags;
mod hook;
mod interface;
mod kernel;
mod layout;
mod local;
mod look;
mod mapped;
mod maps;
mod object;
mod ranges;
mod rehearse;
mod report;
mod route;
#[cfg(test)]
mod stack;
mod trie;
mod vacant;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use lb_common::address::{IPV4, IPV6, standard};
use lb_common::record::mode;

use crate::desired::{Desired, Mode};
use crate::plan::{Ids, Image, Numbers, Plan, Tables, Write};
pub use frags::are_taken as takes_frags;
pub use interface::{Attached, all as interfaces, index as interface_index};
pub use kernel::{require as require_kernel, version as kernel_version};
use local::Local;
use maps::Maps;
use object::{Constants, Loading, Programs};
pub use report::{
    Applied, AppliedService, Counters, EndpointInterface, EndpointInterfaces, EndpointReport,
    FlowReport, Hook, Interface, LiveFlows, News, Opened, Options, ReasonCount, Run, XdpMode,
};
use vacant::Vacant;

/// Where reading the flow table takes long, it is not looked more often for endpoints without flows.
const FREE_EVERY: Duration = Duration::from_secs(10);

/// The loaded program and its maps.
///
/// Dropping it leaves everything pinned: forwarding goes on.
pub struct Dataplane {
    pin_dir: PathBuf,
    ebpf: Ebpf,
    maps: Maps,
    image: Image,
    tables: Tables,
    desired: Desired,
    ids: Ids,
    /// When it was last looked for what no flow is on any more.
    freed: Instant,
    /// Endpoints that are kept until no fragment can follow a flow that was on them.
    vacant: Vacant,
    running: Vec<Interface>,
    local: Local,
    news: News,
}

impl Dataplane {
    /// Loads the program, or adopts what an earlier daemon pinned, and attaches it.
    ///
    /// Until [`Dataplane::apply`] a fresh dataplane passes every packet; an adopted one goes on
    /// forwarding as it did.
    ///
    /// # Errors
    /// If the kernel refuses the program or an interface does not exist; what was forwarding before
    /// still does.
    pub fn open(options: &Options, seed: u64) -> Result<(Self, Opened)> {
        kernel::require()?;
        bpffs::prepare(&options.pin_dir)?;
        let mut notes = kernel::lacks()?;
        let wanted = Constants {
            seed,
            buckets: options.flows.next_power_of_two(),
            ports: options.ports,
        };
        let pinned = layout::pinned(&options.pin_dir)?;
        let constants = pinned.unwrap_or(wanted);
        if (constants.buckets, constants.ports) != (wanted.buckets, wanted.ports) {
            notes.push(format!(
                "live flows keep the flow table at {} flows and node ports {}-{}; `lbctl detach` and \
                 a new start change them",
                constants.buckets, constants.ports.0, constants.ports.1
            ));
        }
        let load = |frags| -> Result<Ebpf> {
            let loading = Loading {
                frags,
                log_packets: options.log_packets,
            };
            let mut ebpf = object::load(&options.pin_dir, &constants, loading)?;
            if options.log_packets {
                spawn_packet_log(&mut ebpf)?;
            }
            Ok(ebpf)
        };
        // Where none may run in native mode the other programs would be loaded in vain.
        let is_native = |it: &Interface| it.mode != XdpMode::Generic;
        let takes_frags = options.interfaces.iter().any(is_native) && frags::are_taken()?;
        let mut ebpf = load(takes_frags)?;
        let maps = Maps::new(&mut ebpf)?;
        if pinned.is_none() {
            maps.write_layout(&mut ebpf, &constants)?;
        }
        let image = maps.image(&mut ebpf)?;
        let plain = || load(false);
        let plain: Option<&dyn Fn() -> Result<Ebpf>> = takes_frags.then_some(&plain);
        let mut programs = Programs::new(&mut ebpf, plain);
        let (pin_dir, wanted) = (&options.pin_dir, &options.interfaces);
        let running = attach::attach(&mut programs, pin_dir, wanted, &mut notes)?;
        programs.keep_aside(pin_dir)?;
        let opened = Opened {
            adopted: pinned.is_some(),
            interfaces: running.clone(),
            seed: constants.seed,
            notes,
        };
        let mut dataplane = Self {
            pin_dir: options.pin_dir.clone(),
            ebpf,
            maps,
            image,
            tables: Tables::default(),
            desired: Desired {
                seed: constants.seed,
                services: Vec::new(),
            },
            ids: Ids::default(),
            freed: Instant::now(),
            vacant: Vacant::default(),
            running,
            local: Local::new(options.endpoint_interfaces.clone())?,
            news: News::default(),
        };
        dataplane.expect_flows();
        dataplane.tend()?;
        Ok((dataplane, opened))
    }

    /// Says of which families there may be flows.
    fn expect_flows(&self) {
        let has = |family| self.image.services.values().any(|it| it.family() == family);
        self.maps.census.expect(has(IPV4), has(IPV6));
    }

    /// Makes the kernel follow `desired`. Flows stay where they are.
    ///
    /// What was left for flows that are gone is freed after it: finding out takes as long as reading the flow
    /// table.
    ///
    /// # Errors
    /// If there is not room for it in the maps; the tables before the call stay in force.
    pub fn apply(&mut self, desired: &Desired) -> Result<Applied> {
        // Not those that lose their last slot now: packets may be under way to them.
        let left = self.left();
        let all = self.image.endpoints.keys().copied().collect();
        let services = match self.follow(desired, &all) {
            // With what can be freed there may be room.
            Err(_) if !left.is_empty() => {
                let kept = self.kept(&left, Duration::ZERO);
                self.follow(desired, &kept)?
            }
            followed => followed?,
        };
        let in_effect = Instant::now();
        let may_wait = self.maps.census.is_large() && self.freed.elapsed() < FREE_EVERY;
        if !left.is_empty() && !may_wait {
            let kept = self.kept(&left, vacant::REST);
            self.follow(desired, &kept)?;
            self.freed = Instant::now();
        }
        Ok(Applied {
            services,
            in_effect,
        })
    }

    /// `on_flows` holds the endpoints that live flows are on.
    fn follow(&mut self, desired: &Desired, on_flows: &Numbers) -> Result<Vec<AppliedService>> {
        let plan = Plan::between(&self.image, desired, on_flows, &mut self.tables)?;
        // Before a packet goes to an endpoint whose replies nobody would turn back.
        self.await_endpoints(desired);
        for write in &plan.writes {
            if let Err(error) = self.maps.write(&mut self.ebpf, write) {
                self.image.placed = Arc::default();
                if matches!(write, Write::Prefixes(..)) {
                    // Some were written.
                    self.image.prefixes = trie::read(&self.ebpf)?;
                }
                return Err(error);
            }
            self.image.write(write);
        }
        self.desired = desired.clone();
        let applied = applied(desired, &plan);
        self.image.forget_retired();
        self.expect_flows();
        self.image.placed = Arc::new(plan.placed);
        self.ids = plan.ids;
        self.tables.keep_only(&desired.services);
        Ok(applied)
    }

    /// The endpoints that are kept for their flows only.
    fn left(&self) -> Vec<u16> {
        let ids = self.image.endpoints.keys().copied();
        let mut left: Vec<u16> = ids.filter(|&id| !self.ids.endpoints.contains(id)).collect();
        if !left.is_empty() {
            let named = self.image.named_endpoints();
            left.retain(|&id| !named.contains(id));
        }
        left
    }

    /// All endpoints but those of `left` that no live flow has been on for `rest`.
    fn kept(&mut self, left: &[u16], rest: Duration) -> Numbers {
        // An entry of a flow that is over still names its endpoint. Once the id is another's, it
        // could pass for half of a live flow.
        let (flows, now) = (self.maps.flows(), flows::now());
        flows.sweep(now);
        let on_flows: Numbers = flows.endpoints(now).into_iter().collect();
        let without = left.iter().copied().filter(|&id| !on_flows.contains(id));
        let without: Vec<u16> = without.collect();
        let free = self.vacant.rested(&without, rest, Instant::now());
        let ids = self.image.endpoints.keys().copied();
        ids.filter(|id| free.binary_search(id).is_err()).collect()
    }

    /// What [`Dataplane::apply`] would do, without doing it.
    ///
    /// # Errors
    /// As `apply`.
    pub fn preview(&mut self, desired: &Desired) -> Result<Vec<AppliedService>> {
        let on_flows = self.image.endpoints.keys().copied().collect();
        let plan = Plan::between(&self.image, desired, &on_flows, &mut self.tables)?;
        Ok(applied(desired, &plan))
    }

    /// Follows what changes by itself: which interfaces there are and what XDP can do on them, and
    /// entries of flows that are long over. To be called every few seconds.
    ///
    /// # Errors
    /// If the kernel cannot be asked or a map not be written.
    pub fn tend(&mut self) -> Result<()> {
        self.maps.write_egress(&mut self.ebpf, &self.running)?;
        let endpoints = self.translated();
        self.follow_endpoints(&endpoints);
        Ok(())
    }

    /// Addresses of the endpoints the kernel knows whose replies have to be turned back.
    fn translated(&self) -> BTreeSet<IpAddr> {
        let records = self.image.endpoints.values();
        let translated = records.filter(|it| it.mode == mode::NAT);
        translated
            .filter_map(|it| standard(it.family, it.address))
            .collect()
    }

    /// Follows the endpoints of `desired` too, if they are others than those of before.
    fn await_endpoints(&mut self, desired: &Desired) {
        // First of all, because new weights shall be in force at once.
        if translated(desired).eq(translated(&self.desired)) {
            return;
        }
        let mut endpoints = self.translated();
        endpoints.extend(translated(desired));
        self.follow_endpoints(&endpoints);
    }

    /// Sees to it that replies of endpoints on this node are turned back. What hinders it is a note, because
    /// all else can go on.
    fn follow_endpoints(&mut self, endpoints: &BTreeSet<IpAddr>) {
        let followed = self.local.follow(
            &mut self.ebpf,
            &self.pin_dir,
            &self.running,
            endpoints,
            &mut self.news,
        );
        if let Err(error) = followed {
            self.news.notes.push(format!(
                "interfaces of endpoints were not followed: {error:#}"
            ));
        }
    }

    /// Interfaces that lead to endpoints on this node.
    pub fn endpoint_interfaces(&self) -> Vec<EndpointInterface> {
        self.local.running()
    }

    /// What has happened by itself since this was last asked.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Empties the entries of flows that are over. To be called at least once in twelve days, see
    /// [`lb_common::flow::State::is_live`]; takes as long as reading the whole flow table.
    pub fn sweep(&self) {
        self.maps.flows().sweep(flows::now());
    }

    /// Takes the program off all interfaces and removes every pin. Live flows are lost.
    ///
    /// # Errors
    /// If a pin cannot be removed; names it.
    pub fn detach(self) -> Result<()> {
        // XDP first: replies to what it still forwards are turned back.
        attach::detach(&self.pin_dir)?;
        local::detach(&self.pin_dir)?;
        for map in object::MAPS.iter().chain([&object::WAYS]) {
            let path = self.pin_dir.join(map);
            fs::remove_file(&path).with_context(|| format!("unpin {}", path.display()))?;
        }
        object::unpin(&self.pin_dir.join(object::WAYS_OF_GENERIC))?;
        // Somebody else's file in it is somebody else's business.
        let _ = fs::remove_dir(&self.pin_dir);
        Ok(())
    }
}

/// Addresses of the endpoints whose replies have to be turned back.
fn translated(desired: &Desired) -> impl Iterator<Item = IpAddr> {
    let services = desired.services.iter();
    services
        .filter(|it| it.delivery.mode == Mode::Nat)
        .flat_map(|it| &it.backends)
        .flat_map(|it| &*it.endpoints)
        .map(|it| it.address.ip())
}

fn applied(desired: &Desired, plan: &Plan) -> Vec<AppliedService> {
    desired
        .services
        .iter()
        .zip(&plan.built)
        .map(|(service, built)| AppliedService {
            service: service.name.clone(),
            slots: built.table.slots.len() as u32,
            backend_slots: built.backend_slots.clone(),
            moved: built.moved,
            digest: built.digest,
        })
        .collect()
}

/// Lets what the program says about packets appear in the daemon's log.
fn spawn_packet_log(ebpf: &mut Ebpf) -> Result<()> {
    let mut logger = aya_log::EbpfLogger::init(ebpf).context("open the packet log")?;
    std::thread::Builder::new()
        .name("packet-log".to_owned())
        .spawn(move || {
            loop {
                logger.flush();
                std::thread::sleep(Duration::from_millis(100));
            }
        })
        .context("start the packet log")?;
    Ok(())
}
