//! Configurations for a lab, as text: what a person would write.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::conversation::Transport;
use crate::desired::written_endpoint;

/// A configuration that grows by services and backends.
#[derive(Clone, Debug)]
pub struct Configuration(String);

impl Configuration {
    /// One that attaches to these interfaces.
    #[must_use]
    pub fn on(interfaces: &[String]) -> Self {
        let names: Vec<_> = interfaces.iter().map(|name| format!("{name:?}")).collect();
        Self(format!("interfaces = [{}]\n", names.join(", ")))
    }

    /// One that attaches to these interfaces in this mode: `native` or `generic`.
    #[must_use]
    pub fn in_mode(interfaces: &[String], mode: &str) -> Self {
        let tables: Vec<_> = interfaces
            .iter()
            .map(|name| format!("{{ name = {name:?}, mode = {mode:?} }}"))
            .collect();
        Self(format!("interfaces = [{}]\n", tables.join(", ")))
    }

    /// With a line of what was begun last: before the first service such as `flows = 4096`, after a service
    /// such as `echo = true`.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.0 += line;
        self.0 += "\n";
        self
    }

    /// With a service; its backends follow.
    #[must_use]
    pub fn service(self, name: &str, transport: Transport, address: SocketAddr) -> Self {
        self.service_at(name, transport, &address.to_string())
    }

    /// The same of an address as it is written: `10.99.0.1:9000-9010`.
    #[must_use]
    pub fn service_at(mut self, name: &str, transport: Transport, address: &str) -> Self {
        let protocol = match transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        // Writing to a string cannot fail.
        let _ = write!(
            self.0,
            "\n[[service]]\nname = {name:?}\naddress = \"{address}\"\nprotocol = {protocol:?}\n"
        );
        self
    }

    /// With a backend of the last service. An endpoint with port 0 is written without.
    #[must_use]
    pub fn backend(mut self, name: &str, weight: u32, endpoints: &[SocketAddr]) -> Self {
        let written = |it: &SocketAddr| format!("\"{}\"", written_endpoint(*it));
        let endpoints: Vec<_> = endpoints.iter().map(written).collect();
        let _ = write!(
            self.0,
            "\n[[service.backend]]\nname = {name:?}\nweight = {weight}\nendpoints = [{}]\n",
            endpoints.join(", ")
        );
        self
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_written_can_be_read() {
        let endpoint: SocketAddr = "10.64.1.2:9000".parse().unwrap();
        let text = Configuration::in_mode(&["eth0".to_owned()], "generic")
            .setting("flows = 4096")
            .service("echo", Transport::Udp, "10.99.0.1:9000".parse().unwrap())
            .backend("old", 1, &[endpoint])
            .backend("new", 0, &[]);
        let config = Config::parse(text.text(), "lb.toml", &|_| Ok([10, 64, 1, 1].into()));
        let config = config.unwrap();
        assert_eq!(config.settings.flows, 4096);
        assert_eq!(config.services[0].backends[0].endpoints.len(), 1);
    }
}
