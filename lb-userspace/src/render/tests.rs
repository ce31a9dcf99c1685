use super::*;
use crate::api::{
    BackendShift, BackendView, Backends, ConfigAnswer, DetachAnswer, EndpointView, Flows,
    IdleSeconds, Origin, ServiceShift, ServiceView, Share, Status, WeightsAnswer,
};
use crate::dataplane::{
    Counters, EndpointInterface, FlowReport, Hook, Interface, LiveFlows, ReasonCount, XdpMode,
};
use crate::desired::{Idle, Protocol, Scheduling};
use crate::state::ChangeKind;

const PLAIN: Style = Style { colour: false };

fn shift(name: &str, percent: (f64, f64), slots: (u32, u32), live_flows: u64) -> BackendShift {
    BackendShift {
        name: name.into(),
        before_percent: Some(percent.0),
        after_percent: Some(percent.1),
        slots_before: slots.0,
        slots_after: slots.1,
        realised_percent: f64::from(slots.1) * 100.0 / 65_536.0,
        live_flows,
    }
}

fn echo_shift() -> ServiceShift {
    ServiceShift {
        service: "echo".into(),
        change: ChangeKind::Changed,
        scheduling: Scheduling::Hash,
        slots: 65_536,
        moved: 19_661,
        digest: "00000000000000ff".into(),
        backends: vec![
            shift("old", (100.0, 70.0), (65_536, 45_875), 200),
            shift("new", (0.0, 30.0), (0, 19_661), 0),
        ],
    }
}

fn echo_view() -> ServiceView {
    let share = |name: &str, percent| Share {
        name: name.into(),
        percent,
    };
    ServiceView {
        name: "echo".into(),
        address: "10.99.0.1:9000".into(),
        protocol: Protocol::Tcp,
        scheduling: Scheduling::Hash,
        affinity: "client/24".into(),
        rules: 2,
        prefixes: 7,
        mode: "nat".into(),
        slots: 65_536,
        digest: "00000000000000ff".into(),
        source: Origin::Runtime,
        idle: IdleSeconds::from(Idle::default()),
        backends: vec![share("old", 70.0), share("new", 30.0)],
        live: LiveFlows {
            opening: 0,
            open: 200,
            closing: 1,
        },
    }
}

#[test]
fn new_weights_show_shares_slots_and_who_stays() {
    let answer = WeightsAnswer {
        dry_run: false,
        generation: 4,
        effect_ms: Some(2.34),
        service: echo_shift(),
    };
    assert_eq!(
        weights(&answer, PLAIN),
        "\
echo: 19661 of 65536 slots moved, in effect in 2.3 ms
BACKEND  BEFORE     AFTER  SLOTS       NOW  REALISED  LIVE FLOWS
old        100%  →    70%  65536  →  45875  69.9997%    200 stay
new          0%  →    30%      0  →  19661  30.0003%           0
ok: generation 4
"
    );
}

#[test]
fn where_flows_take_turns_no_slot_moves() {
    let answer = WeightsAnswer {
        dry_run: false,
        generation: 4,
        effect_ms: None,
        service: ServiceShift {
            scheduling: Scheduling::Exact,
            slots: 5,
            moved: 0,
            ..echo_shift()
        },
    };
    let text = weights(&answer, PLAIN);
    assert!(text.starts_with("echo: dealt out in 5 turns\n"), "{text}");
}

#[test]
fn a_dry_run_says_that_nothing_changed() {
    let answer = WeightsAnswer {
        dry_run: true,
        generation: 4,
        effect_ms: None,
        service: echo_shift(),
    };
    let text = weights(&answer, PLAIN);
    assert!(
        text.starts_with("echo: 19661 of 65536 slots moved\n"),
        "{text}"
    );
    assert!(text.ends_with("dry run: nothing was changed\n"), "{text}");
}

#[test]
fn a_configuration_shows_what_became_of_each_service() {
    let mut added = echo_shift();
    added.service = "dns".into();
    added.change = ChangeKind::Added;
    added.backends = vec![BackendShift {
        before_percent: None,
        ..shift("one", (0.0, 100.0), (0, 65_536), 0)
    }];
    let mut removed = echo_shift();
    removed.change = ChangeKind::Removed;
    let mut same = echo_shift();
    same.change = ChangeKind::Unchanged;
    let answer = ConfigAnswer {
        dry_run: false,
        generation: 5,
        effect_ms: Some(12.3),
        services: vec![added, same, removed],
        notes: vec!["Something to know.".into()],
    };
    assert_eq!(
        config(&answer, PLAIN),
        "\
dns: added
BACKEND  BEFORE     AFTER  SLOTS       NOW  REALISED  LIVE FLOWS
one           -  →   100%      0  →  65536      100%           0

echo: removed; 200 live flows on it

unchanged: 1
note: Something to know.
in effect in 12 ms
ok: generation 5
"
    );
}

#[test]
fn status_is_everything_at_a_glance() {
    let interface = |name: &str, mode| Interface {
        name: name.into(),
        mode,
    };
    let answer = Status {
        version: "0.1.0".into(),
        pid: 7,
        uptime_seconds: 7_501,
        generation: 4,
        config_file: "/etc/lb/lb.toml".into(),
        config_applied: true,
        adopted: false,
        interfaces: vec![
            interface("eth0", XdpMode::Native),
            interface("eth1", XdpMode::Generic),
        ],
        endpoint_interfaces: vec![
            EndpointInterface {
                name: "cni0".into(),
                hook: Hook::Tcx,
            },
            EndpointInterface {
                name: "veth7".into(),
                hook: Hook::Refused,
            },
        ],
        flow_capacity: 262_144,
        node_ports: (10_240, 29_999),
        live: LiveFlows {
            opening: 0,
            open: 200,
            closing: 1,
        },
        services: vec![echo_view()],
        drops: vec![ReasonCount {
            verdict: "drop".into(),
            reason: "no-flow".into(),
            meaning: "A segment of no known flow.".into(),
            packets: 3,
        }],
        notes: vec!["Something to know.".into()],
    };
    assert_eq!(
        status(&answer, PLAIN),
        "\
lbd 0.1.0, pid 7, up 2h 5m 1s, generation 4
config      /etc/lb/lb.toml (another one applied over it)
interfaces  eth0 native, eth1 generic
endpoints   cni0 tcx, veth7 REFUSED: replies are lost
flows       201 of 262144 (0 opening, 200 open, 1 closing)

SERVICE  ADDRESS         PROTOCOL  SOURCE   SHARES                                   LIVE
echo     10.99.0.1:9000  tcp       runtime  old 70%, new 30%, by client/24, 2 rules   201

VERDICT  REASON   PACKETS  MEANING
drop     no-flow        3  A segment of no known flow.

note: Something to know.
"
    );
}

#[test]
fn endpoints_stand_below_their_backend() {
    let counters = Counters {
        bytes_in: 2048,
        bytes_out: 4096,
        opened: 9,
        closed: 3,
        reset_by_endpoint: 1,
        reset_by_client: 2,
        refused: 0,
        ..Counters::default()
    };
    let live = LiveFlows {
        opening: 1,
        open: 2,
        closing: 0,
    };
    let answer = Backends {
        backends: vec![BackendView {
            service: "echo".into(),
            name: "old".into(),
            configured: true,
            source: Origin::Config,
            percent: 100.0,
            slots: 65_536,
            slot_percent: 100.0,
            live,
            counters,
            endpoints: vec![EndpointView {
                address: "10.64.1.2:9000".into(),
                source: Some([10, 64, 1, 1].into()),
                configured: true,
                slots: 65_536,
                live,
                counters,
            }],
        }],
    };
    let text = backends(&answer, PLAIN);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [
            vec![
                "SERVICE", "BACKEND", "SOURCE", "WEIGHT", "SLOTS", "REALISED", "LIVE", "OPENED",
                "CLOSED", "RESET", "REFUSED", "IN", "OUT"
            ],
            vec![
                "echo", "old", "config", "100%", "65536", "100%", "3", "9", "3", "3", "0", "2.0",
                "KiB", "4.0", "KiB"
            ],
            vec![
                "└",
                "10.64.1.2:9000",
                "65536",
                "3",
                "9",
                "3",
                "3",
                "0",
                "2.0",
                "KiB",
                "4.0",
                "KiB"
            ],
        ]
    );
}

#[test]
fn flows_are_listed_and_the_rest_is_told() {
    let flow = FlowReport {
        protocol: Protocol::Udp,
        client: "[fd00::9]:40000".parse().unwrap(),
        service: "dns".into(),
        port: 53,
        backend: "old".into(),
        endpoint: "[fd64::2]:53".parse().unwrap(),
        node_port: Some(10_240),
        phase: "open".into(),
        idle_seconds: 3,
    };
    assert_eq!(
        flows(
            &Flows {
                flows: vec![flow],
                more: true
            },
            PLAIN
        ),
        "\
PROTOCOL  CLIENT           SERVICE  PORT  BACKEND  ENDPOINT      NODE PORT  PHASE  IDLE
udp       [fd00::9]:40000  dns        53  old      [fd64::2]:53      10240  open    3 s
there are more than these 1: see --limit
"
    );
    assert_eq!(
        flows(
            &Flows {
                flows: vec![],
                more: false
            },
            PLAIN
        ),
        "no live flows\n"
    );
}

#[test]
fn detaching_tells_what_it_cost() {
    let answer = DetachAnswer {
        interfaces: vec!["eth0".into(), "eth1".into()],
        live_flows: 1,
    };
    assert_eq!(
        detach(&answer),
        "detached from eth0, eth1; 1 live flow cut; lbd has stopped\n"
    );
}

#[test]
fn colours_are_for_those_who_asked() {
    let answer = WeightsAnswer {
        dry_run: true,
        generation: 4,
        effect_ms: None,
        service: echo_shift(),
    };
    assert!(!weights(&answer, PLAIN).contains('\x1b'));
    assert!(weights(&answer, Style { colour: true }).contains("\x1b[33mdry run:\x1b[0m"));
}
