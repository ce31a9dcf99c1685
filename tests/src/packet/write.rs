//! A described packet's bytes.

use std::net::IpAddr;

use super::{ICMP, ICMP6, Packet, TCP, Transport, UDP, sum};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const FRAGMENT: u8 = 44;

impl Packet {
    /// The IP packet.
    #[must_use]
    pub fn ip_bytes(&self) -> Vec<u8> {
        match self.addresses {
            Some((IpAddr::V4(_), _)) => self.ipv4(),
            _ => self.ipv6(),
        }
    }

    /// Bytes of the IP packet before its transport header.
    #[must_use]
    pub fn header_length(&self) -> usize {
        self.ip_bytes().len() - self.segment().len()
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.destination_mac, self.source_mac].concat();
        for (announced_as, control) in &self.tags {
            frame.extend(announced_as.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        match (self.ether_type, self.addresses) {
            (None, Some((IpAddr::V4(_), _))) => {
                frame.extend(IPV4.to_be_bytes());
                frame.extend(self.ipv4());
            }
            (None, Some((IpAddr::V6(_), _))) => {
                frame.extend(IPV6.to_be_bytes());
                frame.extend(self.ipv6());
            }
            (ether_type, _) => {
                frame.extend(ether_type.unwrap_or(0).to_be_bytes());
                frame.extend(&self.payload);
            }
        }
        frame
    }

    fn ipv4(&self) -> Vec<u8> {
        let segment = self.segment();
        let header_length = 20 + self.options.len();
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let mut header = vec![0x40 | (header_length / 4) as u8, self.class];
        header.extend(((header_length + segment.len()) as u16).to_be_bytes());
        header.extend((self.label as u16).to_be_bytes());
        header.extend((offset | u16::from(more) << 13).to_be_bytes());
        header.extend([self.hops, self.protocol_number(), 0, 0]);
        header.extend(self.address_bytes());
        header.extend(&self.options);
        let checksum = sum(&header);
        header[10..12].copy_from_slice(&checksum);
        [header, segment].concat()
    }

    fn ipv6(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut chain = self.extensions.clone();
        if let Some((offset, more)) = self.fragment {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            let id = self.label.to_be_bytes();
            chain.push((FRAGMENT, [&[0, 0, high, low], &id[..]].concat()));
        }
        let mut next = self.protocol_number();
        for (kind, bytes) in chain.iter_mut().rev() {
            bytes[0] = next;
            if *kind != FRAGMENT {
                bytes[1] = (bytes.len() / 8 - 1) as u8;
            }
            next = *kind;
        }
        let chain: Vec<u8> = chain.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let [_, label_top, label_high, label_low] = self.label.to_be_bytes();
        let mut header = vec![
            0x60 | self.class >> 4,
            self.class << 4 | label_top,
            label_high,
            label_low,
        ];
        header.extend(((chain.len() + segment.len()) as u16).to_be_bytes());
        header.extend([next, self.hops]);
        header.extend(self.address_bytes());
        [header, chain, segment].concat()
    }

    pub(super) fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        let (source, destination) = self.ports;
        let place = match self.transport {
            Transport::Other(_) => return self.payload.clone(),
            Transport::Tcp { flags } => {
                segment.extend(source.to_be_bytes());
                segment.extend(destination.to_be_bytes());
                let length = ((20 + self.tcp_options.len()) / 4 * 16) as u8;
                segment.extend([
                    0, 0, 0, 1, 0, 0, 0, 2, length, flags, 0xfa, 0xf0, 0, 0, 0, 0,
                ]);
                segment.extend(&self.tcp_options);
                16
            }
            Transport::Udp { .. } => {
                segment.extend(source.to_be_bytes());
                segment.extend(destination.to_be_bytes());
                segment.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                segment.extend([0, 0]);
                6
            }
            Transport::Message { kind, code, rest } => {
                segment.extend([kind, code, 0, 0]);
                segment.extend(rest);
                2
            }
        };
        segment.extend(&self.payload);
        let checksum = self.segment_checksum(&segment);
        segment[place..place + 2].copy_from_slice(&checksum);
        segment
    }

    fn segment_checksum(&self, segment: &[u8]) -> [u8; 2] {
        let mut summed = self.address_bytes();
        if self.protocol_number() == ICMP {
            return sum(segment);
        }
        summed.extend([0, self.protocol_number()]);
        summed.extend((segment.len() as u16).to_be_bytes());
        summed.extend(segment);
        match (self.transport, sum(&summed)) {
            (
                Transport::Udp {
                    has_checksum: false,
                },
                _,
            ) => [0, 0],
            (Transport::Udp { .. }, [0, 0]) => [0xff, 0xff],
            (_, checksum) => checksum,
        }
    }

    pub(super) fn protocol_number(&self) -> u8 {
        match self.transport {
            Transport::Message { .. } => match self.addresses {
                Some((IpAddr::V6(_), _)) => ICMP6,
                _ => ICMP,
            },
            Transport::Tcp { .. } => TCP,
            Transport::Udp { .. } => UDP,
            Transport::Other(number) => number,
        }
    }

    fn address_bytes(&self) -> Vec<u8> {
        let bytes = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        self.addresses
            .map_or(Vec::new(), |(a, b)| [bytes(a), bytes(b)].concat())
    }
}
