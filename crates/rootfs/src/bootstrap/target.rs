//! The new root's own dpkg, run inside the root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::sandbox::{Confined, Said};

use super::facts::Facts;
use super::{Event, Fault, LateAccount};

/// Directory in the root for what only the bootstrap needs.
pub(super) const OURS: &str = ".kldload";
/// What services ask before they start (invoke-rc.d(8)).
const POLICY: &str = "usr/sbin/policy-rc.d";
const DAEMONS: &str = "usr/sbin/start-stop-daemon";
const INITRAMFS: &str = "usr/sbin/update-initramfs";
const DKMS: &str = "usr/sbin/dkms";
const DKMS_CONFIG: &str = "etc/dkms/framework.conf.d";
/// Our file there; what comes last in the order of names holds.
const DKMS_OURS: &str = "zz-kldload.conf";

/// The dkms that runs before the root's own one; modules that are in the cache appear as soon as their
/// source is known, so that they are found built.
const DKMS_WRAPPER: &str = "#!/bin/sh
/.kldload/dkms \"$@\"
status=$?
if [ \"$1\" = add ] && [ -d /.kldload/modules ]; then
    (cd /.kldload/modules && for module in */*; do
        [ -d \"/var/lib/dkms/$module\" ] && cp -a \"$module\" \"/var/lib/dkms/${module%/*}/\"
    done)
fi
exit $status
";

/// Modules are signed by the key that a recipe names, or not at all: never by a key that dkms makes.
/// Built are they for every kernel of the root, whatever kernel this machine runs.
const DKMS_SETTINGS: &str = "sign_file=/nonexistent/sign-file\nautoinstall_all_kernels=1\n";

/// The root while its packages are configured.
#[derive(Clone)]
pub(super) struct Target<'a> {
    pub root: &'a Path,
    pub facts: &'a [Facts],
    pub timestamp: i64,
    pub limit: Duration,
    pub tell: &'a dyn Fn(Event),
    /// A directory outside the root for files that are bound into it.
    pub aside: PathBuf,
}

impl Target<'_> {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Puts in place what scripts must find, and what must keep services from starting.
    pub fn prepare(&self) -> Result<(), Fault> {
        let make = |path: PathBuf, mode: u32, text: &str| {
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
                .map_err(|error| Fault::Told(format!("{}: {error}", path.display())))
        };
        for directory in [self.at(OURS), self.aside.clone()] {
            fs::create_dir_all(&directory)
                .map_err(|error| Fault::Told(format!("{}: {error}", directory.display())))?;
        }
        make(self.at(POLICY), 0o755, "#!/bin/sh\nexit 101\n")?;
        make(self.at(OURS).join("dkms"), 0o755, "")?;
        make(self.aside.join("nothing"), 0o755, "#!/bin/sh\nexit 0\n")?;
        make(self.aside.join("dkms"), 0o755, DKMS_WRAPPER)?;
        make(self.aside.join("unsigned.conf"), 0o644, DKMS_SETTINGS)
    }

    /// Takes away what [`prepare`](Self::prepare) and the runs brought.
    pub fn clear(&self) -> Result<(), Fault> {
        let remove = |path: PathBuf| match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::Told(format!("{}: {error}", path.display())))
            }
            _ => Ok(()),
        };
        remove(self.at(OURS))?;
        let settings = self.at(DKMS_CONFIG).join(DKMS_OURS);
        if settings.is_file() {
            fs::remove_file(&settings)
                .map_err(|error| Fault::Told(format!("{}: {error}", settings.display())))?;
        }
        let policy = self.at(POLICY);
        fs::remove_file(&policy)
            .map_err(|error| Fault::Told(format!("{}: {error}", policy.display())))
    }

    /// A program in the root, with the environment that maintainer scripts expect.
    pub fn program(&self, path: &str) -> Confined {
        Confined::new(self.root, path)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
            .env("DEBCONF_NOWARNINGS", "yes")
            .env("APT_LISTCHANGES_FRONTEND", "none")
            .env("UCF_FORCE_CONFFOLD", "1")
            .env("SOURCE_DATE_EPOCH", self.timestamp.to_string())
    }

    /// Runs a program to its end; what it prints is passed on.
    pub fn run(&self, program: Confined) -> Result<(), Fault> {
        program
            .run(self.limit, &mut |said| match said {
                Said::Line(line) => (self.tell)(Event::Said(line.clone())),
                Said::Status(line) => {
                    // "status: bash: half-configured", "status: bash: installed", …
                    let mut parts = line.splitn(3, ": ");
                    if let (Some("status"), Some(package), Some("installed" | "unpacked")) =
                        (parts.next(), parts.next(), parts.next().map(str::trim))
                    {
                        (self.tell)(Event::Step(package.to_owned()));
                    }
                }
            })
            .map_err(|error| Fault::Told(error.to_string()))
    }

    fn dpkg(&self) -> Confined {
        let options = ["--force-unsafe-io", "--force-confold", "--no-pager"];
        self.program("/usr/bin/dpkg").status_argument("--status-fd=").args(options)
    }

    /// Lets dpkg unpack packages, their preinst scripts included.
    pub fn unpack(&self, packages: &[usize], force: bool) -> Result<(), Fault> {
        let mut dpkg = self.dpkg();
        if force {
            dpkg = dpkg.args(["--force-depends"]);
        }
        dpkg = dpkg.args(["--unpack"]);
        for &at in packages {
            let Some(facts) = self.facts.get(at) else { continue };
            let inside = format!("{OURS}/{at}.deb");
            let path = self.at(&inside);
            fs::write(&path, "")
                .map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
            dpkg = dpkg.bind(&facts.package.deb, &inside).args([format!("/{inside}")]);
        }
        self.run(dpkg)
    }

    /// Lets dpkg configure these packages.
    pub fn configure(&self, packages: &[usize], force: bool) -> Result<(), Fault> {
        let mut dpkg = self.without_services(self.dpkg())?;
        if force {
            dpkg = dpkg.args(["--force-depends"]);
        }
        let names = packages.iter().filter_map(|&at| self.facts.get(at));
        let names: Vec<&str> = names.map(|facts| facts.package.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.run(dpkg.args(["--configure"]).args(names))
    }

    /// Lets dpkg configure whatever is not configured, and do what triggers ask for.
    pub fn configure_all(&self, modules: Option<&Path>) -> Result<(), Fault> {
        let mut dpkg = self.without_services(self.dpkg())?;
        if self.has_initramfs() {
            dpkg = dpkg.bind(self.aside.join("nothing"), INITRAMFS);
        }
        if self.at(DKMS).is_file() {
            let inside = format!("{OURS}/dkms");
            // The wrapper goes over the name, the program itself stays reachable under another one.
            dpkg = dpkg.bind(self.at(DKMS), inside).bind(self.aside.join("dkms"), DKMS);
            let directory = self.at(OURS).join("modules");
            if let Some(modules) = modules {
                fs::create_dir_all(&directory)
                    .map_err(|error| Fault::Told(format!("{}: {error}", directory.display())))?;
                dpkg = dpkg.bind(modules, format!("{OURS}/modules"));
            }
            dpkg = self.unsigned(dpkg)?;
        }
        self.run(dpkg.args(["--configure", "--pending"]))
    }

    /// Keeps dkms from making a key, until [`clear`](Self::clear) lets it again.
    pub fn unsigned(&self, program: Confined) -> Result<Confined, Fault> {
        let directory = self.at(DKMS_CONFIG);
        if directory.is_dir() {
            let path = directory.join(DKMS_OURS);
            fs::copy(self.aside.join("unsigned.conf"), &path)
                .map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
        }
        Ok(program)
    }

    /// Makes start-stop-daemon do nothing, wherever it is.
    pub fn without_services(&self, program: Confined) -> Result<Confined, Fault> {
        if self.at(DAEMONS).is_file() {
            return Ok(program.bind(self.aside.join("nothing"), DAEMONS));
        }
        Ok(program)
    }

    fn has_initramfs(&self) -> bool {
        std::fs::symlink_metadata(self.at(INITRAMFS)).is_ok_and(|file| file.is_file())
    }

    /// Makes the initramfs of each of these kernels. While packages are configured, several would each
    /// have it made, and all but the last time for nothing.
    pub fn initramfs(&self, versions: &[String]) -> Result<(), Fault> {
        if !self.has_initramfs() {
            return Ok(());
        }
        // Random, from the postinst of zfsutils-linux. No machine of ours has one, so that any machine may
        // import the pool; in here it would be the same for all machines, and another in each build.
        let hostid = self.at("etc/hostid");
        match fs::remove_file(&hostid) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Fault::Told(format!("{}: {error}", hostid.display())));
            }
            _ => {}
        }
        for version in versions {
            self.run(self.program(&format!("/{INITRAMFS}")).args(["-c", "-k", version]))?;
            (self.tell)(Event::Step(version.clone()));
        }
        Ok(())
    }

    /// Makes a user, as somebody would later on the machine.
    pub fn add_user(&self, account: &LateAccount) -> Result<(), Fault> {
        // No password fits, and yet the account is not locked.
        let mut args = vec!["--create-home", "--no-log-init", "--password", "*"];
        let uid = account.uid.map(|uid| uid.to_string());
        let groups = account.groups.join(",");
        for (option, value) in [
            ("--uid", uid.as_deref()),
            ("--groups", Some(groups.as_str()).filter(|groups| !groups.is_empty())),
            ("--shell", Some(account.shell.as_str())),
            ("--home-dir", account.home.as_deref()),
        ] {
            if let Some(value) = value {
                args.extend([option, value]);
            }
        }
        let group = self.at("etc/group");
        let text = fs::read_to_string(&group)
            .map_err(|error| Fault::Told(format!("{}: {error}", group.display())))?;
        match text.lines().any(|line| line.split(':').next() == Some(&account.name)) {
            true => args.extend(["--gid", &account.name]),
            false => args.push("--user-group"),
        }
        self.run(self.program("/usr/sbin/useradd").args(args).args(["--", &account.name]))
            .map_err(|fault| fault.of(format_args!("the user {}", account.name)))
    }
}
