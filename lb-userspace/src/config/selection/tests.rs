use super::*;
use crate::config::{Config, Error};

const ECHO: &str = r#"interfaces = ["eth0"]
[[service]]
name = "echo"
address = "10.99.0.1:9000"
protocol = "tcp"
KEYS
[[service.backend]]
name = "old"
weight = 1
endpoints = ["10.64.1.2:9000"]
"#;

fn parse(text: &str) -> Result<Selection, Error> {
    let source = |_| Ok(IpAddr::from([10, 64, 1, 1]));
    Config::parse(text, "lb.toml", &source).map(|it| it.services[0].selection.clone())
}

fn with(keys: &str) -> Result<Selection, Error> {
    parse(&ECHO.replace("KEYS", keys))
}

fn with_v6(keys: &str) -> Result<Selection, Error> {
    let text = ECHO.replace("KEYS", keys);
    parse(
        &text
            .replace("10.99.0.1:", "[fd99::1]:")
            .replace("10.64.1.2:", "[fd64::2]:"),
    )
}

fn error(keys: &str) -> String {
    let error = with(keys).expect_err("a mistake");
    format!("{error} [{}]", error.hint)
}

#[test]
fn flows_are_hashed_each_by_itself_unless_said() {
    assert_eq!(with("").unwrap(), Selection::default());
    assert_eq!(
        with("scheduling = \"hash\"\naffinity = \"flow\"").unwrap(),
        Selection::default()
    );
    let exact = with("scheduling = \"exact\"").unwrap();
    assert_eq!(exact.scheduling, Scheduling::Exact);
}

#[test]
fn an_affinity_has_the_length_of_the_services_family() {
    for (text, v4, v6) in [
        ("client-ip", 32, 128),
        ("client-net/24,64", 24, 64),
        ("client-net/24, 56", 24, 56),
        ("client-net/20", 20, 20),
    ] {
        let keys = format!("affinity = \"{text}\"");
        assert_eq!(
            with(&keys).unwrap().affinity,
            Affinity::Client(v4),
            "{text}"
        );
        assert_eq!(
            with_v6(&keys).unwrap().affinity,
            Affinity::Client(v6),
            "{text}"
        );
    }
    assert_eq!(
        with_v6("affinity = \"client-net/64\"").unwrap().affinity,
        Affinity::Client(64)
    );
}

#[test]
fn mistakes_have_a_place_and_a_hint() {
    assert_eq!(
        error("affinity = \"clientip\""),
        "lb.toml:6:12: service.affinity: \"clientip\" is no affinity \
         [did you mean \"client-ip\"?]"
    );
    assert_eq!(
        error("affinity = \"client-net/33\""),
        "lb.toml:6:12: service.affinity: \"33\" is no prefix length \
         [use 1 to 32 bits, as in \"client-net/24,64\"]"
    );
    assert_eq!(
        error("affinity = \"client-net/24,0\""),
        "lb.toml:6:12: service.affinity: \"0\" is no prefix length \
         [use 1 to 128 bits, as in \"client-net/24,64\"]"
    );
    assert_eq!(
        error("scheduling = \"exact\"\naffinity = \"client-ip\""),
        "lb.toml:7:12: service.affinity: flows that take turns cannot stay together by client \
         [choose: scheduling = \"hash\" with an affinity, or \"exact\" without]"
    );
    assert_eq!(
        error("scheduling = \"exactly\""),
        "lb.toml:6:14: unknown variant `exactly`, expected `hash` or `exact` \
         [did you mean `exact`?]"
    );
}
