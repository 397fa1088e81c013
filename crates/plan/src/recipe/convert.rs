//! From a recipe to what planning and personalising take.

use std::collections::BTreeMap;

use rootfs::personalise::{Account, AptSources, Keyboard, Machine, NewFile, Services};
use rootfs::personalise::{Network, PersonaliseError, Sudo};
use rootfs::signing::{ModuleKey, PrivateKey, SigningError};
use thiserror::Error;

use super::{PasswordHash, Recipe, Source, SshKey, User};
use crate::Options;

/// The files that a recipe names, by the name it gives them.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Why a file that a recipe names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}: {}{problem}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct FileError {
    /// The file, as the recipe names it.
    pub file: String,
    /// Line of the file, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
}

impl Recipe {
    /// Name of the boot environment.
    pub fn boot_environment(&self) -> &str {
        self.machine.pool.boot_environment.as_deref().unwrap_or(&self.packages.distribution)
    }

    /// What is asked of the plan; `timestamp` as in [`Options::timestamp`].
    pub fn options(&self, timestamp: Option<i64>) -> Options {
        let machine = &self.machine;
        Options {
            pool: machine.pool.name.clone(),
            boot_environment: self.boot_environment().to_owned(),
            denser: Some(machine.image.compression()),
            overrides: machine.pool.overrides(),
            additional: machine.pool.additional(),
            kernel_arguments: machine.kernel_arguments.iter().map(ToString::to_string).collect(),
            clean: false,
            disabled: machine.services.disable.iter().map(ToString::to_string).collect(),
            host_name: machine.hostname.as_ref().map(ToString::to_string),
            disk_size: machine.image.disk_size.map(|size| size.0),
            esp_size: machine.image.esp_size.0,
            timestamp,
            seed: machine.image.seed.clone(),
        }
    }

    /// Packages that other keys need: sudo for users who may use it, cloud-init, locales.
    pub fn implied_packages(&self) -> Vec<&'static str> {
        let machine = &self.machine;
        let sudo = machine.users.iter().any(|user| user.sudo != super::Sudo::None);
        let cloud = machine.cloud_init.as_ref().is_some_and(|cloud| !cloud.sources.is_empty());
        let locale = machine.locale.as_ref();
        let locales =
            locale.and_then(|locale| rootfs::personalise::locale::script(locale.as_str()));
        [("sudo", sudo), ("cloud-init", cloud), ("locales", locales.is_some())]
            .into_iter()
            .filter_map(|(package, needed)| needed.then_some(package))
            .collect()
    }

    /// Files to add, with what is in them.
    pub fn new_files(&self, files: &Files) -> Result<Vec<NewFile>, FileError> {
        self.machine
            .files
            .iter()
            .map(|file| {
                Ok(NewFile {
                    path: file.path.to_string(),
                    content: Some(content(&file.source, files)?),
                    mode: file.mode.0,
                    owner: file.owner.to_string(),
                    group: file.group.to_string(),
                })
            })
            .collect()
    }

    /// Scripts to run late: what messages call them, and what they are.
    pub fn scripts(&self, files: &Files) -> Result<Vec<(String, Vec<u8>)>, FileError> {
        let script = |script: &super::Script| {
            let content = content(&script.source, files)?;
            if !content.starts_with(b"#!/") {
                let problem = "a script begins with its interpreter, as #!/bin/sh".to_owned();
                return Err(FileError { file: script.name.clone(), line: Some(1), problem });
            }
            Ok((script.name.clone(), content))
        };
        self.machine.scripts.iter().map(script).collect()
    }

    /// What signs kernel modules.
    pub fn module_key(&self, files: &Files) -> Result<Option<ModuleKey>, FileError> {
        let Some(signing) = &self.machine.module_signing else { return Ok(None) };
        let failed = |file: &String| {
            let file = file.clone();
            |error: SigningError| FileError { file, line: None, problem: error.to_string() }
        };
        let key = PrivateKey::parse(bytes(&signing.key, files)?).map_err(failed(&signing.key))?;
        let certificate = bytes(&signing.certificate, files)?;
        let key = ModuleKey::new(key, certificate).map_err(failed(&signing.certificate))?;
        Ok(Some(key))
    }

    /// Where the recipe asks for what a root cannot be made: the place of that value.
    pub fn place_of(&self, error: &PersonaliseError) -> Option<String> {
        use PersonaliseError as E;
        let machine = &self.machine;
        let of_user = |name: &str| machine.users.iter().position(|user| user.name.as_str() == name);
        let unit = |name: &String| {
            let services = &machine.services;
            let lists = [
                ("enable", &services.enable),
                ("disable", &services.disable),
                ("mask", &services.mask),
            ];
            lists.into_iter().find_map(|(list, units)| {
                let at = units.iter().position(|unit| unit.as_str() == name)?;
                Some(format!("services.{list}.{at}"))
            })
        };
        match error {
            E::Missing { path, .. } if path.starts_with("/usr/share/zoneinfo/") => {
                Some("time_zone".to_owned())
            }
            E::Missing { path, .. }
                if path.starts_with("/usr/lib/locale/") || path.starts_with("/usr/share/i18n/") =>
            {
                Some("locale".to_owned())
            }
            E::Locale(_) => Some("locale".to_owned()),
            E::Missing { path, .. } => {
                let at = machine.users.iter().position(|user| user.shell.as_str() == path)?;
                Some(format!("users.{at}.shell"))
            }
            E::Group { user, group } => {
                let at = of_user(user)?;
                let groups = &machine.users.get(at)?.groups;
                let group = groups.iter().position(|one| one.as_str() == group)?;
                Some(format!("users.{at}.groups.{group}"))
            }
            E::Uid { user, .. } => Some(format!("users.{}.uid", of_user(user)?)),
            E::Full(user) | E::Twice(user) | E::Exists { user, .. } | E::OwnGroup { user, .. } => {
                Some(format!("users.{}.name", of_user(user)?))
            }
            E::Shell { user, .. } => Some(format!("users.{}.shell", of_user(user)?)),
            E::Owner { path, key, .. } => {
                let at = machine.files.iter().position(|file| file.path.as_str() == path)?;
                Some(format!("files.{at}.{key}"))
            }
            E::NoZone(_) => Some("time_zone".to_owned()),
            E::Keyboard { key, .. } => Some(format!("keyboard.{key}")),
            E::Unit(name)
            | E::NotInstallable(name)
            | E::Local(name)
            | E::Alias { unit: name, .. } => unit(name),
            E::Gateway(gateway) => {
                let gateways = &machine.network.as_ref()?.gateways;
                let at = gateways.iter().position(|one| one.0 == *gateway)?;
                Some(format!("network.gateways.{at}"))
            }
            E::Rootfs(_) | E::Word { .. } => None,
        }
    }

    /// Whether all files are what the recipe takes them for.
    pub fn check(&self, files: &Files) -> Result<(), FileError> {
        self.personal(files, None)?;
        self.scripts(files)?;
        self.module_key(files)?;
        Ok(())
    }

    /// What makes a root this recipe's machine. With scripts, files were added before those ran
    /// (they may change them), and get only their owners here.
    pub fn personal(
        &self,
        files: &Files,
        sources: Option<AptSources>,
    ) -> Result<Machine, FileError> {
        let machine = &self.machine;
        let mut added = self.new_files(files)?;
        if !machine.scripts.is_empty() {
            added.iter_mut().for_each(|file| file.content = None);
        }
        let words = |units: &[super::Unit]| units.iter().map(ToString::to_string).collect();
        Ok(Machine {
            accounts: machine
                .users
                .iter()
                .map(|user| account(user, files))
                .collect::<Result<_, _>>()?,
            network: machine.network.as_ref().map(network).unwrap_or_default(),
            time_zone: machine.time_zone.as_ref().map(ToString::to_string),
            locale: machine.locale.as_ref().map(ToString::to_string),
            keyboard: machine.keyboard.as_ref().map(|keyboard| Keyboard {
                layout: keyboard.layout.clone(),
                variant: keyboard.variant.clone(),
                model: keyboard.model.clone(),
                options: keyboard.options.clone(),
            }),
            services: Services {
                enable: words(&machine.services.enable),
                disable: words(&machine.services.disable),
                mask: words(&machine.services.mask),
            },
            files: added,
            sources,
            cloud_init: machine.cloud_init.as_ref().map(|cloud| cloud.sources.clone()),
        })
    }
}

fn network(network: &super::Network) -> Network {
    let addresses = |list: &[super::Ip]| list.iter().map(|ip| ip.0).collect();
    Network {
        interface: network.interface.as_ref().map(ToString::to_string),
        addresses: network.addresses.iter().map(|cidr| (cidr.address, cidr.prefix)).collect(),
        dhcp: network.dhcp,
        gateways: addresses(&network.gateways),
        dns: addresses(&network.dns),
        search: network.search.iter().map(ToString::to_string).collect(),
    }
}

fn account(user: &User, files: &Files) -> Result<Account, FileError> {
    let hash = match (&user.password_hash, &user.password_hash_file) {
        (Some(hash), _) => Some(hash.clone()),
        (None, Some(file)) => {
            let hash = PasswordHash::try_from(text(file, files)?.trim_end().to_owned());
            let failed = |problem| FileError { file: file.clone(), line: Some(1), problem };
            Some(hash.map_err(failed)?)
        }
        (None, None) => None,
    };
    let mut keys: Vec<String> = user.ssh_keys.iter().map(ToString::to_string).collect();
    if let Some(file) = &user.ssh_keys_file {
        for (at, line) in text(file, files)?.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |problem| FileError { file: file.clone(), line: Some(at + 1), problem };
            keys.push(SshKey::try_from(line.to_owned()).map_err(failed)?.to_string());
        }
    }
    Ok(Account {
        name: user.name.to_string(),
        full_name: user.full_name.clone(),
        uid: user.uid,
        groups: user.groups.iter().map(ToString::to_string).collect(),
        password_hash: hash.map(|hash| hash.secret().to_owned()),
        ssh_keys: keys,
        sudo: match user.sudo {
            super::Sudo::None => Sudo::None,
            super::Sudo::Password => Sudo::Password,
            super::Sudo::NoPassword => Sudo::NoPassword,
        },
        shell: user.shell.to_string(),
        home: user.home.as_ref().map(ToString::to_string),
    })
}

fn content(source: &Source, files: &Files) -> Result<Vec<u8>, FileError> {
    match source {
        Source::Content(text) => Ok(text.clone().into_bytes()),
        Source::Source(file) => bytes(file, files).map(<[u8]>::to_vec),
    }
}

fn bytes<'a>(file: &str, files: &'a Files) -> Result<&'a [u8], FileError> {
    let missing = || FileError {
        file: file.to_owned(),
        line: None,
        problem: "the recipe names it, but nobody has read it".to_owned(),
    };
    files.get(file).map(Vec::as_slice).ok_or_else(missing)
}

fn text<'a>(file: &str, files: &'a Files) -> Result<&'a str, FileError> {
    let failed = |_| FileError {
        file: file.to_owned(),
        line: None,
        problem: "it is not text in UTF-8".to_owned(),
    };
    std::str::from_utf8(bytes(file, files)?).map_err(failed)
}
