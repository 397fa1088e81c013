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

use super::except::Except;
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
    /// Who passes it on.
    pub via: Via,
}

/// The proxy that a request goes through, if there is one. As text it is the end of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Via(Option<String>);

impl Via {
    fn new(proxy: &Proxy) -> Self {
        let scheme = if proxy.protocol() == ProxyProtocol::Https { "https" } else { "http" };
        Self(Some(format!("{scheme}://{}:{}", proxy.host(), proxy.port())))
    }

    /// The problem, with a word of who may be to blame for it besides the server.
    pub(super) fn told(&self, problem: Problem) -> Problem {
        let Some(proxy) = &self.0 else { return problem };
        let told = format!("through the proxy {proxy} of the environment");
        match problem {
            Problem::Connection(text) => Problem::Connection(format!("{text} ({told})")),
            Problem::Silence(text) => Problem::Silence(format!("{text}, {told}")),
            Problem::Status(status) => Problem::StatusVia { status, proxy: proxy.clone() },
            problem => problem,
        }
    }
}

#[derive(Debug)]
pub(super) struct Transport {
    options: Options,
    http_proxy: Option<Proxy>,
    https_proxy: Option<Proxy>,
    except: Except,
    certificates: Option<RootCerts>,
    http: OnceLock<Agent>,
    https: OnceLock<Agent>,
    forwarded: OnceLock<Agent>,
    tunnelled: OnceLock<Agent>,
}

impl Transport {
    pub(super) fn new(options: &Options) -> Result<Self, FetchError> {
        let proxies = &options.proxies;
        Ok(Self {
            options: options.clone(),
            http_proxy: proxy(proxies.http.as_deref(), false)?,
            https_proxy: proxy(proxies.https.as_deref(), true)?,
            except: Except::parse(&proxies.except),
            certificates: options.certificates.as_deref().map(certificates).transpose()?,
            http: OnceLock::new(),
            https: OnceLock::new(),
            forwarded: OnceLock::new(),
            tunnelled: OnceLock::new(),
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
            let proxy = self.proxy(&address);
            let via = proxy.map(Via::new).unwrap_or_default();
            let response =
                self.get(&address, offset, proxy).map_err(|problem| via.told(problem))?;
            let Some(target) = redirect_of(&response) else { return opened(response, offset, via) };
            address = redirect::follow(&address, target).map_err(Problem::Redirect)?;
        }
        Err(Problem::Redirect(format!("more than {REDIRECTS} times")))
    }

    /// Who passes on what is asked of `address`.
    fn proxy(&self, address: &str) -> Option<&Proxy> {
        let https = address.starts_with("https:");
        let proxy = if https { &self.https_proxy } else { &self.http_proxy }.as_ref()?;
        let direct = address.parse::<Uri>().is_ok_and(|uri| self.except.has(&uri));
        (!direct).then_some(proxy)
    }

    /// The answer of the server itself, which may be a redirect.
    fn get(
        &self,
        address: &str,
        offset: u64,
        proxy: Option<&Proxy>,
    ) -> Result<Response<Body>, Problem> {
        let https = address.starts_with("https:");
        let agent = match (https, proxy) {
            (false, None) => self.http.get_or_init(|| names::agent(self.config(None, None))),
            (false, Some(proxy)) => {
                self.forwarded.get_or_init(|| forward::agent(self.config(None, None), proxy))
            }
            (true, proxy) => {
                let agent = if proxy.is_some() { &self.tunnelled } else { &self.https };
                agent.get_or_init(|| {
                    let roots = self.certificates.clone().or_else(trusted);
                    names::agent(self.config(proxy.cloned(), roots))
                })
            }
        };
        let authorization = proxy.filter(|_| !https).and_then(forward::authorization);
        get(agent, address, offset, authorization)
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
    let (total, via) = (Some(metadata.len()), Via::default());
    Ok(Opened { reader: Box::new(file), start, total, via })
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

fn opened(response: Response<Body>, offset: u64, via: Via) -> Result<Opened, Problem> {
    match response.status().as_u16() {
        200 => {
            let total = response.body().content_length();
            Ok(Opened {
                reader: Box::new(response.into_body().into_reader()),
                start: 0,
                total,
                via,
            })
        }
        206 => {
            let (start, total) = content_range(&response).ok_or(Problem::Range)?;
            if start != offset {
                return Err(Problem::Range);
            }
            Ok(Opened { reader: Box::new(response.into_body().into_reader()), start, total, via })
        }
        404 | 410 => Err(Problem::NotFound),
        416 => Err(Problem::Range),
        status => Err(via.told(Problem::Status(status))),
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
fn proxy(address: Option<&str>, tunnels: bool) -> Result<Option<Proxy>, FetchError> {
    let Some(address) = address else { return Ok(None) };
    let because = |reason: String| FetchError::Proxy {
        address: address.rsplit('@').next().unwrap_or_default().to_owned(),
        reason,
    };
    let given = Proxy::new(address).map_err(|error| because(error.to_string()))?;
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
    Ok(Some(given))
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
