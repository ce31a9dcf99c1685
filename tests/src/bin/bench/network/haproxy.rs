//! HAProxy in TCP mode: a thread for each CPU, as it comes.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Lab, Process};

use super::proxy;
use super::service::Service;

/// What stands before the services. `splice-auto` saves copying bulk.
const HEAD: &str = "\
global
    maxconn 4096
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 1m
    timeout server 1m
";

/// Starts it on the node.
pub fn start(lab: &Lab, services: &[Service]) -> Result<Process> {
    let file = lab.directory().join("haproxy.cfg");
    fs::write(&file, configuration(services)).context("write the configuration of HAProxy")?;
    let mut command = Command::new("haproxy");
    // In the foreground, so that it is a child.
    command.arg("-db").arg("-f").arg(&file);
    proxy::start(lab, command)
}

fn configuration(services: &[Service]) -> String {
    let mut text = HEAD.to_owned();
    for service in services {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "listen {}\n    bind {} backlog 32768\n    balance roundrobin\n",
            service.name, service.address
        );
        for endpoint in &service.endpoints {
            let _ = writeln!(
                text,
                "    server {} {} weight {}",
                endpoint.name, endpoint.address, endpoint.weight
            );
        }
    }
    text
}
