//! The keys of a recipe that say what the machine is to be.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::word::{Word, word};
use super::{
    AddedFile, CloudInit, Compression, FileName, HostName, KernelArgument, Keyboard, Locale,
    Network, Pool, Script, Size, TimeZone, Unit, User,
};

/// What the machine is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// Name of the machine; without one, the network gives it.
    pub hostname: Option<HostName>,
    /// Time zone, as `Europe/Berlin`; `Etc/UTC` if it is not told.
    pub time_zone: Option<TimeZone>,
    /// Language and formats, as `de_DE.UTF-8`; `C.UTF-8` if it is not told.
    pub locale: Option<Locale>,
    /// Keyboard of consoles and screens.
    pub keyboard: Option<Keyboard>,
    /// Users.
    pub users: Vec<User>,
    /// Network of wired interfaces.
    pub network: Option<Network>,
    /// More kernel arguments.
    pub kernel_arguments: Vec<KernelArgument>,
    /// Services that are switched on or off.
    pub services: Services,
    /// Files to add.
    pub files: Vec<AddedFile>,
    /// Scripts to run in the finished root.
    pub scripts: Vec<Script>,
    /// Whether cloud-init configures the machine: true, false, or its data sources.
    pub cloud_init: Option<CloudInit>,
    /// The pool.
    pub pool: Pool,
    /// The disk image.
    pub image: Image,
    /// Key that signs the kernel modules that dkms builds, ZFS among them.
    pub module_signing: Option<ModuleSigning>,
}

/// Services that are switched on or off; what is not named is as its package left it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Services {
    /// Units that are started, as systemctl enable does.
    pub enable: Vec<Unit>,
    /// Units that are not started by themselves, as systemctl disable does.
    pub disable: Vec<Unit>,
    /// Units that cannot be started at all, as systemctl mask does.
    pub mask: Vec<Unit>,
}

/// The disk image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Image {
    /// Name of the files, without ending; the recipe's if it is not told.
    pub name: Option<FileName>,
    /// Size of the disk; the tree decides if it is not told.
    pub disk_size: Option<Size>,
    /// Size of the EFI system partition.
    pub esp_size: Size,
    /// How the content is stored, zstd-14 if it is not told; properties of datasets, as the pool's lz4, are for
    /// what comes later, but for other values than lz4 and on, which hold for the content too.
    pub compression: Option<Compression>,
    /// Formats to write.
    pub outputs: Vec<Output>,
    /// Changes all identifiers (GUIDs); the same seed gives the same image.
    pub seed: String,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            name: None,
            disk_size: None,
            esp_size: Size(1 << 30),
            compression: None,
            outputs: vec![Output::Qcow2],
            seed: String::new(),
        }
    }
}

impl Image {
    /// How the content is stored.
    pub fn compression(&self) -> zfs::Compression {
        let told = self.compression.as_ref().and_then(|text| text.as_str().parse().ok());
        // A twentieth less than zstd-9 in five times its time, which a root takes once; above it, little is won.
        told.unwrap_or(zfs::Compression::Zstd(14))
    }
}

/// What a build writes: a format of images, or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// QEMU copy-on-write version 3.
    Qcow2,
    /// The bare disk.
    Raw,
    /// Fixed VHD.
    Vhd,
    /// Dynamic VHD.
    VhdDynamic,
    /// VHDX.
    Vhdx,
    /// Stream-optimised VMDK.
    Vmdk,
    /// An appliance with one disk.
    Ova,
    /// disk.raw in a tar.gz.
    Gcp,
    /// The pool's datasets as a send stream.
    ZfsStream,
}

impl Output {
    /// All formats.
    pub const ALL: [Self; 9] = [
        Self::Qcow2,
        Self::Raw,
        Self::Vhd,
        Self::VhdDynamic,
        Self::Vhdx,
        Self::Vmdk,
        Self::Ova,
        Self::Gcp,
        Self::ZfsStream,
    ];

    /// Bytes of the largest disk that it can hold, if there is such a limit.
    pub fn max_disk(self) -> Option<u64> {
        match self {
            Self::Vhd | Self::VhdDynamic | Self::Vmdk | Self::Ova => Some(disk::export::MAX_VHD),
            Self::Vhdx => Some(disk::export::MAX_VHDX),
            Self::Qcow2 => Some(disk::export::MAX_QCOW2),
            Self::Raw | Self::Gcp | Self::ZfsStream => None,
        }
    }

    /// What recipes and command lines call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vhd => "vhd",
            Self::VhdDynamic => "vhd-dynamic",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Ova => "ova",
            Self::Gcp => "gcp",
            Self::ZfsStream => "zfs-stream",
        }
    }
}

impl Word for Output {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.name()
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        word(from)
    }
}

/// Key that signs the kernel modules that dkms builds, so that Secure Boot takes them. Files beside the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleSigning {
    /// Private RSA key, PEM, not encrypted. It never gets into the image.
    pub key: String,
    /// Its certificate, DER or PEM. In the image it is `/var/lib/dkms/mok.pub`, for mokutil.
    pub certificate: String,
}
