//! A real kernel as judge: QEMU boots the kernel of the test tree with `tests/vm` as its first process.

mod initramfs;
pub mod lab;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::console::{Mark, Stage};
use host::qemu::{
    Boot, Controller, ImageInfo, Machine, Network, Overlay, Pace, Probe, Terminal, Vm,
};

use crate::checkout;
use crate::run::Run;

/// What the machine is to do.
#[derive(Debug, Clone, Copy)]
pub enum Case<'a> {
    /// Judge the judge: it makes a pool, damages it and must notice.
    Itself,
    /// Judge the pool in an image against the manifest of its tree.
    Pool {
        /// The image; stays as it is.
        image: &'a Path,
        /// The partition that holds the pool; `None` when the whole image is the pool.
        partition: Option<u32>,
        /// The pool's name.
        pool: &'a str,
        /// The tree that was written.
        manifest: &'a Path,
        /// The sums of its contents, as [`vm_judge::Sums`].
        sums: &'a Path,
        /// By how many bytes the disk is larger than the image.
        growth: u64,
    },
    /// Judge pools with histories, and streams of them.
    Histories {
        /// One pool on a disk, then one on a mirror of two; they stay as they are.
        disks: [&'a Path; 3],
        /// Streams, manifests and sums, by the names that the judge in the machine knows.
        files: &'a [(&'a str, PathBuf)],
    },
}

/// Machines with the kernel of one test tree.
#[derive(Debug)]
pub struct Judge {
    parts: initramfs::Parts,
    probe: Probe,
}

impl Judge {
    /// Takes kernel, modules and OpenZFS out of `tree`, a tar archive, and finds out how fast guests run here.
    pub fn new(tree: &Path) -> Result<Self> {
        let program = build_first_process()?;
        let parts = initramfs::Parts::of(tree, program)?;
        let probe = Probe::run(&checkout::oracle()?)?;
        if let Some(reason) = &probe.without_kvm {
            println!("virtual machines run without KVM: {reason}");
        }
        Ok(Self { parts, probe })
    }

    /// Runs one machine to its end; `seconds` is what it takes at worst on a quick machine with KVM.
    /// Every finding is in the error.
    pub fn judge(&self, case: Case<'_>, seconds: u32) -> Result<()> {
        let scratch = tempfile::tempdir_in(checkout::target())?;
        let kldload = scratch.path().join("kldload");
        let (verb, files, images) = match case {
            Case::Itself => ("self".to_owned(), Vec::new(), Vec::new()),
            Case::Pool { image, partition, pool, manifest, sums, growth } => {
                let verb = if growth > 0 { "pool-grown" } else { "pool" };
                let number = partition.map(|number| number.to_string()).unwrap_or_default();
                let verb = format!("{verb} /dev/vda{number} {pool}");
                // With its symbols it would need more memory than all else.
                Run::new("strip").arg("-o").arg(&kldload).arg(checkout::kldload()?).text()?;
                let files = vec![("manifest", manifest), ("sums", sums), ("kldload", &kldload)];
                (verb, files, vec![(image, growth)])
            }
            Case::Histories { disks, files } => {
                let files = files.iter().map(|(name, path)| (*name, path.as_path())).collect();
                ("histories".to_owned(), files, disks.map(|image| (image, 0)).to_vec())
            }
        };
        let archive = scratch.path().join("initramfs");
        self.parts.write(&archive, &verb, &files)?;
        let overlay = |(image, growth)| -> Result<Overlay> {
            Ok(Overlay::new(image, &ImageInfo::read(image)?, growth, scratch.path())?)
        };
        let overlays = images.into_iter().map(overlay).collect::<Result<Vec<_>>>()?;
        let machine = Machine {
            accelerator: self.probe.accelerator,
            memory: 3072,
            cpus: self.probe.accelerator.processors(),
            boot: Boot::Kernel {
                kernel: self.parts.kernel.clone(),
                initramfs: Some(archive),
                command_line: "console=ttyS0 loglevel=4 printk.time=0".to_owned(),
            },
            disks: overlays.iter().map(|overlay| overlay.disk(Controller::VirtioBlk)).collect(),
            network: Network::Isolated,
            terminal: Terminal::Pipe,
            credentials: Vec::new(),
            extra: Vec::new(),
        };
        let log = checkout::oracle()?.join("vm-console.log");
        let log = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut vm = Vm::start(&machine, Some(Box::new(log) as Box<dyn Write + Send>))?;
        let limit = Pace::new(&self.probe, 1.0).limit(seconds);
        let text = vm.console().wait("the judgement", limit, Stage::Starting, |transcript| {
            let text = transcript.text_since(Mark::default());
            let end = text.find("judge: end ")?;
            text[end..].contains('\n').then(|| text.to_owned())
        });
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let so_far = vm.console().transcript().text_since(Mark::default()).to_owned();
                let lost = vm.failure();
                show(&so_far);
                return Err(lost.map_or_else(|| error.into(), anyhow::Error::from));
            }
        };
        show(&text);
        let off = vm.wait_off(Duration::from_secs(60))?;
        if !off {
            bail!("the machine said all and does not turn itself off");
        }
        if !text
            .lines()
            .any(|line| line.starts_with("judge: end ") && line.trim().ends_with(" 0 failed"))
        {
            let findings: Vec<&str> =
                text.lines().filter(|line| line.starts_with("judge: FAIL")).collect();
            bail!("the kernel found {} faults:\n{}", findings.len(), findings.join("\n"));
        }
        Ok(())
    }
}

fn show(text: &str) {
    for line in text.lines().filter(|line| line.starts_with("judge: ")) {
        println!("    {}", line.trim_end());
    }
}

/// Builds `tests/vm` so that it needs nothing but a kernel.
fn build_first_process() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    Run::new(checkout::cargo())
        .args(["build", "--quiet", "--release", "--package", "vm-judge", "--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
        .directory(&checkout::root())
        .text()?;
    Ok(checkout::target().join(TARGET).join("release/vm-judge"))
}
