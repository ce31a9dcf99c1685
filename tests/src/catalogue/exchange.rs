//! Tables exchanged as fast as they can be, while another thread opens flows as fast as it can.
//!
//! What a flow may meet meanwhile is judged by [`lb_tests::witness`]. Pages whose table is in force no more
//! are emptied at once, so that a page which is put in force before it is whole shows as an empty slot. Two
//! careless writers of the test's own show that both would be found out.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::record::TableRef;
use lb_tests::model::{XDP_REDIRECT, XDP_TX};
use lb_tests::node::{Load, Node, Port, RawTable, Runner, pages_of};
use lb_tests::packet::eth;
use lb_tests::witness::{Clock, Witness};
use lb_userspace::desired::{Delivery, Endpoint, Mode, Protocol, Service};

use super::room::Case;
use super::stage::Stage;
use super::world::{WEB, World};

/// How long each pair of threads goes on.
const LENGTH: Duration = Duration::from_secs(2);
/// Slots of the largest table: 64 pages, so that all pages are used again after 250 exchanges. Without
/// optimisation a table takes too long for that.
const SLOTS: u32 = if cfg!(debug_assertions) { 4096 } else { 65_536 };
/// When the flow table is full, flows of one packet give way, but none in its first moment: room for all that
/// can come in one. No larger, because it is gone through when endpoints of the service before are to be freed.
const ROOMY: Load = Load {
    flows: 1 << 16,
    ports: (10_240, 29_999),
    mtu: 1500,
};

pub const CASES: &[Case] = &[
    (
        "of two tables exchanged under load a flow meets the old or the new one, whole",
        ROOMY,
        |stage| exchanged_under_load(stage, 2),
    ),
    (
        "of three tables exchanged under load a flow meets the old or the new one, whole",
        ROOMY,
        |stage| exchanged_under_load(stage, 3),
    ),
    (
        "a table that is overwritten where it lies would be found out",
        ROOMY,
        |stage| {
            let found = careless(stage, |raw, id| {
                let pages = pages_of(raw.in_force()?);
                raw.fill(pages, id)
            });
            assert!(found.contains("could be in force"), "{found}");
        },
    ),
    (
        "a table that is put in force before it is written would be found out",
        ROOMY,
        |stage| {
            let mut next = 0;
            let found = careless(stage, |raw, id| {
                // Of all tables that fit the map only those that none was ever in.
                let table = raw.in_force()?;
                next += SLOTS / lb_common::limits::PAGE_SLOTS;
                let fresh = TableRef {
                    page: 1024 + next,
                    ..table
                };
                raw.put_in_force(fresh)?;
                raw.fill(pages_of(fresh), id)
            });
            assert!(found.contains("met an empty slot"), "{found}");
        },
    ),
];

fn exchanged_under_load(stage: &mut Stage<'_>, tables: usize) {
    for world in stage.families() {
        stage.follow(&[service(world, tables, 0)]);
        let raw = stage.node.raw_table().expect("the maps");
        let mut exchanges = 0;
        let met = play(stage.node, world, tables, |node, number, retired| {
            let before = pages_of(raw.in_force()?);
            node.follow(&[service(world, tables, number)])?;
            exchanges = number;
            // Nobody to take it: the other thread has found something.
            let _ = retired.send(before);
            Ok(())
        });
        let met = met.expect("a flow meets one of the tables in force");
        println!(
            "{} flows and {exchanges} exchanges, {} flows in between",
            met.flows, met.in_between
        );
        assert!(met.in_between > 100, "hardly a flow came in between");
    }
}

/// What a witness says of a careless writer, who is given the tables' endpoint ids in turn.
fn careless(
    stage: &mut Stage<'_>,
    mut write: impl FnMut(&mut RawTable, u16) -> Result<()> + Send,
) -> String {
    let world = stage.v4;
    let mut ids = Vec::new();
    for number in (0..3).rev() {
        stage.follow(&[service(world, 3, number)]);
        let raw = stage.node.raw_table().expect("the maps");
        let page = raw.page(raw.in_force().expect("a table").page);
        ids.insert(0, page.expect("a page")[0]);
    }
    let mut raw = stage.node.raw_table().expect("the maps");
    let met = play(stage.node, world, 3, |_, number, _| {
        write(&mut raw, ids[number as usize % 3])
    });
    match met {
        Ok(met) => panic!("not found out by {} flows", met.flows),
        Err(found) => format!("{found:#}"),
    }
}

/// What came of it.
struct Met {
    flows: u64,
    in_between: u64,
}

/// Exchanges tables by `exchange` (which is told the number of the next, and whom to tell of pages that are in
/// force no more) in one thread, and opens flows in another.
fn play(
    node: &mut Node,
    world: World,
    tables: usize,
    mut exchange: impl FnMut(&mut Node, u64, &SyncSender<Range<u32>>) -> Result<()>,
) -> Result<Met> {
    let (clock, is_over) = (Clock::default(), AtomicBool::new(false));
    let (retired, to_empty) = sync_channel(1);
    let client = Client {
        runner: node.runner()?,
        raw: node.raw_table()?,
        from: node.client,
        world,
        tables,
    };
    thread::scope(|scope| {
        let (clock, is_over) = (&clock, &is_over);
        let opening = scope.spawn(move || {
            let met = client.open_flows(clock, is_over, &to_empty);
            is_over.store(true, Ordering::Relaxed);
            met
        });
        let start = Instant::now();
        let mut exchanged = Ok(());
        for number in 1.. {
            exchanged = clock.exchange(|| exchange(node, number, &retired));
            if exchanged.is_err() || is_over.load(Ordering::Relaxed) || start.elapsed() > LENGTH {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        // Whoever waits for it to take pages waits no more.
        drop(retired);
        let met = opening.join().expect("the client's thread");
        exchanged?;
        met
    })
}

/// Who opens flows.
struct Client {
    runner: Runner,
    raw: RawTable,
    from: Port,
    world: World,
    tables: usize,
}

impl Client {
    /// Opens a flow after the other until it is over.
    fn open_flows(
        mut self,
        clock: &Clock,
        is_over: &AtomicBool,
        to_empty: &Receiver<Range<u32>>,
    ) -> Result<Met> {
        let mut witness = Witness::new(self.tables);
        let mut flows = 0;
        while !is_over.load(Ordering::Relaxed) {
            // Between two packets: none is under way that could have seen their table in force.
            for pages in to_empty.try_iter() {
                self.raw.fill(pages, 0)?;
            }
            let before = clock.now();
            let endpoint = self
                .open_flow(flows)
                .with_context(|| format!("flow {flows}"))?;
            witness.see(before, clock.now(), endpoint)?;
            flows += 1;
        }
        Ok(Met {
            flows,
            in_between: witness.in_between(),
        })
    }

    /// The place among the endpoints of the one that a new flow goes to.
    fn open_flow(&self, number: u64) -> Result<usize> {
        let client = match self.world.client {
            IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) & !0xfff | (number >> 15) as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) | u128::from(number >> 15) << 32).into()),
        };
        let port = 1024 + (number & 0x7fff) as u16;
        let frame = eth().ip(client, self.world.vip).udp(port, WEB).bytes();
        let run = self.runner.run(&frame, self.from.index)?;
        match run.action {
            XDP_TX | XDP_REDIRECT => {}
            action => bail!("it met an empty slot, or was refused: action {action}"),
        }
        let to = destination(&run.frame, self.world)?;
        endpoints(self.world)[..self.tables]
            .iter()
            .position(|endpoint| endpoint.address.ip() == to)
            .with_context(|| format!("it went to {to}, which no table names"))
    }
}

/// Where the outer packet of a frame goes.
fn destination(frame: &[u8], world: World) -> Result<IpAddr> {
    ensure!(frame.len() >= 54, "a frame of {} bytes", frame.len());
    Ok(if world.is_v4() {
        <[u8; 4]>::try_from(&frame[30..34])?.into()
    } else {
        <[u8; 16]>::try_from(&frame[38..54])?.into()
    })
}

/// Those that tables name; the last one no table does.
fn endpoints(world: World) -> [Endpoint; 4] {
    [(1, 2), (2, 2), (0, 50), (1, 3)].map(|(segment, host)| world.endpoint(segment, host))
}

/// The service with its table of this number: every slot names one endpoint. Tunnels, because they need no
/// node ports.
fn service(world: World, tables: usize, number: u64) -> Service {
    let endpoints = endpoints(world);
    let names = ["a", "b", "c", "nobody"];
    let backends: Vec<_> = (0..4)
        .map(|place| {
            let weight = u64::from(place as u64 == number % tables as u64);
            (names[place], weight, &endpoints[place..=place])
        })
        .collect();
    let mut service = world.web(Protocol::Udp, &backends);
    service.slots = SLOTS;
    service.delivery = Delivery {
        mode: Mode::Ipip,
        ..Delivery::default()
    };
    for backend in &mut service.backends {
        let at_web = |it: &Endpoint| Endpoint {
            address: SocketAddr::new(it.address.ip(), WEB),
            ..*it
        };
        backend.endpoints = backend.endpoints.iter().map(at_web).collect();
    }
    service
}
