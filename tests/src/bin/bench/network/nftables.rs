//! nftables: destination NAT with a weighted map, replies turned back by connection tracking. The
//! endpoints' default route leads through the node, so the client's address may stay.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::Lab;

use super::service::Service;

/// The longest `nft` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Loads the rules on the node; they go with it.
pub fn load(lab: &Lab, services: &[Service]) -> Result<()> {
    let file = lab.directory().join("nftables.conf");
    fs::write(&file, rules(services)).context("write the rules of nftables")?;
    let mut command = Command::new("nft");
    command.arg("-f").arg(&file);
    let output = lab.node().output(command, LIMIT)?;
    ensure!(
        output.status.success(),
        "nft -f: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn rules(services: &[Service]) -> String {
    let mut text = String::from(
        "table inet lb {\n  chain prerouting {\n    type nat hook prerouting priority dstnat;\n",
    );
    for service in services {
        let family = if service.address.is_ipv4() {
            "ip"
        } else {
            "ip6"
        };
        let (address, port) = (service.address.ip(), service.address.port());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "    {family} daddr {address} tcp dport {port} dnat {family} addr . port to numgen random \
             mod 100 map {{ {} }}",
            lots(service)
        );
    }
    text + "  }\n}\n"
}

/// Which of a hundred lots is whose.
fn lots(service: &Service) -> String {
    let mut first = 0;
    let ranges: Vec<_> = service
        .endpoints
        .iter()
        .map(|endpoint| {
            let last = first + endpoint.weight - 1;
            let (address, port) = (endpoint.address.ip(), endpoint.address.port());
            let range = format!("{first}-{last} : {address} . {port}");
            first = last + 1;
            range
        })
        .collect();
    ranges.join(", ")
}
