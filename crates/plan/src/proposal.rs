//! What a build of a recipe would do, before anything is touched.

use std::collections::BTreeMap;
use std::fmt;

use bootenv::layout::Layout;
use disk::layout::DiskLayout;
use serde::Serialize;
use tree::Digest;

use crate::recipe::{Files, Recipe, Sudo, User};
use crate::report::{DatasetReport, PartitionReport, datasets, partitions};
use crate::{PlanError, machine};

/// Changes when the same recipe makes another machine than before.
const VERSION: u32 = 3;

/// What the recipe and the files of its machine leave open.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The packages.
    pub packages: PackageFacts,
    /// Name of the images unless the recipe has one; appliances carry it inside.
    pub name: String,
    /// `SOURCE_DATE_EPOCH`, if it is set: then it is the time of everything, not that of the lock.
    pub timestamp: Option<i64>,
}

/// What is known of the packages.
#[derive(Debug, Clone, Serialize)]
pub struct PackageFacts {
    /// SHA-256 of all that decides which packages are chosen, and which of them are there because of
    /// others: profiles and sets have their content here.
    pub digest: String,
    /// What is asked for, the profile's packages included.
    pub requests: Vec<String>,
    /// Where the lock is, or will be.
    pub lock: String,
    /// What it says; `None`: there is none yet.
    pub locked: Option<LockFacts>,
}

/// What a lock says.
#[derive(Debug, Clone, Serialize)]
pub struct LockFacts {
    /// SHA-256 of its text.
    pub digest: String,
    /// How many packages.
    pub packages: usize,
    /// Their length together, in bytes.
    pub bytes: u64,
}

/// What a build would do, for people (`Display`) and programs (`Serialize`).
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    /// Names everything that decides what is built: this program, recipe, the files it names, lock, time.
    pub digest: String,
    /// The recipe, with what it leaves to us filled in. Secrets are digests.
    pub recipe: Recipe,
    /// SHA-256 of each file that it names.
    pub files: BTreeMap<String, String>,
    /// The packages.
    pub packages: PackageFacts,
    /// Name of the images.
    pub name: String,
    /// The time of everything, in seconds since 1970; `None`: that of the lock.
    pub timestamp: Option<i64>,
    /// The partitions, if the size of the disk is told.
    pub partitions: Vec<PartitionReport>,
    /// The dataset that boots.
    pub boot_environment: String,
    /// All datasets.
    pub datasets: Vec<DatasetReport>,
}

impl Proposal {
    /// What a build of `recipe` would do, with the files it names.
    pub fn new(recipe: &Recipe, files: &Files, facts: Facts) -> Result<Self, PlanError> {
        let Facts { packages, name, timestamp } = facts;
        let options = recipe.options(timestamp);
        let layout: Layout = machine::layout(&options)?;
        let partitions = match options.disk_size {
            Some(size) => partitions(&DiskLayout::new(size, options.esp_size)?),
            None => Vec::new(),
        };
        let files: BTreeMap<String, String> = files
            .iter()
            .map(|(name, content)| (name.clone(), Digest::of(content).to_string()))
            .collect();
        let name = recipe.machine.image.name.as_ref().map_or(name, ToString::to_string);
        let lock = packages.locked.as_ref().map(|locked| &locked.digest);
        let program = env!("CARGO_PKG_VERSION");
        let inputs = serde_json::json!([
            VERSION,
            program,
            recipe,
            files,
            packages.digest,
            lock,
            name,
            timestamp
        ]);
        Ok(Self {
            digest: Digest::of(inputs.to_string().as_bytes()).to_string(),
            recipe: recipe.clone(),
            files,
            packages,
            name,
            timestamp,
            partitions,
            boot_environment: layout.boot_environment.clone(),
            datasets: datasets(&layout),
        })
    }
}

/// A line with its word in front; nothing if there is nothing to tell.
fn line(f: &mut fmt::Formatter<'_>, word: &str, text: &str) -> fmt::Result {
    if text.is_empty() { Ok(()) } else { writeln!(f, "{word:<12} {text}") }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn user(user: &User) -> String {
    let mut facts = Vec::new();
    if !user.groups.is_empty() {
        facts.push(format!("groups {}", list(&user.groups)));
    }
    let password = user.password_hash.is_some() || user.password_hash_file.is_some();
    facts.push(if password { "a password" } else { "no password" }.to_owned());
    match (user.ssh_keys.len(), &user.ssh_keys_file) {
        (0, None) => {}
        (keys, None) => facts.push(format!("{keys} SSH keys")),
        (_, Some(file)) => facts.push(format!("SSH keys of {file}")),
    }
    match user.sudo {
        Sudo::None => {}
        Sudo::Password => facts.push("sudo".to_owned()),
        Sudo::NoPassword => facts.push("sudo without password".to_owned()),
    }
    format!("{}: {}", user.name, facts.join(", "))
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (packages, machine) = (&self.recipe.packages, &self.recipe.machine);
        let profile = packages.profile.as_deref().unwrap_or("none");
        let asked = self.packages.requests.len();
        line(
            f,
            "packages",
            &format!(
                "{} {} {}, profile {profile}, {asked} asked for by name",
                packages.distribution, packages.release, packages.architecture
            ),
        )?;
        line(f, "  more", &packages.packages.join(" "))?;
        line(f, "  optional", &packages.optional.join(" "))?;
        line(f, "  never", &packages.exclude.join(" "))?;
        line(f, "  mirror", &packages.mirror.to_string())?;
        let lock = &self.packages.lock;
        match &self.packages.locked {
            Some(facts) => line(
                f,
                "  lock",
                &format!("{lock}: {} packages, {} MB", facts.packages, facts.bytes / 1_000_000),
            )?,
            None => line(f, "  lock", &format!("{lock}, written by the first build"))?,
        }
        let name = machine.hostname.as_ref().map(ToString::to_string);
        line(f, "host name", &name.unwrap_or_else(|| "from the network".to_owned()))?;
        line(f, "time zone", machine.time_zone.as_ref().map_or("Etc/UTC", |zone| zone.as_str()))?;
        line(f, "locale", machine.locale.as_ref().map_or("C.UTF-8", |locale| locale.as_str()))?;
        if let Some(keyboard) = &machine.keyboard {
            line(f, "keyboard", format!("{} {}", keyboard.layout, keyboard.variant).trim_end())?;
        }
        for one in &machine.users {
            line(f, "user", &user(one))?;
        }
        match &machine.network {
            None => line(f, "network", "DHCP on wired interfaces")?,
            Some(network) => {
                let dhcp = if network.dhcp { "DHCP " } else { "" };
                let addresses: Vec<String> =
                    network.addresses.iter().map(|&address| address.into()).collect();
                let names = network.interface.as_ref().map_or("wired", |name| name.as_str());
                let text = format!("{names}: {dhcp}{}", addresses.join(" "));
                line(f, "network", text.trim_end())?;
                let each = |list: &[crate::recipe::Ip]| {
                    list.iter().map(|ip| ip.0.to_string()).collect::<Vec<_>>().join(" ")
                };
                line(f, "  gateway", &each(&network.gateways))?;
                line(f, "  dns", &each(&network.dns))?;
            }
        }
        line(f, "enabled", &list(&machine.services.enable))?;
        line(f, "disabled", &list(&machine.services.disable))?;
        line(f, "masked", &list(&machine.services.mask))?;
        if let Some(cloud) = &machine.cloud_init {
            let sources = cloud.sources.join(" ");
            line(f, "cloud-init", if sources.is_empty() { "off" } else { &sources })?;
        }
        for file in &machine.files {
            let mode = String::from(file.mode);
            line(f, "file", &format!("{} {mode} {}:{}", file.path, file.owner, file.group))?;
        }
        for script in &machine.scripts {
            line(f, "script", &script.name)?;
        }
        let signing = machine.module_signing.as_ref().map(|signing| &*signing.certificate);
        line(f, "modules", signing.unwrap_or("not signed"))?;
        line(f, "kernel", &list(&machine.kernel_arguments))?;
        match machine.image.disk_size {
            Some(size) => line(f, "disk", &format!("{} MiB", size.0 >> 20))?,
            None => line(f, "disk", "twice as large as what is in it, at least 8 GiB")?,
        }
        for part in &self.partitions {
            let (size, offset) = (part.size >> 20, part.offset >> 20);
            line(f, &format!("  {}", part.name), &format!("{size} MiB at {offset} MiB"))?;
        }
        line(f, "pool", &format!("{}, boots from {}", machine.pool.name, self.boot_environment))?;
        for dataset in &self.datasets {
            let place = dataset.mountpoint.as_deref().unwrap_or("-");
            writeln!(f, "  {:<24} {place}", dataset.name)?;
        }
        let outputs: Vec<&str> = machine.image.outputs.iter().map(|output| output.name()).collect();
        line(f, "outputs", &format!("{}: {}", self.name, outputs.join(" ")))?;
        if let Some(seconds) = self.timestamp {
            line(f, "times", &format!("{seconds} seconds since 1970, as SOURCE_DATE_EPOCH says"))?;
        }
        line(f, "digest", &self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(text: &str, files: &[(&str, &str)], lock: Option<&str>) -> Proposal {
        changed(text, files, lock, |facts| facts)
    }

    fn changed(
        text: &str,
        files: &[(&str, &str)],
        lock: Option<&str>,
        change: fn(Facts) -> Facts,
    ) -> Proposal {
        let recipe = Recipe::parse(text).unwrap();
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect();
        let locked = lock.map(|digest| LockFacts {
            digest: digest.to_owned(),
            packages: 2,
            bytes: 3_000_000,
        });
        let packages = PackageFacts {
            digest: "asked".to_owned(),
            requests: vec!["vim".to_owned()],
            lock: "pear.lock".to_owned(),
            locked,
        };
        let facts = Facts { packages, name: "pears".to_owned(), timestamp: None };
        Proposal::new(&recipe, &files, change(facts)).unwrap()
    }

    #[test]
    fn digest_is_of_what_decides() {
        let text = "hostname = \"pear\"\n[[files]]\npath = \"/etc/motd\"\nsource = \"motd\"\n";
        let digest = |text: &str, motd, lock| proposal(text, &[("motd", motd)], lock).digest;
        let other = |change| changed(text, &[("motd", "a")], None, change).digest;
        let first = digest(text, "a", None);
        assert_eq!(first, digest(&format!("# pears\n{text}"), "a", None));
        for other in [
            digest(&text.replace("pear", "apple"), "a", None),
            digest(text, "b", None),
            digest(text, "a", Some("0")),
            // Sets and profiles may say other things under the same names.
            other(|mut facts| {
                facts.packages.digest.push('!');
                facts
            }),
            other(|facts| Facts { name: "apples".to_owned(), ..facts }),
            other(|facts| Facts { timestamp: Some(0), ..facts }),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn tells_everything() {
        let text =
            proposal(crate::recipe::EVERYTHING, &[("mok.key", "secret")], Some("0")).to_string();
        for told in [
            "debian trixie amd64, profile server, 1 asked for by name",
            "pear.lock: 2 packages, 3 MB",
            "alice: groups adm, a password, SSH keys of alice.pub, sudo\n",
            "bob: a password, sudo without password",
            "en*: 192.0.2.10/24 2001:db8::10/64\n",
            "NoCloud ConfigDrive None",
            "/etc/motd 0600 root:root",
            "tank, boots from tank/ROOT/first",
            "  tank/docker              /var/lib/docker",
            "pear: qcow2 vhd-dynamic",
            "  esp        512 MiB at ",
        ] {
            assert!(text.contains(told), "{told:?} is not in\n{text}");
        }
        assert!(!text.contains("$6$") && !text.contains("secret"), "{text}");
    }
}
