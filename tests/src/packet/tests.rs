use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 7];
const VIP: [u8; 4] = [10, 99, 0, 1];

#[test]
fn a_frame_known_to_be_right_comes_out_byte_for_byte() {
    // The header of RFC 1071's best-known worked example: checksum 0xb861.
    let packet = eth()
        .ip([192, 168, 0, 1], [192, 168, 0, 199])
        .hops(0x40)
        .protocol(UDP);
    let bytes = Packet {
        label: 0,
        fragment: Some((0x4000, false)),
        ..packet
    }
    .payload(&[0; 95])
    .bytes();
    assert_eq!(bytes[14..24], [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11]);
    assert_eq!(bytes[24..26], [0xb8, 0x61]);
}

#[test]
fn every_checksum_verifies() {
    for payload in [&b""[..], b"a", b"ab", &[0xff; 99]] {
        for packet in [
            eth().ip(CLIENT, VIP).tcp(SYN, 1, 2),
            eth().ip(CLIENT, VIP).options(&[1; 8]).udp(1, 2),
        ] {
            let bytes = packet.payload(payload).bytes();
            let header = 14 + usize::from(bytes[14] & 15) * 4;
            assert_eq!(ones_sum(&bytes[14..header]), 0xffff);
            let mut summed = bytes[26..34].to_vec();
            summed.extend([0, bytes[23]]);
            summed.extend(((bytes.len() - header) as u16).to_be_bytes());
            summed.extend(&bytes[header..]);
            assert_eq!(ones_sum(&summed), 0xffff);
        }
    }
}

#[test]
fn a_chain_of_extension_headers_links_up() {
    let six = |host| std::net::Ipv6Addr::new(0xfd, 0, 0, 0, 0, 0, 0, host);
    let packet = eth().qinq(5, 6).ip(six(1), six(2)).extension(HOP_BY_HOP, 8);
    let bytes = packet
        .extension(DESTINATION_OPTIONS, 16)
        .fragment(3, true)
        .udp(1, 2)
        .bytes();
    assert_eq!(bytes[12..22], [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd]);
    let ip = &bytes[22..];
    assert_eq!(usize::from(ip[5]), ip.len() - 40);
    assert_eq!(
        (ip[6], ip[40], ip[41]),
        (HOP_BY_HOP, DESTINATION_OPTIONS, 0)
    );
    assert_eq!((ip[48], ip[49]), (44, 1));
    assert_eq!(ip[64..68], [UDP, 0, 0, 3 << 3 | 1]);
}
