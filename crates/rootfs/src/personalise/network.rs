//! The network of wired interfaces, and what cloud-init may do about it.
//!
//! systemd-networkd does it, which every Debian has, also where ifupdown is installed: that one then has
//! nothing but the loopback to do. Where NetworkManager is installed, it rules; it asks for DHCP by
//! itself, so only fixed addresses need a keyfile. With cloud-init and no word about the network,
//! cloud-init decides. `firstboot` starts networkd and sees to `resolv.conf`.

use std::net::IpAddr;

use super::{PersonaliseError, Root};

/// Where the configuration of networkd is written.
pub const NETWORK: &str = "etc/systemd/network/20-kldload.network";
const KEYFILE: &str = "etc/NetworkManager/system-connections/kldload.nmconnection";
const CLOUD: &str = "etc/cloud/cloud.cfg.d";

/// An address and the length of its prefix.
pub type Address = (IpAddr, u8);

/// The network; by default, all wired interfaces ask for DHCP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Names of interfaces, with `*` and `?`; all wired ones if it is not told.
    pub interface: Option<String>,
    /// Fixed addresses; without any, DHCP is asked.
    pub addresses: Vec<Address>,
    /// Whether DHCP is asked besides.
    pub dhcp: bool,
    /// Routers.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domains that short names are looked up in.
    pub search: Vec<String>,
}

impl Network {
    fn dhcp(&self) -> bool {
        self.dhcp || self.addresses.is_empty()
    }
}

pub(super) fn install(
    root: &mut Root<'_>,
    network: &Network,
    cloud_init: Option<&[String]>,
) -> Result<(), PersonaliseError> {
    let cloud = cloud_init.is_some_and(|sources| !sources.is_empty());
    if cloud && *network == Network::default() {
        return Ok(());
    }
    if cloud {
        let text = "# The recipe says how the network is.\nnetwork:\n  config: disabled\n";
        root.editor.file(&format!("{CLOUD}/91-kldload-network.cfg"), 0o644, text)?;
    }
    if root.has("usr/sbin/NetworkManager") {
        for v4 in [true, false] {
            let mut ours = network.gateways.iter().filter(|gateway| gateway.is_ipv4() == v4);
            if let Some(second) = ours.nth(1) {
                return Err(PersonaliseError::Gateway(*second));
            }
        }
        if *network != Network::default() {
            root.editor.file(KEYFILE, 0o600, &keyfile(network))?;
        }
        return Ok(());
    }
    if !root.has("usr/lib/systemd/systemd-networkd") {
        return Err(PersonaliseError::Missing {
            what: "the network".to_owned(),
            path: "/usr/lib/systemd/systemd-networkd".to_owned(),
            package: "systemd".to_owned(),
        });
    }
    root.editor.file(NETWORK, 0o644, &networkd(network))?;
    Ok(())
}

/// systemd.network(5)
fn networkd(network: &Network) -> String {
    let mut text = "[Match]\n".to_owned();
    match &network.interface {
        Some(name) => text += &format!("Name={name}\n"),
        None => text += "Type=ether\nKind=!*\n",
    }
    text += "\n[Network]\n";
    if network.dhcp() {
        text += "DHCP=yes\n";
    }
    for (address, prefix) in &network.addresses {
        text += &format!("Address={address}/{prefix}\n");
    }
    for gateway in &network.gateways {
        text += &format!("Gateway={gateway}\n");
    }
    for server in &network.dns {
        text += &format!("DNS={server}\n");
    }
    if !network.search.is_empty() {
        text += &format!("Domains={}\n", network.search.join(" "));
    }
    text
}

/// nm-settings-keyfile(5)
fn keyfile(network: &Network) -> String {
    let mut text = "[connection]\nid=kldload\ntype=ethernet\nautoconnect-priority=10\n".to_owned();
    match &network.interface {
        Some(name) if name.contains(['*', '?']) => {
            text += &format!("\n[match]\ninterface-name={name};\n")
        }
        Some(name) => text += &format!("interface-name={name}\n"),
        None => {}
    }
    for (section, v4) in [("ipv4", true), ("ipv6", false)] {
        let ours = |address: &IpAddr| address.is_ipv4() == v4;
        let addresses: Vec<&Address> =
            network.addresses.iter().filter(|(address, _)| ours(address)).collect();
        let method = if network.dhcp() || !v4 && addresses.is_empty() {
            "auto"
        } else if addresses.is_empty() {
            "disabled"
        } else {
            "manual"
        };
        text += &format!("\n[{section}]\nmethod={method}\n");
        for (at, (address, prefix)) in addresses.iter().enumerate() {
            text += &format!("address{}={address}/{prefix}\n", at + 1);
        }
        if let Some(gateway) = network.gateways.iter().find(|gateway| ours(gateway)) {
            text += &format!("gateway={gateway}\n");
        }
        let servers: String =
            network.dns.iter().filter(|server| ours(server)).map(|dns| format!("{dns};")).collect();
        if !servers.is_empty() {
            text += &format!("dns={servers}\n");
        }
        if !network.search.is_empty() {
            text += &format!("dns-search={};\n", network.search.join(";"));
        }
    }
    text
}

/// Where cloud-init looks; or that it does not run at all.
pub(super) fn cloud_init(root: &mut Root<'_>, sources: &[String]) -> Result<(), PersonaliseError> {
    if sources.is_empty() {
        if root.has("usr/bin/cloud-init") {
            root.editor.file("etc/cloud/cloud-init.disabled", 0o644, "")?;
        }
        return Ok(());
    }
    if !root.has("usr/bin/cloud-init") {
        return Err(PersonaliseError::Missing {
            what: "cloud-init".to_owned(),
            path: "/usr/bin/cloud-init".to_owned(),
            package: "cloud-init".to_owned(),
        });
    }
    let text = format!("datasource_list: [ {} ]\n", sources.join(", "));
    // Behind 90_dpkg.cfg, in which the package has all that there are.
    root.editor.file(&format!("{CLOUD}/95-kldload-sources.cfg"), 0o644, &text)?;
    Ok(())
}
