//! Which flows a query wants.

use std::net::{IpAddr, SocketAddr};

use crate::api::{Code, Failure, FlowsQuery};
use crate::dataplane::{EndpointReport, FlowReport};
use crate::nearest;
use crate::state::State;

/// The flows a query wants.
pub(super) struct FlowFilter {
    service: Option<String>,
    backend: Option<String>,
    client: Option<Client>,
}

enum Client {
    Address(IpAddr),
    Socket(SocketAddr),
}

impl FlowFilter {
    pub(super) fn parse(
        query: &FlowsQuery,
        state: &State,
        endpoints: &[EndpointReport],
    ) -> Result<Self, Failure> {
        let services = &state.desired.services;
        let configured = services
            .iter()
            .flat_map(|it| &it.backends)
            .map(|it| it.name.as_str());
        let left = endpoints.iter().map(|it| it.backend.as_str());
        known(
            "backend",
            query.backend.as_deref(),
            configured.chain(left).collect(),
        )?;
        let configured = services.iter().map(|it| it.name.as_str());
        let left = endpoints.iter().map(|it| it.service.as_str());
        known(
            "service",
            query.service.as_deref(),
            configured.chain(left).collect(),
        )?;
        Ok(Self {
            service: query.service.clone(),
            backend: query.backend.clone(),
            client: query.client.as_deref().map(client).transpose()?,
        })
    }

    pub(super) fn wants(&self, flow: &FlowReport) -> bool {
        let client = match &self.client {
            None => true,
            Some(Client::Address(address)) => flow.client.ip() == *address,
            Some(Client::Socket(socket)) => flow.client == *socket,
        };
        client
            && self.service.as_ref().is_none_or(|it| *it == flow.service)
            && self.backend.as_ref().is_none_or(|it| *it == flow.backend)
    }
}

fn known(what: &str, asked: Option<&str>, names: Vec<&str>) -> Result<(), Failure> {
    let Some(asked) = asked.filter(|it| !names.contains(it)) else {
        return Ok(());
    };
    let hint = match nearest::to(asked, names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("see lbctl get {what}s"),
    };
    Err(Failure::new(
        Code::UnknownName,
        format!("no {what} `{asked}`: {hint}"),
    ))
}

fn client(text: &str) -> Result<Client, Failure> {
    let address = text.parse().map(Client::Address);
    address
        .or_else(|_| text.parse().map(Client::Socket))
        .map_err(|_| {
            Failure::new(
                Code::BadRequest,
                format!("client `{text}` is not an address"),
            )
            .try_this("write 10.0.0.1, 10.0.0.1:40000, fd00::1 or [fd00::1]:40000")
        })
}

#[cfg(test)]
mod tests;
