//! Where a file is: `file:`, `http:` and `https:` addresses.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use pkg::recipe::without_credentials;
use thiserror::Error;

/// Why a text is not an address that can be fetched.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is not an address to fetch from: {reason}")]
pub struct LocationError {
    /// What was given, without a password.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// An address. It is shown without user name and password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A file or directory of this machine, as an absolute path.
    File(PathBuf),
    /// Everything else: the whole address, encoded, with scheme `http` or `https`.
    Http(String),
}

impl Location {
    /// The file at the relative `path` below this address. What is not plain in `path` is encoded for
    /// HTTP; the caller has checked that it does not leave the directory.
    pub fn join(&self, path: &str) -> Self {
        match self {
            Self::File(directory) => Self::File(directory.join(path.trim_start_matches('/'))),
            Self::Http(base) => {
                let mut address = base.trim_end_matches('/').to_owned();
                for part in path.split('/').filter(|part| !part.is_empty()) {
                    address.push('/');
                    encode(part, &mut address);
                }
                Self::Http(address)
            }
        }
    }

    /// Scheme, host and port; empty for files.
    pub(crate) fn server(&self) -> &str {
        match self {
            Self::File(_) => "",
            Self::Http(address) => {
                let host = address.find("://").map_or(0, |at| at + 3);
                let rest = address.get(host..).unwrap_or_default();
                address.get(..host + rest.find('/').unwrap_or(rest.len())).unwrap_or_default()
            }
        }
    }
}

/// RFC 3986: everything but unreserved characters, and a few that servers of packages take as they are.
fn encode(part: &str, into: &mut String) {
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'=' => {
                into.push(char::from(byte));
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Undoes percent encoding; `None` if there are no two hexadecimal digits behind a `%`.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let bad = |reason| LocationError { text: without_credentials(text), reason };
        let text = text.trim();
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("it has spaces or control characters in it"));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| bad("it has no scheme"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = match rest.strip_prefix("//") {
                    Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
                    None => rest,
                };
                let path = decode(path).and_then(|path| String::from_utf8(path).ok());
                match path.map(PathBuf::from) {
                    Some(path) if path.is_absolute() => Ok(Self::File(path)),
                    _ => Err(bad("file: needs an absolute path, as in file:/srv/debian")),
                }
            }
            scheme @ ("http" | "https") => {
                let rest = rest.strip_prefix("//").ok_or_else(|| bad("// is missing"))?;
                if rest.contains(['?', '#']) {
                    return Err(bad("queries and fragments cannot be used"));
                }
                let authority = rest.split('/').next().unwrap_or_default();
                if authority.rsplit('@').next().unwrap_or_default().is_empty() {
                    return Err(bad("it names no host"));
                }
                Ok(Self::Http(format!("{scheme}://{}", rest.trim_end_matches('/'))))
            }
            _ => Err(bad("only file:, http: and https: are known")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => {
                let path = path.to_string_lossy();
                // Behind two slashes comes the name of a host, which may be empty.
                let scheme = if path.starts_with("//") { "file://" } else { "file:" };
                let mut address = scheme.to_owned();
                for (number, part) in path.split('/').enumerate() {
                    if number > 0 {
                        address.push('/');
                    }
                    encode(part, &mut address);
                }
                f.write_str(&address)
            }
            Self::Http(address) => f.write_str(&without_credentials(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_joined_and_shown() {
        let cases = [
            (
                "http://mirror.example/debian/",
                "http://mirror.example/debian/pool/a%3A1/b+c_1~2.deb",
            ),
            ("https://me:secret@m.example", "https://m.example/pool/a%3A1/b+c_1~2.deb"),
            ("file:///srv/a%20b/", "file:/srv/a%20b/pool/a%3A1/b+c_1~2.deb"),
            ("file:/srv", "file:/srv/pool/a%3A1/b+c_1~2.deb"),
            ("file:////srv", "file:////srv/pool/a%3A1/b+c_1~2.deb"),
            ("HTTP://x:3142", "http://x:3142/pool/a%3A1/b+c_1~2.deb"),
        ];
        for (text, joined) in cases {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.join("pool/a:1/b+c_1~2.deb").to_string(), joined);
            let shown = location.to_string();
            assert_eq!(shown.parse::<Location>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_telling_passwords() {
        for bad in [
            "",
            "debian",
            "ftp://x",
            "http:/x",
            "http:///x",
            "file:srv",
            "http://a b",
            "http://x/?q",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
        let error = "http://me:secret@x/?q".parse::<Location>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
