//! POSIX ACLs between the text form of archives and the kernel's binary form.
//!
//! acl(5), "ACL TEXT FORMS"; `struct posix_acl_xattr_entry` of `linux/posix_acl_xattr.h`, version 2.

/// The attribute with the access ACL.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the default ACL of a directory.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const UNDEFINED_ID: u32 = u32::MAX;

/// Whether a binary ACL says no more than permission bits can.
pub(crate) fn is_minimal(acl: &[u8]) -> bool {
    acl.len() == 4 + 3 * 8
}

/// Entries `type:qualifier:permissions[:id]`, separated by commas or new lines, in binary form.
/// The error is a reason.
pub(crate) fn from_text(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for entry in text.split(['\n', ',']) {
        let entry = entry.split('#').next().unwrap_or_default().trim();
        if !entry.is_empty() {
            entries.push(parse_entry(entry)?);
        }
    }
    entries.sort_unstable();
    if entries.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        return Err("it has two entries for the same user or group".to_owned());
    }
    let has = |tag| entries.iter().any(|entry| entry.0 == tag);
    if ![USER_OBJ, GROUP_OBJ, OTHER].into_iter().all(has) {
        return Err("it lacks an entry for owner, group or others".to_owned());
    }
    if (has(USER) || has(GROUP)) && !has(MASK) {
        return Err("it names users or groups but has no mask".to_owned());
    }
    let mut acl = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    Ok(acl)
}

/// Linux's limit for the value of an attribute, in bytes.
const LENGTH_LIMIT: usize = 1 << 16;

/// The text form of a binary ACL, if that says all of it.
pub(crate) fn to_text(acl: &[u8]) -> Option<String> {
    // Text is several times longer, and extended headers have a limit.
    if acl.len() > LENGTH_LIMIT {
        return None;
    }
    let entries = acl.strip_prefix(&VERSION.to_le_bytes())?;
    let mut text = Vec::new();
    for entry in entries.chunks(8) {
        let &[tag, tag_high, permissions, _, a, b, c, d] = entry else { return None };
        let id = match u32::from_le_bytes([a, b, c, d]) {
            UNDEFINED_ID => String::new(),
            id => id.to_string(),
        };
        let kind = match u16::from_le_bytes([tag, tag_high]) {
            USER_OBJ | USER => "user",
            GROUP_OBJ | GROUP => "group",
            MASK => "mask",
            OTHER => "other",
            _ => return None,
        };
        let letter = |bit, letter| if permissions & bit != 0 { letter } else { '-' };
        let (r, w, x) = (letter(4, 'r'), letter(2, 'w'), letter(1, 'x'));
        text.push(format!("{kind}:{id}:{r}{w}{x}"));
    }
    let text = text.join(",");
    (from_text(text.as_bytes()).ok()? == acl).then_some(text)
}

fn parse_entry(entry: &str) -> Result<(u16, u32, u16), String> {
    let bad = || format!("{entry:?} is not an entry of an ACL");
    // libarchive may mark default entries although the record says so already.
    let entry_fields = entry.strip_prefix("default:").unwrap_or(entry);
    let fields: Vec<&str> = entry_fields.split(':').collect();
    let (kind, qualifier, permissions, id) = match fields[..] {
        // "mask:rwx" and "other:rwx" may lack the empty qualifier.
        [kind, permissions] => (kind, "", permissions, ""),
        [kind, qualifier, permissions] => (kind, qualifier, permissions, ""),
        [kind, qualifier, permissions, id] => (kind, qualifier, permissions, id),
        _ => return Err(bad()),
    };
    let tag = match (kind, qualifier.is_empty()) {
        ("user" | "u", true) => USER_OBJ,
        ("user" | "u", false) => USER,
        ("group" | "g", true) => GROUP_OBJ,
        ("group" | "g", false) => GROUP,
        ("mask" | "m", true) => MASK,
        ("other" | "o", true) => OTHER,
        _ => return Err(bad()),
    };
    let id = match (tag, id) {
        (USER | GROUP, "") => qualifier.parse().map_err(|_| {
            // GNU tar writes names even with --numeric-owner.
            let instead = "use tar --xattrs --xattrs-include='*' instead of --acls";
            format!("{entry:?} has a name without its number; {instead}")
        })?,
        (USER | GROUP, id) => id.parse().map_err(|_| bad())?,
        (_, "") => UNDEFINED_ID,
        _ => return Err(bad()),
    };
    // GNU tar may append a comment with the effective permissions after white space.
    let permissions = permissions.split_whitespace().next().unwrap_or_default();
    let mut bits = 0;
    for letter in permissions.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return Err(bad()),
        };
    }
    if permissions.is_empty() { Err(bad()) } else { Ok((tag, id, bits)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_the_kernels_form() {
        let acl =
            from_text(b"user::rw-,group:x:r-x:5,user:1000:r--,group::r--,mask::r-x,other::---")
                .unwrap();
        let mut expected = vec![2, 0, 0, 0];
        for (tag, permissions, id) in [
            (1_u8, 6_u8, u32::MAX),
            (2, 4, 1000),
            (4, 4, u32::MAX),
            (8, 5, 5),
            (16, 5, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            expected.extend_from_slice(&[tag, 0, permissions, 0]);
            expected.extend_from_slice(&id.to_le_bytes());
        }
        assert_eq!(acl, expected);
        let text = "user::rw-,user:1000:r--,group::r--,group:5:r-x,mask::r-x,other::---";
        assert_eq!(to_text(&acl).as_deref(), Some(text));
        for length in 0..acl.len() {
            assert_eq!(to_text(&acl[..length]), None);
        }
        assert!(is_minimal(&from_text(b"u::rwx\ng::---\nother::r-x # c\n").unwrap()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "user::rwx",
            "user::rwx,group::r--,other::r--,user:1:r--",
            "user::rwx,group::r--,other::r--,user:joe:r--,mask::rwx",
            "user::rwx,group::r--,other::r--,other::r--",
            "user::rwz,group::r--,other::r--",
            "user::,group::r--,other::r--",
            "mask:3:rwx,user::rwx,group::r--,other::r--",
        ] {
            assert!(from_text(text.as_bytes()).is_err(), "{text}");
        }
    }
}
