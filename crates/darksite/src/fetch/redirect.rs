//! Where a redirect leads (RFC 9110, 10.2.2; RFC 3986, 5.2).
//!
//! ureq would follow by itself, but with what it has for the first address: another scheme has other
//! proxies and other authorities.

/// The address that `target`, a `Location` in the answer from `address`, means. The error says why
/// nobody goes there: as apt, nobody leaves `https:` for `http:`.
pub fn follow(address: &str, target: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("{target:?}, {why}"));
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let plain = target.split('#').next().unwrap_or_default().trim();
    if plain.is_empty() || plain.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return bad("which is no address");
    }
    if let Some(rest) = plain.strip_prefix("//") {
        return Ok(format!("{scheme}://{rest}"));
    }
    // A colon behind the first slash is part of a path.
    let first = plain.split(['/', '?']).next().unwrap_or_default();
    if let Some((next, _)) = first.split_once(':') {
        let next = next.to_ascii_lowercase();
        return match (scheme, &*next) {
            ("https", "http") => bad("which is not encrypted any more"),
            (_, "http" | "https") => match plain.get(next.len()..) {
                Some(rest) if rest.starts_with("://") => Ok(format!("{next}{rest}")),
                _ => bad("which is no address"),
            },
            _ => bad("and only http: and https: are known"),
        };
    }
    let (path, old_query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let (new, query) = plain.split_at(plain.find('?').unwrap_or(plain.len()));
    let (path, query) = match new {
        "" => (path.to_owned(), if query.is_empty() { old_query } else { query }),
        _ if new.starts_with('/') => (without_dots(new), query),
        _ => {
            let directory = path.rfind('/').and_then(|at| path.get(..at)).unwrap_or_default();
            (without_dots(&format!("{directory}/{new}")), query)
        }
    };
    Ok(format!("{scheme}://{host}{path}{query}"))
}

/// A path without `.` and `..`, which some servers refuse.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_all_kinds() {
        for (target, expected) in [
            ("https://cdn.example/x?key=1#part", "https://cdn.example/x?key=1"),
            ("HTTP://cdn.example/x", "http://cdn.example/x"),
            ("//cdn.example/x", "http://cdn.example/x"),
            ("/x/./y/../z", "http://me@m.example:80/x/z"),
            ("b.deb", "http://me@m.example:80/pool/b.deb"),
            ("../../../b:1.deb?q=/", "http://me@m.example:80/b:1.deb?q=/"),
            ("./b:1.deb", "http://me@m.example:80/pool/b:1.deb"),
            ("?q", "http://me@m.example:80/pool/a.deb?q"),
        ] {
            let found = follow("http://me@m.example:80/pool/a.deb", target);
            assert_eq!(found.as_deref(), Ok(expected), "{target}");
        }
        assert_eq!(follow("http://m.example", "x").as_deref(), Ok("http://m.example/x"));
    }

    #[test]
    fn where_nobody_goes() {
        for (target, why) in [
            ("http://m.example/a.deb", "not encrypted"),
            ("ftp://m.example/a.deb", "only http: and https:"),
            ("file:/etc/shadow", "only http: and https:"),
            ("https:/a.deb", "no address"),
            ("", "no address"),
            ("/a b", "no address"),
        ] {
            let error = follow("https://m.example/pool/a.deb", target).unwrap_err();
            assert!(error.contains(why), "{target}: {error}");
        }
    }
}
