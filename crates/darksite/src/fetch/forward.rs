//! Plain requests through a proxy: `GET http://mirror/path` (RFC 9112, 3.2.2).
//!
//! ureq asks every proxy for a tunnel (`CONNECT`), which proxies commonly refuse but for `https:`, and
//! through which a caching proxy sees nothing to keep. So for `http:` the connection goes to the proxy,
//! and the request line gets the whole address.

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Error, Proxy, config::Config};

use super::names::Names;

/// An agent whose requests all go to `proxy`, in absolute form.
pub(super) fn agent(config: Config, proxy: &Proxy) -> Agent {
    let resolver = ProxyResolver { proxy: proxy.uri().clone(), inner: Names::default() };
    Agent::with_parts(config, ().chain(TcpConnector::default()).chain(AbsoluteForm), resolver)
}

/// Value of `Proxy-Authorization`, if the proxy's address has a user.
pub(super) fn authorization(proxy: &Proxy) -> Option<String> {
    let name = proxy.username()?;
    let both = format!("{name}:{}", proxy.password().unwrap_or_default());
    Some(format!("Basic {}", base64(both.as_bytes())))
}

/// Every host is where the proxy is.
#[derive(Debug)]
struct ProxyResolver {
    proxy: Uri,
    inner: Names,
}

impl Resolver for ProxyResolver {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

#[derive(Debug)]
struct AbsoluteForm;

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = Rewritten<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let scheme = details.uri.scheme_str().unwrap_or("http");
        let host = details.uri.host().unwrap_or_default();
        let port = details.uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        let server = format!("{scheme}://{host}{port}").into_bytes();
        Ok(chained.map(|inner| Rewritten { inner, server }))
    }
}

/// A connection that completes the target of each request.
#[derive(Debug)]
struct Rewritten<In> {
    inner: In,
    server: Vec<u8>,
}

impl<In: Transport> Transport for Rewritten<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        const METHOD: &[u8] = b"GET ";
        let output = self.inner.buffers().output();
        let (start, end) = (METHOD.len(), METHOD.len() + self.server.len());
        let longer = amount + self.server.len();
        let begins = output.get(..=start).is_some_and(|begin| begin == b"GET /");
        if !begins || amount <= start || longer > output.len() {
            return self.inner.transmit_output(amount, timeout);
        }
        output.copy_within(start..amount, end);
        if let Some(place) = output.get_mut(start..end) {
            place.copy_from_slice(&self.server);
        }
        self.inner.transmit_output(longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number =
            (0..3).fold(0_u32, |sum, at| sum << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let value = (number >> (18 - 6 * digit)) & 63;
            let known = digit <= three.len();
            let letter = DIGITS.get(value as usize).copied().filter(|_| known).unwrap_or(b'=');
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_of_all_lengths() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
