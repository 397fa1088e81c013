//! The head of a request.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::location;

/// Most headers in a request.
const HEADERS: usize = 64;

/// A request that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path, decoded, without a query; begins with a slash.
    pub path: String,
    /// `HEAD`.
    pub head_only: bool,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// The range asked for.
    pub range: Option<Range>,
    /// `If-Modified-Since`, in seconds since 1970.
    pub modified_since: Option<i64>,
    /// `If-Range`, if it is a date; -1 for anything else, which is never equal.
    pub if_range: Option<i64>,
}

/// One range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From a byte to another, or to the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

impl Range {
    /// Start and length in a file of `size` bytes; `None` if nothing of it is there.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            Self::From(start, last) => {
                (start, last.map_or(size, |last| last.saturating_add(1).min(size)))
            }
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        (start < end).then(|| (start, end - start))
    }

    /// Of several ranges, or of what is no range, the whole file is a good answer: `None`.
    fn parse(value: &str) -> Option<Self> {
        let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        if first.is_empty() {
            return Some(Self::Last(last.parse().ok()?));
        }
        let start = first.parse().ok()?;
        match last {
            "" => Some(Self::From(start, None)),
            last => {
                let last: u64 = last.parse().ok()?;
                (last >= start).then_some(Self::From(start, Some(last)))
            }
        }
    }
}

impl Request {
    /// Reads the head of a request; the error is the status to answer with.
    pub fn parse(head: &[u8]) -> Result<Self, u16> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(431);
            }
            Err(httparse::Error::Version) => return Err(505),
            Err(_) => return Err(400),
        }
        let head_only = match parsed.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(405),
        };
        let mut request = Self {
            path: path_of(parsed.path.unwrap_or_default()).ok_or(400_u16)?,
            head_only,
            keep_alive: parsed.version == Some(1),
            range: None,
            modified_since: None,
            if_range: None,
        };
        for header in parsed.headers.iter() {
            let Ok(value) = std::str::from_utf8(header.value) else { continue };
            let date = || date(value);
            match &*header.name.to_ascii_lowercase() {
                "connection" => {
                    let has =
                        |word| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
                    request.keep_alive = !has("close") && (request.keep_alive || has("keep-alive"));
                }
                "range" => request.range = Range::parse(value),
                "if-modified-since" => request.modified_since = date(),
                "if-range" => request.if_range = Some(date().unwrap_or(-1)),
                // A body would be taken for the next request.
                "content-length" if value.trim() != "0" => return Err(400),
                "transfer-encoding" => return Err(400),
                _ => {}
            }
        }
        Ok(request)
    }
}

/// Seconds since 1970 of a date of HTTP (RFC 9110, 5.6.7), as `Sat, 10 May 2025 09:31:35 GMT`.
fn date(text: &str) -> Option<i64> {
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok().map(Timestamp::as_second)
}

/// Decodes a target: `/a%20b?query`, or with scheme and host as a proxy gets it.
fn path_of(target: &str) -> Option<String> {
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => target,
    };
    let target = target.split(['?', '#']).next()?;
    let decoded = String::from_utf8(location::decode(target)?).ok()?;
    decoded.starts_with('/').then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, u16> {
        Request::parse(text.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn requests() {
        let request = parse(
            "GET /pool/a%2bb.deb?x HTTP/1.1\nHost: x\nRange: bytes=5-\n\
             If-Modified-Since: Sat, 10 May 2025 09:31:35 GMT\n\n",
        )
        .unwrap();
        assert_eq!((request.path.as_str(), request.keep_alive), ("/pool/a+b.deb", true));
        assert_eq!(request.range, Some(Range::From(5, None)));
        assert_eq!(request.modified_since, Some(1_746_869_495));
        assert!(!parse("HEAD / HTTP/1.1\nConnection: close\n\n").unwrap().keep_alive);
        assert!(!parse("GET / HTTP/1.0\n\n").unwrap().keep_alive);
        assert_eq!(parse("GET http://x/y HTTP/1.1\n\n").unwrap().path, "/y");
        for (text, status) in [
            ("POST / HTTP/1.1\n\n", 405),
            ("GET / HTTP/9\n\n", 505),
            ("rubbish\n\n", 400),
            ("GET /% HTTP/1.1\n\n", 400),
            ("GET x HTTP/1.1\n\n", 400),
            ("GET / HTTP/1.1\nContent-Length: 5\n\n", 400),
            ("GET / HTTP/1.1\nX: y", 431),
        ] {
            assert_eq!(parse(text), Err(status), "{text}");
        }
    }

    #[test]
    fn ranges() {
        for (value, size, expected) in [
            ("bytes=0-", 10, Some((0, 10))),
            ("bytes=3-5", 10, Some((3, 3))),
            ("bytes=3-50", 10, Some((3, 7))),
            ("bytes=-4", 10, Some((6, 4))),
            ("bytes=-40", 10, Some((0, 10))),
            ("bytes=10-", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-18446744073709551615", 10, Some((0, 10))),
        ] {
            assert_eq!(Range::parse(value).unwrap().within(size), expected, "{value}");
        }
        for bad in ["bytes=5-3", "bytes=a-", "lines=1-2", "bytes=", "bytes=1-2,4-5", "bytes=-"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }
}
