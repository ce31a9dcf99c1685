//! Which of the node's own addresses a packet to an endpoint would leave with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Asks the kernel's routing table. No packet is sent: connecting a UDP socket only selects a route.
///
/// # Errors
/// If there is no route to the endpoint.
pub fn towards(endpoint: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match endpoint {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(endpoint)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_endpoint_is_reached_from_loopback() {
        let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert_eq!(towards(endpoint).unwrap(), Ipv4Addr::LOCALHOST);
    }
}
