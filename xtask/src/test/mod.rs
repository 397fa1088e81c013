//! `cargo xtask test`: everything that must hold before a change lands, the quick things first.

mod bootstrap;
mod code;
mod core;
mod darksite;
mod every_field;
mod export;
mod fixtures;
mod foreign;
mod histories;
mod image;
mod inputs;
mod objects;
pub mod ours;
mod pool;
mod recipe;
mod second_kernel;
mod shapes;
mod stale_pool;
mod stopped;
mod trouble;

use anyhow::Result;
use clap::ValueEnum;

use crate::apt;
use crate::steps::{self, Step};
use inputs::Inputs;
pub use inputs::describe;

/// Which virtual machines are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Machines {
    /// None: whatever needs one is left out
    None,
    /// What every change must pass
    Ci,
    /// Every controller, and the judges inside a real kernel, as well
    All,
}

type TestStep = Step<'static, Inputs>;

const CODE: &[TestStep] = &[
    Step { name: "fmt", proves: "the code is formatted", work: code::fmt },
    Step { name: "clippy", proves: "no lint complains", work: code::clippy },
    Step { name: "tree", proves: "mmdebstrap makes the Debian that is used", work: pool::tree },
    Step { name: "unit", proves: "tests beside the code", work: code::unit },
];

const POOL: &[TestStep] = &[
    Step {
        name: "judge",
        proves: "the judges notice damage, and verify names what they notice",
        work: pool::judge,
    },
    Step {
        name: "shapes",
        proves: "raidz, special and log vdevs of OpenZFS are read, with disks absent and damaged",
        work: shapes::read,
    },
    Step {
        name: "streams",
        proves: "streams that OpenZFS sends are received",
        work: shapes::streams,
    },
    Step {
        name: "old-pools",
        proves: "pools of all versions, of OpenZFS's own tests, are verified as zdb does",
        work: foreign::old_pools,
    },
    Step {
        name: "torture",
        proves: "OpenZFS lives with a pool of the torture tree",
        work: pool::torture,
    },
    Step { name: "debian", proves: "OpenZFS lives with a pool of Debian", work: pool::debian },
];

const IMAGE: &[TestStep] = &[
    Step {
        name: "image",
        proves: "partition tools and OpenZFS like the disk image",
        work: image::tools,
    },
    Step {
        name: "twice",
        proves: "another user elsewhere builds the same bytes",
        work: image::twice,
    },
];

const CORE: &[TestStep] = &[Step {
    name: "core",
    proves: "an ordinary user builds the profile core from the archive, and a record of it",
    work: core::core,
}];

/// Last, as the machine has booted since `core` ended.
const BOOT: &[TestStep] = &[Step {
    name: "boot",
    proves: "the profile core boots and goes on booting",
    work: core::boot,
}];

const KERNEL: &[TestStep] = &[
    Step {
        name: "histories",
        proves: "OpenZFS lives with snapshots, clones, volumes and mirrors",
        work: pool::histories,
    },
    Step {
        name: "stopped",
        proves: "we tell what OpenZFS left when it stopped, or its disks changed",
        work: stopped::told,
    },
    Step {
        name: "fixtures",
        proves: "zdb sees every object of a kernel's pools as we do",
        work: fixtures::compare,
    },
    Step {
        name: "newest-zdb",
        proves: "zdb of OpenZFS 2.4 sees what we wrote as we do",
        work: pool::newest,
    },
    Step {
        name: "vm-histories",
        proves: "a kernel lives with histories, and receives and continues our streams",
        work: pool::kernel_histories,
    },
    Step { name: "vm-judge", proves: "the kernel judge notices damage", work: pool::kernel_judge },
    Step {
        name: "vm-torture",
        proves: "a kernel sees the torture tree as it is",
        work: pool::kernel_torture,
    },
    Step { name: "vm-debian", proves: "a kernel sees Debian as it is", work: pool::kernel_debian },
    Step {
        name: "vm-image",
        proves: "a kernel sees every dataset of the disk image as it is",
        work: image::kernel,
    },
];

/// Where chance, or a registry of crates, has a say: no change is to blame for that.
const CHANCE: &[TestStep] = &[
    Step {
        name: "published",
        proves: "the crate zfs can be packaged, and is documented without a warning",
        work: code::published,
    },
    Step {
        name: "ztest",
        proves: "pools that ztest leaves are verified as zdb does, dRAID is refused by name",
        work: foreign::ztest,
    },
];

const EXPORT: &[TestStep] = &[
    Step {
        name: "export",
        proves: "exported images hold the disk, in every format",
        work: export::every_format,
    },
    Step {
        name: "export-free",
        proves: "OpenZFS lives with a pool that was exported without its free space",
        work: export::without_free_space,
    },
    Step {
        name: "export-deleted",
        proves: "2 GiB of deleted files are left out of an image",
        work: export::deleted_files,
    },
];

const CONTROLLERS: &[TestStep] = &[
    Step { name: "boot-virtio", proves: "the image boots from virtio", work: image::boot_virtio },
    Step { name: "boot-ahci", proves: "the image boots from SATA", work: image::boot_ahci },
    Step { name: "boot-nvme", proves: "the image boots from NVMe", work: image::boot_nvme },
    Step {
        name: "boot-export",
        proves: "exported images boot on the controllers of their hypervisors",
        work: export::boot_export,
    },
];

const MACHINES: &[TestStep] = &[
    Step {
        name: "releases",
        proves: "apt chooses what we choose, in every release",
        work: code::releases,
    },
    Step {
        name: "apt-installs",
        proves: "a stock apt installs a profile from our repository",
        work: darksite::apt_installs,
    },
    Step {
        name: "boot-trouble",
        proves: "the boot check knows a machine that is lost, and says why",
        work: trouble::boot_trouble,
    },
    Step {
        name: "stale-pool",
        proves: "pools of the same name on other disks stay as they are",
        work: stale_pool::stale_pool,
    },
    Step {
        name: "second-kernel",
        proves: "apt installs another kernel, it boots, and the first one can go",
        work: second_kernel::second_kernel,
    },
];

const ROOTS: &[TestStep] = &[
    Step {
        name: "bootstrap",
        proves: "our root is mmdebstrap's, scripts do what scripts may",
        work: bootstrap::bootstrap,
    },
    Step {
        name: "recipe",
        proves: "a recipe becomes the same machine everywhere",
        work: core::recipe,
    },
    Step {
        name: "profiles",
        proves: "server and desktop are built and boot, and the greeter shows",
        work: recipe::profiles,
    },
    Step {
        name: "other-releases",
        proves: "the releases before and after are built and boot",
        work: recipe::other_releases,
    },
    Step {
        name: "every-field",
        proves: "a booted machine has every key of its recipe",
        work: every_field::every_field,
    },
];

/// Runs the steps, or those in `only`.
pub fn run(machines: Machines, only: &[String]) -> Result<()> {
    apt::install_missing()?;
    let mut chosen: Vec<&TestStep> = Vec::new();
    let groups = [
        (CODE, Machines::None),
        (CORE, Machines::Ci),
        (POOL, Machines::None),
        (IMAGE, Machines::None),
        (BOOT, Machines::Ci),
        (KERNEL, Machines::All),
        (CHANCE, Machines::All),
        (EXPORT, Machines::All),
        (CONTROLLERS, Machines::All),
        (MACHINES, Machines::All),
        (ROOTS, Machines::All),
    ];
    for (group, least) in groups {
        // Who names a step wants it.
        if machines >= least || !only.is_empty() {
            chosen.extend(group);
        }
    }
    steps::run(&chosen, only, &Inputs::new()?)
}
