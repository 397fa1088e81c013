//! Hosts that are asked directly although there is a proxy: what `no_proxy` names.
//!
//! Nobody wrote down a standard; these are the rules that curl has
//! (<https://curl.se/libcurl/c/CURLOPT_NOPROXY.html>), and others with it. Names have commas or blanks between. A name
//! means that host and all below it, with or without a dot (or `*.`) before it; an address means itself, or with `/` and
//! a number of bits all addresses that begin with these; `*` means every host. With `:` and a number, which Go and Python
//! know and curl does not, that port only.

use std::net::IpAddr;

use ureq::http::Uri;

/// Hosts that are asked directly.
#[derive(Debug, Clone, Default)]
pub(super) struct Except(Vec<(Hosts, Option<u16>)>);

#[derive(Debug, Clone)]
enum Hosts {
    All,
    /// A host and all below it, in small letters.
    Below(String),
    /// Addresses that begin with so many bits of this one.
    Addresses(IpAddr, u32),
}

impl Except {
    /// Reads a list. What cannot be understood means nothing.
    pub(super) fn parse(list: &str) -> Self {
        let words = list.split(|c: char| c == ',' || c.is_whitespace());
        Self(words.filter_map(entry).collect())
    }

    /// Whether the host of `uri` is one of them.
    pub(super) fn has(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let https = uri.scheme_str() == Some("https");
        let asked = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = bare(&host).parse().ok();
        self.0.iter().any(|(hosts, port)| {
            let fits = match (hosts, address) {
                (Hosts::All, _) => true,
                (Hosts::Addresses(start, bits), Some(address)) => begins(address, *start, *bits),
                (Hosts::Below(name), None) => {
                    let above = host.strip_suffix(name.as_str());
                    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
                }
                _ => false,
            };
            fits && port.is_none_or(|port| port == asked)
        })
    }
}

fn entry(word: &str) -> Option<(Hosts, Option<u16>)> {
    // `::1` has no port.
    if let Some(hosts) = addresses(word) {
        return Some((hosts, None));
    }
    let (word, port) = match word.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (word, None),
    };
    let name = word.trim_start_matches("*.").trim_matches('.');
    let hosts = match addresses(word) {
        Some(hosts) => hosts,
        None if word == "*" => Hosts::All,
        None if name.is_empty() => return None,
        None => Hosts::Below(name.to_ascii_lowercase()),
    };
    Some((hosts, port))
}

fn addresses(word: &str) -> Option<Hosts> {
    let (address, bits) = match word.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (word, None),
    };
    let address: IpAddr = bare(address).parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Hosts::Addresses(address, bits))
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn begins(address: IpAddr, start: IpAddr, bits: u32) -> bool {
    match (address, start) {
        (IpAddr::V4(address), IpAddr::V4(start)) => {
            let differ = address.to_bits() ^ start.to_bits();
            differ.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(start)) => {
            let differ = address.to_bits() ^ start.to_bits();
            differ.leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, uri, direct) in [
            ("debian.org", "http://debian.org/", true),
            ("debian.org", "http://DEB.debian.ORG/", true),
            ("debian.org.", "https://deb.debian.org./", true),
            (".debian.org", "http://debian.org/", true),
            ("*.debian.org", "http://deb.debian.org/", true),
            ("debian.org", "http://notdebian.org/", false),
            ("deb.debian.org", "http://debian.org/", false),
            ("debian.org", "http://debian.org.example/", false),
            ("example, debian.org", "http://deb.debian.org/", true),
            ("example debian.org", "http://deb.debian.org/", true),
            ("debian.org:8080", "http://deb.debian.org:8080/", true),
            ("debian.org:8080", "http://deb.debian.org/", false),
            ("debian.org:80", "http://deb.debian.org/", true),
            ("debian.org:443", "https://deb.debian.org/", true),
            ("debian.org:443", "http://deb.debian.org/", false),
            ("debian.org:x", "http://debian.org/", false),
            ("*", "http://[::1]/", true),
            ("*:81", "http://a/", false),
            ("127.0.0.1", "http://127.0.0.1:3142/", true),
            ("0.0.1", "http://127.0.0.1/", false),
            ("192.0.2.0/24", "http://192.0.2.255/", true),
            ("192.0.2.0/24", "http://192.0.3.0/", false),
            ("192.0.2.0/33", "http://192.0.2.0/", false),
            ("0.0.0.0/0", "http://192.0.2.0/", true),
            ("0.0.0.0/0", "http://[::1]/", false),
            ("::1", "http://[0:0::1]:80/", true),
            ("[::1]", "http://[::1]/", true),
            ("[::1]:81", "http://[::1]:81/", true),
            ("[::1]:81", "http://[::1]/", false),
            ("2001:db8::/32", "http://[2001:db8:1::1]/", true),
            ("2001:db8::/32", "http://[2001:db9::1]/", false),
            ("", "http://a/", false),
            (", .,:,", "http://a/", false),
        ] {
            assert_eq!(Except::parse(list).has(&Uri::from_static(uri)), direct, "{list} {uri}");
        }
    }
}
