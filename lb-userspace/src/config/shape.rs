//! The file as serde sees it. Every value keeps its place, for errors.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::dataplane::XdpMode;
use crate::desired::{Protocol, Scheduling};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) interfaces: Spanned<Vec<Spanned<InterfaceEntry>>>,
    pub(super) endpoint_interfaces: Option<Vec<Spanned<String>>>,
    pub(super) seed: Option<Spanned<String>>,
    pub(super) flows: Option<Spanned<u64>>,
    pub(super) node_ports: Option<Spanned<String>>,
    #[serde(default, rename = "service")]
    pub(super) services: Vec<Spanned<ServiceEntry>>,
}

/// `"eth0"` or `{ name = "eth0", mode = "native" }`.
pub(super) struct InterfaceEntry {
    pub(super) name: String,
    pub(super) mode: XdpMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ServiceEntry {
    pub(super) name: Spanned<String>,
    pub(super) address: Spanned<String>,
    pub(super) protocol: Protocol,
    pub(super) slots: Option<Spanned<u64>>,
    pub(super) scheduling: Option<Scheduling>,
    pub(super) affinity: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) echo: bool,
    #[serde(default)]
    pub(super) idle: IdleEntry,
    #[serde(default)]
    pub(super) mode: ModeEntry,
    pub(super) tunnel_port: Option<Spanned<u64>>,
    pub(super) tunnel_source: Option<Spanned<String>>,
    pub(super) mss: Option<Spanned<u64>>,
    #[serde(default, rename = "backend")]
    pub(super) backends: Vec<Spanned<BackendEntry>>,
    #[serde(default, rename = "rule")]
    pub(super) rules: Vec<Spanned<RuleEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RuleEntry {
    #[serde(default)]
    pub(super) from: Vec<Spanned<String>>,
    pub(super) from_file: Option<Spanned<String>>,
    pub(super) backend: Option<Spanned<String>>,
    pub(super) weights: Option<Spanned<BTreeMap<String, Spanned<u64>>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdleEntry {
    pub(super) opening: Option<Spanned<Span>>,
    pub(super) open: Option<Spanned<Span>>,
    pub(super) closing: Option<Spanned<Span>>,
    pub(super) udp: Option<Spanned<Span>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeEntry {
    #[default]
    Nat,
    Dsr,
    Ipip,
    Gue,
}

/// A time such as `30s` or `1h 30m`.
#[derive(Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackendEntry {
    pub(super) name: Spanned<String>,
    pub(super) weight: Spanned<u64>,
    pub(super) endpoints: Vec<Spanned<String>>,
    pub(super) source: Option<Spanned<String>>,
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map(Span).map_err(|cause| {
            serde::de::Error::custom(format!("\"{text}\" is not a time such as \"30s\": {cause}"))
        })
    }
}

impl<'de> Deserialize<'de> for InterfaceEntry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InterfaceVisitor)
    }
}

/// By hand and not `#[serde(untagged)]`, which forgets what was wrong inside the table.
struct InterfaceVisitor;

impl<'de> Visitor<'de> for InterfaceVisitor {
    type Value = InterfaceEntry;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an interface: \"eth0\" or { name = \"eth0\", mode = \"native\" }")
    }

    fn visit_str<E>(self, name: &str) -> Result<InterfaceEntry, E> {
        Ok(InterfaceEntry {
            name: name.to_owned(),
            mode: XdpMode::Auto,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InterfaceEntry, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            name: String,
            #[serde(default)]
            mode: XdpMode,
        }
        let Table { name, mode } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(InterfaceEntry { name, mode })
    }
}
