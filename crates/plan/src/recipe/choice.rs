//! Keys that take a word for the usual case and more for the others.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The keyboard, in the words of xkb (keyboard(5)): a layout, or a table with more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "KeyboardChoice")]
pub struct Keyboard {
    /// Layout, as `de`; several with commas between.
    pub layout: String,
    /// Variant, as `nodeadkeys`.
    pub variant: String,
    /// Model, as `pc105`.
    pub model: String,
    /// Options, as `ctrl:nocaps`.
    pub options: String,
}

/// A layout as `"de"`, or a table.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[allow(dead_code, reason = "describes what the visitor reads")]
enum KeyboardChoice {
    Layout(String),
    Table(KeyboardTable),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct KeyboardTable {
    /// Layout, as `de`; several with commas between.
    layout: String,
    /// Variant, as `nodeadkeys`.
    #[serde(default)]
    variant: String,
    /// Model; `pc105` if it is not told.
    model: Option<String>,
    /// Options, as `ctrl:nocaps`.
    #[serde(default)]
    options: String,
}

impl TryFrom<KeyboardTable> for Keyboard {
    type Error = String;

    fn try_from(table: KeyboardTable) -> Result<Self, String> {
        let KeyboardTable { layout, variant, model, options } = table;
        let model = model.unwrap_or_else(|| "pc105".to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+:,()".contains(&byte);
        for text in [&layout, &variant, &model, &options] {
            if !text.bytes().all(plain) {
                return Err(format!("{text:?}: words of a keyboard have only a-z 0-9 _ - : ,"));
            }
        }
        if layout.split(',').any(str::is_empty) {
            return Err(format!(
                "{layout:?}: a keyboard has no layout without name; \"us\" is one"
            ));
        }
        Ok(Self { layout, variant, model, options })
    }
}

impl<'de> Deserialize<'de> for Keyboard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = KeyboardTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a layout like \"de\" or a table with layout, variant, model, options")
            }

            fn visit_str<E>(self, layout: &str) -> Result<KeyboardTable, E> {
                let (variant, options) = (String::new(), String::new());
                Ok(KeyboardTable { layout: layout.to_owned(), variant, model: None, options })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeyboardTable, A::Error> {
                KeyboardTable::deserialize(MapAccessDeserializer::new(map))
            }
        }
        let table = deserializer.deserialize_any(Reader)?;
        table.try_into().map_err(serde::de::Error::custom)
    }
}

/// Whether cloud-init configures the machine, and where it looks for what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "CloudInitChoice")]
pub struct CloudInit {
    /// Data sources in the order in which they are asked; none: cloud-init stays off.
    pub sources: Vec<String>,
}

/// `true` for sources that need no network, or a list of data sources.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[allow(dead_code, reason = "describes what the visitor reads")]
enum CloudInitChoice {
    Switch(bool),
    Sources(Vec<String>),
}

/// Found on the machine itself: none of them waits for an answer from the network.
const LOCAL: [&str; 3] = ["NoCloud", "ConfigDrive", "None"];

/// What cloud-init 22 to 25 have in `cloudinit/sources`.
const SOURCES: [&str; 27] = [
    "AliYun",
    "AltCloud",
    "Akamai",
    "Azure",
    "Bigstep",
    "CloudCIX",
    "CloudSigma",
    "CloudStack",
    "ConfigDrive",
    "DigitalOcean",
    "Ec2",
    "Exoscale",
    "GCE",
    "Hetzner",
    "IBMCloud",
    "LXD",
    "MAAS",
    "NoCloud",
    "None",
    "NWCS",
    "OVF",
    "OpenNebula",
    "OpenStack",
    "Oracle",
    "Scaleway",
    "SmartOS",
    "VMware",
];

impl<'de> Deserialize<'de> for CloudInit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = CloudInit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of data sources")
            }

            fn visit_bool<E>(self, on: bool) -> Result<CloudInit, E> {
                let sources = if on { LOCAL.map(str::to_owned).to_vec() } else { Vec::new() };
                Ok(CloudInit { sources })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CloudInit, A::Error> {
                let sources = Vec::<String>::deserialize(SeqAccessDeserializer::new(list))?;
                match sources.iter().find(|name| !SOURCES.contains(&name.as_str())) {
                    Some(name) => Err(serde::de::Error::custom(format!(
                        "{name:?} is no data source of cloud-init; known are {}",
                        SOURCES.join(", ")
                    ))),
                    None => Ok(CloudInit { sources }),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
