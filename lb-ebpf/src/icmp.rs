//! ICMP and ICMPv6 messages: errors about a flow's packets go where an answer to these would; echo
//! requests to a service that answers them are answered.

use lb_common::{
    address::{V4, V6},
    flow::{Client, Flows},
    frame::Frame,
    parse::{self, Error, Message, Messages, Network, Packet},
    record::mode,
    rewrite::{RewriteEcho, RewriteQuote, Tuple, rewrite_echo, rewrite_error},
    verdict::Reason,
};

use crate::elsewhere::Elsewhere;
use crate::maps::{FlowMap, answers_echo, now};
use crate::rare::Rare;
use crate::{flow, service};

/// Endpoint id, and the upper half of the hash of the flow whose packets are carried there.
type Carried = (u16, u32);

/// Turns a packet that may be a message. Tells the endpoint that it is to be carried to as it is, if there
/// is one: then it was not turned.
#[inline(always)]
pub fn turn<F: Frame>(frame: &mut F) -> Result<Option<Carried>, Reason> {
    match parse::network(frame)? {
        Network::V4(offset) => turn_family::<V4, _>(frame, offset),
        Network::V6(offset) => turn_family::<V6, _>(frame, offset),
    }
}

#[inline(always)]
fn turn_family<A, F>(frame: &mut F, offset: usize) -> Result<Option<Carried>, Reason>
where
    F: Frame,
    A: Messages + Elsewhere + RewriteEcho + RewriteQuote + Client + Rare,
    FlowMap: Flows<A>,
{
    match A::message(frame, offset)? {
        Message::EchoRequest(request) => turn_request(frame, &request).map(|()| None),
        Message::Error(error) => turn_error(frame, &error),
    }
}

/// Turns an echo request into the reply.
#[inline(always)]
fn turn_request<A: RewriteEcho, F: Frame>(
    frame: &mut F,
    request: &Packet<A>,
) -> Result<(), Reason> {
    if !answers_echo(request.destination) {
        return Err(Reason::OtherProtocol);
    }
    rewrite_echo(frame, request).ok_or(Reason::Inconsistent)
}

/// Turns an error towards who sent the quoted packet. The flow does not hear of it: anybody may have sent
/// it.
#[inline(always)]
fn turn_error<A, F>(frame: &mut F, error: &Error<A>) -> Result<Option<Carried>, Reason>
where
    F: Frame,
    A: Elsewhere + RewriteQuote + Client + Rare,
    FlowMap: Flows<A>,
{
    let (to, carried_to) = way(&error.answer()).ok_or(Reason::UnrelatedError)?;
    if error.message.hops <= 1 {
        return Err(Reason::Expiring);
    }
    if carried_to.is_none() {
        rewrite_error(frame, error, &to).ok_or(Reason::Inconsistent)?;
    }
    Ok(carried_to)
}

/// What an answer's addresses and ports would become, or the endpoint that would get it as it is.
#[inline(always)]
fn way<A>(answer: &Packet<A>) -> Option<(Tuple<A>, Option<Carried>)>
where
    A: Elsewhere + Client + Rare,
    FlowMap: Flows<A>,
{
    let now = now();
    if let Some(service) = service::find(answer) {
        let to = flow::known_of_client(answer, service, now)?;
        let carried = (to.id, (to.hash >> 32) as u32);
        let is_carried = to.endpoint.mode != mode::NAT;
        Some((to.tuple(), is_carried.then_some(carried)))
    } else {
        flow::known_of_endpoint(answer, now).map(|(_, to)| (to.tuple(), None))
    }
}
