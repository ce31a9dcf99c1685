use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 7];
const VIP: [u8; 4] = [10, 99, 0, 1];
const CLIENT6: [u8; 16] = [0xfd, 0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const VIP6: [u8; 16] = [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const SYN: u8 = 2;
const FIN: u8 = 1;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Ethernet header, `tags` as (announcing type, VLAN id), then `inner` announced as `ether_type`.
fn ethernet(tags: &[(u16, u16)], ether_type: u16, inner: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (announced_as, id) in tags {
        frame.extend(announced_as.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(inner);
    frame
}

/// An IPv4 packet; `options` in whole words.
fn ipv4(protocol: u8, fragment: u16, options: &[u8], transport: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + transport.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(CLIENT);
    packet.extend(VIP);
    packet.extend(options);
    packet.extend(transport);
    packet
}

/// An IPv6 packet behind `extensions`, each a header type and its bytes, whose first is filled in.
fn ipv6(extensions: &[(u8, &[u8])], protocol: u8, transport: &[u8]) -> Vec<u8> {
    let types = extensions.iter().map(|(kind, _)| *kind).chain([protocol]);
    let mut types = types.collect::<Vec<_>>().into_iter();
    let length = extensions
        .iter()
        .map(|(_, bytes)| bytes.len())
        .sum::<usize>()
        + transport.len();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((length as u16).to_be_bytes());
    packet.extend([types.next().unwrap(), 64]);
    packet.extend(CLIENT6);
    packet.extend(VIP6);
    for (_, bytes) in extensions {
        packet.push(types.next().unwrap());
        packet.extend(&bytes[1..]);
    }
    packet.extend(transport);
    packet
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40, 0x23, 0x28];
    header.extend([0; 8]);
    header.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

fn udp() -> Vec<u8> {
    vec![0x9c, 0x40, 0x23, 0x28, 0, 8, 0, 0]
}

/// What the parser says of a frame, the families' packets brought to one form.
fn read(frame: &[u8]) -> Result<Seen, Reason> {
    match network(frame)? {
        Network::V4(offset) => V4::parse(frame, offset).map(Seen::of),
        Network::V6(offset) => V6::parse(frame, offset).map(Seen::of),
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    network: usize,
    transport: usize,
    source: [u64; 2],
    destination: [u64; 2],
    ports: (u16, u16),
    protocol: u8,
    hops: u8,
    length: u16,
}

impl Seen {
    fn of<A: Address>(packet: Packet<A>) -> Self {
        Self {
            network: packet.network,
            transport: packet.transport,
            source: packet.source.wide(),
            destination: packet.destination.wide(),
            ports: (packet.source_port, packet.destination_port),
            protocol: packet.protocol,
            hops: packet.hops,
            length: packet.length,
        }
    }

    fn v4(network: usize, transport: usize, protocol: u8, length: u16) -> Self {
        Self {
            network,
            transport,
            source: V4::from_bytes(CLIENT).wide(),
            destination: V4::from_bytes(VIP).wide(),
            ports: (40_000, 9000),
            protocol,
            hops: 64,
            length,
        }
    }

    fn v6(network: usize, transport: usize, protocol: u8, length: u16) -> Self {
        Self {
            source: V6::from_bytes(CLIENT6).wide(),
            destination: V6::from_bytes(VIP6).wide(),
            ..Self::v4(network, transport, protocol, length)
        }
    }
}

/// Every frame that parses, with what it parses to.
fn catalogue() -> Vec<(&'static str, Vec<u8>, Seen)> {
    let (one, two) = (
        &[(ETHER_VLAN, 7)][..],
        &[(ETHER_QINQ, 7), (ETHER_VLAN, 8)][..],
    );
    let options = [1_u8; 40];
    let (short, long) = (&[0_u8; 8][..], &[&[0_u8, 1][..], &[0; 14]].concat()[..]);
    let plain = ipv4(TCP, 0, &[], &tcp(SYN));
    let plain6 = ipv6(&[], TCP, &tcp(SYN));
    let many = [(0, short), (60, long), (60, short), (60, short)];
    let behind_one = ipv6(&[(0, short)], UDP, &udp());
    vec![
        (
            "TCP over IPv4",
            ethernet(&[], ETHER_IPV4, &plain),
            Seen::v4(14, 34, TCP, 40),
        ),
        (
            "UDP over IPv4",
            ethernet(&[], ETHER_IPV4, &ipv4(UDP, 0, &[], &udp())),
            Seen::v4(14, 34, UDP, 28),
        ),
        (
            "one that must not be fragmented",
            ethernet(&[], ETHER_IPV4, &ipv4(UDP, 0x4000, &[], &udp())),
            Seen::v4(14, 34, UDP, 28),
        ),
        (
            "IPv4 with one word of options",
            ethernet(&[], ETHER_IPV4, &ipv4(TCP, 0, &options[..4], &tcp(SYN))),
            Seen::v4(14, 38, TCP, 44),
        ),
        (
            "IPv4 with all options there can be",
            ethernet(&[], ETHER_IPV4, &ipv4(UDP, 0, &options, &udp())),
            Seen::v4(14, 74, UDP, 68),
        ),
        (
            "802.1Q",
            ethernet(one, ETHER_IPV4, &plain),
            Seen::v4(18, 38, TCP, 40),
        ),
        (
            "QinQ",
            ethernet(two, ETHER_IPV4, &plain),
            Seen::v4(22, 42, TCP, 40),
        ),
        (
            "TCP over IPv6",
            ethernet(&[], ETHER_IPV6, &plain6),
            Seen::v6(14, 54, TCP, 60),
        ),
        (
            "UDP over IPv6",
            ethernet(&[], ETHER_IPV6, &ipv6(&[], UDP, &udp())),
            Seen::v6(14, 54, UDP, 48),
        ),
        (
            "QinQ with IPv6",
            ethernet(two, ETHER_IPV6, &plain6),
            Seen::v6(22, 62, TCP, 60),
        ),
        (
            "one extension header",
            ethernet(&[], ETHER_IPV6, &behind_one),
            Seen::v6(14, 62, UDP, 56),
        ),
        (
            "as many extension headers as are looked through",
            ethernet(two, ETHER_IPV6, &ipv6(&many, TCP, &tcp(SYN))),
            Seen::v6(22, 102, TCP, 100),
        ),
    ]
}

#[test]
fn a_whole_packet_parses_to_its_fields() {
    for (name, frame, expected) in catalogue() {
        assert_eq!(read(&frame), Ok(expected), "{name}");
    }
}

#[test]
fn a_packet_cut_anywhere_in_its_headers_is_truncated() {
    for (name, frame, _) in catalogue() {
        for length in 0..frame.len() {
            assert_eq!(
                read(&frame[..length]),
                Err(Reason::Truncated),
                "{name} cut to {length}"
            );
        }
    }
}

#[test]
fn every_refusal_passes_the_packet() {
    let mut frame = ethernet(&[], ETHER_IPV4, &ipv4(TCP, 0, &[1; 8], &tcp(SYN)));
    let mut frame6 = ethernet(&[], ETHER_IPV6, &ipv6(&[(0, &[0; 8])], UDP, &udp()));
    for frame in [&mut frame, &mut frame6] {
        for place in 12..frame.len() {
            let before = frame[place];
            for byte in 0..=u8::MAX {
                frame[place] = byte;
                if let Err(reason) = read(frame) {
                    assert_eq!(
                        reason.verdict(),
                        crate::verdict::Verdict::Pass,
                        "{reason:?}"
                    );
                }
            }
            frame[place] = before;
        }
    }
}

#[test]
fn a_frame_without_ip_is_named() {
    for ether_type in [0x0806, 0x0000, 0x8863, 0xffff] {
        assert_eq!(
            read(&ethernet(&[], ether_type, &[0; 64])),
            Err(Reason::NotIp)
        );
    }
    let three = [(ETHER_QINQ, 1), (ETHER_VLAN, 2), (ETHER_VLAN, 3)];
    let frame = ethernet(&three, ETHER_IPV4, &ipv4(TCP, 0, &[], &tcp(SYN)));
    assert_eq!(read(&frame), Err(Reason::NotIp), "three tags");
}

#[test]
fn a_protocol_without_ports_is_named() {
    for protocol in [1, 2, 47, 50, 58, 132, 255] {
        let frame = ethernet(&[], ETHER_IPV4, &ipv4(protocol, 0, &[], &[0; 20]));
        assert_eq!(read(&frame), Err(Reason::OtherProtocol), "{protocol}");
        let frame = ethernet(&[], ETHER_IPV6, &ipv6(&[], protocol, &[0; 20]));
        assert_eq!(
            read(&frame),
            Err(Reason::OtherProtocol),
            "{protocol} over IPv6"
        );
    }
}

#[test]
fn fragments_are_named_first_and_later_ones() {
    for fragment in [0x2000, 0x2001, 0x0001, 0x1fff] {
        let frame = ethernet(&[], ETHER_IPV4, &ipv4(UDP, fragment, &[], &udp()));
        assert_eq!(read(&frame), Err(Reason::Fragment), "{fragment:#x}");
    }
    let frame = ethernet(
        &[],
        ETHER_IPV6,
        &ipv6(&[(0, &[0; 8]), (44, &[0; 8])], UDP, &udp()),
    );
    assert_eq!(read(&frame), Err(Reason::Fragment));
}

#[test]
fn extension_headers_that_are_not_looked_through_are_named() {
    for kind in [43, 51] {
        let frame = ethernet(&[], ETHER_IPV6, &ipv6(&[(kind, &[0; 8])], TCP, &tcp(SYN)));
        assert_eq!(read(&frame), Err(Reason::ExtensionHeader), "{kind}");
    }
    let five: [(u8, &[u8]); 5] = [(60, &[0; 8]); 5];
    let frame = ethernet(&[], ETHER_IPV6, &ipv6(&five, TCP, &tcp(SYN)));
    assert_eq!(read(&frame), Err(Reason::ExtensionHeader), "one too many");
}

#[test]
fn a_header_that_contradicts_itself_is_malformed() {
    let good = ipv4(TCP, 0, &[], &tcp(SYN));
    let with = |place: usize, byte: u8| {
        let mut packet = good.clone();
        packet[place] = byte;
        read(&ethernet(&[], ETHER_IPV4, &packet))
    };
    assert_eq!(with(0, 0x65), Err(Reason::Malformed), "version 6");
    assert_eq!(
        with(0, 0x44),
        Err(Reason::Malformed),
        "a header of four words"
    );
    assert_eq!(
        with(3, 39),
        Err(Reason::Malformed),
        "no room for the TCP header"
    );
    let mut packet = ipv6(&[], UDP, &udp());
    packet[5] = 7;
    assert_eq!(
        read(&ethernet(&[], ETHER_IPV6, &packet)),
        Err(Reason::Malformed)
    );
    packet[0] = 0x40;
    assert_eq!(
        read(&ethernet(&[], ETHER_IPV6, &packet)),
        Err(Reason::Malformed)
    );
}

#[test]
fn signals_are_those_of_the_flags() {
    let signals = |flags| {
        let frame = ethernet(&[], ETHER_IPV4, &ipv4(TCP, 0, &[], &tcp(flags)));
        V4::parse(&frame[..], 14).unwrap().signals
    };
    for flags in 0..=u8::MAX {
        let seen = signals(flags);
        assert_eq!(seen.finishes(), flags & FIN != 0, "{flags:#b}");
        assert_eq!(seen.resets(), flags & RST != 0, "{flags:#b}");
        let opens = flags & (SYN | ACK | RST) == SYN;
        assert_eq!(seen.opens(), opens, "{flags:#b}");
        assert_eq!(
            seen.are_none(),
            flags & (SYN | FIN | RST) == 0,
            "{flags:#b}"
        );
    }
}

/// What a fragment says: of whom, whole or first or neither, and its ports if it has them.
#[test]
fn a_first_fragment_has_ports_and_a_later_one_has_none() {
    // More fragments; offset 8 and more; offset 8, the last; whole.
    for (v4, v6, is_first) in [
        (0x2000, 1, true),
        (0x2001, 9, false),
        (1, 8, false),
        (0, 0, true),
    ] {
        let frame4 = ethernet(&[], ETHER_IPV4, &ipv4(UDP, v4, &[1; 8], &udp()));
        let header = [0, 0, 0, v6, 0xde, 0xad, 0xbe, 0xef];
        let frame6 = ethernet(&[], ETHER_IPV6, &ipv6(&[(FRAGMENT, &header)], UDP, &udp()));
        let part4 = V4::part(&frame4[..], 14).unwrap();
        let part6 = V6::part(&frame6[..], 14).unwrap();
        assert_eq!((part4.is_first(), part6.is_first()), (is_first, is_first));
        assert_eq!((part4.is_whole(), part6.is_whole()), (v4 == 0, v6 == 0));
        assert_eq!(part4.id, u32::from_ne_bytes([0, 1, 0, 0]));
        assert_eq!(part6.id, u32::from_ne_bytes([0xde, 0xad, 0xbe, 0xef]));
        assert_eq!((part4.packet.transport, part6.packet.transport), (42, 62));
        assert_eq!((part4.packet.source_port, part6.packet.source_port), (0, 0));
        let ports4 = part4.with_ports(&frame4[..]).unwrap();
        let ports6 = part6.with_ports(&frame6[..]).unwrap();
        assert_eq!(
            (ports4.source_port, ports4.destination_port),
            (40_000, 9000)
        );
        assert_eq!(
            (ports6.source_port, ports6.destination_port),
            (40_000, 9000)
        );
    }
}

#[test]
fn a_part_never_lies_beyond_its_frame() {
    let header = [0, 0, 0, 1, 0, 0, 0, 1];
    let v4 = ethernet(&[], ETHER_IPV4, &ipv4(TCP, 0x2000, &[1; 40], &tcp(SYN)));
    let v6 = ethernet(
        &[],
        ETHER_IPV6,
        &ipv6(&[(0, &[0; 8]), (FRAGMENT, &header)], TCP, &tcp(SYN)),
    );
    for (frame, behind) in [(v4, 74), (v6, 70)] {
        for length in 0..frame.len() {
            let cut = &frame[..length];
            let (part, ports) = if behind == 74 {
                let part = V4::part(cut, 14);
                (
                    part.is_ok(),
                    part.and_then(|part| part.with_ports(cut).map(|_| ())),
                )
            } else {
                let part = V6::part(cut, 14);
                (
                    part.is_ok(),
                    part.and_then(|part| part.with_ports(cut).map(|_| ())),
                )
            };
            assert_eq!(part, length >= behind, "{length}");
            assert_eq!(ports, Err(Reason::Truncated), "{length}");
        }
    }
}
