//! Paths that an index names: they are joined to a mirror's address and to directories of ours.

use thiserror::Error;

/// Why a path of an index is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the path {path:?} {problem}")]
pub struct PathError {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Refuses every path that is not plainly below where it starts: absolute ones, `..`, empty parts,
/// control characters and backslashes. A leading `./` is cut off, as flat repositories write it.
pub fn check_path(path: &str) -> Result<&str, PathError> {
    let bad = |problem| Err(PathError { path: crate::text::shortened(path), problem });
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.is_empty() || path.len() > 4095 {
        return bad("is empty or too long");
    }
    if path.bytes().any(|byte| byte < b' ' || byte == 0x7f || byte == b'\\') {
        return bad("has a control character or a backslash");
    }
    for part in path.split('/') {
        match part {
            "" => return bad("is absolute, or has an empty part"),
            "." | ".." => return bad("has a part \".\" or \"..\""),
            _ if part.len() > 255 => return bad("has a part of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below() {
        for good in ["pool/main/a/a_1_all.deb", "a", "...", "a/..b", "with space"] {
            assert_eq!(check_path(good), Ok(good));
        }
        assert_eq!(check_path("./a.deb"), Ok("a.deb"));
        for bad in ["", "/a", "a/../b", "..", "a//b", "a/", ".", "././a", "a\nb", "a\\b"] {
            check_path(bad).unwrap_err();
        }
        check_path(&"a".repeat(256)).unwrap_err();
    }
}
