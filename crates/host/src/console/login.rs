//! How root gets in on the console of a machine in whose image there is no password: by systemd credentials
//! (systemd.system-credentials(7)), which only the machine's host can give.

/// A way in. Which one a machine takes depends on its systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The getty logs root in by itself (agetty(8), login(1)): nothing of the machine is touched.
    Automatic,
    /// login asks for a name and for nothing else, because systemd-tmpfiles has put a PAM configuration that
    /// permits everything in the place of login's. Once somebody is in, the machine's own is put back. So
    /// this writes to the disk, which has to be one that is thrown away.
    Permitted,
}

/// What login asks PAM.
const PAM: &str = "/etc/pam.d/login";
/// Where that lies meanwhile; a file system in memory.
const KEPT: &str = "/run/kldload-pam-login";
/// One line of tmpfiles.d(5), which has escapes for what is more than a line.
const PERMITS: &str = r"auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n";

impl Login {
    /// The credentials, name and text, that the machine has to be given.
    #[must_use]
    pub fn credentials(self) -> Vec<(String, String)> {
        match self {
            Self::Automatic => {
                vec![
                    ("agetty.autologin".into(), "root".into()),
                    ("login.noauth".into(), "yes".into()),
                ]
            }
            // At each boot, before anybody may log in, and in this order.
            Self::Permitted => {
                let lines = format!("C {KEPT} - - - - {PAM}\nf+ {PAM} - - - - {PERMITS}\n");
                vec![("tmpfiles.extra".into(), lines)]
            }
        }
    }

    /// Shell text for whoever is in: the machine becomes what it was.
    pub(super) fn undo(self) -> Option<String> {
        match self {
            Self::Automatic => None,
            Self::Permitted => Some(format!("cp -p {KEPT} {PAM} && rm {KEPT} && sync {PAM}")),
        }
    }

    /// What a machine ignores that asks nevertheless.
    pub(super) fn ignored(self) -> &'static str {
        match self {
            Self::Automatic => {
                "the systemd credential agetty.autologin (it needs systemd 256 and util-linux 2.40 or newer)"
            }
            Self::Permitted => {
                "the systemd credentials agetty.autologin (it needs systemd 256 and util-linux 2.40 or \
                 newer) and tmpfiles.extra (systemd 252)"
            }
        }
    }
}
