use super::*;
use crate::checksum::full;
use crate::decapsulate::{carried, decapsulate};
use crate::parse::{self, Network, Parse};

const PORT: u16 = 6080;
const HASH: u64 = 0xfedc_ba98_7654_3210;
const SOURCE_V4: V4 = V4::from_bytes([172, 16, 0, 0]);
const TO_V4: V4 = V4::from_bytes([10, 64, 1, 2]);

fn endpoint_v4(mode: u8, free: [u8; 4]) -> Endpoint {
    let protocol = if mode == mode::GUE { UDP } else { IPV4_IN_IP };
    Endpoint {
        address: TO_V4.wide(),
        source: SOURCE_V4.wide(),
        mode,
        tunnel_port: PORT,
        spread: u32::from_ne_bytes(free),
        base: base(SOURCE_V4, TO_V4, protocol),
        ..Endpoint::FREE
    }
}

fn endpoint_v6(mode: u8) -> Endpoint {
    Endpoint {
        address: [0x0201, 0x0403],
        source: [0xfd, 0],
        mode,
        tunnel_port: PORT,
        spread: u32::from_ne_bytes([0, 0, 0xff, 0xff]),
        ..Endpoint::FREE
    }
}

/// A TCP packet of class 0xb9 with a valid IP header, behind tags.
fn frame_v4(tags: &[u8]) -> Vec<u8> {
    let mut ip = vec![
        0x45, 0xb9, 0, 44, 1, 2, 0, 0, 64, 6, 0, 0, 1, 2, 3, 4, 10, 99, 0, 1,
    ];
    let check = full(&ip);
    ip[10..12].copy_from_slice(&check);
    [&[1; 12][..], tags, &[8, 0], &ip, &[0x50; 24]].concat()
}

fn frame_v6() -> Vec<u8> {
    let mut ip = vec![0x6b, 0x91, 2, 3, 0, 24, 6, 64];
    ip.extend(0..32);
    [&[1; 12][..], &[0x86, 0xdd], &ip, &[0x50; 24]].concat()
}

fn put<I: Inner + Parse, O: Outer>(before: &[u8], endpoint: &Endpoint) -> Vec<u8> {
    let mut frame = before.to_vec();
    let network = match parse::network(before).unwrap() {
        Network::V4(offset) | Network::V6(offset) => offset,
    };
    let packet = I::parse(before, network).unwrap();
    let class = I::carry(&mut frame, &packet).unwrap();
    let load = Load {
        network,
        length: packet.length,
        class,
        protocol: I::PROTOCOL,
        hash: HASH,
    };
    encapsulate::<O, _>(&mut frame, &load, endpoint).unwrap();
    assert_eq!(frame.len(), before.len() + overhead::<O>(endpoint));
    assert_eq!(frame[12..network - 2], before[12..network - 2], "tags");
    // MAC addresses are the next hop's.
    frame[..12].copy_from_slice(&before[..12]);
    frame
}

/// What comes out at the other end: the packet one hop on.
fn comes_out(carrying: &[u8], before: &[u8]) {
    let mut frame = carrying.to_vec();
    let carried = carried(&frame, PORT).expect("a tunnel");
    decapsulate(&mut frame, &carried).unwrap();
    let mut expected = before.to_vec();
    let network = carried.network;
    if before[network] >> 4 == 4 {
        expected[network + 8] -= 1;
        expected[network + 10..network + 12].fill(0);
        let check = full(&expected[network..network + 20]);
        expected[network + 10..network + 12].copy_from_slice(&check);
    } else {
        expected[network + 7] -= 1;
    }
    assert_eq!(frame, expected);
}

#[test]
fn ipv4_in_ipv4() {
    for tags in [
        &[][..],
        &[0x81, 0, 0, 7],
        &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9],
    ] {
        let before = frame_v4(tags);
        let after = put::<V4, V4>(&before, &endpoint_v4(mode::IPIP, [0; 4]));
        let ip = &after[14 + tags.len()..][..20];
        assert_eq!(ip[..10], [0x45, 0xb9, 0, 64, 0, 0, 0x40, 0, 64, 4]);
        assert_eq!(ip[12..], [172, 16, 0, 0, 10, 64, 1, 2]);
        assert_eq!(full(ip), [0, 0]);
        comes_out(&after, &before);
    }
}

#[test]
fn the_free_bits_of_the_source_are_the_flows() {
    let after = put::<V4, V4>(&frame_v4(&[]), &endpoint_v4(mode::IPIP, [0, 0, 0xff, 0xff]));
    let [a, b, c, d] = ((HASH >> 32) as u32).to_ne_bytes();
    assert_ne!([a, b, c, d], [0; 4]);
    assert_eq!(after[26..30], [172, 16, c, d]);
    assert_eq!(full(&after[14..34]), [0, 0]);
    let after = put::<V6, V6>(&frame_v6(), &endpoint_v6(mode::IPIP));
    assert_eq!(
        after[22..38],
        [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, c, d]
    );
}

#[test]
fn ipv6_in_ipv6() {
    let before = frame_v6();
    let after = put::<V6, V6>(&before, &endpoint_v6(mode::IPIP));
    let label = ((HASH >> 32) as u32 & 0xf_ffff).to_be_bytes();
    assert_eq!(after[14..18], [0x6b, 0x90 | label[1], label[2], label[3]]);
    assert_eq!(after[18..22], [0, 64, 41, 64]);
    assert_eq!(
        after[38..54],
        [1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0]
    );
    comes_out(&after, &before);
}

#[test]
fn one_family_in_the_other() {
    let before = frame_v4(&[]);
    let after = put::<V4, V6>(&before, &endpoint_v6(mode::IPIP));
    assert_eq!((&after[12..14], after[20]), (&[0x86, 0xdd][..], 4));
    comes_out(&after, &before);

    let before = frame_v6();
    let endpoint = Endpoint {
        base: base(SOURCE_V4, TO_V4, IPV6_IN_IP),
        ..endpoint_v4(mode::IPIP, [0; 4])
    };
    let after = put::<V6, V4>(&before, &endpoint);
    assert_eq!((&after[12..14], after[23]), (&[8, 0][..], 41));
    assert_eq!(full(&after[14..34]), [0, 0]);
    comes_out(&after, &before);
}

#[test]
fn in_udp() {
    let before = frame_v4(&[]);
    let after = put::<V4, V4>(&before, &endpoint_v4(mode::GUE, [0; 4]));
    assert_eq!((after[17], after[23]), (72, 17));
    assert_eq!(full(&after[14..34]), [0, 0]);
    assert_eq!(after[34..42], [0xfe, 0xdc, 0x17, 0xc0, 0, 52, 0, 0]);
    comes_out(&after, &before);

    let before = frame_v6();
    let after = put::<V6, V6>(&before, &endpoint_v6(mode::GUE));
    assert_eq!((after[19], after[20]), (72, 17));
    assert_eq!(after[54..62], [0xfe, 0xdc, 0x17, 0xc0, 0, 72, 0, 0]);
    comes_out(&after, &before);
}
