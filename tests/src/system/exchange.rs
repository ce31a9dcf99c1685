//! Weights changed as fast as `lbd` can, while a client opens flows as fast as it can.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::witness::{Clock, Witness};
use lb_userspace::lab::{Configuration, Topology};
use libtest_mimic::Trial;

use super::changes::Changes;
use super::scene::{Scene, UDP};
use super::trial::trial_alone;

/// Backends, each a server of its name.
const NAMES: [&str; 3] = ["red", "green", "blue"];
/// How long it goes on, if source ports last.
const LENGTH: Duration = Duration::from_secs(4);
/// Each is used once, so that each datagram opens a flow. Fewer than there are node ports.
const SOURCE_PORTS: Range<u16> = 2000..42_000;
/// The longest an answer may take.
const ANSWER: Duration = Duration::from_secs(3);

pub(super) fn trials() -> Vec<Trial> {
    vec![trial_alone(
        "while weights change a new flow goes where the old or the new ones say",
        weights_change_under_load,
    )]
}

fn weights_change_under_load() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets().endpoints(NAMES))?;
    let interfaces = scene.lab().node().interfaces();
    let mut configuration = Configuration::on(&interfaces)
        .setting("flows = 65536")
        .service(UDP.name, UDP.transport, UDP.address());
    for (place, host) in scene.lab().endpoints().iter().enumerate() {
        let weight = u32::from(place == 0);
        configuration = configuration.backend(host.name(), weight, &[UDP.at(host)]);
    }
    scene.start(&configuration)?;
    let mut changes = Changes::of(&scene)?;
    let (clock, is_over) = (Clock::default(), AtomicBool::new(false));
    let met = thread::scope(|scope| -> Result<_> {
        let (clock, is_over) = (&clock, &is_over);
        let client = scene.lab().client();
        let asking = scope.spawn(move || {
            let met = client.run(|| open_flows(clock, is_over))?;
            is_over.store(true, Ordering::Relaxed);
            met
        });
        let start = Instant::now();
        let mut changed = Ok(());
        for number in 1.. {
            let weights = NAMES.iter().enumerate();
            let weights: Vec<_> = weights
                .map(|(place, name)| format!("{name}={}", u8::from(number % NAMES.len() == place)))
                .collect();
            changed = clock.exchange(|| changes.set(UDP, &weights));
            if changed.is_err() || is_over.load(Ordering::Relaxed) || start.elapsed() > LENGTH {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let met = asking.join().expect("the client's thread");
        changed?;
        met
    });
    let reasons = || scene.lbctl(&["get", "reasons"]).map(|said| said.stdout);
    let (flows, in_between) = match met {
        Ok(met) => met,
        Err(why) => return Err(why.context(reasons()?)),
    };
    changes.tell(&format!(
        "{flows} flows, {in_between} of them while weights changed; {} changes",
        clock.exchanges()
    ));
    ensure!(
        in_between > 100,
        "hardly a flow came in between: {in_between} of {flows}"
    );
    Ok(())
}

/// Opens flows until it is over; tells how many, and how many came in between.
fn open_flows(clock: &Clock, is_over: &AtomicBool) -> Result<(u64, u64)> {
    let mut witness = Witness::new(NAMES.len());
    let mut flows = 0;
    for port in SOURCE_PORTS {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let source = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let Ok(socket) = UdpSocket::bind(source) else {
            continue;
        };
        socket.set_read_timeout(Some(ANSWER))?;
        socket.connect(UDP.address())?;
        let before = clock.now();
        socket.send(b"hello")?;
        let mut answer = [0; 64];
        let length = socket
            .recv(&mut answer)
            .with_context(|| format!("no answer to flow {flows}"))?;
        let after = clock.now();
        let place = NAMES
            .iter()
            .position(|name| answer[..length] == *format!("{name} hello").as_bytes())
            .context("a wrong answer")?;
        witness
            .see(before, after, place)
            .with_context(|| format!("flow {flows}"))?;
        flows += 1;
    }
    Ok((flows, witness.in_between()))
}
