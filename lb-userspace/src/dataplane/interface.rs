//! What the kernel says of network interfaces.
//!
//! Asked over netlink in the network namespace of the calling thread. /sys would be simpler to read,
//! but shows the namespace it was mounted in.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow};
use lb_common::record::egress;
use neli::consts::genl::{Cmd, NlAttrType};
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Arphrd, Ifla, IflaInfo, RtAddrFamily, RtaType, Rtm};
use neli::consts::socket::NlFamily;
use neli::err::RouterError;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder};
use neli::neli_enum;
use neli::nl::NlPayload;
use neli::router::synchronous::{NlRouter, NlRouterReceiverHandle};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder, RtAttrHandle};
use neli::types::GenlBuffer;
use neli::utils::Groups;
use nix::errno::Errno;
use nix::net::if_::{if_nameindex, if_nametoindex};

/// The driver runs XDP programs and sends by XDP_TX. One of the bits of [`xdp_features`], as in the
/// kernel's uapi/linux/netdev.h.
pub const BASIC: u64 = 1;
/// Frames can be redirected to the interface.
pub const NDO_XMIT: u64 = 4;

/// Frames in several buffers can be redirected to the interface.
pub const NDO_XMIT_SG: u64 = 64;

/// No packet up to this MTU lies in several buffers.
const ONE_BUFFER: u32 = 1500;

/// Largest MTU of a veth as it is made.
const VETH_LARGEST_MTU: u32 = 65_535;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What made it: `veth`, `bridge`, `vlan` …; `None` for a piece of hardware.
    pub kind: Option<String>,
    /// The XDP program on it.
    pub attached: Option<Attached>,
    /// Largest IP packet in bytes it sends.
    pub mtu: u32,
    /// Largest MTU in bytes it can be given.
    pub largest_mtu: Option<u32>,
    /// Whether its frames are those of Ethernet.
    pub is_ethernet: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where it runs. With one in the hardware and one of the others, this is the other.
    pub mode: Mode,
    /// Id of the program, as `bpftool prog` shows it.
    pub program_id: u32,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Driver,
    /// In the kernel's generic path.
    Generic,
    /// In the hardware.
    Offload,
}

/// Index of the interface of that name.
pub fn index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

/// Every interface: index and name.
///
/// # Errors
/// If the kernel does not list them.
pub fn all() -> Result<Vec<(u32, String)>> {
    let interfaces = if_nameindex().context("list the network interfaces")?;
    Ok(interfaces
        .iter()
        .map(|it| (it.index(), it.name().to_string_lossy().into_owned()))
        .collect())
}

/// One interface.
///
/// # Errors
/// If there is none of that index.
pub fn link(index: u32) -> Result<Link> {
    let links = ask_links(Some(index)).with_context(|| format!("ask for interface {index}"))?;
    let mut links = links.into_values();
    links
        .next()
        .with_context(|| format!("interface {index}: no answer"))
}

/// Every interface by its index.
///
/// # Errors
/// If the kernel does not list them.
pub fn links() -> Result<HashMap<u32, Link>> {
    ask_links(None).context("list the network interfaces")
}

/// The XDP program on the interface.
///
/// # Errors
/// If there is none of that index.
pub fn xdp_attached(index: u32) -> Result<Option<Attached>> {
    Ok(link(index)?.attached)
}

/// What each driver can do with XDP, by interface index: [`BASIC`], [`NDO_XMIT`] and others. `None` if
/// the kernel does not tell (before 6.3). Ask once programs are attached: many drivers can more from
/// then on.
///
/// # Errors
/// If the kernel refuses to tell.
pub fn xdp_features_of_all() -> Result<Option<HashMap<u32, u64>>> {
    let Some(netdev) = Netdev::connect()? else {
        return Ok(None);
    };
    // One by one: in the kernel's own list the messages are not marked as parts of one, which ends
    // it for the crate at the first (seen in 6.18).
    let mut listed = HashMap::new();
    for (index, name) in all()? {
        match netdev.features(index) {
            Ok(features) => _ = listed.insert(index, features),
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                return Err(error.context(format!("ask for the XDP features of {name}")));
            }
        }
    }
    Ok(Some(listed))
}

/// How frames can leave by an interface, in bits of [`egress`]. `features` as [`xdp_features_of_all`] tells,
/// `runs_generic` if our program runs there in generic mode.
///
/// A bit is claimed only where frames are known to arrive: what XDP cannot send the kernel can, but
/// what XDP sends in vain is lost.
pub fn egress_bits(link: &Link, features: Option<u64>, runs_generic: bool) -> u32 {
    let kind = link.kind.as_deref();
    let is_veth = kind == Some("veth");
    // Of the kinds made of software, most cannot.
    let unknown = if is_veth {
        link.peer_runs_xdp()
    } else {
        kind.is_none()
    };
    let transmits = match features {
        _ if is_veth => link.peer_runs_xdp(),
        Some(features) => features & BASIC != 0,
        None => unknown,
    };
    let takes_redirected = features.map_or(unknown, |it| {
        it & NDO_XMIT != 0 && (it & NDO_XMIT_SG != 0 || link.mtu <= ONE_BUFFER)
    });
    [
        (transmits, egress::TRANSMIT),
        (takes_redirected, egress::REDIRECT),
        (runs_generic, egress::GENERIC),
    ]
    .into_iter()
    .filter_map(|(holds, bit)| holds.then_some(bit))
    .sum()
}

impl Link {
    /// Whether the other end of a veth has an XDP program in the driver, without which it is never
    /// woken for frames sent by XDP_TX (`veth_xdp_flush`; redirected ones need only its GRO, which is
    /// all that `NDO_XMIT` proves).
    ///
    /// The other end may be in a network namespace we cannot ask. But while it has such a program, no
    /// packet may be larger than the program can take, so the kernel lowers the largest MTU of *this*
    /// end, or raises it if the program takes frames in parts (`veth_xdp_set`, since 4.19). Nothing
    /// else changes it.
    fn peer_runs_xdp(&self) -> bool {
        self.largest_mtu.is_some_and(|it| it != VETH_LARGEST_MTU)
    }
}

/// Attributes inside `IFLA_XDP`.
#[neli_enum(serialized_type = "u16")]
enum XdpAttribute {
    Mode = 2,
    DriverProgram = 5,
    GenericProgram = 6,
    OffloadProgram = 7,
}

impl RtaType for XdpAttribute {}

/// Commands of the generic netlink family `netdev`.
#[neli_enum(serialized_type = "u8")]
enum NetdevCommand {
    DevGet = 1,
}

impl Cmd for NetdevCommand {}

/// Attributes of [`NetdevCommand::DevGet`].
#[neli_enum(serialized_type = "u16")]
enum DevAttribute {
    Index = 1,
    XdpFeatures = 3,
}

impl NlAttrType for DevAttribute {}

fn ask_links(index: Option<u32>) -> Result<HashMap<u32, Link>> {
    let index = index.map(i32::try_from).transpose()?;
    let question = IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index.unwrap_or_default())
        .build()?;
    let router = connect(NlFamily::Route)?;
    let answers: NlRouterReceiverHandle<Rtm, Ifinfomsg> = router
        .send(
            Rtm::Getlink,
            one_or_all(index),
            NlPayload::Payload(question),
        )
        .map_err(told)?;
    let mut links = HashMap::new();
    for answer in answers {
        if let Some(message) = answer.map_err(told)?.get_payload() {
            let attributes = message.rtattrs().get_attr_handle();
            let is_ethernet = matches!(message.ifi_type(), Arphrd::Ether);
            links.insert(
                u32::try_from(*message.ifi_index())?,
                read(&attributes, is_ethernet),
            );
        }
    }
    Ok(links)
}

fn read(attributes: &RtAttrHandle<'_, Ifla>, is_ethernet: bool) -> Link {
    let info = attributes.get_nested_attributes::<IflaInfo>(Ifla::Linkinfo);
    let kind = info.and_then(|it| it.get_attr_payload_as_with_len::<String>(IflaInfo::Kind));
    let xdp = attributes.get_nested_attributes::<XdpAttribute>(Ifla::Xdp);
    Link {
        kind: kind.ok(),
        attached: xdp.ok().and_then(|it| attached(&it)),
        mtu: attributes
            .get_attr_payload_as(Ifla::Mtu)
            .unwrap_or_default(),
        largest_mtu: attributes.get_attr_payload_as(Ifla::MaxMtu).ok(),
        is_ethernet,
    }
}

fn attached(xdp: &RtAttrHandle<'_, XdpAttribute>) -> Option<Attached> {
    const NONE: u8 = 0;
    if xdp.get_attr_payload_as::<u8>(XdpAttribute::Mode).ok()? == NONE {
        return None;
    }
    let in_order = [
        (Mode::Driver, XdpAttribute::DriverProgram),
        (Mode::Generic, XdpAttribute::GenericProgram),
        (Mode::Offload, XdpAttribute::OffloadProgram),
    ];
    in_order.into_iter().find_map(|(mode, attribute)| {
        let program_id = xdp.get_attr_payload_as(attribute).ok()?;
        Some(Attached { mode, program_id })
    })
}

/// A conversation with the generic netlink family `netdev`.
struct Netdev {
    router: NlRouter,
    family: u16,
}

impl Netdev {
    /// `None` if the kernel has no such family.
    fn connect() -> Result<Option<Self>> {
        let router = connect(NlFamily::Generic)?;
        match router.resolve_genl_family("netdev") {
            Ok(family) => Ok(Some(Self { router, family })),
            Err(RouterError::Nlmsgerr(it)) if *it.error() == -(Errno::ENOENT as i32) => Ok(None),
            Err(error) => Err(told(error).context("look for the netlink family netdev")),
        }
    }

    fn features(&self, index: u32) -> Result<u64> {
        let name = AttrTypeBuilder::default()
            .nla_type(DevAttribute::Index)
            .build()?;
        let mut attributes = GenlBuffer::new();
        attributes.push(
            NlattrBuilder::default()
                .nla_type(name)
                .nla_payload(index)
                .build()?,
        );
        let question = GenlmsghdrBuilder::default()
            .cmd(NetdevCommand::DevGet)
            .version(1)
            .attrs(attributes)
            .build()?;
        let payload = NlPayload::Payload(question);
        let answers: NlRouterReceiverHandle<u16, Genlmsghdr<NetdevCommand, DevAttribute>> = self
            .router
            .send(self.family, one_or_all(Some(index)), payload)
            .map_err(told)?;
        // To the end: an acknowledgement left over would be taken for the next question's.
        let mut features = None;
        for answer in answers {
            if let Some(message) = answer.map_err(told)?.get_payload() {
                let attributes = message.attrs().get_attr_handle();
                features = Some(attributes.get_attr_payload_as(DevAttribute::XdpFeatures)?);
            }
        }
        features.context("no answer")
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref() == Some(&Errno::ENODEV)
}

/// A socket for questions of a family.
///
/// # Errors
/// If the kernel refuses it.
pub fn connect(family: NlFamily) -> Result<NlRouter> {
    let (router, _) = NlRouter::connect(family, None, Groups::empty())
        .map_err(told)
        .context("open a netlink socket")?;
    Ok(router)
}

/// A single answer ends with its acknowledgement, a list by itself.
fn one_or_all<T>(index: Option<T>) -> NlmF {
    match index {
        Some(_) => NlmF::ACK,
        None => NlmF::DUMP,
    }
}

/// The kernel's refusals carry a number; it says more than the crate's own text.
pub fn told<T, P>(error: RouterError<T, P>) -> anyhow::Error
where
    RouterError<T, P>: std::fmt::Display,
{
    match error {
        RouterError::Nlmsgerr(refusal) => Errno::from_raw(-refusal.error()).into(),
        other => anyhow!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: u32 = 0;
    const BOTH: u32 = egress::TRANSMIT | egress::REDIRECT;

    fn hardware() -> Link {
        Link {
            largest_mtu: Some(9000),
            ..Link::default()
        }
    }

    fn veth(largest_mtu: u32) -> Link {
        Link {
            kind: Some("veth".into()),
            largest_mtu: Some(largest_mtu),
            ..Link::default()
        }
    }

    #[test]
    fn the_loopback_interface_is_listed_and_has_no_maker() {
        let loopback = index("lo").unwrap();
        assert!(all().unwrap().contains(&(loopback, "lo".into())));
        assert_eq!(link(loopback).unwrap().kind, None);
        assert!(!link(loopback).unwrap().is_ethernet);
        assert_eq!(links().unwrap()[&loopback], link(loopback).unwrap());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error_that_says_so() {
        let error = format!("{:#}", link(i32::MAX as u32).unwrap_err());
        assert!(error.contains("ENODEV"), "{error}");
        assert_eq!(index("no such interface"), None);
    }

    #[test]
    fn hardware_sends_what_its_features_say() {
        let bits = |features| egress_bits(&hardware(), Some(features), false);
        assert_eq!(bits(0), NONE);
        assert_eq!(bits(BASIC), egress::TRANSMIT);
        assert_eq!(bits(NDO_XMIT), egress::REDIRECT);
        assert_eq!(bits(BASIC | NDO_XMIT), BOTH);
    }

    #[test]
    fn large_frames_are_not_redirected_to_what_takes_them_in_one_buffer_only() {
        let large = Link {
            mtu: 9000,
            ..hardware()
        };
        let bits = |features| egress_bits(&large, Some(features), false);
        assert_eq!(bits(BASIC | NDO_XMIT), egress::TRANSMIT);
        assert_eq!(bits(BASIC | NDO_XMIT | NDO_XMIT_SG), BOTH);
    }

    #[test]
    fn hardware_of_an_older_kernel_is_taken_to_send() {
        assert_eq!(egress_bits(&hardware(), None, false), BOTH);
    }

    #[test]
    fn a_bridge_of_an_older_kernel_is_left_to_the_kernel() {
        let bridge = Link {
            kind: Some("bridge".into()),
            ..Link::default()
        };
        assert_eq!(egress_bits(&bridge, None, false), NONE);
    }

    #[test]
    fn a_veth_whose_peer_only_polls_takes_redirected_frames_but_none_sent_back() {
        let features = Some(BASIC | NDO_XMIT);
        assert_eq!(
            egress_bits(&veth(65_535), features, false),
            egress::REDIRECT
        );
    }

    #[test]
    fn a_veth_sends_back_once_its_peer_runs_a_program() {
        // With 4096-byte pages: a program that takes whole frames, and one that takes them in parts.
        for largest_mtu in [3506, 73_138] {
            let features = Some(BASIC | NDO_XMIT);
            assert_eq!(egress_bits(&veth(largest_mtu), features, false), BOTH);
        }
    }

    #[test]
    fn a_veth_whose_peer_does_nothing_for_xdp_is_left_to_the_kernel() {
        assert_eq!(egress_bits(&veth(65_535), Some(BASIC), false), NONE);
    }

    #[test]
    fn a_veth_of_an_older_kernel_sends_only_to_a_peer_with_a_program() {
        assert_eq!(egress_bits(&veth(65_535), None, false), NONE);
        assert_eq!(egress_bits(&veth(3506), None, false), BOTH);
    }

    #[test]
    fn generic_mode_is_told_whatever_the_driver_can() {
        assert_eq!(
            egress_bits(&veth(65_535), Some(BASIC), true),
            egress::GENERIC
        );
    }
}
