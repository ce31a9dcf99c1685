//! A thousand services of ten endpoints each: they start, forward, change and are listed.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::record::{Service, TableRef};
use lb_userspace::lab::chance::is_likely;
use lb_userspace::lab::{Ask, Configuration, Family, Topology, Transport};
use libtest_mimic::Trial;

use super::scene::{ECHO, Scene};
use super::trial::trial;

const SERVICES: u16 = 1000;
/// Of the service whose number is 0.
const FIRST_PORT: u16 = 20_000;
/// Endpoints of a third backend, which gets nothing: nobody is there.
const IDLE: u8 = 8;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "a thousand services with the same hosts share a table, and one that changes leaves the others alone",
        a_thousand_services,
    )]
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::new(Family::V4.vip(), FIRST_PORT + number)
}

fn configuration(scene: &Scene) -> Result<Configuration> {
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let idle: Vec<SocketAddr> = (0..IDLE)
        .map(|host| SocketAddr::new([10, 64, 1, 100 + host].into(), 9000))
        .collect();
    let configuration = Configuration::on(&scene.lab().node().interfaces());
    Ok((0..SERVICES).fold(configuration, |text, number| {
        text.service(&format!("s{number:03}"), Transport::Tcp, address(number))
            .backend("old", 1, &[ECHO.at(one)])
            .backend("new", 1, &[ECHO.at(two)])
            .backend("idle", 0, &idle)
    }))
}

fn a_thousand_services() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let configuration = configuration(&scene)?;
    scene.start(&configuration)?;
    ensure!(tables(&scene)?.len() == 1, "{:?}", tables(&scene)?);
    let sample = (0..SERVICES).step_by(97);
    for number in sample.clone() {
        ask_for_share(&scene, number, 0.5)?;
    }
    let listed = scene.json(&["status"])?;
    let listed = listed["services"].as_array().context("services")?.len();
    ensure!(listed == usize::from(SERVICES), "{listed} services");
    let backends = scene.json(&["get", "backends"])?;
    let backends = backends["backends"].as_array().context("backends")?;
    ensure!(
        backends.len() == 3 * usize::from(SERVICES),
        "{}",
        backends.len()
    );

    let changed = 97;
    let answer = scene.json(&["set-weight", "-s", "s097", "new=100"])?;
    ensure!(answer["service"]["moved"] == 32_768, "{answer}");
    ensure!(tables(&scene)?.len() == 2, "{:?}", tables(&scene)?);
    for number in sample {
        ask_for_share(&scene, number, if number == changed { 1.0 } else { 0.5 })?;
    }
    // The next daemon finds them as they are.
    scene.take_balancer()?.stop()?;
    scene.start_again()?;
    ensure!(tables(&scene)?.len() == 2, "{:?}", tables(&scene)?);
    ask_for_share(&scene, changed, 1.0)?;
    scene.json(&["set-weight", "-s", "s097", "old=1", "new=1", "idle=0"])?;
    ensure!(tables(&scene)?.len() == 1, "{:?}", tables(&scene)?);
    ask_for_share(&scene, changed, 0.5)
}

/// First pages of the tables in force.
fn tables(scene: &Scene) -> Result<BTreeSet<u32>> {
    let map = MapData::from_pin(scene.lab().pins().join("SERVICES"))?;
    let services = Array::<_, [u64; 8]>::try_from(Map::Array(map))?;
    let mut pages = BTreeSet::new();
    for service in services.iter() {
        // Words of `Service`: address twice, identity, basis, table.
        let [_, _, identity, _, table, ..] = service?;
        if identity > Service::REMOVED {
            pages.insert(TableRef::from_word(table).page);
        }
    }
    Ok(pages)
}

fn ask_for_share(scene: &Scene, number: u16, share: f64) -> Result<()> {
    const COUNT: usize = 60;
    let ask = Ask::new(Transport::Tcp, address(number), COUNT);
    let counts = scene.lab().client().ask(ask)?;
    ensure!(
        counts.answered() == COUNT && is_likely(counts.of("two"), COUNT, share),
        "service {number}: {counts}"
    );
    Ok(())
}
