use std::fs;

use super::*;
use crate::config::{Config, Error};

const ECHO: &str = r#"interfaces = ["eth0"]
[[service]]
name = "echo"
address = "10.99.0.1:9000"
protocol = "tcp"
[[service.backend]]
name = "old"
weight = 1
endpoints = ["10.64.1.2:9000"]
[[service.backend]]
name = "new"
weight = 0
endpoints = ["10.64.1.3:9000"]
[[service.backend]]
name = "none"
weight = 0
endpoints = []
"#;

fn parse(rules: &str, directory: &Path) -> Result<Arc<[Rule]>, Error> {
    let source = |_| Ok(IpAddr::from([10, 64, 1, 1]));
    let text = format!("{ECHO}{rules}");
    let config = Config::parse_in(directory, &text, "lb.toml", &source)?;
    Ok(config.services[0].selection.rules.clone())
}

fn error(rules: &str) -> String {
    let error = parse(rules, Path::new("/nonexistent")).expect_err("a mistake");
    format!("{error} [{}]", error.hint)
}

fn prefix(text: &str) -> Prefix {
    super::prefix(text).unwrap()
}

fn parts(rule: &Rule) -> Vec<u32> {
    rule.weights.iter().map(|it| it.parts()).collect()
}

#[test]
fn a_rule_points_to_a_backend_or_has_weights() {
    let rules = r#"
[[service.rule]]
from = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
backend = "new"
[[service.rule]]
from = ["10.1.0.0/16"]
weights = { new = 1, old = 3 }
"#;
    let rules = parse(rules, Path::new("")).unwrap();
    assert_eq!(
        rules[0].from,
        [prefix("10.0.0.0/8"), prefix("192.0.2.7/32")]
    );
    assert_eq!(parts(&rules[0]), [0, 1_000_000_000, 0]);
    assert_eq!(parts(&rules[1]), [750_000_000, 250_000_000, 0]);
}

#[test]
fn a_rule_for_the_other_family_only_is_none() {
    let rules = "[[service.rule]]\nfrom = [\"2001:db8::/32\"]\nbackend = \"new\"\n";
    assert_eq!(*parse(rules, Path::new("")).unwrap(), []);
}

#[test]
fn prefixes_may_stand_in_a_file_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let text = "# a region\n10.0.0.0/8\n\n  192.0.2.0/24 # and this\n2001:db8::/32\n";
    fs::write(directory.path().join("region.txt"), text).unwrap();
    let rules = "[[service.rule]]\nfrom-file = \"region.txt\"\nbackend = \"new\"\n";
    let rules = parse(rules, directory.path()).unwrap();
    assert_eq!(
        rules[0].from,
        [prefix("10.0.0.0/8"), prefix("192.0.2.0/24")]
    );
}

#[test]
fn a_prefix_named_twice_names_both_lines() {
    let twice = r#"[[service.rule]]
from = ["10.0.0.0/8"]
backend = "new"
[[service.rule]]
from = ["10.1.0.0/16",
        "10.0.0.0/8"]
backend = "old"
"#;
    assert_eq!(
        error(twice),
        "lb.toml:23:9: service.rule.from: 10.0.0.0/8 is in a rule already: line 19 \
         [remove one of them]"
    );
    let directory = tempfile::tempdir().unwrap();
    let text = "10.0.0.0/8\n10.1.0.0/16\n10.0.0.0/8\n";
    fs::write(directory.path().join("region.txt"), text).unwrap();
    let rule = "[[service.rule]]\nfrom-file = \"region.txt\"\nbackend = \"new\"\n";
    assert_eq!(
        parse(rule, directory.path()).unwrap_err().to_string(),
        "lb.toml:19:13: service.rule.from-file: line 3 of region.txt: 10.0.0.0/8 is in a rule \
         already: line 1 of region.txt"
    );
    fs::write(directory.path().join("region.txt"), "\n10.1.0.0/16\n").unwrap();
    let rules = format!("[[service.rule]]\nfrom = [\"10.1.0.0/16\"]\nbackend = \"old\"\n{rule}");
    assert_eq!(
        parse(&rules, directory.path()).unwrap_err().to_string(),
        "lb.toml:22:13: service.rule.from-file: line 2 of region.txt: 10.1.0.0/16 is in a rule \
         already: line 19"
    );
}

#[test]
fn mistakes_have_a_place_and_a_hint() {
    let rule = |from: &str, to: &str| format!("[[service.rule]]\nfrom = [\"{from}\"]\n{to}\n");
    let to_new = "backend = \"new\"";
    let cases = [
        (
            rule("10.0.0.0", "backend = \"nwe\""),
            "lb.toml:20:11: service.rule.backend: the service has no backend \"nwe\" \
             [did you mean \"new\"?]",
        ),
        (
            rule("10.0.0.0", "weights = { new = 1, blue = 1 }"),
            "lb.toml:20:29: service.rule.weights: the service has no backend \"blue\" \
             [use one of old, new, none]",
        ),
        (
            rule("10.0.0.0", "backend = \"none\""),
            "lb.toml:20:11: service.rule.backend: \"none\" has no endpoint [give it endpoints]",
        ),
        (
            rule("10.0.0.0", "backend = \"new\"\nweights = { new = 1 }"),
            "lb.toml:20:11: service.rule.backend: the rule has a backend and weights \
             [choose: one backend, or weights for several]",
        ),
        (
            rule("10.0.0.1/8", to_new),
            "lb.toml:19:9: service.rule.from: \"10.0.0.1/8\" has bits set after the first 8 \
             [write \"10.0.0.0/8\", or \"10.0.0.1\"]",
        ),
        (
            rule("10.0.0.0/33", to_new),
            "lb.toml:19:9: service.rule.from: \"10.0.0.0/33\" has no length from 0 to 32 \
             [write \"10.0.0.0/8\" or \"2001:db8::/32\"]",
        ),
        (
            rule("Asia", to_new),
            "lb.toml:19:9: service.rule.from: \"Asia\" is not a prefix \
             [write \"10.0.0.0/8\" or \"2001:db8::/32\"]",
        ),
        (
            rule("10.0.0.0", ""),
            "lb.toml:18:1: service.rule: the rule says not where to \
             [add backend = \"new\", or weights = { new = 1, old = 1 }]",
        ),
        (
            "[[service.rule]]\nbackend = \"new\"\n".to_owned(),
            "lb.toml:18:1: service.rule: the rule names no clients \
             [add from = [\"10.0.0.0/8\"], or from-file]",
        ),
    ];
    for (rules, expected) in cases {
        assert_eq!(error(&rules), expected);
    }
    let missing = "[[service.rule]]\nfrom-file = \"region.txt\"\nbackend = \"new\"\n";
    assert!(
        error(missing).starts_with(
            "lb.toml:19:13: service.rule.from-file: cannot read /nonexistent/region.txt: "
        ),
        "{}",
        error(missing)
    );
}
