//! Which ids of this machine stand behind the ids of a sandbox.

use std::fs;

use super::SandboxError;
use crate::command::Program;

/// Ids inside: 0 to 65535, which is what Debian Policy 9.2.2 gives out, `nogroup` included.
const IDS: u32 = 65_536;

/// What is written to a new user namespace.
#[derive(Debug, Clone)]
pub(super) enum Mapping {
    /// By root: each id is itself.
    Same,
    /// By an ordinary user, through `newuidmap` and `newgidmap`: id 0 is the user, the others follow
    /// from these.
    Subordinate { uid: u32, gid: u32, subuid: u32, subgid: u32 },
}

impl Mapping {
    /// The mapping for whoever runs this.
    pub fn find() -> Result<Self, SandboxError> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        if uid == 0 {
            return Ok(Self::Same);
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = name_of(&passwd, uid).unwrap_or_else(|| uid.to_string());
        let range = |file: &'static str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let missing = || SandboxError::Ids { file, user: user.clone(), needed: IDS - 1 };
            range_of(&text, &user, uid).ok_or_else(missing)
        };
        let (subuid, subgid) = (range("/etc/subuid")?, range("/etc/subgid")?);
        Ok(Self::Subordinate { uid, gid, subuid, subgid })
    }

    /// Maps the ids of the namespace that process `pid` is in.
    pub fn apply(&self, pid: u32) -> Result<(), SandboxError> {
        match *self {
            Self::Same => {
                for file in ["uid_map", "gid_map"] {
                    fs::write(format!("/proc/{pid}/{file}"), format!("0 0 {IDS}\n"))
                        .map_err(SandboxError::Namespaces)?;
                }
                Ok(())
            }
            Self::Subordinate { uid, gid, subuid, subgid } => {
                let map = |program: &str, own: u32, others: u32| {
                    let numbers = [pid, 0, own, 1, 1, others, IDS - 1];
                    let args = numbers.map(|number| number.to_string());
                    let run = Program::new(program).args(args).run();
                    run.map(drop).map_err(SandboxError::Map)
                };
                map("newuidmap", uid, subuid)?;
                map("newgidmap", gid, subgid)
            }
        }
    }
}

/// The user's name in the text of a passwd(5) file.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Start of the first range that is long enough in the text of a subuid(5) file.
fn range_of(text: &str, user: &str, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count): (u32, u32) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let ours = owner == user || owner.parse() == Ok(uid);
        (ours && count >= IDS - 1).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "root:1:65536\nann:100000:10\nann:200000:65536\n1001:300000:65535\nbad\nx:y:z\n";
        assert_eq!(range_of(text, "ann", 1000), Some(200_000));
        assert_eq!(range_of(text, "bob", 1001), Some(300_000));
        assert_eq!(range_of(text, "eve", 1002), None);
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 1), None);
    }
}
