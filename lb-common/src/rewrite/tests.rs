use proptest::prelude::*;

use super::*;
use crate::checksum::full;
use crate::parse::{Message, Messages, Parse, UDP};

const NETWORK: usize = 14;

/// What a packet is made of, apart from its addresses and ports.
#[derive(Clone, Debug)]
struct Content {
    protocol: u8,
    hops: u8,
    /// UDP only: the sender computed a checksum.
    has_checksum: bool,
    payload: Vec<u8>,
}

fn content() -> impl Strategy<Value = Content> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        // Sums close to zero, where the two zeros of ones' complement meet.
        proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xff)], 0..4),
    ];
    (
        prop_oneof![Just(TCP), Just(UDP)],
        2_u8..,
        any::<bool>(),
        payload,
    )
        .prop_map(|(protocol, hops, has_checksum, payload)| Content {
            protocol,
            hops,
            has_checksum,
            payload,
        })
}

/// A family's frames, every checksum computed in full.
trait Build: Parse + Rewrite {
    fn header(tuple: &Tuple<Self>, content: &Content, length: u16) -> Vec<u8>;
    fn bytes(self) -> Vec<u8>;

    fn frame(tuple: &Tuple<Self>, content: &Content) -> Vec<u8> {
        let segment = segment(tuple, content);
        let mut frame = vec![2; 12];
        frame.extend(if Self::WORDS == 1 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        });
        frame.extend(Self::header(tuple, content, segment.len() as u16));
        frame.extend(segment);
        frame
    }
}

impl Build for V4 {
    fn header(tuple: &Tuple<Self>, content: &Content, length: u16) -> Vec<u8> {
        let mut header = vec![0x45, 0];
        header.extend((20 + length).to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0, content.hops, content.protocol, 0, 0]);
        header.extend(tuple.source.bytes());
        header.extend(tuple.destination.bytes());
        let checksum = full(&header);
        header[10..12].copy_from_slice(&checksum);
        header
    }

    fn bytes(self) -> Vec<u8> {
        self.to_bytes().to_vec()
    }
}

impl Build for V6 {
    fn header(tuple: &Tuple<Self>, content: &Content, length: u16) -> Vec<u8> {
        let mut header = vec![0x60, 1, 2, 3];
        header.extend(length.to_be_bytes());
        header.extend([content.protocol, content.hops]);
        header.extend(tuple.source.bytes());
        header.extend(tuple.destination.bytes());
        header
    }

    fn bytes(self) -> Vec<u8> {
        self.to_bytes().to_vec()
    }
}

fn segment<A: Build>(tuple: &Tuple<A>, content: &Content) -> Vec<u8> {
    let mut segment = tuple.source_port.to_be_bytes().to_vec();
    segment.extend(tuple.destination_port.to_be_bytes());
    let place = if content.protocol == TCP {
        segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        16
    } else {
        segment.extend((8 + content.payload.len() as u16).to_be_bytes());
        segment.extend([0, 0]);
        6
    };
    segment.extend(&content.payload);
    let mut summed = [tuple.source.bytes(), tuple.destination.bytes()].concat();
    summed.extend([0, content.protocol]);
    summed.extend((segment.len() as u16).to_be_bytes());
    summed.extend(&segment);
    let checksum = match (content.protocol, full(&summed)) {
        (UDP, _) if !content.has_checksum => [0, 0],
        (UDP, [0, 0]) => [0xff, 0xff],
        (_, checksum) => checksum,
    };
    segment[place..place + 2].copy_from_slice(&checksum);
    segment
}

/// The rewritten frame, and the frame that the sender of the new tuple would have made.
fn both<A: Build>(from: &Tuple<A>, to: &Tuple<A>, content: &Content) -> (Vec<u8>, Vec<u8>) {
    let mut frame = A::frame(from, content);
    let packet = A::parse(&frame[..], NETWORK).unwrap();
    rewrite(&mut frame[..], &packet, to).unwrap();
    let after = Content {
        hops: content.hops - 1,
        ..content.clone()
    };
    (frame, A::frame(to, &after))
}

fn tuple<A: core::fmt::Debug>(
    address: impl Strategy<Value = A> + Clone,
) -> impl Strategy<Value = Tuple<A>> {
    (address.clone(), address, any::<u16>(), any::<u16>()).prop_map(
        |(source, destination, source_port, destination_port)| Tuple {
            source,
            destination,
            source_port,
            destination_port,
        },
    )
}

fn v4() -> impl Strategy<Value = V4> + Clone {
    any::<u32>().prop_map(V4)
}

fn v6() -> impl Strategy<Value = V6> + Clone {
    any::<[u64; 2]>().prop_map(V6)
}

/// An ICMP message between two addresses.
fn message<A: Build + Messages>(
    (source, destination): (A, A),
    hops: u8,
    head: [u8; 8],
    payload: &[u8],
) -> Vec<u8> {
    let mut message = [&head[..], payload].concat();
    let mut summed = Vec::new();
    if A::PROTOCOL == crate::parse::ICMP6 {
        summed = [source.bytes(), destination.bytes()].concat();
        summed.extend([0, A::PROTOCOL]);
        summed.extend((message.len() as u16).to_be_bytes());
    }
    summed.extend(&message);
    message[2..4].copy_from_slice(&full(&summed));
    let (outer, content) = (
        Tuple {
            source,
            destination,
            source_port: 0,
            destination_port: 0,
        },
        Content {
            protocol: A::PROTOCOL,
            hops,
            has_checksum: true,
            payload: Vec::new(),
        },
    );
    let mut frame = vec![0; NETWORK];
    frame.extend(A::header(&outer, &content, message.len() as u16));
    frame.extend(message);
    frame
}

/// An error about a packet, of whose transport part `quoted` bytes are quoted.
fn error<A: Build + Messages>(
    (source, destination): (A, A),
    hops: u8,
    about: &Tuple<A>,
    content: &Content,
    quoted: usize,
) -> Vec<u8> {
    let kind = if A::PROTOCOL == crate::parse::ICMP6 {
        2
    } else {
        3
    };
    let mut quote = A::frame(about, content)[NETWORK..].to_vec();
    quote.truncate(A::HEADER + quoted);
    let head = [kind, 4, 0, 0, 0, 0, 5, 0];
    message((source, destination), hops, head, &quote)
}

/// A turned error, and the one that would have come of an answer's new addresses and ports.
fn both_errors<A: Build + Messages + RewriteQuote>(
    reporter: A,
    about: &Tuple<A>,
    to: &Tuple<A>,
    content: &Content,
    quoted: usize,
) -> (Vec<u8>, Vec<u8>) {
    let mut frame = error((reporter, about.source), 9, about, content, quoted);
    let Ok(Message::Error(parsed)) = A::message(&frame[..], NETWORK) else {
        panic!("no error")
    };
    let answer = parsed.answer();
    assert!(answer.source == about.destination && answer.destination == about.source);
    rewrite_error(&mut frame[..], &parsed, to).unwrap();
    let mut anew = error(
        (to.source, to.destination),
        8,
        &to.reversed(),
        content,
        quoted,
    );
    anew[..NETWORK].copy_from_slice(&frame[..NETWORK]);
    (frame, anew)
}

/// How much of a transport part is quoted. Not half of a TCP checksum: nobody quotes odd bytes.
fn quoted() -> impl Strategy<Value = usize> {
    prop_oneof![8_usize..17, 18_usize..100]
}

/// An echo's reply, and the one built anew.
fn both_echoes<A: Build + RewriteEcho>(
    source: A,
    destination: A,
    hops: u8,
    payload: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let head = |kind| [kind, 0, 0, 0, 1, 2, 3, 4];
    let request = head(A::ECHO_REQUEST);
    let mut frame = message((source, destination), hops, request, payload);
    let Ok(Message::EchoRequest(parsed)) = A::message(&frame[..], NETWORK) else {
        panic!("no request")
    };
    rewrite_echo(&mut frame[..], &parsed).unwrap();
    let reply = head(A::ECHO_REPLY);
    (frame, message((destination, source), 64, reply, payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_turned_ipv4_packet_is_the_one_built_anew(
        from in tuple(v4()), to in tuple(v4()), content in content(),
    ) {
        let (turned, anew) = both(&from, &to, &content);
        prop_assert_eq!(turned, anew);
    }

    #[test]
    fn a_turned_ipv6_packet_is_the_one_built_anew(
        from in tuple(v6()), to in tuple(v6()), content in content(),
    ) {
        let (turned, anew) = both(&from, &to, &content);
        prop_assert_eq!(turned, anew);
    }

    #[test]
    fn a_turned_ipv4_error_is_the_one_built_anew(
        reporter in v4(), about in tuple(v4()), to in tuple(v4()), content in content(), quoted in quoted(),
    ) {
        let (turned, anew) = both_errors(reporter, &about, &to, &content, quoted);
        prop_assert_eq!(turned, anew);
    }

    #[test]
    fn a_turned_ipv6_error_is_the_one_built_anew(
        reporter in v6(), about in tuple(v6()), to in tuple(v6()), content in content(), quoted in quoted(),
    ) {
        let (turned, anew) = both_errors(reporter, &about, &to, &content, quoted);
        prop_assert_eq!(turned, anew);
    }

    #[test]
    fn an_echo_reply_is_the_one_built_anew(
        v4 in (v4(), v4()), v6 in (v6(), v6()), hops: u8, payload: Vec<u8>,
    ) {
        let (turned, anew) = both_echoes(v4.0, v4.1, hops, &payload);
        prop_assert_eq!(turned, anew);
        let (turned, anew) = both_echoes(v6.0, v6.1, hops, &payload);
        prop_assert_eq!(turned, anew);
    }

    #[test]
    fn turning_back_leaves_only_the_hops_changed(
        from in tuple(v4()), to in tuple(v4()), content in content(),
    ) {
        prop_assume!(content.hops > 2);
        let (mut frame, _) = both(&from, &to, &content);
        let packet = V4::parse(&frame[..], NETWORK).unwrap();
        rewrite(&mut frame[..], &packet, &from).unwrap();
        let after = Content { hops: content.hops - 2, ..content.clone() };
        prop_assert_eq!(frame, V4::frame(&from, &after));
    }
}

#[test]
fn a_udp_packet_without_checksum_gets_none() {
    let from = Tuple {
        source: V4::from_bytes([192, 0, 2, 7]),
        destination: V4::from_bytes([10, 99, 0, 1]),
        source_port: 40_000,
        destination_port: 53,
    };
    let to = Tuple {
        source_port: 10_240,
        destination: V4::from_bytes([10, 64, 1, 2]),
        ..from
    };
    let content = Content {
        protocol: UDP,
        hops: 64,
        has_checksum: false,
        payload: b"query".to_vec(),
    };
    let (turned, anew) = both(&from, &to, &content);
    assert_eq!(turned, anew);
    assert_eq!(turned[NETWORK + 26..NETWORK + 28], [0, 0]);
}

#[test]
fn a_packet_whose_headers_are_gone_is_not_rewritten() {
    let from = Tuple {
        source: V4(1),
        destination: V4(2),
        source_port: 3,
        destination_port: 4,
    };
    let content = Content {
        protocol: UDP,
        hops: 9,
        has_checksum: true,
        payload: Vec::new(),
    };
    let mut frame = V4::frame(&from, &content);
    let packet = V4::parse(&frame[..], NETWORK).unwrap();
    assert_eq!(rewrite(&mut frame[..NETWORK + 27], &packet, &from), None);
}

#[test]
fn what_an_endpoint_changes_for_all_is_what_its_addresses_change() {
    fn check<A: Address + core::fmt::Debug>(make: impl Fn(u64) -> A) {
        for seed in 0..2000_u64 {
            let [client, service, source, endpoint] =
                [1, 2, 3, 4].map(|i| make(crate::hash::mix(seed * 4 + i)));
            let base = base(service, source, endpoint);
            let delta = |from: (A, A), to: (A, A)| {
                (0..A::WORDS).fold(Delta::NONE, |sum, i| {
                    sum.word(from.0.word(i), to.0.word(i))
                        .word(from.1.word(i), to.1.word(i))
                })
            };
            let (there, back) = ((client, service), (source, endpoint));
            for checksum in [0, 1, 0xffff, seed as u16].map(u16::to_ne_bytes) {
                assert_eq!(
                    towards_endpoint(client, base).apply(checksum),
                    delta(there, back).apply(checksum)
                );
                let (there, back) = ((endpoint, source), (service, client));
                assert_eq!(
                    towards_client(client, base).apply(checksum),
                    delta(there, back).apply(checksum)
                );
            }
        }
    }
    check(|seed| V4(seed as u32));
    check(|seed| V6([seed, crate::hash::mix(seed)]));
}
