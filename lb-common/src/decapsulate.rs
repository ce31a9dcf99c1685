//! The endpoints' end of a tunnel: what [`crate::encapsulate`] put before a packet, taken off.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;

use crate::address::{Address, IPV4, IPV6, V4, V6};
use crate::checksum::Delta;
use crate::encapsulate::{IPV4_IN_IP, IPV6_IN_IP};
use crate::frame::{Bytes, Elastic, Frame, UNTAGGED};
use crate::parse::{self, ETHER_IPV4, ETHER_IPV6, Network, UDP};
use crate::verifier::obscure;

/// Bits of a traffic class that tell of congestion (RFC 3168).
const CONGESTION: u8 = 3;
/// No packet lies further behind its outer header: 60 bytes of IPv4 and 8 of UDP. A mask.
const MAX_ADDED: usize = 0x7f;

/// Bytes before the IP header of a frame with two tags, without what announces it.
const FRONT: usize = 20;

/// A packet in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Offset of the outer IP header.
    pub network: usize,
    /// Bytes from there to the packet.
    pub added: usize,
    /// Traffic class of the outer header.
    pub class: u8,
    /// [`IPV4`] or [`IPV6`]: that of the packet.
    pub family: u8,
    /// Where the packet goes, [`Address::wide`].
    pub destination: [u64; 2],
}

/// The packet in a frame's tunnel: IP in IP, or in UDP to `port`. Nothing if the frame is anything else.
#[inline(always)]
pub fn carried<F: Frame + ?Sized>(frame: &F, port: u16) -> Option<Carried> {
    let (network, class, protocol, length) = match parse::network(frame).ok()? {
        Network::V4(network) => {
            let ip: &Ipv4Hdr = frame.header(network)?;
            // Of a fragment only the first begins with a header.
            if u16::from_be_bytes(ip.frags) & 0x3fff != 0 {
                return None;
            }
            (network, ip.tos, ip.proto, ((ip.vihl & 15) as usize) << 2)
        }
        Network::V6(network) => {
            let ip: &Ipv6Hdr = frame.header(network)?;
            let [first, second, ..] = ip.vcf;
            let class = first << 4 | second >> 4;
            (network, class, ip.next_hdr, size_of::<Ipv6Hdr>())
        }
    };
    let added = if protocol == UDP {
        let udp: &UdpHdr = frame.header(network + length)?;
        if u16::from_be_bytes(udp.dst) != port {
            return None;
        }
        length + size_of::<UdpHdr>()
    } else {
        length
    };
    let added = obscure(added, class as u64) & MAX_ADDED;
    // Two bytes: that there is one at all, the verifier does not understand.
    let Bytes([first, _]) = *frame.header(network + added)?;
    let (family, destination) = match (first >> 4, protocol) {
        (4, IPV4_IN_IP | UDP) => {
            let ip: &Ipv4Hdr = frame.header(network + added)?;
            (IPV4, V4::from_bytes(ip.dst_addr).wide())
        }
        (6, IPV6_IN_IP | UDP) => {
            let ip: &Ipv6Hdr = frame.header(network + added)?;
            (IPV6, V6::from_bytes(ip.dst_addr).wide())
        }
        _ => return None,
    };
    Some(Carried {
        network,
        added,
        class,
        family,
        destination,
    })
}

/// Takes the outer headers off. Nothing if congestion was met by a packet whose sender would not
/// understand it, which is to be dropped (RFC 6040 section 4.2), or if the frame is not what it was.
#[inline(always)]
pub fn decapsulate<F: Elastic + ?Sized>(frame: &mut F, carried: &Carried) -> Option<()> {
    if carried.class & CONGESTION == CONGESTION {
        tell_congestion(frame, carried)?;
    }
    let front: Bytes<FRONT> = *frame.header(0)?;
    frame.shrink(carried.added)?;
    let macs: &mut Bytes<12> = frame.header_mut(0)?;
    for i in 0..12 {
        macs.0[i] = front.0[i];
    }
    let [.., a, b, c, d, e, f, g, h] = front.0;
    let announced = Bytes(if carried.family == IPV4 {
        ETHER_IPV4.to_be_bytes()
    } else {
        ETHER_IPV6.to_be_bytes()
    });
    // Offsets that are constants, as in `link_layer`.
    if carried.network == UNTAGGED {
        *frame.header_mut(UNTAGGED - 2)? = announced;
        return Some(());
    }
    *frame.header_mut(UNTAGGED - 2)? = Bytes([a, b, c, d]);
    if carried.network == UNTAGGED + 4 {
        *frame.header_mut(UNTAGGED + 2)? = announced;
        return Some(());
    }
    *frame.header_mut(UNTAGGED + 2)? = Bytes([e, f, g, h]);
    *frame.header_mut(UNTAGGED + 6)? = announced;
    Some(())
}

/// Marks the packet as one that met congestion. Nothing if its sender would not understand.
#[inline(always)]
fn tell_congestion<F: Frame + ?Sized>(frame: &mut F, carried: &Carried) -> Option<()> {
    let packet = carried.network + carried.added;
    if carried.family == IPV4 {
        let ip: &mut Ipv4Hdr = frame.header_mut(packet)?;
        if ip.tos & CONGESTION == 0 {
            return None;
        }
        let word = |tos| u32::from_ne_bytes([0, tos, 0, 0]);
        let delta = Delta::NONE.word(word(ip.tos), word(ip.tos | CONGESTION));
        ip.tos |= CONGESTION;
        ip.check = delta.apply(ip.check);
    } else {
        let ip: &mut Ipv6Hdr = frame.header_mut(packet)?;
        if ip.vcf[1] >> 4 & CONGESTION == 0 {
            return None;
        }
        ip.vcf[1] |= CONGESTION << 4;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 6080;

    /// Addresses and tags, outer header of these bytes, and an IPv4 packet to 10.99.0.1 of class `tos`.
    fn frame(tags: &[u8], ether_type: u16, outer: &[u8], tos: u8) -> Vec<u8> {
        let mut ip = [
            0x45, tos, 0, 20, 0, 0, 0x40, 0, 9, 6, 0, 0, 1, 2, 3, 4, 10, 99, 0, 1,
        ];
        let check = crate::checksum::full(&ip);
        ip[10..12].copy_from_slice(&check);
        [&[9; 12][..], tags, &ether_type.to_be_bytes(), outer, &ip].concat()
    }

    fn v4(class: u8, protocol: u8, flags: u8) -> [u8; 20] {
        let mut outer = [0; 20];
        (outer[0], outer[1], outer[6], outer[9]) = (0x45, class, flags, protocol);
        outer
    }

    fn opened(mut frame: Vec<u8>) -> Option<Vec<u8>> {
        let carried = carried(&frame, PORT)?;
        assert_eq!(carried.destination, V4::from_bytes([10, 99, 0, 1]).wide());
        decapsulate(&mut frame, &carried)?;
        Some(frame)
    }

    #[test]
    fn what_is_carried_comes_out_as_if_it_had_come_alone() {
        let udp = [0xc0, 0, 0x17, 0xc0, 0, 28, 0, 0];
        let v6 = |next| {
            let mut outer = [0; 40];
            (outer[0], outer[6]) = (0x60, next);
            outer
        };
        for tags in [
            &[][..],
            &[0x81, 0, 0, 7],
            &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9],
        ] {
            let alone = frame(tags, 0x0800, &[], 0xb8);
            let outers = [
                (0x0800, v4(0, 4, 0x40).to_vec()),
                (0x0800, [&v4(0, 17, 0x40)[..], &udp].concat()),
                (0x86dd, v6(4).to_vec()),
                (0x86dd, [&v6(17)[..], &udp].concat()),
            ];
            for (ether_type, outer) in outers {
                let carrying = frame(tags, ether_type, &outer, 0xb8);
                assert_eq!(opened(carrying), Some(alone.clone()), "{outer:?}");
            }
        }
    }

    #[test]
    fn what_is_no_tunnel_of_ours_stays() {
        let udp = [0xc0, 0, 0x17, 0xc1, 0, 28, 0, 0];
        for outer in [
            [&v4(0, 17, 0)[..], &udp].concat(),
            v4(0, 41, 0).to_vec(),
            v4(0, 47, 0).to_vec(),
            v4(0, 4, 0x20).to_vec(),
        ] {
            assert_eq!(carried(&frame(&[], 0x0800, &outer, 0), PORT), None);
        }
        let cut = frame(&[], 0x0800, &v4(0, 4, 0), 0);
        for length in 0..cut.len() {
            assert_eq!(carried(&cut[..length], PORT), None);
        }
    }

    #[test]
    fn congestion_on_the_way_is_told_to_who_understands() {
        for (tos, after) in [(0, None), (1, Some(3)), (2, Some(3)), (3, Some(3))] {
            let carrying = frame(&[], 0x0800, &v4(3, 4, 0), 0xb8 | tos);
            let alone = after.map(|bits| frame(&[], 0x0800, &[], 0xb8 | bits));
            assert_eq!(opened(carrying), alone, "{tos}");
        }
    }
}
