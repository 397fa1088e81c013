//! Path patterns: `*` inside a component, `**` as the last one.

use tree::{InodeId, Kind, Tree};

/// A name found by [`find`].
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Path from the root.
    pub path: Vec<u8>,
    /// The directory that has the name.
    pub parent: InodeId,
    /// The last component.
    pub name: Vec<u8>,
    /// What is called so.
    pub id: InodeId,
}

/// Every name that `pattern` matches, in the order of a walk. In a component `*` stands for any
/// bytes, the components themselves are followed without resolving symbolic links; a last
/// component `**` stands for every regular file at any depth.
pub(crate) fn find(tree: &Tree, pattern: &str) -> Vec<Found> {
    let components: Vec<&[u8]> = pattern.as_bytes().split(|&byte| byte == b'/').collect();
    let mut found = Vec::new();
    descend(tree, tree.root(), &[], &components, &mut found);
    found
}

fn descend(tree: &Tree, at: InodeId, path: &[u8], pattern: &[&[u8]], found: &mut Vec<Found>) {
    let (Some(directory), Some((first, rest))) = (tree.directory(at), pattern.split_first()) else {
        return;
    };
    for (name, id) in directory.iter() {
        let below = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        let everything = *first == b"**";
        let take = match &tree.inode(id).kind {
            Kind::Directory(_) if everything => {
                descend(tree, id, &below, pattern, found);
                false
            }
            Kind::File(_) if everything => true,
            _ if everything || !matches(name, first) => false,
            _ if rest.is_empty() => true,
            _ => {
                descend(tree, id, &below, rest, found);
                false
            }
        };
        if take {
            found.push(Found { path: below, parent: at, name: name.to_vec(), id });
        }
    }
}

/// Whether `name` fits one component of a pattern.
fn matches(name: &[u8], pattern: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else { return name == pattern };
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    name.starts_with(head) && (head.len()..=name.len()).any(|start| matches(&name[start..], tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        for (name, pattern, fits) in [
            ("a", "a", true),
            ("a", "b", false),
            ("", "*", true),
            ("abc", "*", true),
            ("abc", "a*c", true),
            ("abcd", "a*c", false),
            ("ssh_host_rsa_key.pub", "ssh_host_*_key*", true),
            ("ssh_host_rsa", "ssh_host_*_key*", false),
            ("ab", "ab*ab", false),
        ] {
            assert_eq!(matches(name.as_bytes(), pattern.as_bytes()), fits, "{name} {pattern}");
        }
    }
}
