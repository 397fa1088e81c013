//! More than one disk with a pool called `rpool`: the machine's own is found, the other one is not touched.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use host::qemu::{Controller, Disk};
use sha2::{Digest, Sha256};

use super::inputs::Inputs;
use crate::judge_pool;
use crate::steps::Verdict;
use crate::vm::lab::{Guest, Lab};

/// By how much a machine's own disk is larger than the image.
const GROWTH: u64 = 1 << 30;

/// Attached to the second machine; by the kernel's name, as both disks are on virtio.
const OTHER: &str = "/dev/vdb";

/// A clone of the image lives, loses its power and is attached to another clone's machine.
pub fn stale_pool(inputs: &Inputs) -> Result<Verdict> {
    let scratch = inputs.scratch().join("stale-pool");
    std::fs::create_dir_all(&scratch)?;
    let images = inputs.images()?;
    let lab = Lab::new(&scratch)?;

    println!("    a first machine, until its power is cut");
    let stale = judge_pool::sparse_copy(&images.join("debian.raw"), &scratch)?;
    let raw = |path: &Path| Disk {
        path: path.to_owned(),
        format: "raw".to_owned(),
        controller: Controller::VirtioBlk,
    };
    let variables = lab.variables()?;
    let mut vm = lab.power_on("stale-first", vec![raw(&stale)], &variables)?;
    let mut guest = lab.log_in(&mut vm)?;
    let first = Identity::of(&mut guest)?;
    guest.ask("sync; zpool sync rpool")?;
    vm.cut_power();
    let before = sha256(&stale)?;

    println!("    a second machine from the same image, with the first one's disk");
    let own = lab.overlay(&images.join("debian.qcow2"), GROWTH)?;
    let variables = lab.variables()?;
    let disks = vec![own.disk(Controller::VirtioBlk), raw(&stale)];
    let mut vm = lab.power_on("stale-second", disks, &variables)?;
    let mut guest = lab.log_in(&mut vm)?;
    let second = Identity::of(&mut guest)?;
    second.differs_from(&first)?;
    let device = guest.ask("zpool list -HvPL -o name rpool | sed 1d | cut -f 2")?;
    if !device.starts_with("/dev/vda") {
        bail!("the root pool lies on {device}, not on the disk that was booted");
    }
    guest.expect("zpool status -x", "all pools are healthy")?;
    guest.expect("findmnt -no SOURCE /", "rpool/ROOT/debian")?;
    // It restarts with the other disk there, too, and its own is then one that has new GUIDs.
    let mut guest = guest.reboot()?;
    second.equals(&Identity::of(&mut guest)?)?;
    guest.ask("sync")?;
    if sha256(&stale)? != before {
        bail!("the first machine's disk is not as it was");
    }
    println!("    the first machine's disk is as it was: SHA-256 {before}");

    // A person who wants to look into the other disk can, under another name.
    let listed = guest.ask("zpool import")?;
    if !listed.contains(&first.pool) {
        bail!("zpool import does not offer the pool {}:\n{listed}", first.pool);
    }
    let import = format!(
        "zpool import -N -f -R /mnt {} other && zpool status -P other && \
         zfs list -H -o name other/ROOT/debian",
        first.pool
    );
    let said = guest.run("the other disk's pool is imported as `other`", &import, 60)?;
    if !said.contains(OTHER) || !said.contains("No known data errors") {
        bail!("{said}");
    }
    guest.run("its root is readable", MOUNT, 60)?;
    guest.run(
        "it scrubs clean",
        "zpool scrub -w other && zpool status -x other | grep healthy",
        180,
    )?;
    guest.ask("zpool export other")?;
    guest.expect("zpool status -x", "all pools are healthy")?;
    guest.power_off()?;
    lab.wait_off(&mut vm)?;
    std::fs::remove_dir_all(&scratch)?;
    Ok(Verdict::Passed)
}

const MOUNT: &str = "zfs mount other/ROOT/debian && grep -q ^ID=debian /mnt/etc/os-release && \
                     zfs unmount other/ROOT/debian";

/// What tells one clone's disk from another's.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    pool: String,
    disk: String,
    partitions: Vec<String>,
    machine: String,
}

impl Identity {
    fn of(guest: &mut Guest<'_>) -> Result<Self> {
        guest.ask("test -e /var/lib/kldload/first-boot-done")?;
        let pool = guest.ask("zpool get -H -o value guid rpool")?;
        let udev = |name: &str, value: &str| {
            format!(
                "udevadm settle; udevadm info --query=property --property={value} --value /dev/{name}"
            )
        };
        let disk = guest.ask(&udev("vda", "ID_PART_TABLE_UUID"))?;
        let mut partitions = Vec::new();
        for number in 1..=3 {
            partitions.push(guest.ask(&udev(&format!("vda{number}"), "ID_PART_ENTRY_UUID"))?);
        }
        let machine = guest.ask("cat /etc/machine-id")?;
        println!("    pool {pool}, disk {disk}, machine {machine}");
        Ok(Self { pool, disk, partitions, machine })
    }

    fn differs_from(&self, other: &Self) -> Result<()> {
        let shared = self.partitions.iter().any(|guid| other.partitions.contains(guid));
        if shared
            || self.pool == other.pool
            || self.disk == other.disk
            || self.machine == other.machine
        {
            bail!("two clones share an identity: {self:?} and {other:?}");
        }
        Ok(())
    }

    fn equals(&self, other: &Self) -> Result<()> {
        if self != other {
            bail!("after a reboot {self:?} is {other:?}");
        }
        Ok(())
    }
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
