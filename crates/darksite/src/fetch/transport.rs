//! Opening a file at a place, from an offset.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use super::{FetchError, Options, Problem, forward, names, redirect};
use crate::Location;

/// Where distributions keep the certificates this machine trusts; without any, those of Mozilla that
/// are compiled in.
const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// How long it may take to get a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Redirects that are followed.
const REDIRECTS: u32 = 10;

/// A file being read.
pub(super) struct Opened {
    /// Its bytes.
    pub reader: Box<dyn Read>,
    /// Offset of the first byte read.
    pub start: u64,
    /// Length of the whole file in bytes, if it was told.
    pub total: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Transport {
    options: Options,
    http_proxy: Option<Proxy>,
    https_proxy: Option<Proxy>,
    certificates: Option<RootCerts>,
    http: OnceLock<Agent>,
    https: OnceLock<Agent>,
    forwarded: OnceLock<Agent>,
}

impl Transport {
    pub(super) fn new(options: &Options) -> Result<Self, FetchError> {
        let proxies = &options.proxies;
        Ok(Self {
            options: options.clone(),
            http_proxy: proxy(proxies.http.as_deref(), &proxies.except, false)?,
            https_proxy: proxy(proxies.https.as_deref(), &proxies.except, true)?,
            certificates: options.certificates.as_deref().map(certificates).transpose()?,
            http: OnceLock::new(),
            https: OnceLock::new(),
            forwarded: OnceLock::new(),
        })
    }

    /// Opens the file at `location`, from byte `offset` on or, if that is not possible, from its start.
    pub(super) fn open(&self, location: &Location, offset: u64) -> Result<Opened, Problem> {
        match location {
            Location::File(path) => open_file(path, offset).map_err(|error| Problem::of_io(&error)),
            Location::Http(address) => self.open_address(address, offset),
        }
    }

    fn open_address(&self, address: &str, offset: u64) -> Result<Opened, Problem> {
        let mut address = address.to_owned();
        for _ in 0..=REDIRECTS {
            let response = self.get(&address, offset)?;
            let Some(target) = redirect_of(&response) else { return opened(response, offset) };
            address = redirect::follow(&address, target).map_err(Problem::Redirect)?;
        }
        Err(Problem::Redirect(format!("more than {REDIRECTS} times")))
    }

    /// The answer of the server itself, which may be a redirect.
    fn get(&self, address: &str, offset: u64) -> Result<Response<Body>, Problem> {
        if address.starts_with("https:") {
            let agent = self.https.get_or_init(|| {
                let roots = self.certificates.clone().or_else(trusted);
                names::agent(self.config(self.https_proxy.clone(), roots))
            });
            return get(agent, address, offset, None);
        }
        let uri = address.parse::<Uri>().ok();
        let forwarded = |proxy: &&Proxy| uri.is_none_or(|uri| !proxy.is_no_proxy(&uri));
        if let Some(proxy) = self.http_proxy.as_ref().filter(forwarded) {
            let agent =
                self.forwarded.get_or_init(|| forward::agent(self.config(None, None), proxy));
            return get(agent, address, offset, forward::authorization(proxy));
        }
        let agent = self.http.get_or_init(|| names::agent(self.config(None, None)));
        get(agent, address, offset, None)
    }

    fn config(&self, proxy: Option<Proxy>, roots: Option<RootCerts>) -> Config {
        let mut tls = TlsConfig::builder();
        if let Some(roots) = roots {
            tls = tls.root_certs(roots);
        }
        Agent::config_builder()
            .proxy(proxy)
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(&self.options.user_agent)
            // A repository's compressed files are wanted as they are.
            .accept_encoding("identity")
            .max_idle_connections(self.options.threads * 2)
            .max_idle_connections_per_host(self.options.threads)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(self.options.silence))
            .timeout_per_read(Some(self.options.silence))
            .timeout_per_write(Some(self.options.silence))
            .input_buffer_size(super::CHUNK)
            .build()
    }
}

fn open_file(path: &Path, offset: u64) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let start = if offset <= metadata.len() { offset } else { 0 };
    file.seek(SeekFrom::Start(start))?;
    Ok(Opened { reader: Box::new(file), start, total: Some(metadata.len()) })
}

fn get(
    agent: &Agent,
    address: &str,
    offset: u64,
    authorization: Option<String>,
) -> Result<Response<Body>, Problem> {
    let mut request = agent.get(address);
    if let Some(authorization) = authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    request.call().map_err(problem)
}

/// Where else the file is, if the server says so.
fn redirect_of(response: &Response<Body>) -> Option<&str> {
    let target = response.headers().get(header::LOCATION)?;
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
        .then_some(target)?
        .to_str()
        .ok()
}

fn opened(response: Response<Body>, offset: u64) -> Result<Opened, Problem> {
    match response.status().as_u16() {
        200 => {
            let total = response.body().content_length();
            Ok(Opened { reader: Box::new(response.into_body().into_reader()), start: 0, total })
        }
        206 => {
            let (start, total) = content_range(&response).ok_or(Problem::Range)?;
            if start != offset {
                return Err(Problem::Range);
            }
            Ok(Opened { reader: Box::new(response.into_body().into_reader()), start, total })
        }
        404 | 410 => Err(Problem::NotFound),
        416 => Err(Problem::Range),
        status => Err(Problem::Status(status)),
    }
}

/// RFC 9110, 14.4: `bytes 0-499/1234`, where the last may be `*`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn problem(error: ureq::Error) -> Problem {
    match error {
        ureq::Error::Timeout(which) => Problem::Silence(which.to_string()),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Problem::Silence(error.to_string())
        }
        ureq::Error::Io(error) => Problem::Connection(error.to_string()),
        error => Problem::Connection(error.to_string()),
    }
}

/// The proxy at an address; one for tunnels may be `https:` itself.
fn proxy(address: Option<&str>, except: &str, tunnels: bool) -> Result<Option<Proxy>, FetchError> {
    let Some(address) = address else { return Ok(None) };
    let because = |reason: String| FetchError::Proxy {
        address: address.rsplit('@').next().unwrap_or_default().to_owned(),
        reason,
    };
    let bad = |error: ureq::Error| because(error.to_string());
    let given = Proxy::new(address).map_err(bad)?;
    // Without a word, ureq would go past one that it does not know.
    let known = match given.protocol() {
        ProxyProtocol::Http => true,
        ProxyProtocol::Https => tunnels,
        _ => false,
    };
    if !known {
        let reason = "only proxies with an http: address are known, no SOCKS; set http_proxy and \
                      https_proxy, or unset all_proxy";
        return Err(because(reason.to_owned()));
    }
    let mut proxy = Proxy::builder(given.protocol()).host(given.host()).port(given.port());
    if let Some(name) = given.username() {
        proxy = proxy.username(name);
    }
    if let Some(password) = given.password() {
        proxy = proxy.password(password);
    }
    for host in except.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        proxy = proxy.no_proxy(host);
    }
    proxy.build().map(Some).map_err(bad)
}

/// The certificates that this machine trusts.
fn trusted() -> Option<RootCerts> {
    roots(&TRUSTED.iter().find_map(|path| std::fs::read(path).ok())?)
}

/// The certificates in a file that somebody named.
fn certificates(path: &Path) -> Result<RootCerts, FetchError> {
    let bad = |reason: String| FetchError::Certificates { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    roots(&pem).ok_or_else(|| bad("there is no certificate in PEM in it".to_owned()))
}

fn roots(pem: &[u8]) -> Option<RootCerts> {
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!certificates.is_empty()).then(|| RootCerts::new_with_certs(&certificates))
}
