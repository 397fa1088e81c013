//! Addresses of hosts, looked up once a minute.
//!
//! ureq asks for them before each request, also where a connection is open already, and starts a thread for
//! each question: hundreds of files come from one mirror.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Agent, Error, unversioned::transport::DefaultConnector};

/// How long an answer holds; a mirror that moves is found again by the retries after that.
const HOLDS: Duration = Duration::from_secs(60);

/// ureq's own agent, which remembers addresses.
pub(super) fn agent(config: Config) -> Agent {
    Agent::with_parts(config, DefaultConnector::default(), Names::default())
}

/// Looks names up, and remembers what it found.
#[derive(Debug, Default)]
pub(super) struct Names {
    inner: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let scheme = uri.scheme_str().unwrap_or_default();
        let server = format!("{scheme}://{}", uri.authority().map_or("", |host| host.as_str()));
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, addresses)) = known().get(&server)
            && since.elapsed() < HOLDS
        {
            return Ok(addresses.clone());
        }
        // Not while others wait for the lock.
        let addresses = self.inner.resolve(uri, config, timeout)?;
        known().insert(server, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_a_while() {
        let names = Names::default();
        let ask = |uri: &'static str| {
            names.resolve(&Uri::from_static(uri), &Config::default(), NextTimeout::default())
        };
        let found = ask("http://127.0.0.1:80/a").unwrap();
        let long_ago = Instant::now().checked_sub(HOLDS).unwrap();
        for (server, since) in [("new", Instant::now()), ("old", long_ago)] {
            let entry = (since, found.clone());
            names.known.lock().unwrap().insert(format!("http://{server}.invalid"), entry);
        }
        assert_eq!(ask("http://new.invalid/b").unwrap(), found, "nobody is asked");
        ask("http://old.invalid/c").unwrap_err();
        ask("http://new.invalid:81/d").unwrap_err();
        assert!(names.known.lock().unwrap().contains_key("http://127.0.0.1:80"));
    }
}
