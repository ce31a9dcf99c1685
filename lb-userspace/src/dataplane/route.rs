//! Which interface the kernel's routing table leads to an address by, and when that may have changed.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{RtAddrFamily, RtScope, RtTable, Rta, Rtm, Rtn, Rtprot};
use neli::consts::socket::NlFamily;
use neli::nl::NlPayload;
use neli::router::synchronous::{NlRouter, NlRouterReceiverHandle};
use neli::rtnl::{RtattrBuilder, Rtmsg, RtmsgBuilder};
use neli::types::RtBuffer;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::interface::{connect, told};

/// A conversation with the kernel about routes, in the network namespace of the calling thread.
pub struct Routes(NlRouter);

impl Routes {
    /// Opens it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> Result<Self> {
        Ok(Self(connect(NlFamily::Route)?))
    }

    /// Index of the interface that packets to an address leave by; nothing if the address is the node's own
    /// or has no route.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn interface(&self, address: IpAddr) -> Result<Option<u32>> {
        let answers: NlRouterReceiverHandle<Rtm, Rtmsg> = self
            .0
            .send(
                Rtm::Getroute,
                NlmF::ACK,
                NlPayload::Payload(question(address)?),
            )
            .map_err(told)?;
        // To the end: an acknowledgement left over would be taken for the next question's.
        let mut interface = None;
        for answer in answers {
            match answer.map_err(told) {
                Ok(answer) => {
                    if let Some(route) = answer.get_payload()
                        && matches!(route.rtm_type(), Rtn::Unicast)
                    {
                        let attributes = route.rtattrs().get_attr_handle();
                        interface = attributes.get_attr_payload_as::<u32>(Rta::Oif).ok();
                    }
                }
                Err(error) if error.downcast_ref::<Errno>().is_some() => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("ask for the route to {address}"));
                }
            }
        }
        Ok(interface)
    }
}

/// What the kernel says by itself of links, routes and rules: only that it said something. In the network
/// namespace of the thread that opened it.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Groups of messages, as bits (`RTNLGRP_…` less one): links, routes and rules of both families, next
    /// hops.
    const GROUPS: u32 = 1 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 18 | 1 << 31;

    /// Listens from now on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn listen() -> Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )
        .context("open a netlink socket")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, Self::GROUPS))
            .context("listen for changes of routes")?;
        Ok(Self(socket))
    }

    /// Whether there were any since this was last asked.
    pub fn any(&self) -> bool {
        let mut some = false;
        // What was said is not read: one byte of each message is.
        while let Ok(_) | Err(Errno::ENOBUFS) =
            recv(self.0.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT)
        {
            some = true;
        }
        some
    }
}

fn question(address: IpAddr) -> Result<Rtmsg> {
    let (family, bytes) = match address {
        IpAddr::V4(v4) => (RtAddrFamily::Inet, v4.octets().to_vec()),
        IpAddr::V6(v6) => (RtAddrFamily::Inet6, v6.octets().to_vec()),
    };
    let bits = u8::try_from(bytes.len() * 8)?;
    let mut attributes = RtBuffer::new();
    attributes.push(
        RtattrBuilder::default()
            .rta_type(Rta::Dst)
            .rta_payload(bytes)
            .build()?,
    );
    Ok(RtmsgBuilder::default()
        .rtm_family(family)
        .rtm_dst_len(bits)
        .rtm_src_len(0)
        .rtm_tos(0)
        .rtm_table(RtTable::Unspec)
        .rtm_protocol(Rtprot::Unspec)
        .rtm_scope(RtScope::Universe)
        .rtm_type(Rtn::Unspec)
        .rtattrs(attributes)
        .build()?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn no_interface_leads_to_an_address_of_the_node() {
        let routes = Routes::open().unwrap();
        assert_eq!(routes.interface(Ipv4Addr::LOCALHOST.into()).unwrap(), None);
    }

    #[test]
    fn there_are_no_changes_when_nothing_changes() {
        // In a namespace of its own other tests would not make any; so only that asking ends.
        let changes = Changes::listen().unwrap();
        changes.any();
        changes.any();
    }

    #[test]
    fn one_question_after_another_is_answered() {
        let routes = Routes::open().unwrap();
        for address in ["127.0.0.1", "::1", "127.0.0.2", "::1"] {
            assert_eq!(routes.interface(address.parse().unwrap()).unwrap(), None);
        }
    }
}
