//! What a machine says on its console when it will not come up: the table of those sentences.

/// When a sentence means that nothing more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// Always.
    Always,
    /// Only while the machine is starting: later it may stand in the output of a command.
    WhileStarting,
}

/// Where in a line the sentence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Anywhere,
    Start,
}

use At::{Anywhere, Start};
use Means::{Always, WhileStarting};

/// Sentence, where it stands, when it counts, and what it means to a person.
#[rustfmt::skip]
const TABLE: &[(&str, At, Means, &str)] = &[
    // Kernel.
    ("Kernel panic - not syncing", Anywhere, Always, "the kernel panicked"),
    ("kernel BUG at ", Anywhere, Always, "the kernel found a bug in itself"),
    ("BUG: unable to handle ", Anywhere, Always, "the kernel crashed"),
    ("Oops: ", Anywhere, WhileStarting, "the kernel crashed"),
    ("VERIFY(", Anywhere, WhileStarting, "an assertion in the ZFS module failed"),
    ("VERIFY3(", Anywhere, WhileStarting, "an assertion in the ZFS module failed"),
    ("PANIC at ", Anywhere, WhileStarting, "the ZFS module panicked"),
    ("VFS: Unable to mount root fs", Anywhere, Always, "the kernel has no root file system"),
    // Initramfs: initramfs-tools and its ZFS script, dracut, mkinitcpio.
    ("(initramfs) ", Start, WhileStarting, "the initramfs gave up and opened a shell"),
    ("Dropping to a shell", Anywhere, WhileStarting, "the initramfs gave up and opened a shell"),
    ("Gave up waiting for root", Anywhere, WhileStarting, "the initramfs did not find the root file system"),
    ("Manually import the pool and exit", Anywhere, WhileStarting, "the initramfs could not import the pool"),
    ("No pool imported. Manually", Anywhere, WhileStarting, "the initramfs could not import the pool"),
    ("Manually mount the filesystem and exit", Anywhere, WhileStarting, "the initramfs could not mount the root dataset"),
    ("No init found. Try passing init=", Anywhere, WhileStarting, "the initramfs found no system on the root dataset"),
    ("No root device specified", Anywhere, WhileStarting, "the kernel command line names no root"),
    ("dracut:/#", Anywhere, WhileStarting, "the initramfs gave up and opened a shell"),
    ("Entering emergency mode", Anywhere, WhileStarting, "the machine entered emergency mode"),
    ("[rootfs ", Start, WhileStarting, "the initramfs gave up and opened a shell"),
    // systemd and sulogin.
    ("You are in emergency mode", Anywhere, WhileStarting, "the machine entered emergency mode"),
    ("You are in rescue mode", Anywhere, WhileStarting, "the machine entered rescue mode"),
    ("Give root password for maintenance", Anywhere, WhileStarting, "the machine asks for maintenance"),
    ("Press Enter for maintenance", Anywhere, WhileStarting, "the machine asks for maintenance"),
    ("Cannot open access to console, the root account is locked", Anywhere, WhileStarting, "the machine entered emergency mode"),
    ("Freezing execution", Anywhere, Always, "systemd gave up"),
    // Boot loaders.
    ("grub rescue>", Start, WhileStarting, "GRUB did not find its files"),
    ("grub>", Start, WhileStarting, "GRUB has nothing to start"),
    ("No loader found", Anywhere, WhileStarting, "systemd-boot found no boot entry"),
    ("Error preparing initrd: ", Anywhere, WhileStarting, "systemd-boot could not load the initramfs"),
    ("Error loading \\", Anywhere, WhileStarting, "systemd-boot could not load the kernel"),
    ("Failed to execute ", Start, WhileStarting, "systemd-boot could not start the kernel"),
    // systemd-boot hides entries without a kernel; what is left to it is the firmware's own menu.
    ("Boot Maintenance Manager", Anywhere, WhileStarting, "the boot loader found nothing to start and went into the firmware's setup"),
    ("EFI stub: ERROR", Anywhere, WhileStarting, "the kernel did not start from the firmware"),
    // Firmware.
    ("UEFI Interactive Shell", Anywhere, WhileStarting, "the firmware found nothing to boot and opened its shell"),
    ("Shell> ", Start, WhileStarting, "the firmware found nothing to boot and opened its shell"),
    ("No bootable option or device was found", Anywhere, WhileStarting, "the firmware found nothing to boot"),
    ("No bootable device", Anywhere, WhileStarting, "the firmware found nothing to boot"),
    (">>Start PXE over", Anywhere, WhileStarting, "the firmware found nothing on the disk and tries the network"),
    (">>Start HTTP Boot over", Anywhere, WhileStarting, "the firmware found nothing on the disk and tries the network"),
    ("X64 Exception Type", Anywhere, WhileStarting, "the firmware or boot loader crashed"),
];

/// Which part of its life the machine is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From power-on until somebody is logged in.
    Starting,
    /// A shell answers, and the console also shows what commands print.
    Running,
}

/// What `line` of console text means, if it means that the machine is lost.
///
/// The line may still be growing: prompts have no end.
#[must_use]
pub fn find(line: &str, stage: Stage) -> Option<&'static str> {
    TABLE
        .iter()
        .find(|(sentence, at, means, _)| {
            let stands = match at {
                Anywhere => line.contains(sentence),
                Start => line.starts_with(sentence),
            };
            stands && (*means == Always || stage == Stage::Starting)
        })
        .map(|(.., meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ends_are_recognised() {
        for (line, meaning) in [
            (
                "[    8.957014] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
                "the kernel panicked",
            ),
            ("(initramfs) ", "the initramfs gave up and opened a shell"),
            (
                "ALERT!  /dev/vda9 does not exist.  Dropping to a shell!",
                "the initramfs gave up and opened a shell",
            ),
            (
                "You are in emergency mode. After logging in, type \"journalctl -xb\"",
                "the machine entered emergency mode",
            ),
            (
                "No init found. Try passing init= bootarg.",
                "the initramfs found no system on the root dataset",
            ),
            ("Error preparing initrd: Not found", "systemd-boot could not load the initramfs"),
            (
                "BdsDxe: No bootable option or device was found.",
                "the firmware found nothing to boot",
            ),
            ("grub> ", "GRUB has nothing to start"),
        ] {
            assert_eq!(find(line, Stage::Starting), Some(meaning), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_are_left_alone() {
        for line in [
            "[    1.0] Run /init as init process",
            "BdsDxe: loading Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0)",
            "BdsDxe: failed to load Boot0002 \"UEFI Misc Device\": Not Found",
            "[  OK  ] Started emergency.target",
            "Begin: Importing ZFS root pool 'rpool' ... Success",
            "root@vm:~# ",
            "vm login: root (automatic login)",
            "",
        ] {
            assert_eq!(find(line, Stage::Starting), None, "{line}");
        }
    }

    #[test]
    fn a_running_machine_may_print_about_trouble() {
        let line = "Press Enter for maintenance";
        assert_eq!(find(line, Stage::Running), None);
        assert!(find("[ 99.1] Kernel panic - not syncing: x", Stage::Running).is_some());
    }
}
