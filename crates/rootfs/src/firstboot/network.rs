//! DHCP on wired interfaces with systemd-networkd, for a tree that configures no network.

use super::{Installer, Shipped};
use crate::RootfsError;
use crate::glob::find;
use crate::personalise::NETWORK as PERSONAL;

/// Any of these means that somebody configures the network already.
const CONFIGURED: &[&str] = &[
    "etc/network/interfaces",
    "etc/network/interfaces.d/*",
    "etc/netplan/*",
    "etc/systemd/network/*.network",
    "usr/sbin/NetworkManager",
    "usr/sbin/ifup",
    "usr/sbin/netplan",
    "usr/sbin/connmand",
    "usr/sbin/dhcpcd",
    "usr/bin/cloud-init",
    "usr/bin/wicked",
];

#[rustfmt::skip]
const DHCP: &[Shipped] = shipped! {
    "etc/systemd/network/99-kldload-dhcp.network" 0o644 "dhcp.network"
};

#[rustfmt::skip]
const WAIT: &[Shipped] = shipped! {
    "usr/lib/systemd/system/systemd-networkd-wait-online.service.d/10-kldload.conf" 0o644 "wait-online.conf"
};

/// Only when nothing in the tree writes `/etc/resolv.conf`.
#[rustfmt::skip]
const RESOLV_CONF: &[Shipped] = shipped! {
    "usr/lib/kldload/resolv-conf" 0o755 "resolv-conf"
    "usr/lib/systemd/system/kldload-resolv-conf.path" 0o644 "kldload-resolv-conf.path"
    "usr/lib/systemd/system/kldload-resolv-conf.service" 0o644 "kldload-resolv-conf.service"
};

/// What the `[Install]` sections of systemd-networkd say.
const ENABLED: &[(&str, &str)] = &[
    ("systemd-networkd.service", "multi-user.target"),
    ("systemd-networkd.socket", "sockets.target"),
    ("systemd-networkd-wait-online.service", "network-online.target"),
];

/// All files that may be added here.
pub(super) fn files() -> impl Iterator<Item = &'static Shipped> {
    DHCP.iter().chain(WAIT).chain(RESOLV_CONF)
}

/// Adds the files; without systemd-networkd, or with any configuration but that of
/// [`crate::personalise`], nothing.
pub(super) fn install(installer: &mut Installer<'_>) -> Result<(), RootfsError> {
    let configured =
        CONFIGURED.iter().any(|pattern| !find(installer.editor.tree, pattern).is_empty());
    let personal = installer.editor.has(PERSONAL);
    if configured && !personal || !installer.editor.has("usr/lib/systemd/systemd-networkd") {
        return Ok(());
    }
    if !personal {
        installer.ship(DHCP)?;
    }
    installer.ship(WAIT)?;
    for (unit, target) in ENABLED {
        installer.enable(unit, target)?;
    }
    let alias = "etc/systemd/system/dbus-org.freedesktop.network1.service";
    if installer.editor.tree.get(alias).is_none()
        && !installer.is_disabled("systemd-networkd.service")
    {
        installer.editor.symlink(alias, "/usr/lib/systemd/system/systemd-networkd.service")?;
        installer.written.push(alias.to_owned());
    }
    resolv_conf(installer)
}

fn resolv_conf(installer: &mut Installer<'_>) -> Result<(), RootfsError> {
    const PATH: &str = "etc/resolv.conf";
    let others = ["usr/sbin/resolvconf", "usr/sbin/openresolv"];
    if installer.editor.tree.get(PATH).is_some() || others.iter().any(|o| installer.editor.has(o)) {
        return Ok(());
    }
    let target = if installer.editor.has("usr/lib/systemd/systemd-resolved") {
        installer.enable("systemd-resolved.service", "multi-user.target")?;
        "../run/systemd/resolve/stub-resolv.conf"
    } else {
        installer.ship(RESOLV_CONF)?;
        installer.enable("kldload-resolv-conf.path", "paths.target")?;
        installer.enable("kldload-resolv-conf.service", "multi-user.target")?;
        "../run/kldload/resolv.conf"
    };
    installer.editor.symlink(PATH, target)?;
    installer.written.push(PATH.to_owned());
    Ok(())
}
