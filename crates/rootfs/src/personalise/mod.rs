//! What makes a root one person's machine: accounts, network, language, services, sources of packages.
//!
//! Pure edits on a tree, after everything that takes time, so that another name costs no bootstrap.
//! Only what a person could change afterwards is changed, in the files in which Debian keeps it; no file
//! of a package is touched but configuration. The name of the machine is [`crate::firstboot`]'s.
//!
//! | what | where |
//! |---|---|
//! | accounts | `passwd`, `shadow`, `group`, `gshadow`, `subuid`, `subgid`, homes, `sudoers.d` |
//! | network | systemd-networkd; with NetworkManager a keyfile; with cloud-init alone, cloud-init's |
//! | locale | `locale.conf`; [`locale::script`] compiles it in the sandbox, before |
//! | keyboard, time zone | `/etc/default/keyboard`, `/etc/localtime` |
//! | services | the links that `systemctl enable`, `disable`, `mask` make |
//! | sources | `/etc/apt/sources.list.d/NAME.sources`, whatever mirror built the root |
//! | cloud-init | a list of data sources, or `cloud-init.disabled` |

mod account;
mod apt;
mod colons;
mod error;
pub mod locale;
mod network;
mod place;
mod services;
mod sudo;
#[cfg(test)]
mod tests;

use tree::{Blobs, MemoryBlobs, Timestamp, Tree};

use crate::edit::Editor;

pub use account::Account;
pub(crate) use account::check_new;
pub use apt::{AptArchive, AptSources};
pub use error::PersonaliseError;
pub use locale::Keyboard;
pub use network::{Address, NETWORK, Network};
pub use place::NewFile;
pub use services::Services;
pub use sudo::Sudo;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Users to make or change.
    pub accounts: Vec<Account>,
    /// The network of wired interfaces.
    pub network: Network,
    /// Time zone, as `Europe/Berlin`; `Etc/UTC` if it is not told.
    pub time_zone: Option<String>,
    /// Locale, as `de_DE.UTF-8`; `C.UTF-8` if it is not told.
    pub locale: Option<String>,
    /// Keyboard; that of the package if it is not told.
    pub keyboard: Option<Keyboard>,
    /// Services on or off.
    pub services: Services,
    /// Files to add.
    pub files: Vec<NewFile>,
    /// Where the machine gets packages from.
    pub sources: Option<AptSources>,
    /// Data sources of cloud-init, none of them: it stays off.
    pub cloud_init: Option<Vec<String>>,
}

/// Changes the tree, whose own content is in `blobs`; new content goes to `generated`, new files get
/// `time`. The same machine twice changes nothing more.
pub fn personalise(
    tree: &mut Tree,
    blobs: &dyn Blobs,
    generated: &mut MemoryBlobs,
    machine: &Machine,
    time: Timestamp,
) -> Result<(), PersonaliseError> {
    let mut root = Root { editor: Editor { tree, generated, time }, blobs };
    let there = place::there(&root, &machine.files);
    locale::time_zone(&mut root, machine.time_zone.as_deref().unwrap_or("Etc/UTC"))?;
    locale::locale(&mut root, machine.locale.as_deref().unwrap_or(locale::DEFAULT))?;
    if let Some(keyboard) = &machine.keyboard {
        locale::keyboard(&mut root, keyboard)?;
    }
    account::accounts(&mut root, &machine.accounts)?;
    network::install(&mut root, &machine.network, machine.cloud_init.as_deref())?;
    if let Some(sources) = &machine.sources {
        apt::install(&mut root, sources)?;
    }
    if let Some(sources) = &machine.cloud_init {
        network::cloud_init(&mut root, sources)?;
    }
    // After the accounts, because files have owners; before the services, because units may be among
    // them.
    place::install(&mut root, &machine.files, there)?;
    services::install(&mut root, &machine.services)
}

/// A tree with its own content.
struct Root<'a> {
    editor: Editor<'a>,
    blobs: &'a dyn Blobs,
}

impl Root<'_> {
    /// The text of a file; empty if there is none.
    fn text(&self, path: &str) -> Result<String, PersonaliseError> {
        Ok(self.editor.read(self.blobs, path)?.unwrap_or_default())
    }

    fn has(&self, path: &str) -> bool {
        self.editor.has(path)
    }
}
