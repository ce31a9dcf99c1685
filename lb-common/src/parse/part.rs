//! IP packets of any protocol: a whole one, or a fragment of one.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, Packet, Parse, Ports, ROUTING, TCP,
    UDP, behind_extensions, packet, ports, transport_length,
};
use crate::address::{Address, V4, V6};
use crate::frame::{FragmentHeader, Frame};
use crate::verdict::Reason;
use crate::verifier::obscure;

/// No offset behind the headers of a packet is larger, nor behind those of a packet quoted in it. A
/// mask.
const MAX_TRANSPORT: usize = 0x7fff;

/// More fragments follow.
const MORE: u16 = 1;

/// An IP packet, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<A> {
    /// What its headers say, but not its ports: they are 0.
    pub packet: Packet<A>,
    /// Identification of the packet it is of, bytes in network order.
    pub id: u32,
    /// Offset in units of 8 bytes, shifted left by 3; the last bit: more fragments follow.
    place: u16,
}

impl<A: Address> Part<A> {
    /// The whole packet.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.place == 0
    }

    /// It begins with the transport header.
    #[inline(always)]
    pub const fn is_first(&self) -> bool {
        self.place & !MORE == 0
    }

    /// The packet with its ports, of which this is the first fragment.
    ///
    /// # Errors
    /// [`Reason::OtherProtocol`], [`Reason::Truncated`], or [`Reason::Malformed`] if the transport
    /// header is not whole.
    #[inline(always)]
    pub fn with_ports<F: Frame + ?Sized>(&self, frame: &F) -> Result<Packet<A>, Reason> {
        let packet = self.packet;
        if packet.protocol != TCP && packet.protocol != UDP {
            return Err(Reason::OtherProtocol);
        }
        let ports = ports(frame, packet.transport, packet.protocol)?;
        let needed = packet.transport - packet.network + transport_length(packet.protocol);
        if (packet.length as usize) < needed {
            return Err(Reason::Malformed);
        }
        Ok(Packet {
            source_port: ports.source as u16,
            destination_port: ports.destination as u16,
            signals: ports.signals,
            ..packet
        })
    }
}

/// The families' way to a [`Part`].
pub trait Parts: Parse {
    /// Reads the IP header at `offset` and what follows it up to the transport header.
    ///
    /// # Errors
    /// A reason whose verdict is to pass.
    fn part<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Part<Self>, Reason>;
}

impl Parts for V4 {
    #[inline(always)]
    fn part<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Part<Self>, Reason> {
        let ip: &Ipv4Hdr = frame.header(offset).ok_or(Reason::Truncated)?;
        let header_length = ((ip.vihl & 0x0f) as usize) << 2;
        if ip.vihl >> 4 != 4 || header_length < size_of::<Ipv4Hdr>() {
            return Err(Reason::Malformed);
        }
        // A later fragment is not read any further: its options must be there.
        let last: Option<&[u8; 1]> = frame.header(offset + header_length - 1);
        last.ok_or(Reason::Truncated)?;
        let length = u16::from_be_bytes(ip.tot_len);
        if (length as usize) < header_length {
            return Err(Reason::Malformed);
        }
        // Thirteen bits of offset, and bit 13, "more fragments" (RFC 791), as IPv6 has them.
        let place = u16::from_be_bytes(ip.frags);
        let place = place << 3 | (place >> 13 & MORE);
        let [high, low] = ip.id;
        Ok(Part {
            packet: packet(
                offset,
                offset + header_length,
                ip.proto,
                ip.ttl,
                length,
                Self::from_bytes(ip.src_addr),
                Self::from_bytes(ip.dst_addr),
                Ports::NONE,
            ),
            id: u32::from_ne_bytes([high, low, 0, 0]),
            place,
        })
    }
}

impl Parts for V6 {
    #[inline(always)]
    fn part<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Part<Self>, Reason> {
        let ip: &Ipv6Hdr = frame.header(offset).ok_or(Reason::Truncated)?;
        if ip.vcf[0] >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let (next, hops) = (ip.next_hdr, ip.hop_limit);
        let (source, destination) = (Self::from_bytes(ip.src_addr), Self::from_bytes(ip.dst_addr));
        let length = u16::from_be_bytes(ip.payload_len).saturating_add(size_of::<Ipv6Hdr>() as u16);
        let (protocol, transport) = behind_extensions(frame, next, offset)?;
        let transport = obscure(transport, source.0[1]) & MAX_TRANSPORT;
        let (mut id, mut place) = (0, 0);
        let (mut protocol, mut transport) = (protocol, transport);
        if protocol == FRAGMENT {
            let header: &FragmentHeader = frame.header(transport).ok_or(Reason::Truncated)?;
            protocol = header.next_header;
            id = u32::from_ne_bytes(header.id);
            place = u16::from_be_bytes(header.place) & !0b110;
            transport += size_of::<FragmentHeader>();
        }
        if matches!(
            protocol,
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING | AUTHENTICATION | FRAGMENT
        ) {
            return Err(Reason::ExtensionHeader);
        }
        let transport = obscure(transport, source.0[1]) & MAX_TRANSPORT;
        Ok(Part {
            packet: packet(
                offset,
                transport,
                protocol,
                hops,
                length,
                source,
                destination,
                Ports::NONE,
            ),
            id,
            place,
        })
    }
}
