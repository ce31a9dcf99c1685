//! The keyed hash of a flow, seen from either side.
//!
//! Multilinear hashing over 32-bit words (Lemire and Kaser, "Strongly universal string hashing is
//! fast", 2014): `k0 + Σ k[i]·word[i]` modulo 2^64, whose upper half is strongly universal: whoever
//! does not know the keys cannot choose addresses and ports that collide more often than chance. The
//! multiplications do not wait for each other. One more of them spreads the sum over the upper bits, so that
//! sequential ports land apart: that is the hash, and its uppermost bits name the bucket that every packet
//! looks at. The rest of a finalizer ([`finish`]) is spent on what only new flows need.
//!
//! The part that is the same for every packet to a virtual address (address and protocol) or to an
//! endpoint is summed once, by the daemon, and stored in the record as the *basis*. The virtual port is one
//! word with the client's, so that a service may have many at no cost.
//!
//! | of a flow hash | used as |
//! |---|---|
//! | bits 40..64 | first bucket of the flow table |
//! | bits 40..64, finished | second bucket |
//! | bits 0..16, finished | slot of the table |

use crate::address::{Address, IPV4};

/// Number of secret words.
pub const KEYS: usize = 21;

/// The secret words. The kernel reads them from read-only data, where the verifier turns them into
/// constants; the host from an array.
pub trait Keys {
    /// The `index`-th word; `index` is below [`KEYS`].
    fn key(&self, index: usize) -> u64;
}

impl Keys for [u64; KEYS] {
    #[inline(always)]
    fn key(&self, index: usize) -> u64 {
        self[index]
    }
}

// Each input word has its own key. A change of these numbers moves every flow: it is a change of
// map layout.
const CLIENT: usize = 0; // 0..4
const PORTS: usize = 4;
const SERVICE: usize = 5;
const SERVICE_ADDRESS: usize = 6; // 6..10
const SERVICE_PROTOCOL: usize = 10;
const ENDPOINT: usize = 11;
const ENDPOINT_ADDRESS: usize = 12; // 12..16
const ENDPOINT_PORT: usize = 16;
const NODE_PORT: usize = 17;
const PLACE: usize = 18;
const DESTINATION: usize = 19;
const DESTINATION_HEAD: usize = 20;

/// Secret words of a seed: splitmix64 (Steele, Lea, Flood 2014), odd so that no input bit is lost.
pub fn keys(seed: u64) -> [u64; KEYS] {
    let mut state = seed;
    core::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state) | 1
    })
}

/// Spreads a sum over the upper bits. Different sums stay different.
#[inline(always)]
const fn stir(sum: u64) -> u64 {
    (sum ^ (sum >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Spreads a hash over all bits.
#[inline(always)]
pub const fn finish(hash: u64) -> u64 {
    let x = (hash ^ (hash >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 32)
}

/// Spreads a sum over all bits: the finalizer of murmur3 with the constants of Stafford's variant 13.
#[inline(always)]
pub const fn mix(sum: u64) -> u64 {
    let x = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[inline(always)]
fn sum<A: Address>(keys: &impl Keys, first: usize, address: A) -> u64 {
    let mut sum = 0_u64;
    for i in 0..A::WORDS {
        sum = sum.wrapping_add(keys.key(first + i).wrapping_mul(address.word(i) as u64));
    }
    sum
}

/// The constant part of every flow to a virtual address. `protocol` is the IP number.
pub fn service_basis<A: Address>(keys: &impl Keys, address: A, protocol: u8) -> u64 {
    let word = ((A::FAMILY as u64) << 8) | protocol as u64;
    keys.key(SERVICE)
        .wrapping_add(sum(keys, SERVICE_ADDRESS, address))
        .wrapping_add(keys.key(SERVICE_PROTOCOL).wrapping_mul(word))
}

/// Hash of a flow from its client's side. `ports` are the client's and the virtual one, host order.
#[inline(always)]
pub fn flow<A: Address>(
    keys: &impl Keys,
    service_basis: u64,
    client: A,
    (client_port, port): (u16, u16),
) -> u64 {
    let ports = client_port as u64 | (port as u64) << 16;
    stir(
        service_basis
            .wrapping_add(sum(keys, CLIENT, client))
            .wrapping_add(keys.key(PORTS).wrapping_mul(ports)),
    )
}

/// Hash that selects the slot of a new flow where clients stay together: of the first `bits` of the
/// client's address, and of nothing else of the flow. With 0 bits it is `flow`, the hash of the flow.
#[inline(always)]
pub fn client<A: Address>(
    keys: &impl Keys,
    service_basis: u64,
    client: A,
    bits: u8,
    flow: u64,
) -> u64 {
    if bits == 0 {
        return flow;
    }
    stir(service_basis.wrapping_add(sum(keys, CLIENT, client.leading(bits))))
}

/// The constant part of every flow towards an endpoint. `port` in host order.
#[inline(always)]
pub fn endpoint_basis<A: Address>(keys: &impl Keys, address: A, port: u16, protocol: u8) -> u64 {
    let port_word = ((port as u64) << 16) | ((A::FAMILY as u64) << 8) | protocol as u64;
    keys.key(ENDPOINT)
        .wrapping_add(sum(keys, ENDPOINT_ADDRESS, address))
        .wrapping_add(keys.key(ENDPOINT_PORT).wrapping_mul(port_word))
}

/// [`endpoint_basis`] of another port, from that of port 0.
#[inline(always)]
pub fn endpoint_basis_of_port(keys: &impl Keys, basis: u64, port: u16) -> u64 {
    basis.wrapping_add(keys.key(ENDPOINT_PORT).wrapping_mul((port as u64) << 16))
}

/// Hash of a flow from its endpoint's side. `node_port` in host order.
#[inline(always)]
pub fn reply(keys: &impl Keys, endpoint_basis: u64, node_port: u16) -> u64 {
    stir(endpoint_basis.wrapping_add(keys.key(NODE_PORT).wrapping_mul(node_port as u64)))
}

/// Where a service stands in the service map. `identity` is [`crate::record::Service::identity`].
#[inline(always)]
pub fn place(keys: &impl Keys, address: [u64; 2], identity: u64) -> u64 {
    // Not strongly universal and need not be: only the operator chooses services.
    let folded = address[0].rotate_left(23) ^ address[1];
    let product = (folded ^ identity.rotate_left(40)).wrapping_mul(keys.key(PLACE));
    // Products alone of ports or addresses in a row are in a row themselves, and under one key in some hundreds so
    // near each other that they stand side by side. The middle of a square is not.
    let upper = product >> 32;
    upper.wrapping_mul(upper) >> 24
}

/// What a destination that was reached from interface `ingress` is called in the cache of next hops: for
/// IPv4 a name of its own. Its uppermost bits depend on all of the address.
#[inline(always)]
pub fn destination<A: Address>(keys: &impl Keys, address: A, ingress: u32) -> u64 {
    let [head, tail] = address.wide();
    let head = if A::FAMILY == IPV4 {
        0
    } else {
        mix(head ^ keys.key(DESTINATION_HEAD))
    };
    // The key is odd: different products of different factors.
    (head.wrapping_add(tail) ^ ((ingress as u64) << 32)).wrapping_mul(keys.key(DESTINATION))
}

/// The slot of a flow. `mask` is the table's slots − 1, less than 2^16.
#[inline(always)]
pub const fn slot(hash: u64, mask: u32) -> u32 {
    finish(hash) as u16 as u32 & mask
}

/// Number of the first bucket of a hash in the flow table.
#[inline(always)]
pub const fn first_bucket(hash: u64) -> u32 {
    (hash >> 40) as u32
}

/// Number of the second bucket. Client entries only.
#[inline(always)]
pub const fn second_bucket(hash: u64) -> u32 {
    (finish(hash) >> 40) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{V4, V6};
    use crate::limits::{SERVICE_PROBES, SERVICES};
    use crate::record::Service;

    const TCP: u8 = 6;
    const WEB: u16 = 9000;

    fn vip(keys: &[u64; KEYS]) -> u64 {
        service_basis(keys, V4::from_bytes([10, 99, 0, 1]), TCP)
    }

    #[test]
    fn vectors_never_change() {
        // Equal on every node and every version that shares flows: these are part of the map layout.
        let keys = keys(42);
        let client = V4::from_bytes([192, 0, 2, 7]);
        let v4 = flow(&keys, vip(&keys), client, (40_000, WEB));
        let client6 = V6::from_bytes([0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        let vip6 = service_basis(&keys, client6, 17);
        let v6 = flow(&keys, vip6, client6, (40_000, 53));
        let back = reply(&keys, endpoint_basis(&keys, client, 8080, TCP), 10_240);
        assert_eq!([v4, v6, back], VECTORS, "{:#x?}", [v4, v6, back]);
    }

    /// Computed a second time from the definition in the module's text, by a program in another language.
    const VECTORS: [u64; 3] = [
        0x914c_ead2_a87f_4503,
        0xb286_dbd2_3f2e_3a43,
        0x8138_8179_854e_9f0f,
    ];

    /// How far from the place its hash names one of 2048 services stands at most.
    fn longest_probe(seed: u64, service: impl Fn(u16) -> (V4, u16)) -> u32 {
        let keys = keys(seed);
        let mut taken = vec![false; SERVICES as usize];
        let mut longest = 0;
        for number in 0..SERVICES as u16 / 8 {
            let (address, port) = service(number);
            let identity = Service::identity_of(V4::FAMILY, port, TCP);
            let place = place(&keys, address.wide(), identity) as u32;
            let is_free = |probe: &u32| !taken[((place + probe) % SERVICES) as usize];
            let probe = (0..SERVICES).find(is_free).unwrap();
            taken[((place + probe) % SERVICES) as usize] = true;
            longest = longest.max(probe);
        }
        longest
    }

    #[test]
    fn services_in_a_row_find_places() {
        for seed in 0..2000 {
            let ports = |number| (V4::from_bytes([10, 99, 0, 1]), 20_000 + number);
            assert!(
                longest_probe(seed, ports) < SERVICE_PROBES,
                "ports, seed {seed}"
            );
            let addresses = |number: u16| {
                let [high, low] = number.to_be_bytes();
                (V4::from_bytes([10, 99, high, low]), WEB)
            };
            let longest = longest_probe(seed, addresses);
            assert!(
                longest < SERVICE_PROBES,
                "addresses, seed {seed}: {longest}"
            );
        }
    }

    /// χ² of `counts` against an even spread.
    fn chi_square(counts: &[u64]) -> f64 {
        let total: u64 = counts.iter().sum();
        let expected = total as f64 / counts.len() as f64;
        counts
            .iter()
            .map(|&c| (c as f64 - expected).powi(2) / expected)
            .sum()
    }

    /// 99.99 % point of χ² for many degrees of freedom (normal approximation).
    fn limit(bins: usize) -> f64 {
        let degrees = (bins - 1) as f64;
        degrees + 3.72 * (2.0 * degrees).sqrt()
    }

    #[test]
    fn sequential_ports_spread_evenly_over_slots_and_buckets() {
        for seed in 0..20 {
            let keys = keys(seed);
            let basis = vip(&keys);
            let mut bins = [[0_u64; 256]; 3];
            for port in 0..=u16::MAX {
                let hash = flow(&keys, basis, V4::from_bytes([192, 0, 2, 7]), (port, WEB));
                let places = [first_bucket(hash), second_bucket(hash), slot(hash, 255)];
                for (place, bins) in places.into_iter().zip(&mut bins) {
                    bins[(place & 255) as usize] += 1;
                }
            }
            for bins in &bins {
                assert!(
                    chi_square(bins) < limit(256),
                    "seed {seed}: {}",
                    chi_square(bins)
                );
            }
        }
    }

    #[test]
    fn clients_that_share_the_bits_share_the_slot() {
        let keys = keys(7);
        let basis = vip(&keys);
        let of = |host: [u8; 4], port, bits| {
            let address = V4::from_bytes(host);
            client(
                &keys,
                basis,
                address,
                bits,
                flow(&keys, basis, address, (port, WEB)),
            )
        };
        let one = of([192, 0, 2, 7], 5000, 24);
        assert_eq!(one, of([192, 0, 2, 200], 6000, 24));
        assert_ne!(one, of([192, 0, 3, 7], 5000, 24));
        assert_ne!(one, of([192, 0, 2, 7], 5000, 32));
        assert_eq!(of([192, 0, 2, 7], 5000, 32), of([192, 0, 2, 7], 6000, 32));
        assert_ne!(of([192, 0, 2, 7], 5000, 0), of([192, 0, 2, 7], 6000, 0));
    }

    #[test]
    fn neighbouring_networks_spread_evenly_over_slots() {
        for seed in 0..20 {
            let keys = keys(seed);
            let basis = vip(&keys);
            let mut bins = [0_u64; 1024];
            for net in 0..65_536_u32 {
                let address = V4::from_bytes((0x0a00_0000 | net << 8).to_be_bytes());
                bins[slot(client(&keys, basis, address, 24, 0), 1023) as usize] += 1;
            }
            assert!(chi_square(&bins) < limit(1024), "seed {seed}");
        }
    }

    #[test]
    fn ports_of_a_range_spread_evenly_over_slots() {
        for seed in 0..20 {
            let keys = keys(seed);
            let basis = vip(&keys);
            let mut bins = [0_u64; 1024];
            for port in 0..=u16::MAX {
                let hash = flow(&keys, basis, V4::from_bytes([192, 0, 2, 7]), (40_000, port));
                bins[slot(hash, 1023) as usize] += 1;
            }
            assert!(chi_square(&bins) < limit(1024), "seed {seed}");
        }
    }

    #[test]
    fn the_basis_of_a_port_is_that_of_port_0_and_the_port() {
        let keys = keys(5);
        let of = |port| endpoint_basis(&keys, V6([1, 2]), port, TCP);
        for port in [0, 1, 8080, u16::MAX] {
            assert_eq!(endpoint_basis_of_port(&keys, of(0), port), of(port));
        }
    }

    #[test]
    fn sequential_addresses_spread_evenly_over_slots() {
        for seed in 0..20 {
            let keys = keys(seed);
            let basis = vip(&keys);
            let mut bins = [0_u64; 1024];
            for host in 0..65_536_u32 {
                let client = V4::from_bytes((0x0a00_0000 | host).to_be_bytes());
                bins[slot(flow(&keys, basis, client, (5000, WEB)), 1023) as usize] += 1;
            }
            assert!(chi_square(&bins) < limit(1024), "seed {seed}");
        }
    }

    #[test]
    fn one_bit_of_input_changes_half_the_bits_of_the_hash() {
        let keys = keys(7);
        let basis = vip(&keys);
        for bit in 0..64 {
            let mut changed = 0;
            for i in 0..1000_u64 {
                let input = mix(i);
                let of = |x: u64| {
                    finish(flow(
                        &keys,
                        basis,
                        V4(x as u32),
                        ((x >> 32) as u16, (x >> 48) as u16),
                    ))
                };
                changed += (of(input) ^ of(input ^ (1 << bit))).count_ones();
            }
            let mean = f64::from(changed) / 1000.0;
            assert!(
                (30.0..34.0).contains(&mean),
                "input bit {bit} changes {mean} bits"
            );
        }
    }

    #[test]
    fn another_seed_gives_unrelated_slots() {
        let (a, b) = (keys(1), keys(2));
        let same = (0..10_000_u16)
            .filter(|&port| {
                let of = |keys| slot(flow(keys, vip(keys), V4(99), (port, WEB)), 255);
                of(&a) == of(&b)
            })
            .count();
        assert!(
            (15..70).contains(&same),
            "{same} of 10000 equal; 39 expected"
        );
    }

    #[test]
    fn every_word_of_a_tuple_counts() {
        let keys = keys(3);
        let base = service_basis(&keys, V6([1, 2]), TCP);
        assert_ne!(base, service_basis(&keys, V6([1 << 32 | 1, 2]), TCP));
        assert_ne!(base, service_basis(&keys, V6([1, 3]), TCP));
        assert_ne!(base, service_basis(&keys, V6([1, 2]), 17));
        let of = |client, ports| flow(&keys, base, V6(client), ports);
        assert_ne!(of([1, 2], (1, 80)), of([2, 1], (1, 80)));
        assert_ne!(of([1, 2], (1, 80)), of([1, 2], (2, 80)));
        assert_ne!(of([1, 2], (1, 80)), of([1, 2], (1, 81)));
        assert_ne!(of([1, 2], (1, 80)), of([1, 2], (80, 1)));
    }
}
