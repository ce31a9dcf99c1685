//! What is done once a flow and not once a packet: admission, and each step of its life.
//!
//! The functions of `outlined` are *global functions* to the verifier (kernel 5.6): with numbers only
//! for arguments and result, it walks each of them once by itself instead of again for every way there
//! is to it.

use lb_common::{
    address::{V4, V6},
    flow::{self, Arrival, Client, Entrant, Flows, Offer, Probe, State, Step, Steps},
    parse::UDP,
    phase::Progress,
    record::mode,
    verdict::Reason,
};

use crate::maps::{ENDPOINTS, FlowMap, SERVICES, SecretKeys, node_ports, now};
use crate::rule::Ruled;
use crate::{count, select};

/// What a flow was given.
#[derive(Clone, Copy)]
pub struct Given {
    /// Endpoint id.
    pub endpoint: u16,
    /// Node port towards it; the virtual port where packets are not translated.
    pub node_port: u16,
}

impl Given {
    /// What the flow in this state was given.
    #[inline(always)]
    pub fn of(state: State) -> Self {
        Self {
            endpoint: state.endpoint(),
            node_port: state.node_port(),
        }
    }
}

/// The rare things of a family.
pub trait Rare: Client {
    /// Selects an endpoint for a new flow and enters the flow into the table, in the place of an
    /// earlier flow with the same tuple if there is one. `hash` is [`lb_common::hash::flow`].
    fn admit(key: Self::Key, hash: u64, service: u16, protocol: u8) -> Result<Given, Reason>;

    /// [`flow::find_to_service`].
    fn find(key: Self::Key, hash: u64, service: u16, now: u32) -> Option<State>;

    /// Writes a step of a flow's life, and counts its end.
    fn advance(key: Self::Key, state: State, step: Step);
}

/// Endpoint for a new flow.
#[inline(always)]
fn select<A: Ruled>(client: A, hash: u64, id: u16) -> Result<u16, Reason> {
    let service = SERVICES.get(id as u32).ok_or(Reason::Inconsistent)?;
    select::endpoint((id, service), client, hash)
}

/// Node port for a new flow to an endpoint, where packets are translated; else its virtual port.
///
/// Apart from [`select()`], because each needs a part of the stack, and together they would need both.
#[inline(always)]
fn choose<A: Client>(hash: u64, to: Given, protocol: u8) -> Result<u16, Reason>
where
    FlowMap: Steps<A>,
{
    let (id, port) = (to.endpoint, to.node_port);
    let endpoint = ENDPOINTS.get(id as u32).ok_or(Reason::Inconsistent)?;
    if endpoint.mode != mode::NAT {
        return Ok(port);
    }
    let service = SERVICES.get(endpoint.service as u32);
    let idle = service.ok_or(Reason::Inconsistent)?.idle;
    let arrival = Arrival {
        now: now(),
        idle_ticks: progress_of(protocol).idle_ticks(idle),
    };
    let basis = endpoint.basis_for(&SecretKeys, port);
    let chosen = flow::choose(&FlowMap, hash, basis, node_ports(), arrival);
    if chosen.is_err() {
        count::refused(id);
    }
    chosen
}

/// Enters a flow into the table.
#[inline(always)]
fn enter<A: Client>(key: A::Key, hash: u64, given: Given, protocol: u8) -> bool
where
    FlowMap: Steps<A>,
{
    let progress = progress_of(protocol);
    let Some(endpoint) = ENDPOINTS.get(given.endpoint as u32) else {
        return false;
    };
    let Some(service) = SERVICES.get(endpoint.service as u32) else {
        return false;
    };
    let entrant = Entrant {
        endpoint: given.endpoint,
        node_port: given.node_port,
        is_one_sided: endpoint.mode != mode::NAT,
        progress,
        idle_ticks: progress.idle_ticks(service.idle),
    };
    let is_entered = flow::enter(&FlowMap, &SecretKeys, (key, hash), entrant, now());
    if is_entered {
        count::opened(given.endpoint);
    } else {
        count::refused(given.endpoint);
    }
    is_entered
}

/// What is known of a flow by its first packet.
#[inline(always)]
const fn progress_of(protocol: u8) -> Progress {
    if protocol == UDP {
        Progress::UDP
    } else {
        Progress::TCP
    }
}

#[inline(always)]
fn advance<A: Client>(key: A::Key, state: State, step: Step)
where
    FlowMap: Flows<A>,
{
    if let Some(ending) = flow::advance(&FlowMap, &SecretKeys, key, state, step) {
        count::ended(state.endpoint(), ending);
    }
}

/// One family's functions, its key spread over the arguments `$word`. The client's address is in those named
/// `$address`: a function must use all it is given.
macro_rules! outlined {
    ($family:ty, $module:ident, [$($word:ident),+], [$($address:ident),+] => $client:expr,
     $select:ident, $choose:ident, $find:ident, $advance:ident,
     $offer:ident, $probe:ident, $enter:ident, $forget_earlier:ident, $forget_partner:ident) => {
        impl Rare for $family {
            #[inline(always)]
            fn admit(
                [$($word),+]: Self::Key,
                hash: u64,
                service: u16,
                protocol: u8,
            ) -> Result<Given, Reason> {
                let endpoint = word::to_port($module::$select($($address,)+ hash, service as u64))?;
                let (_, _, port) = <$family>::from_key([$($word),+]);
                let mut given = Given { endpoint, node_port: port };
                let entrant = word::of_entrant(given, protocol);
                given.node_port = word::to_port($module::$choose(hash, entrant))?;
                let entrant = word::of_entrant(given, protocol);
                $module::$forget_earlier($($word,)+ hash, service as u64);
                if $module::$enter($($word,)+ hash, entrant) == 0 {
                    return Err(Reason::FlowTableFull);
                }
                Ok(given)
            }

            #[inline(always)]
            fn find([$($word),+]: Self::Key, hash: u64, service: u16, now: u32) -> Option<State> {
                let service = word::of_service(service, now);
                let state = State::from_word($module::$find($($word,)+ hash, service));
                (state != State::EMPTY).then_some(state)
            }

            #[inline(always)]
            fn advance([$($word),+]: Self::Key, state: State, step: Step) {
                $module::$advance($($word,)+ state.word(), word::of_step(step));
            }
        }

        impl Steps<$family> for FlowMap {
            #[inline(always)]
            fn offer(&self, flow: u64, endpoint_basis: u64, step: u32, arrival: Arrival) -> Offer {
                let step = step as u64;
                Offer::from_word($module::$offer(flow, endpoint_basis, step, arrival.word()))
            }

            #[inline(always)]
            fn probe(&self, hash: u64, node_port: u16, arrival: Arrival) -> Probe {
                Probe::from_word($module::$probe(hash, node_port as u64, arrival.word()) as u32)
            }

            #[inline(always)]
            fn forget_partner(&self, [$($word),+]: <$family as Client>::Key, state: State) {
                $module::$forget_partner($($word,)+ state.word());
            }
        }

        mod $module {
            use super::*;

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $select($($address: u64,)+ hash: u64, service: u64) -> u64 {
                word::of_port(select::<$family>($client, hash, service as u16))
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $choose(hash: u64, to: u64) -> u64 {
                let (to, protocol) = word::to_entrant(to);
                word::of_port(choose::<$family>(hash, to, protocol))
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $find($($word: u64,)+ hash: u64, service: u64) -> u64 {
                let (service, now) = word::to_service(service);
                let key = [$($word),+];
                let found = flow::find_to_service::<$family>(&FlowMap, hash, key, service, now);
                found.map_or(State::EMPTY, |found| found.state).word()
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $advance($($word: u64,)+ state: u64, step: u64) -> u64 {
                advance::<$family>([$($word),+], State::from_word(state), word::to_step(step));
                0
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $offer(flow: u64, endpoint_basis: u64, step: u64, arrival: u64) -> u64 {
                let (of, arrival) = ((flow, endpoint_basis), Arrival::from_word(arrival));
                let at = (node_ports(), step as u32);
                flow::offer::<$family>(&FlowMap, &SecretKeys, of, at, arrival).word()
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $probe(hash: u64, node_port: u64, arrival: u64) -> u64 {
                let arrival = Arrival::from_word(arrival);
                flow::probe::<$family>(&FlowMap, hash, node_port as u16, arrival).word() as u64
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $enter($($word: u64,)+ hash: u64, entrant: u64) -> u64 {
                let (given, protocol) = word::to_entrant(entrant);
                enter::<$family>([$($word),+], hash, given, protocol) as u64
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $forget_earlier($($word: u64,)+ hash: u64, service: u64) -> u64 {
                flow::forget_earlier::<$family>(&FlowMap, [$($word),+], hash, service as u16);
                0
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $forget_partner($($word: u64,)+ state: u64) -> u64 {
                let state = State::from_word(state);
                flow::forget_partner::<$family>(&FlowMap, &SecretKeys, [$($word),+], state);
                0
            }
        }
    };
}

outlined!(
    V4,
    v4,
    [a],
    [a] => V4(a as u32),
    lb_select4,
    lb_choose4,
    lb_find4,
    lb_advance4,
    lb_offer4,
    lb_probe4,
    lb_enter4,
    lb_forget_earlier4,
    lb_forget_partner4
);
outlined!(
    V6,
    v6,
    [a, b, c],
    [a, b] => V6([a, b]),
    lb_select6,
    lb_choose6,
    lb_find6,
    lb_advance6,
    lb_offer6,
    lb_probe6,
    lb_enter6,
    lb_forget_earlier6,
    lb_forget_partner6
);

/// Values as the one number that an argument or result of such a function is.
mod word {
    use super::{Given, Progress, Reason, Step};

    const GIVEN: u64 = 1 << 63;

    /// A port or an endpoint id.
    #[inline(always)]
    pub fn of_port(port: Result<u16, Reason>) -> u64 {
        match port {
            Ok(port) => GIVEN | port as u64,
            Err(reason) => reason as u64,
        }
    }

    #[inline(always)]
    pub fn to_port(word: u64) -> Result<u16, Reason> {
        const FULL: u64 = Reason::FlowTableFull as u64;
        const EXHAUSTED: u64 = Reason::NodePortsExhausted as u64;
        const EMPTY: u64 = Reason::EmptySlot as u64;
        const GOING: u64 = Reason::NotForService as u64;
        match word {
            word if word & GIVEN != 0 => Ok(word as u16),
            FULL => Err(Reason::FlowTableFull),
            EXHAUSTED => Err(Reason::NodePortsExhausted),
            EMPTY => Err(Reason::EmptySlot),
            GOING => Err(Reason::NotForService),
            _ => Err(Reason::Inconsistent),
        }
    }

    #[inline(always)]
    pub fn of_service(service: u16, with: u32) -> u64 {
        (service as u64) << 32 | with as u64
    }

    #[inline(always)]
    pub fn to_service(word: u64) -> (u16, u32) {
        ((word >> 32) as u16, word as u32)
    }

    #[inline(always)]
    pub fn of_step(step: Step) -> u64 {
        (step.expires as u64) << 8 | step.progress.byte() as u64
    }

    #[inline(always)]
    pub fn to_step(word: u64) -> Step {
        Step {
            progress: Progress::from_byte(word as u8),
            expires: (word >> 8) as u32,
        }
    }

    #[inline(always)]
    pub fn of_entrant(given: Given, protocol: u8) -> u64 {
        (protocol as u64) << 32 | (given.endpoint as u64) << 16 | given.node_port as u64
    }

    #[inline(always)]
    pub fn to_entrant(word: u64) -> (Given, u8) {
        let given = Given {
            endpoint: (word >> 16) as u16,
            node_port: word as u16,
        };
        (given, (word >> 32) as u8)
    }
}
