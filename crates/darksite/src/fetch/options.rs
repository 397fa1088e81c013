//! How to fetch.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most files fetched at the same time.
    pub threads: usize,
    /// How often every place is asked before a file is given up.
    pub rounds: u32,
    /// The pause after the first round; each is twice as long as the one before, up to 30 s.
    pub pause: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
    /// Limit of all connections together, in bytes a second.
    pub rate: Option<NonZeroU64>,
    /// Who passes requests on.
    pub proxies: Proxies,
    /// A PEM file of the authorities that count for HTTPS, instead of those this machine trusts.
    pub certificates: Option<PathBuf>,
    /// What we call ourselves.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 8,
            rounds: 5,
            pause: Duration::from_millis(500),
            silence: Duration::from_secs(30),
            rate: None,
            proxies: Proxies::default(),
            certificates: None,
            user_agent: concat!("kldload/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Proxies, as addresses `http://[USER:PASSWORD@]HOST[:PORT]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http:` addresses.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// Hosts that are asked directly, as curl reads `no_proxy`: names, which mean all below them too, addresses and
    /// networks, `*`; with `:` a port only.
    pub except: String,
}

impl Proxies {
    /// From variables of the environment: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in
    /// small letters or (but for `HTTP_PROXY`, which a web server may set from a request) capital ones.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| get(name).or_else(|| get(&name.to_uppercase()));
        let all = either("all_proxy");
        Self {
            http: get("http_proxy").or_else(|| all.clone()),
            https: either("https_proxy").or(all),
            except: either("no_proxy").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let read = |set: &[(&str, &str)]| {
            Proxies::from_variables(|name| {
                let found = set.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(read(&[("HTTP_PROXY", "http://x")]), Proxies::default());
        let proxies = read(&[("http_proxy", ""), ("ALL_PROXY", "http://a"), ("NO_PROXY", "b,.c")]);
        assert_eq!(proxies.http.as_deref(), Some("http://a"));
        assert_eq!(proxies.https.as_deref(), Some("http://a"));
        assert_eq!(proxies.except, "b,.c");
    }
}
