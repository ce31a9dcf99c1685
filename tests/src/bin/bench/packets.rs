//! Nanoseconds a packet: every program on the same packets, in turn.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{ProgramFd, ProgramInfo};
use lb_userspace::lab::{Family, Host};

use super::course::Stop;
use super::figures::Samples;
use super::katran::Katran;
use super::machine::pin;
use super::rig::{Rig, Stretch, TX};
use super::shuffle::Shuffle;
use super::stage::{self, Balancer};
use super::traffic::{self, Headers, Kind, Service, headers, length};
use super::yardstick::Yardstick;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of flows, each a power of two.
    pub flows: Vec<u32>,
    /// Rounds; each runs every program once.
    pub rounds: usize,
    /// Packets a run at least.
    pub packets: u32,
}

/// What packets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a client to the service, of a flow that is open.
    Request,
    /// From an endpoint back, of a flow that is open.
    Reply,
    /// The first packet of a flow, at most as many flows being open as the plan has.
    First,
    /// As `Request`, into a tunnel.
    Tunnel,
    /// As `Tunnel`, compared with a flow table that has room for as many flows and no more.
    CrowdedTunnel,
    /// As `First`, into a tunnel.
    FirstTunnel,
}

impl Way {
    /// The service they are for.
    pub const fn service(self) -> Service {
        match self {
            Self::Request | Self::Reply | Self::First => Service::Nat,
            Self::Tunnel | Self::CrowdedTunnel | Self::FirstTunnel => Service::Tunnel,
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Request | Self::Tunnel | Self::CrowdedTunnel => Kind::Request,
            Self::Reply => Kind::Reply,
            Self::First | Self::FirstTunnel => Kind::Stranger,
        }
    }
}

/// What the programs took, in nanoseconds a packet, the driver's own time included.
#[derive(Clone, Debug)]
pub struct Row {
    /// IP version.
    pub family: Family,
    /// What the packets do.
    pub way: Way,
    /// Number of flows they are of.
    pub flows: u32,
    /// The driver alone: with `return XDP_TX`.
    pub driver: Samples,
    /// A program that exchanges the MAC addresses.
    pub swap: Samples,
    /// What the balancer is compared with: the conventional layout; for tunnels Katran's.
    pub yardstick: Samples,
    /// The balancer.
    pub balancer: Samples,
}

/// All of it.
#[derive(Debug)]
pub struct Packets {
    /// One for each family, way and number of flows.
    pub rows: Vec<Row>,
    /// What the kernel says of the balancer's program.
    pub program: ProgramInfo,
}

/// Measures on a node of its own.
pub fn measure(objects: &Path, plan: &Plan) -> Result<Packets> {
    let lab = stage::build()?;
    let (node, pins) = (lab.node(), lab.pins());
    node.run(|| {
        pin()?;
        Bench::load(objects, &pins, node, plan)?.measure()
    })?
}

// Which of `Bench::programs` is which; the driver alone and the MAC swap come first.
const YARDSTICK: usize = 2;
const BALANCER: usize = 3;
const KATRAN: usize = 4;
const CROWDED: usize = 5;

/// Entries of the LRU map Katran was measured with.
const KATRAN_ENTRIES: u32 = 1 << 20;

/// One in so many flows may be refused without spoiling the figures.
const MOST_REFUSED: u32 = 1000;

struct Bench<'a> {
    node: &'a Host,
    plan: &'a Plan,
    most: u32,
    rig: Rig,
    balancer: Balancer,
    /// The driver alone, MAC swap, yardstick, balancer, Katran's layout, the same with fewer entries.
    programs: [ProgramFd; 6],
    _yardstick: Yardstick,
    _katran: [Katran; 2],
    /// New flows so far.
    strangers: u64,
}

impl<'a> Bench<'a> {
    fn load(objects: &Path, pins: &Path, node: &'a Host, plan: &'a Plan) -> Result<Self> {
        let most = plan.flows.iter().copied().max().context("no flows")?;
        // The requests, and the replies of each balancer.
        let rig = Rig::load(objects, 3 * most, stage::interface()?)?;
        let mut yardstick = Yardstick::load(objects, most, node)?;
        // Room for every flow of both families, twice: nobody is evicted.
        let mut katran = Katran::load(objects, most.saturating_mul(4).max(KATRAN_ENTRIES))?;
        let mut crowded = Katran::load(objects, KATRAN_ENTRIES)?;
        let mut balancer = Balancer::load(pins, 2 * most, node)?;
        let programs = [
            rig.program("transmit")?,
            rig.program("swap_macs")?,
            yardstick.program()?,
            balancer.program()?,
            katran.program()?,
            crowded.program()?,
        ];
        Ok(Self {
            node,
            plan,
            most,
            rig,
            balancer,
            programs,
            _yardstick: yardstick,
            _katran: [katran, crowded],
            strangers: 0,
        })
    }

    fn measure(mut self) -> Result<Packets> {
        let mut rows = Vec::new();
        for family in Family::BOTH {
            self.open(family)
                .with_context(|| format!("open {} flows of {family:?}", self.most))?;
            for &flows in &self.plan.flows {
                for way in [Way::Request, Way::Reply, Way::Tunnel] {
                    rows.push(self.row(family, way, flows)?);
                }
            }
            if self.most >= KATRAN_ENTRIES {
                rows.push(self.row(family, Way::CrowdedTunnel, KATRAN_ENTRIES)?);
            }
            for way in [Way::First, Way::FirstTunnel] {
                rows.push(self.row(family, way, self.most)?);
            }
        }
        Ok(Packets {
            rows,
            program: self.balancer.info()?,
        })
    }

    /// Opens the flows in all balancers, and lays the walk: where each flow's replies come from is
    /// only known once it is open.
    ///
    /// Flows are opened in the order of their numbers and visited in others, or an LRU map, which
    /// gives new flows places side by side, would be walked in the order of memory.
    fn open(&mut self, family: Family) -> Result<()> {
        let mut requests: Vec<_> = (0..self.most)
            .map(|flow| traffic::request(family, flow))
            .collect();
        self.rig.lay(0, &requests)?;
        for (place, program) in [(1, YARDSTICK), (2, BALANCER)] {
            let mut replies = self.open_in(family, program)?;
            Shuffle::new(2).shuffle(&mut replies);
            self.rig.lay(place * self.most, &replies)?;
            for (kind, start) in [(Kind::Reply, place * self.most), (Kind::Request, 0)] {
                let stretch = Stretch {
                    start,
                    flows: Some(self.most),
                };
                let headers = self.headers(family, Service::Nat, kind);
                self.rig.aim(&headers, stretch, 0, None)?;
                self.rig
                    .run(length(family), self.most)
                    .with_context(|| self.story())?;
            }
        }
        for program in [KATRAN, CROWDED, BALANCER] {
            self.open_tunnels(family, program)
                .with_context(|| format!("program {program}; {}", self.story()))?;
        }
        Shuffle::new(1).shuffle(&mut requests);
        self.rig.lay(0, &requests)?;
        eprintln!("  {}", self.story());
        Ok(())
    }

    /// Sends the first two packets of every flow.
    fn open_tunnels(&mut self, family: Family, program: usize) -> Result<()> {
        let stretch = Stretch {
            start: 0,
            flows: Some(self.most),
        };
        self.rig.test(&self.programs[program])?;
        for kind in [Kind::Open, Kind::Request] {
            let headers = self.headers(family, Service::Tunnel, kind);
            self.rig.aim(&headers, stretch, 0, Some(length(family)))?;
            self.rig.run(length(family), self.most)?;
        }
        Ok(())
    }

    /// Sends the first packet of every flow; returns what their replies look like.
    fn open_in(&mut self, family: Family, program: usize) -> Result<Vec<Stop>> {
        let stretch = Stretch {
            start: 0,
            flows: Some(self.most),
        };
        self.rig.test(&self.programs[program])?;
        let headers = self.headers(family, Service::Nat, Kind::Open);
        self.rig.aim(&headers, stretch, 0, None)?;
        let mut out = vec![0; length(family)];
        let mut replies = Vec::new();
        let mut refused = 0;
        for _ in 0..self.most {
            match (self.rig.run_once(&mut out)?, replies.last()) {
                (TX, _) => replies.push(traffic::reply(family, &out)),
                // Either may refuse a flow in a million: all ports it tried were taken.
                (_, Some(&another)) => {
                    refused += 1;
                    replies.push(another);
                }
                (action, None) => bail!("the first flow meets action {action}"),
            }
        }
        ensure!(
            refused <= self.most / MOST_REFUSED,
            "program {program} refused {refused} of {} flows; {}",
            self.most,
            self.story()
        );
        Ok(replies)
    }

    fn row(&mut self, family: Family, way: Way, flows: u32) -> Result<Row> {
        eprintln!("  {family:?}, {way:?}, {flows} flows");
        let mut samples: [Samples; 4] = Default::default();
        let compared = match (way, way.service()) {
            (Way::CrowdedTunnel, _) => CROWDED,
            (_, Service::Nat) => YARDSTICK,
            (_, Service::Tunnel) => KATRAN,
        };
        let programs = [0, 1, compared, BALANCER];
        for _ in 0..self.plan.rounds {
            for (program, samples) in programs.into_iter().zip(&mut samples) {
                let took = self
                    .once(family, way, flows, program)
                    .with_context(|| format!("program {program}; {}", self.story()))?;
                samples.add(took);
            }
        }
        let [driver, swap, yardstick, balancer] = samples;
        Ok(Row {
            family,
            way,
            flows,
            driver,
            swap,
            yardstick,
            balancer,
        })
    }

    /// One run, of at least one visit to each flow.
    fn once(&mut self, family: Family, way: Way, flows: u32, program: usize) -> Result<f64> {
        let start = match (way, program) {
            (Way::Reply, YARDSTICK) => self.most,
            (Way::Reply, _) => 2 * self.most,
            _ => 0,
        };
        let flows = (way.kind() != Kind::Stranger).then_some(flows);
        let packets = self.plan.packets;
        self.rig.test(&self.programs[program])?;
        let headers = self.headers(family, way.service(), way.kind());
        let grows = (way.service() == Service::Tunnel).then_some(length(family));
        self.rig
            .aim(&headers, Stretch { start, flows }, self.strangers, grows)?;
        let packets = match flows {
            None => {
                // Each program gets the same strangers.
                let packets = packets / 32;
                if program == BALANCER {
                    self.strangers += u64::from(packets);
                }
                packets
            }
            Some(flows) => {
                // What the others left of the caches is not this one's business.
                self.rig.run(length(family), flows)?;
                packets.max(flows)
            }
        };
        let took = self.rig.run(length(family), packets)?;
        Ok(took.as_nanos() as f64)
    }

    fn headers(&self, family: Family, service: Service, kind: Kind) -> Headers {
        headers(family, service, kind, self.node.address(family))
    }

    fn story(&self) -> String {
        self.balancer
            .story()
            .unwrap_or_else(|error| format!("{error:#}"))
    }
}
