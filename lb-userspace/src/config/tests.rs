use std::io;
use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::dataplane::XdpMode;
use crate::desired::{Delivery, Endpoint, Idle, Mode, Network, Protocol};

const ECHO: &str = r#"interfaces = ["eth0"]

[[service]]
name = "echo"
address = "10.99.0.1:9000"
protocol = "tcp"

[[service.backend]]
name = "old"
weight = 3
endpoints = ["10.64.1.2:9000"]

[[service.backend]]
name = "new"
weight = 1
endpoints = ["10.64.1.3:9000", "10.64.1.4:9000"]
"#;

fn routed(endpoint: SocketAddr) -> io::Result<IpAddr> {
    Ok(match endpoint {
        SocketAddr::V4(_) => IpAddr::from([10, 64, 1, 1]),
        SocketAddr::V6(_) => "fd64::1".parse().expect("an address"),
    })
}

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, "lb.toml", &routed)
}

/// The error of `ECHO` with `from` replaced by `to`, as the user reads it: line, key, hint.
fn error(from: &str, to: &str) -> String {
    assert!(ECHO.contains(from), "{from} is not in the example");
    let error = parse(&ECHO.replacen(from, to, 1)).expect_err("a mistake");
    format!("{error} [{}]", error.hint)
}

#[test]
fn what_is_left_out_has_its_usual_value() {
    let config = parse(ECHO).unwrap();
    assert_eq!(
        config.settings,
        Settings {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mode: XdpMode::Auto
            }],
            endpoint_interfaces: EndpointInterfaces::Found,
            seed: None,
            flows: 262_144,
            ports: NodePorts {
                first: 10_240,
                last: 29_999
            },
        }
    );
    let service = &config.services[0];
    assert_eq!((service.slots, service.idle), (65_536, Idle::default()));
    assert_eq!((service.protocol, service.echo), (Protocol::Tcp, false));
}

#[test]
fn relative_weights_become_shares_and_sources_are_looked_up() {
    let config = parse(ECHO).unwrap();
    let [old, new] = &config.services[0].backends[..] else {
        panic!("two backends")
    };
    assert_eq!(
        (old.weight.parts(), new.weight.parts()),
        (750_000_000, 250_000_000)
    );
    let first = Endpoint {
        address: "10.64.1.2:9000".parse().unwrap(),
        source: "10.64.1.1".parse().unwrap(),
    };
    assert_eq!(*old.endpoints, [first]);
    assert_eq!(new.endpoints.len(), 2);
}

#[test]
fn everything_can_be_said() {
    let text = r#"
interfaces = [{ name = "eth0", mode = "native" }, "eth1"]
endpoint-interfaces = ["cni0", "veth*"]
seed = "00000000000000ff"
flows = 4096
node-ports = "20000-20999"
[[service]]
name = "dns"
address = "[fd99::1]:53"
protocol = "udp"
slots = 256
echo = true
idle = { udp = "1m 30s" }
[[service.backend]]
name = "one"
weight = 1
endpoints = ["[fd64::2]:53"]
source = "fd64::9"
"#;
    let config = parse(text).unwrap();
    assert_eq!(config.settings.seed, Some(255));
    assert_eq!(config.settings.ports.to_string(), "20000-20999");
    assert_eq!(config.settings.interfaces[0].mode, XdpMode::Native);
    assert_eq!(
        config.settings.endpoint_interfaces,
        EndpointInterfaces::Named(vec!["cni0".into(), "veth*".into()])
    );
    let service = &config.services[0];
    assert!(service.echo);
    assert_eq!(service.idle.udp.as_secs(), 90);
    assert_eq!(service.idle.open, Idle::default().open);
    assert_eq!(
        service.backends[0].endpoints[0].source,
        "fd64::9".parse::<IpAddr>().unwrap()
    );
}

#[test]
fn a_configuration_without_services_is_one() {
    assert_eq!(parse("interfaces = [\"eth0\"]").unwrap().services, []);
}

#[test]
fn mistyped_keys_get_the_nearest_known_one() {
    assert_eq!(
        error("weight = 3", "wieght = 3"),
        "lb.toml:10:1: unknown field `wieght`, expected one of `name`, `weight`, `endpoints`, \
         `source` [did you mean `weight`?]"
    );
    assert_eq!(
        error("\"eth0\"", "{ name = \"eth0\", mode = \"nativ\" }"),
        "lb.toml:1:39: unknown variant `nativ`, expected one of `auto`, `native`, `generic` \
         [did you mean `native`?]"
    );
}

#[test]
fn missing_keys_are_named() {
    assert_eq!(
        error("protocol = \"tcp\"\n", ""),
        "lb.toml:3:1: missing field `protocol` [add `protocol = …`]"
    );
}

#[test]
fn toml_mistakes_have_a_place() {
    let text = error("weight = 3", "weight = three");
    assert!(text.starts_with("lb.toml:10:10: "), "{text}");
    let text = error("weight = 3", "weight = -3");
    assert!(text.starts_with("lb.toml:10:10: "), "{text}");
}

#[test]
fn addresses_must_be_usable() {
    let cases = [
        (
            "10.99.0.1:9000",
            "echo.local:9000",
            "lb.toml:5:11: service.address: \"echo.local:9000\" is not an address and port \
             [write \"10.0.0.1:80\" or \"[fd00::1]:80\": names are not resolved]",
        ),
        (
            "10.99.0.1:9000",
            "10.99.0.1:0",
            "lb.toml:5:11: service.address: \"10.99.0.1:0\" has port 0 \
             [name the port, 1 to 65535]",
        ),
        (
            "10.99.0.1:9000",
            "0.0.0.0:9000",
            "lb.toml:5:11: service.address: \"0.0.0.0:9000\" is the unspecified address \
             [use a unicast address]",
        ),
        (
            "10.64.1.4:9000",
            "224.0.0.1:9000",
            "lb.toml:16:32: service.backend.endpoints: \"224.0.0.1:9000\" is a multicast address \
             [use a unicast address]",
        ),
        (
            "10.64.1.4:9000",
            "[fd64::4]:9000",
            "lb.toml:16:32: service.backend.endpoints: [fd64::4]:9000 is IPv6, the service IPv4 \
             [endpoints have the address family of their service, except in a tunnel: mode = \"ipip\" or \"gue\"]",
        ),
        (
            "10.64.1.4:9000",
            "10.64.1.1:9000",
            "lb.toml:16:32: service.backend.endpoints: 10.64.1.1:9000 is an address of this node \
             [an endpoint must be on another host, container or namespace]",
        ),
        (
            "10.64.1.4:9000",
            "10.99.0.1:9000",
            "lb.toml:16:32: service.backend.endpoints: 10.99.0.1:9000 is the service \"echo\" \
             [name the server itself, not a service of this file]",
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(error(from, to), expected);
    }
}

#[test]
fn an_endpoint_belongs_to_one_backend() {
    assert_eq!(
        error("10.64.1.4:9000", "10.64.1.2:9000"),
        "lb.toml:16:32: service.backend.endpoints: 10.64.1.2:9000 is in the backend \"old\" already \
         [an endpoint belongs to one backend of a service]"
    );
    assert_eq!(
        error("10.64.1.4:9000", "10.64.1.3:9000"),
        "lb.toml:16:32: service.backend.endpoints: 10.64.1.3:9000 is named twice \
         [remove one of them]"
    );
}

#[test]
fn names_are_plain_and_unique() {
    assert_eq!(
        error("\"new\"", "\"new version\""),
        "lb.toml:14:8: service.backend.name: \"new version\" is not a name \
         [use 1 to 63 of A-Z a-z 0-9 . _ -]"
    );
    assert_eq!(
        error("\"new\"", "\"old\""),
        "lb.toml:14:8: service.backend.name: two backends of \"echo\" are called \"old\" \
         [rename one of them]"
    );
    let second = ECHO.split_once("\n\n").unwrap().1;
    let twice = parse(&format!("{ECHO}\n{second}")).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "lb.toml:19:8: service.name: two services are called \"echo\""
    );
    let renamed = second.replacen("echo", "echo2", 1);
    let same_address = parse(&format!("{ECHO}\n{renamed}")).unwrap_err();
    assert_eq!(
        same_address.to_string(),
        "lb.toml:20:11: service.address: 10.99.0.1:9000 is the address of \"echo\" already"
    );
    let udp = renamed.replacen("tcp", "udp", 1);
    assert_eq!(parse(&format!("{ECHO}\n{udp}")).unwrap().services.len(), 2);
}

#[test]
fn weights_need_somewhere_to_go() {
    assert_eq!(
        error("[\"10.64.1.2:9000\"]", "[]"),
        "lb.toml:10:10: service.backend.weight: \"old\" has a weight and no endpoint \
         [give it endpoints, or weight 0]"
    );
    let zero = ECHO
        .replace("weight = 3", "weight = 0")
        .replace("weight = 1", "weight = 0");
    let error = parse(&zero).unwrap_err();
    assert_eq!(
        (error.place, error.key.as_str()),
        (Some((10, 10)), "service.backend.weight")
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    assert_eq!(
        error("protocol = \"tcp\"", "protocol = \"tcp\"\nslots = 1000"),
        "lb.toml:7:9: service.slots: 1000 is not a power of two from 256 to 65536 \
         [leave it out for 65536]"
    );
    assert_eq!(
        error(
            "protocol = \"tcp\"",
            "protocol = \"tcp\"\nidle = { udp = \"0s\" }"
        ),
        "lb.toml:7:16: service.idle.udp: 0s is out of range [use \"1s\" to \"7d\"]"
    );
    assert_eq!(
        error("[\"eth0\"]", "[\"eth0\"]\nflows = 7"),
        "lb.toml:2:9: flows: 7 is out of range [use 1024 to 16777216; 262144 is usual]"
    );
    assert_eq!(
        error("[\"eth0\"]", "[\"eth0\"]\nnode-ports = \"20000\""),
        "lb.toml:2:14: node-ports: \"20000\" is not a range of ports \
         [write first and last port: \"10240-29999\"]"
    );
    assert_eq!(
        error("[\"eth0\"]", "[\"eth0\"]\nnode-ports = \"29999-10240\""),
        "lb.toml:2:14: node-ports: \"29999-10240\" has too few ports \
         [each flow to an endpoint needs its own: give 64 or more]"
    );
}

#[test]
fn interfaces_are_named_once() {
    assert_eq!(
        error("[\"eth0\"]", "[]"),
        "lb.toml:1:14: interfaces: is empty \
         [name the interfaces clients and endpoints are behind: see `ip link`]"
    );
    assert_eq!(
        error("[\"eth0\"]", "[\"eth0\", \"eth0\"]"),
        "lb.toml:1:23: interfaces: \"eth0\" is named twice [remove one of them]"
    );
}

#[test]
fn interfaces_of_endpoints_are_names_or_beginnings_of_names() {
    let with = |names: &str| format!("[\"eth0\"]\nendpoint-interfaces = {names}");
    assert_eq!(
        error("[\"eth0\"]", &with("[\"*eth\"]")),
        "lb.toml:2:24: endpoint-interfaces: \"*eth\" has a `*` that is not at its end \
         [name the beginning only: \"veth*\"]"
    );
    assert_eq!(
        error("[\"eth0\"]", &with("[\"veth 1\"]")),
        "lb.toml:2:24: endpoint-interfaces: \"veth 1\" cannot be the name of an interface \
         [see `ip link` for the names]"
    );
    for names in ["[]", "[\"*\"]", "[\"veth*\"]"] {
        let text = ECHO.replacen("[\"eth0\"]", &with(names), 1);
        assert!(parse(&text).is_ok(), "{names}");
    }
}

#[test]
fn an_endpoint_without_a_route_is_named() {
    let unrouted = |_| Err(io::Error::other("Network is unreachable"));
    let error = Config::parse(ECHO, "lb.toml", &unrouted).unwrap_err();
    assert_eq!(
        error.to_string(),
        "lb.toml:11:14: service.backend.endpoints: no route to 10.64.1.2:9000: \
         Network is unreachable"
    );
}

#[test]
fn a_file_that_is_not_there_says_how_to_name_one() {
    let error = Config::read(Path::new("/nonexistent/lb.toml"), &routed).unwrap_err();
    assert_eq!(error.place, None);
    assert_eq!(error.hint, "name the file with --config, or write one");
}

/// `ECHO` with several ports in a mode, its first endpoint as typed.
fn ranged(mode: &str, ports: &str, endpoint: &str) -> String {
    with(&format!("mode = \"{mode}\""))
        .replace("10.99.0.1:9000", &format!("10.99.0.1:{ports}"))
        .replace("10.64.1.2:9000", endpoint)
        .replace("\"10.64.1.3:9000\", \"10.64.1.4:9000\"", "\"10.64.1.3\"")
}

#[test]
fn a_service_may_have_several_ports_in_every_mode() {
    for mode in ["nat", "dsr", "ipip", "gue"] {
        for (typed, shown) in [("*", "*"), ("9000-9010", "9000-9010"), ("1-65535", "*")] {
            let config = parse(&ranged(mode, typed, "10.64.1.2")).unwrap();
            let service = &config.services[0];
            assert_eq!(service.written().to_string(), format!("10.99.0.1:{shown}"));
            let endpoint = service.backends[0].endpoints[0];
            assert_eq!(endpoint.address, ([10, 64, 1, 2], 0).into(), "as asked");
            assert_eq!(endpoint.written(), "10.64.1.2");
        }
    }
    let text = ranged("nat", "9000-9010", "10.64.1.2:8080");
    let endpoint = parse(&text).unwrap().services[0].backends[0].endpoints[0];
    assert_eq!(endpoint.address, ([10, 64, 1, 2], 8080).into());
    for mode in ["dsr", "ipip", "gue"] {
        let error = error_of(&ranged(mode, "9000-9010", "10.64.1.2:9000"));
        assert_eq!(
            error,
            format!(
                "lb.toml:12:14: service.backend.endpoints: 10.64.1.2:9000 has one port, the service \
                 several, and mode {mode} does not change ports [leave the port out, or use mode = \
                 \"nat\"]"
            )
        );
    }
    let one = ECHO.replace("10.99.0.1:9000", "10.99.0.1:9000-9000");
    assert_eq!(parse(&one).unwrap().services[0].address.port(), 9000);
}

#[test]
fn an_endpoint_that_keeps_the_port_is_none_of_the_services() {
    let said = error_of(&ranged("nat", "9000-9010", "10.99.0.1"));
    assert!(said.contains("10.99.0.1 is the service \"echo\""), "{said}");
    // Another port than those that packets come for.
    parse(&ranged("nat", "9000-9010", "10.99.0.1:8999")).unwrap();
}

#[test]
fn a_range_of_ports_begins_and_ends() {
    for typed in ["9010-9000", "9000-", "9000-70000", "9000-9010-9020"] {
        assert_eq!(
            error("10.99.0.1:9000", &format!("10.99.0.1:{typed}")),
            format!(
                "lb.toml:5:11: service.address: \"10.99.0.1:{typed}\" has no range of ports \
                 [write the lowest and the highest, as in \"10.0.0.1:9000-9010\"]"
            )
        );
    }
    assert_eq!(
        error("10.99.0.1:9000", "10.99.0.1:0-10"),
        "lb.toml:5:11: service.address: \"10.99.0.1:0\" has port 0 [name the port, 1 to 65535]"
    );
}

#[test]
fn ranges_of_ports_do_not_overlap() {
    let with = |first: &str, second: &str, protocol: &str| {
        let one = ECHO.replace("10.99.0.1:9000", first);
        let other = ECHO
            .split_once("\n\n")
            .unwrap()
            .1
            .replace("10.99.0.1:9000", second)
            .replace("\"echo\"", "\"other\"")
            .replace("\"tcp\"", protocol);
        parse(&format!("{one}\n{other}")).map_err(|error| error.to_string())
    };
    assert_eq!(
        with("10.99.0.1:9000-9010", "10.99.0.1:9010-9020", "\"tcp\"").unwrap_err(),
        "lb.toml:20:11: service.address: 10.99.0.1:9010-9020 shares ports with \"echo\" at \
         10.99.0.1:9000-9010"
    );
    // These may be beside each other.
    for (second, protocol) in [
        ("10.99.0.1:9011-9020", "\"tcp\""),
        ("10.99.0.1:9010-9020", "\"udp\""),
        ("10.99.0.1:9005", "\"tcp\""),
    ] {
        with("10.99.0.1:9000-9010", second, protocol).unwrap();
    }
}

/// `ECHO` with these lines in its service.
fn with(lines: &str) -> String {
    ECHO.replacen(
        "protocol = \"tcp\"\n",
        &format!("protocol = \"tcp\"\n{lines}\n"),
        1,
    )
}

fn delivery_of(text: &str) -> Delivery {
    parse(text).unwrap().services[0].delivery
}

#[test]
fn packets_are_translated_unless_another_mode_is_named() {
    assert_eq!(delivery_of(ECHO), Delivery::default());
    for (name, mode) in [
        ("nat", Mode::Nat),
        ("dsr", Mode::Dsr),
        ("ipip", Mode::Ipip),
        ("gue", Mode::Gue { port: 6080 }),
    ] {
        let found = delivery_of(&with(&format!("mode = \"{name}\"")));
        assert_eq!((found.mode, found.mode.name()), (mode, name));
    }
    let found = delivery_of(&with("mode = \"gue\"\ntunnel-port = 9999\nmss = 1400"));
    assert_eq!(found.mode, Mode::Gue { port: 9999 });
    assert_eq!(found.mss, Some(1400));
    let found = delivery_of(&with("mode = \"ipip\"\ntunnel-source = \"172.16.0.0/12\""));
    let network = Network {
        address: [172, 16, 0, 0].into(),
        bits: 12,
    };
    assert_eq!(found.tunnel_source, Some(network));
}

#[test]
fn where_ports_are_not_changed_an_endpoint_has_the_services() {
    let text = with("mode = \"dsr\"").replacen("10.64.1.2:9000", "10.64.1.2", 1);
    let endpoints = &parse(&text).unwrap().services[0].backends[0].endpoints;
    assert_eq!(endpoints[0].address, ([10, 64, 1, 2], 9000).into());
    let text = text.replacen("10.64.1.3:9000", "10.64.1.3:8080", 1);
    let error = parse(&text).expect_err("another port");
    assert!(
        error.to_string().contains("mode dsr does not change ports"),
        "{error}"
    );
    let bare = ECHO.replacen("10.64.1.2:9000", "10.64.1.2", 1);
    let endpoints = &parse(&bare).unwrap().services[0].backends[0].endpoints;
    assert_eq!(
        endpoints[0].address,
        ([10, 64, 1, 2], 9000).into(),
        "mode nat"
    );
}

#[test]
fn a_tunnel_leads_to_either_family() {
    let text = with("mode = \"ipip\"").replacen("10.64.1.2:9000", "fd64::2", 1);
    let endpoints = &parse(&text).unwrap().services[0].backends[0].endpoints;
    assert_eq!(endpoints[0].address, "[fd64::2]:9000".parse().unwrap());
    assert_eq!(endpoints[0].source, "fd64::1".parse::<IpAddr>().unwrap());
    let text = text.replacen("ipip", "dsr", 1);
    let error = error_of(&text);
    assert!(
        error.contains("[fd64::2]:9000 is IPv6, the service IPv4"),
        "{error}"
    );
}

fn error_of(text: &str) -> String {
    let error = parse(text).expect_err("a mistake");
    format!("{error} [{}]", error.hint)
}

#[test]
fn what_a_mode_has_not_is_refused() {
    for (lines, said) in [
        ("mode = \"ipp\"", "did you mean `ipip`?"),
        (
            "mode = \"dsr\"\ntunnel-port = 6080",
            "mode dsr has no port of its own",
        ),
        ("mode = \"gue\"\ntunnel-port = 0", "0 is not a port"),
        (
            "tunnel-source = \"172.16.0.0/16\"",
            "mode nat has no tunnel",
        ),
        (
            "mode = \"ipip\"\ntunnel-source = \"172.16.0.1/16\"",
            "172.16.0.1 has bits after the first 16",
        ),
        (
            "mode = \"ipip\"\ntunnel-source = \"172.16.0.0\"",
            "is not a network",
        ),
        (
            "mode = \"ipip\"\ntunnel-source = \"10.0.0.1/32\"",
            "/32 leaves too few bits",
        ),
        (
            "mode = \"ipip\"\ntunnel-source = \"fd00::/64\"",
            "is IPv6, the endpoint 10.64.1.2:9000 IPv4",
        ),
        ("mss = 100", "100 is out of range"),
        ("tunnel_port = 6080", "did you mean `tunnel-port`?"),
    ] {
        let error = error_of(&with(lines));
        assert!(error.contains(said), "{lines}: {error}");
    }
    let text = with("mode = \"ipip\"").replacen("10.64.1.2:9000", "10.99.0.1", 1);
    assert!(error_of(&text).contains("is the address of the service"));
    let text = with("mode = \"ipip\"\ntunnel-source = \"172.16.0.0/16\"").replacen(
        "weight = 3",
        "weight = 3\nsource = \"10.64.1.1\"",
        1,
    );
    assert!(error_of(&text).contains("the service has a tunnel-source already"));
}
