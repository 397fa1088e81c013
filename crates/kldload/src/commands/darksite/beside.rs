//! Reading what a recipe names. It may be somebody else's: of this machine it takes nothing but what lies beside it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use pkg::openpgp::{KeyError, Keyring};

/// Bytes of the largest file that a recipe may name: all of them are in memory together.
const MAX_FILE: u64 = 256 << 20;
/// Bytes of the largest keyring; Debian's has 60 KiB.
const MAX_KEYRING: u64 = 16 << 20;

/// Reads a file below `folder`. Links must not lead to this machine's own files; devices and pipes never end.
pub fn read_beside(folder: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real = fs::canonicalize(path)?;
    if !real.starts_with(fs::canonicalize(folder)?) {
        let why = "it is a link that leads away from the recipe; copy the file";
        return Err(refused(why.to_owned()));
    }
    read_regular(&real, MAX_FILE)
}

/// Reads the keys in a file that a recipe names. It may be anywhere, as what distributions keep in
/// `/usr/share/keyrings`; so that nobody gets to know a file that is no keyring, errors tell nothing of what is in it.
pub fn read_named_keyring(path: &Path) -> io::Result<Keyring> {
    let bytes = read_regular(path, MAX_KEYRING)?;
    Keyring::parse(&bytes).map_err(|error| {
        refused(match error {
            KeyError::Empty => error.to_string(),
            _ => "it has no OpenPGP keys that can be read; gpg --show-keys tells more".to_owned(),
        })
    })
}

/// Reads the keys in a file of the command line, which may be a pipe.
pub fn read_keyring(path: &Path) -> anyhow::Result<Keyring> {
    let told = || path.display().to_string();
    let mut bytes = Vec::new();
    // One byte too many is what `parse` refuses.
    let read = File::open(path).and_then(|file| file.take(MAX_KEYRING + 1).read_to_end(&mut bytes));
    read.with_context(told)?;
    Keyring::parse(&bytes).with_context(told)
}

/// What to say of a file that a recipe names.
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("the recipe names the file {}, which cannot be read: {error}", path.display())
}

fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Before it is opened: that alone waits, where it is a pipe.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(refused("it is no regular file".to_owned()));
    }
    if metadata.len() > most {
        return Err(refused(format!("it has {} bytes, {most} are the most", metadata.len())));
    }
    let mut content = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut content)?;
    Ok(content)
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
