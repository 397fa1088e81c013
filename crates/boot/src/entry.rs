//! Boot entries of type 1 and `loader.conf`.
//!
//! Specs: the UAPI group's Boot Loader Specification, and loader.conf(5). `files/esp-sync` writes
//! the same text on the running machine; a test holds the two together.
//!
//! An entry is called `TOKEN@VERSION.conf`. The token is the boot environment's name; `@` cannot be
//! part of it, so that the pattern `TOKEN@*` finds its entries and no others. Which of them starts
//! follows from the sort key and the version: installing a kernel changes no file but its entry.

use crate::kernel::Flavour;

/// One boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the boot environment.
    pub token: String,
    /// Kernel version.
    pub version: String,
    /// What the menu shows.
    pub title: String,
    /// Name of the kernel in `/kldload`.
    pub linux: String,
    /// Name of the initramfs in `/kldload`.
    pub initrd: String,
    /// Kernel arguments.
    pub options: String,
}

impl Entry {
    /// Name of its file in `/loader/entries`.
    pub fn file_name(&self) -> String {
        format!("{}@{}.conf", self.token, self.version)
    }

    /// Content of its file.
    pub fn text(&self) -> String {
        let Self { token, version, title, linux, initrd, options } = self;
        let suffix = Flavour::of(version).sort_suffix();
        format!(
            "title {title}, {token}\nversion {version}\nsort-key {token}{suffix}\n\
             linux /kldload/{linux}\ninitrd /kldload/{initrd}\noptions {options}\n"
        )
    }
}

/// `loader.conf` that starts the boot environment `token`. A menu that cannot be reached is a
/// rollback that cannot be reached, hence the timeout.
pub fn loader_conf(token: &str) -> String {
    format!("timeout 3\nconsole-mode keep\ndefault {token}@*\n")
}

/// The kernel arguments of a boot environment. The last console is `/dev/console`; a machine
/// without a serial port falls back to the screen.
pub fn options(dataset: &str, arguments: &[String]) -> String {
    let mut options = format!("root=ZFS={dataset} console=tty0 console=ttyS0,115200n8");
    for argument in arguments {
        options.push(' ');
        options.push_str(argument);
    }
    options
}

/// `PRETTY_NAME` of an os-release(5) file, unquoted as a shell would.
pub fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().rev().find_map(|line| line.strip_prefix("PRETTY_NAME="))?.trim();
    let name = match value.as_bytes() {
        [b'\'', .., b'\''] if value.len() >= 2 => value[1..value.len() - 1].to_owned(),
        [b'"', .., b'"'] if value.len() >= 2 => {
            let mut name = String::new();
            let mut characters = value[1..value.len() - 1].chars();
            while let Some(c) = characters.next() {
                name.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
            }
            name
        }
        _ => value.to_owned(),
    };
    (!name.is_empty() && !name.contains(char::is_control)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unquoted() {
        let name = |text: &str| pretty_name(text).unwrap();
        assert_eq!(
            name("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"),
            "Debian GNU/Linux 13 (trixie)"
        );
        assert_eq!(name("PRETTY_NAME='a b'\n"), "a b");
        assert_eq!(name("PRETTY_NAME=Arch\n"), "Arch");
        assert_eq!(name("PRETTY_NAME=\"the \\\"best\\\"\"\n"), "the \"best\"");
        assert_eq!(pretty_name("NAME=x\n"), None);
        assert_eq!(pretty_name("PRETTY_NAME=\n"), None);
        assert_eq!(name("PRETTY_NAME=\"\n"), "\"");
    }
}
