//! What somebody told to be in a tree, and what rules for all trees take out of it.

use tree::{InodeId, Tree, TreeError};

use crate::glob::Found;

/// Whether `path` is `above`, or below it.
fn within(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Whether `path` was told, or something above it.
pub(crate) fn covers(told: &[String], path: &[u8]) -> bool {
    told.iter().any(|one| within(path, one.as_bytes()))
}

/// Removes what was found with all that is below, but for what was told. Returns whether anything has gone.
pub(crate) fn remove(tree: &mut Tree, found: &Found, told: &[String]) -> Result<bool, TreeError> {
    remove_at(tree, (found.parent, &found.name), &found.path, told)
}

fn remove_at(
    tree: &mut Tree,
    (parent, name): (InodeId, &[u8]),
    path: &[u8],
    told: &[String],
) -> Result<bool, TreeError> {
    if covers(told, path) {
        return Ok(false);
    }
    let id = tree.directory(parent).and_then(|directory| directory.get(name));
    let directory = id.filter(|_| told.iter().any(|one| within(one.as_bytes(), path)));
    let Some((id, directory)) = directory.and_then(|id| Some((id, tree.directory(id)?))) else {
        tree.remove(parent, name)?;
        return Ok(true);
    };
    let names: Vec<Vec<u8>> = directory.iter().map(|(name, _)| name.to_vec()).collect();
    let mut gone = false;
    for name in names {
        gone |= remove_at(tree, (id, &name), &[path, b"/", &name].concat(), told)?;
    }
    Ok(gone)
}
