//! Files that are added.

use tree::{Inode, Kind};

use super::colons::Colons;
use super::{PersonaliseError, Root};

/// A file to add, in place of any that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where.
    pub path: String,
    /// What; `None`: the file is there already, stays as it is, and gets mode and owner.
    pub content: Option<Vec<u8>>,
    /// Permissions.
    pub mode: u16,
    /// Name of the owner.
    pub owner: String,
    /// Name of the group.
    pub group: String,
}

/// The files that are there already, before anything else is changed.
pub(super) fn there(root: &Root<'_>, files: &[NewFile]) -> Vec<Option<Inode>> {
    let tree = &*root.editor.tree;
    let inode = |file: &NewFile| {
        let inode = tree.inode(tree.get(file.path.trim_start_matches('/'))?);
        (file.content.is_none() && matches!(inode.kind, Kind::File(_))).then(|| inode.clone())
    };
    files.iter().map(inode).collect()
}

/// Adds the files; those that were `there` are so again, as personalising may have written over them.
pub(super) fn install(
    root: &mut Root<'_>,
    files: &[NewFile],
    there: Vec<Option<Inode>>,
) -> Result<(), PersonaliseError> {
    if files.is_empty() {
        return Ok(());
    }
    let users = Colons::parse(&root.text("etc/passwd")?);
    let groups = Colons::parse(&root.text("etc/group")?);
    let number = |file: &NewFile, database: &Colons, (key, kind), name: &str| {
        let path = file.path.clone();
        let unknown = || PersonaliseError::Owner { path, key, kind, name: name.to_owned() };
        if name == "root" { Ok(0) } else { database.number(name, 2).ok_or_else(unknown) }
    };
    for (file, there) in files.iter().zip(there) {
        let uid = number(file, &users, ("owner", "user"), &file.owner)?;
        let gid = number(file, &groups, ("group", "group"), &file.group)?;
        let path = file.path.trim_start_matches('/');
        if let Some(content) = &file.content {
            root.editor.bytes(path, file.mode, content)?;
        }
        if let Some(inode) = there {
            root.editor.put(path, inode)?;
        }
        let Ok(id) = root.editor.tree.resolve(path) else { continue };
        if !matches!(root.editor.tree.inode(id).kind, Kind::File(_)) {
            continue;
        }
        let metadata = root.editor.tree.metadata_mut(id);
        (metadata.mode, metadata.uid, metadata.gid) = (file.mode, uid, gid);
    }
    Ok(())
}
