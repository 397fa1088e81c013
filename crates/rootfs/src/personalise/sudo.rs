//! Who may become root: a file of sudoers(5) for each user.

use super::{Account, PersonaliseError, Root};

/// What a user may do as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sudo {
    /// Nothing, unless by a group.
    #[default]
    None,
    /// Everything, with the user's password.
    Password,
    /// Everything.
    NoPassword,
}

pub(super) fn install(root: &mut Root<'_>, account: &Account) -> Result<(), PersonaliseError> {
    let tag = match account.sudo {
        Sudo::None => return Ok(()),
        Sudo::Password => "",
        Sudo::NoPassword => "NOPASSWD: ",
    };
    if !root.has("usr/bin/sudo") {
        return Err(PersonaliseError::Missing {
            what: format!("sudo for user {}", account.name),
            path: "/usr/bin/sudo".to_owned(),
            package: "sudo".to_owned(),
        });
    }
    let name = &account.name;
    let path = format!("etc/sudoers.d/90-{name}");
    root.editor.file(&path, 0o440, &format!("{name} ALL=(ALL:ALL) {tag}ALL\n"))?;
    Ok(())
}
