//! Images that are broken in real ways: the boot check must see it in the console, at once, and say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::image::sectors;
use super::inputs::Inputs;
use crate::judge_pool;
use crate::run::Run;
use crate::steps::Verdict;

/// What is done to the boot entry, and what the check must say about the machine.
struct Trouble {
    what: &'static str,
    work: fn(&str) -> String,
    meaning: &'static str,
    /// Words of the console that explain it.
    quoted: &'static str,
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        what: "a boot environment that does not exist",
        work: |entry| entry.replace("root=ZFS=rpool/ROOT/debian", "root=ZFS=rpool/ROOT/absent"),
        meaning: "the initramfs found no system on the root dataset",
        quoted: "No init found",
    },
    Trouble {
        what: "no initramfs",
        work: |entry| without_line(entry, "initrd "),
        meaning: "the kernel panicked",
        quoted: "Unable to mount root fs",
    },
    Trouble {
        what: "a first process that ends",
        work: |entry| with_option(entry, "rdinit=/bin/busybox"),
        meaning: "the kernel panicked",
        quoted: "Attempted to kill init!",
    },
    Trouble {
        what: "an initramfs that is not there",
        work: |entry| entry.replace("initrd /kldload/initrd-", "initrd /kldload/gone-"),
        meaning: "systemd-boot could not load the initramfs",
        quoted: "initrd",
    },
    Trouble {
        what: "a kernel that is not there",
        work: |entry| entry.replace("linux /kldload/linux-", "linux /kldload/gone-"),
        meaning: "the boot loader found nothing to start and went into the firmware's setup",
        quoted: "Boot Maintenance Manager",
    },
    Trouble {
        what: "a start into emergency mode",
        work: |entry| with_option(entry, "systemd.unit=emergency.target"),
        meaning: "the machine entered emergency mode",
        quoted: "",
    },
];

fn without_line(entry: &str, start: &str) -> String {
    entry.lines().filter(|line| !line.starts_with(start)).map(|line| format!("{line}\n")).collect()
}

fn with_option(entry: &str, option: &str) -> String {
    let line = |line: &str| match line.strip_prefix("options ") {
        Some(options) => format!("options {options} {option}\n"),
        None => format!("{line}\n"),
    };
    entry.lines().map(line).collect()
}

/// Breaks the image in each way and runs the boot check, which must end with status 5.
pub fn boot_trouble(inputs: &Inputs) -> Result<Verdict> {
    let scratch = inputs.scratch().join("trouble");
    fs::create_dir_all(&scratch)?;
    let image = judge_pool::sparse_copy(&inputs.images()?.join("debian.raw"), &scratch)?;
    let esp = Esp::of(&image, &scratch)?;
    let (name, good) = esp.only_entry()?;
    for trouble in TROUBLES {
        let bad = (trouble.work)(&good);
        if bad == good {
            bail!("{}: the boot entry is not what this test expects:\n{good}", trouble.what);
        }
        esp.write(&name, &bad)?;
        check(inputs, trouble, &image)?;
    }
    fs::remove_dir_all(&scratch)?;
    Ok(Verdict::Passed)
}

fn check(inputs: &Inputs, trouble: &Trouble, image: &Path) -> Result<()> {
    let Trouble { what, meaning, quoted, .. } = trouble;
    let output = inputs
        .kldload()?
        .args(["boot", "--check", "--json"])
        .arg(image)
        .limit(Duration::from_secs(2700))
        .errors_apart()
        .output()?;
    if output.status.code() != Some(5) {
        bail!("{what}: the check ends with {}, not 5:\n{}", output.status, output.text);
    }
    let report: serde_json::Value = serde_json::from_str(&output.text)?;
    let checks = report["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [check] = checks else { bail!("{what}: not one check was made but:\n{}", output.text) };
    let detail = check["detail"].as_str().unwrap_or_default();
    // "did not come within" would mean that it waited to the end of its patience.
    if check["ok"] != false || !detail.starts_with(meaning) || !detail.contains(quoted) {
        bail!("{what}: not {meaning:?} with {quoted:?} was found, but:\n{detail}");
    }
    println!("    {what}: {meaning} ({} s)", report["seconds"]);
    for line in detail.lines().filter(|line| !quoted.is_empty() && line.contains(quoted)).take(2) {
        println!("    {}", line.trim_end());
    }
    Ok(())
}

/// The EFI system partition inside a raw image.
struct Esp {
    /// As mtools want it: FILE@@OFFSET.
    drive: String,
    scratch: PathBuf,
}

impl Esp {
    fn of(image: &Path, scratch: &Path) -> Result<Self> {
        let (first, _) = sectors(image, 2)?;
        let drive = format!("{}@@{}", image.display(), first * 512);
        Ok(Self { drive, scratch: scratch.to_owned() })
    }

    fn tool(&self, name: &str) -> Run {
        Run::new(name).args(["-i", &self.drive]).env("MTOOLS_SKIP_CHECK", "1")
    }

    /// Name and text of the boot entry, of which there must be one.
    fn only_entry(&self) -> Result<(String, String)> {
        let list = self.tool("mdir").args(["-b", "::/loader/entries"]).text()?;
        let names: Vec<&str> =
            list.lines().filter_map(|line| line.trim().rsplit('/').next()).collect();
        let [name] = names[..] else { bail!("not one boot entry but:\n{list}") };
        let copy = self.scratch.join("entry");
        self.tool("mcopy").args(["-n", "-o"]).arg(path(name)).arg(&copy).text()?;
        let text = fs::read_to_string(&copy).with_context(|| copy.display().to_string())?;
        Ok((name.to_owned(), text))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let copy = self.scratch.join("entry");
        fs::write(&copy, text)?;
        self.tool("mcopy").arg("-o").arg(&copy).arg(path(name)).text()?;
        Ok(())
    }
}

fn path(entry: &str) -> String {
    format!("::/loader/entries/{entry}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_changes_an_entry() {
        let entry = "title Debian, debian\nversion 6.12\nsort-key debian\n\
                     linux /kldload/linux-0123\ninitrd /kldload/initrd-4567\n\
                     options root=ZFS=rpool/ROOT/debian console=ttyS0\n";
        for trouble in TROUBLES {
            assert_ne!((trouble.work)(entry), entry, "{}", trouble.what);
        }
        assert_eq!(without_line(entry, "initrd ").lines().count(), 5);
        assert!(with_option(entry, "x=y").ends_with("console=ttyS0 x=y\n"));
    }
}
