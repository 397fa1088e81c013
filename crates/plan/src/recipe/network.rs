//! `[network]`: DHCP or fixed addresses on wired interfaces.

use std::net::IpAddr;

use pkg::recipe::inside;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::Finding;
use super::text::{HostName, Interface, Ip};

/// The network. Without it, wired interfaces ask for DHCP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "Table")]
#[schemars(with = "Table")]
pub struct Network {
    /// Which interfaces; all wired ones if it is not told.
    pub interface: Option<Interface>,
    /// Whether addresses are asked for.
    pub dhcp: bool,
    /// Fixed addresses.
    pub addresses: Vec<Cidr>,
    /// Routers of everything else.
    pub gateways: Vec<Ip>,
    /// Name servers.
    pub dns: Vec<Ip>,
    /// Domains that short names are looked up in.
    pub search: Vec<HostName>,
}

/// An address with the length of its network's prefix, as `192.0.2.10/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(into = "String")]
#[schemars(with = "String")]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, String, _>(from)
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
            let longest = if address.is_ipv4() { 32 } else { 128 };
            (prefix <= longest).then_some(Self { address, prefix })
        });
        let expected = "an address with its prefix like 192.0.2.10/24 is expected";
        parsed.ok_or_else(|| format!("{text:?}: {expected}"))
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        format!("{}/{}", cidr.address, cidr.prefix)
    }
}

/// The network. Without it, wired interfaces ask for DHCP.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Table {
    /// Which interfaces; all wired ones if it is not told.
    interface: Option<Interface>,
    /// Whether addresses are asked for; if it is not told, unless there are fixed ones.
    dhcp: Option<bool>,
    /// Fixed addresses, with their prefix.
    #[serde(default)]
    addresses: Vec<Cidr>,
    /// Routers of everything else.
    #[serde(default)]
    gateways: Vec<Ip>,
    /// Name servers.
    #[serde(default)]
    dns: Vec<Ip>,
    /// Domains that short names are looked up in.
    #[serde(default)]
    search: Vec<HostName>,
}

impl Network {
    /// What is wrong with it first.
    pub(super) fn judge(&self) -> Result<(), Finding> {
        if !self.dhcp && self.addresses.is_empty() {
            let problem = "a network without DHCP needs addresses".to_owned();
            return Err(Finding { place: "network.dhcp".to_owned(), problem });
        }
        for (at, gateway) in self.gateways.iter().enumerate() {
            let same = |cidr: &Cidr| cidr.address.is_ipv4() == gateway.0.is_ipv4();
            if !self.addresses.iter().any(same) {
                let place = format!("network.gateways.{at}");
                let problem =
                    format!("the gateway {} needs an address of the same family", gateway.0);
                return Err(Finding { place, problem });
            }
        }
        Ok(())
    }
}

impl From<Table> for Network {
    fn from(table: Table) -> Self {
        let dhcp = table.dhcp.unwrap_or(table.addresses.is_empty());
        let Table { interface, addresses, gateways, dns, search, .. } = table;
        Self { interface, dhcp, addresses, gateways, dns, search }
    }
}
