//! `grow-gpt`: growth, new GUIDs, power cuts, damage; `sgdisk` and `fdisk` as judges.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../disk/tests/judges/mod.rs"]
mod judges;
mod table;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use judges::{passes, tool};
use table::{Design, GIB, MIB};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/files/grow-gpt");

struct Disk {
    directory: tempfile::TempDir,
    sector: u64,
}

#[derive(Debug)]
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Disk {
    fn new(design: &Design) -> Self {
        let disk = Self { directory: tempfile::tempdir().unwrap(), sector: design.sector };
        let file = fs::File::create(disk.path()).unwrap();
        file.set_len(design.size).unwrap();
        for (offset, bytes) in design.bytes() {
            file.write_all_at(&bytes, offset).unwrap();
        }
        disk
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn file(&self) -> fs::File {
        OpenOptions::new().read(true).write(true).open(self.path()).unwrap()
    }

    fn size(&self) -> u64 {
        self.file().metadata().unwrap().len()
    }

    fn resize(&self, size: u64) -> &Self {
        self.file().set_len(size).unwrap();
        self
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        self.file().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, offset).unwrap();
    }

    /// The first MiB and the last MiB: all that may ever change, in one piece.
    fn ends(&self) -> [Vec<u8>; 2] {
        [self.read(0, MIB), self.read(self.size() - MIB, MIB)]
    }

    fn run(&self, arguments: &[&str]) -> Option<Outcome> {
        let mut perl = tool("perl")?;
        let output = perl
            .arg(PROGRAM)
            .args(["--sector-size", &self.sector.to_string()])
            .args(arguments)
            .arg(self.path())
            .arg("3")
            .output()
            .unwrap();
        Some(Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        })
    }

    #[track_caller]
    fn says(&self, arguments: &[&str], stdout: &str) {
        let Some(outcome) = self.run(arguments) else { return };
        assert_eq!((outcome.code, &*outcome.stdout), (0, stdout), "{outcome:?}");
    }

    #[track_caller]
    fn is_refused(&self, code: i32, message: &str) {
        let before = self.ends();
        for arguments in [&[][..], &["--new-guids"], &["--dry-run"]] {
            let Some(outcome) = self.run(arguments) else { return };
            assert_eq!(outcome.code, code, "{outcome:?}");
            assert!(outcome.stderr.contains(message), "{outcome:?}");
            assert_eq!(outcome.stdout, "");
            assert!(self.ends() == before, "{arguments:?} wrote something");
        }
    }

    #[track_caller]
    fn is_sound(&self) {
        if self.sector == 512 {
            let Some(mut sgdisk) = tool("sgdisk") else { return };
            let said = passes(sgdisk.arg("-v").arg(self.path()));
            assert!(said.contains("No problems found"), "{said}");
            assert!(!said.contains("Caution") && !said.contains("Warning"), "{said}");
        }
        let Some(mut fdisk) = tool("fdisk") else { return };
        let said = passes(fdisk.args(["-b", &self.sector.to_string(), "-l"]).arg(self.path()));
        assert!(said.contains("Disklabel type: gpt"), "{said}");
        for word in ["corrupt", "mismatch", "not on the end", "Partition table entries are not"] {
            assert!(!said.contains(word), "{said}");
        }
    }

    /// Disk GUID and the partitions' GUIDs, from the primary table.
    fn guids(&self) -> Vec<Vec<u8>> {
        let entry = |index: u64| self.read(2 * self.sector + index * 128 + 16, 16);
        let mut guids = vec![self.read(self.sector + 56, 16)];
        guids.extend((0..3).map(entry));
        guids
    }
}

#[test]
fn grows_once() {
    for sector in [512, 4096] {
        let disk = Disk::new(&Design::new(sector, 4 * GIB));
        disk.is_sound();
        let before = disk.ends();
        disk.says(&[], "unchanged\n");
        assert!(disk.ends() == before);

        disk.resize(9 * GIB);
        let before = disk.ends();
        let guids = disk.guids();
        let grown = format!("partition 3 {}\n", (9 * GIB - 1024 * MIB - 3 * MIB) / 512);
        disk.says(&["--dry-run"], &grown);
        assert!(disk.ends() == before);
        disk.says(&["--no-grow"], "unchanged\n");
        assert!(disk.ends() == before);
        disk.says(&[], &grown);
        disk.is_sound();
        assert_eq!(disk.guids(), guids);

        let before = disk.ends();
        disk.says(&[], "unchanged\n");
        assert!(disk.ends() == before);
    }
}

#[test]
fn boot_code_and_names_are_kept() {
    let disk = Disk::new(&Design::new(512, 4 * GIB));
    disk.write(0, &[0xAB; 446]);
    let entry = disk.read(1024 + 2 * 128, 128);
    disk.resize(5 * GIB);
    let Some(outcome) = disk.run(&[]) else { return };
    assert_eq!(outcome.code, 0);
    assert_eq!(disk.read(0, 446), [0xAB; 446]);
    let grown = disk.read(1024 + 2 * 128, 128);
    assert_eq!((&entry[..40], &entry[48..]), (&grown[..40], &grown[48..]));
    assert_ne!(entry[40..48], grown[40..48]);
}

#[test]
fn new_guids_are_new_and_random() {
    for sector in [512, 4096] {
        let disk = Disk::new(&Design::new(sector, 4 * GIB));
        let mut seen = disk.guids();
        for _ in 0..2 {
            disk.says(&["--new-guids", "--no-grow"], "changed\n");
            disk.is_sound();
            for guid in disk.guids() {
                assert_eq!((guid[7] >> 4, guid[8] >> 6), (4, 2), "RFC 9562 version and variant");
                assert!(!seen.contains(&guid));
                seen.push(guid);
            }
        }
    }
}

#[test]
fn too_little_room_changes_nothing() {
    let disk = Disk::new(&Design::new(512, 4 * GIB));
    for more in [512, 16 * 512, 33 * 512, MIB - 512] {
        disk.resize(4 * GIB + more);
        let before = disk.ends();
        disk.says(&[], "unchanged\n");
        assert!(disk.ends() == before);
    }
    disk.resize(4 * GIB + MIB);
    disk.says(&[], &format!("partition 3 {}\n", (3 * GIB - 2 * MIB) / 512));
    disk.is_sound();
}

/// After any prefix of the writes, one table is whole, and running again finishes the work.
#[test]
fn power_cuts() {
    for sector in [512, 4096] {
        for (arguments, size) in
            [(&[][..], 9 * GIB), (&["--new-guids"], 9 * GIB), (&["--new-guids"], 4 * GIB)]
        {
            let disk = Disk::new(&Design::new(sector, 4 * GIB));
            disk.resize(size);
            let old = disk.ends();
            let Some(outcome) = disk.run(arguments) else { return };
            assert_eq!(outcome.code, 0);
            let new = disk.ends();

            // How far the writes came: backup half or whole, then primary torn or not at all.
            let mut half_backup = old[1].clone();
            let middle = half_backup.len() - sector as usize;
            half_backup[..middle].copy_from_slice(&new[1][..middle]);
            let mut torn = old[0].clone();
            torn[..2 * sector as usize].copy_from_slice(&new[0][..2 * sector as usize]);
            let mut torn_header = new[0].clone();
            torn_header[sector as usize + 16] ^= 1;
            for (start, end) in [
                (&old[0], &half_backup),
                (&old[0], &new[1]),
                (&torn, &new[1]),
                (&torn_header, &new[1]),
            ] {
                disk.write(0, start);
                disk.write(size - MIB, end);
                let Some(outcome) = disk.run(&[]) else { return };
                assert_eq!(outcome.code, 0, "{outcome:?}");
                disk.is_sound();
                disk.says(&[], "unchanged\n");
                if size > 4 * GIB {
                    let last = disk.read(2 * sector + 2 * 128 + 40, 8);
                    assert_eq!(last, new[0][2 * sector as usize + 296..][..8]);
                }
            }
        }
    }
}

#[test]
fn a_lost_backup_or_primary_is_made_again() {
    let disk = Disk::new(&Design::new(512, 4 * GIB));
    let whole = disk.ends();
    disk.write(4 * GIB - 512, &[0; 512]);
    disk.says(&["--dry-run"], "would change\n");
    disk.says(&[], "changed\n");
    assert!(disk.ends() == whole);
    disk.write(512, &[0; 512]);
    disk.says(&[], "changed\n");
    assert!(disk.ends() == whole);
    disk.write(1024, &[1; 512]);
    disk.says(&[], "changed\n");
    assert!(disk.ends() == whole);
}

#[test]
fn strange_disks_are_left_alone() {
    let design = || Design::new(512, 4 * GIB);
    let refused = |change: &dyn Fn(&mut Design), code, message: &str| {
        let mut design = design();
        change(&mut design);
        let disk = Disk::new(&design);
        disk.resize(9 * GIB).is_refused(code, message);
    };
    refused(&|d| d.partitions[2].kind[0] ^= 1, 3, "is no ZFS partition");
    refused(&|d| d.partitions.swap(1, 2), 3, "partition 2 is");
    refused(&|d| d.partitions[2].first = d.partitions[1].last, 1, "overlaps another one");
    refused(&|d| d.partitions[0].first = 33, 1, "overlaps another one or the table");
    refused(&|d| d.partitions[1].last = 1, 1, "ends before it starts");
    refused(&|d| d.partitions[2].last = u64::MAX, 1, "outside the disk");
    refused(&|d| d.partitions[2].last += 4 * MIB, 1, "behind the last usable sector");
    refused(&|d| d.partitions.clear(), 1, "has no partitions");
    refused(&|d| d.first_usable = 20, 1, "may overlap the table");
    refused(&|d| d.last_usable = u64::MAX, 1, "field last out of range");
    refused(&|d| d.entry_size = 256, 1, "entries of 256 bytes");
    refused(&|d| d.revision = 0x20000, 1, "revision 00020000");
    refused(&|d| d.header_size = 4096, 1, "a header of 4096 bytes");
    refused(&|d| d.primary_at = 3, 1, "a header made for sector 3");
    refused(&|d| d.count = 0, 1, "0 entries");
    refused(&|d| d.mbr_types = [0xEE, 0x0C, 0, 0], 3, "hybrid MBR");
    refused(&|d| d.mbr_types = [0x83, 0, 0, 0], 3, "no protective MBR");

    let disk = Disk::new(&design());
    disk.resize(4 * GIB - MIB).is_refused(1, "smaller than its partition table says");
    let disk = Disk::new(&design());
    disk.write(512, &[0xFF; 512]);
    disk.resize(9 * GIB).is_refused(1, "has no valid partition table");
    let disk = Disk::new(&Design::new(4096, 4 * GIB));
    Disk { sector: 512, ..disk }.is_refused(1, "has no valid partition table");
    Disk::new(&design()).resize(1000).path();

    // Both copies whole, and they disagree about a partition.
    let disk = Disk::new(&design());
    let mut other = design();
    other.partitions[1].last -= 2048;
    let (offset, bytes) = other.bytes().pop().unwrap();
    disk.write(offset, &bytes);
    disk.is_refused(1, "contradict each other");
}

#[test]
fn usage() {
    let Some(mut perl) = tool("perl") else { return };
    let output = perl.args([PROGRAM, "--frobnicate", "/dev/null", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let Some(mut perl) = tool("perl") else { return };
    assert!(passes(perl.args([PROGRAM, "--help"])).starts_with("Usage: grow-gpt"));
    for arguments in
        [&["/dev/null"][..], &["/dev/null", "0"], &["/dev/null", "x"], &["a", "1", "2"]]
    {
        let Some(mut perl) = tool("perl") else { return };
        assert_eq!(perl.arg(PROGRAM).args(arguments).output().unwrap().status.code(), Some(2));
    }
    for path in ["/dev/null", "/nonexistent", "/"] {
        let Some(mut perl) = tool("perl") else { return };
        let output = perl.args([PROGRAM, path, "3"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}: {output:?}");
    }
}
