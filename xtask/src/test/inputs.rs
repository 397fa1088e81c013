//! What steps share, made by the first that asks: programs, trees, pools, images.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vm_judge::Sums;

use super::core::{self, Machine};
use crate::openzfs::{self, UserLand};
use crate::run::Run;
use crate::torture::{self, Options};
use crate::{checkout, debian, vm};

/// A tree as input and what was made of it.
#[derive(Debug)]
pub struct Case {
    /// The pool's name.
    pub pool: &'static str,
    /// Its image, a bare pool.
    pub image: PathBuf,
    /// The manifest of the tree.
    pub manifest: PathBuf,
    /// The sums of its contents.
    pub sums: PathBuf,
}

/// See the module.
pub struct Inputs {
    scratch: PathBuf,
    kldload: OnceCell<PathBuf>,
    user_lands: OnceCell<Vec<UserLand>>,
    debian: OnceCell<PathBuf>,
    debian_described: OnceCell<(PathBuf, PathBuf)>,
    debian_pool: OnceCell<Case>,
    torture_pool: OnceCell<Case>,
    images: OnceCell<PathBuf>,
    kernel: OnceCell<vm::Judge>,
    core: OnceCell<PathBuf>,
    core_machine: OnceCell<Machine>,
}

/// `OnceCell::get_or_try_init`, which is not stable yet.
fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

impl Inputs {
    /// Nothing made yet; leftovers of an earlier run are removed.
    pub fn new() -> Result<Self> {
        let scratch = checkout::target().join("xtask-test");
        checkout::fresh(&scratch)?;
        Ok(Self {
            scratch,
            kldload: OnceCell::new(),
            user_lands: OnceCell::new(),
            debian: OnceCell::new(),
            debian_described: OnceCell::new(),
            debian_pool: OnceCell::new(),
            torture_pool: OnceCell::new(),
            images: OnceCell::new(),
            kernel: OnceCell::new(),
            core: OnceCell::new(),
            core_machine: OnceCell::new(),
        })
    }

    /// Where steps put their files.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The program, built.
    pub fn program(&self) -> Result<&Path> {
        once(&self.kldload, checkout::kldload).map(PathBuf::as_path)
    }

    /// The same, to be run.
    pub fn kldload(&self) -> Result<Run> {
        self.program().map(Run::new)
    }

    /// OpenZFS without a kernel.
    pub fn user_lands(&self) -> Result<&[UserLand]> {
        once(&self.user_lands, openzfs::user_lands).map(Vec::as_slice)
    }

    /// A Debian as a tar archive.
    pub fn debian(&self) -> Result<&Path> {
        once(&self.debian, debian::tree).map(PathBuf::as_path)
    }

    /// The pool of Debian.
    pub fn debian_pool(&self) -> Result<&Case> {
        once(&self.debian_pool, || {
            let image = self.pool("debian", self.debian()?, "8G")?;
            let (manifest, sums) = self.debian_described()?.clone();
            Ok(Case { pool: "debian", image, manifest, sums })
        })
    }

    /// The manifest of Debian and the sums of its contents.
    pub fn debian_described(&self) -> Result<&(PathBuf, PathBuf)> {
        once(&self.debian_described, || {
            let directory = self.scratch.join("debian-described");
            fs::create_dir_all(&directory)?;
            describe(self.debian()?, &directory)
        })
    }

    /// The pool of the torture tree.
    pub fn torture_pool(&self) -> Result<&Case> {
        once(&self.torture_pool, || {
            let tree = self.scratch.join("torture.tar");
            let output = BufWriter::new(File::create(&tree)?);
            // A kernel must be able to read all of it.
            let options = Options { huge_xattrs: false, ..Options::default() };
            torture::write_torture_tar(&options, output)?;
            let image = self.pool("torture", &tree, "4G")?;
            let (manifest, sums) = describe(&tree, image.parent().unwrap_or(&self.scratch))?;
            Ok(Case { pool: "torture", image, manifest, sums })
        })
    }

    fn pool(&self, pool: &str, tree: &Path, size: &str) -> Result<PathBuf> {
        let directory = self.scratch.join(pool);
        fs::create_dir_all(&directory)?;
        let image = directory.join("pool.img");
        self.kldload()?
            .args(["pool", "--name", pool, "--size", size, "--tree"])
            .arg(tree)
            .arg("-o")
            .arg(&image)
            .text()?;
        Ok(image)
    }

    /// A directory with `debian.raw`, `debian.qcow2` and the `manifest` of what is in them.
    pub fn images(&self) -> Result<&Path> {
        let directory = once(&self.images, || {
            let directory = self.scratch.join("images");
            self.kldload()?
                .args(["build", "--name", "debian", "-f", "raw,qcow2", "--tree"])
                .arg(self.debian()?)
                .arg("-o")
                .arg(&directory)
                .arg("--manifest")
                .arg(directory.join("manifest"))
                .text()?;
            Ok(directory)
        })?;
        Ok(directory)
    }

    /// Machines with Debian's kernel.
    pub fn kernel(&self) -> Result<&vm::Judge> {
        once(&self.kernel, || vm::Judge::new(self.debian()?))
    }

    /// Where the profile core was built.
    pub fn core(&self) -> Result<&Path> {
        once(&self.core, || core::build(self.program()?, &self.scratch)).map(PathBuf::as_path)
    }

    /// Its machine, which boots.
    pub fn core_machine(&self) -> Result<&Machine> {
        once(&self.core_machine, || Machine::start(self))
    }
}

/// Writes the manifest of a tree and the sums of its contents into `directory`.
pub fn describe(tree: &Path, directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let (read, blobs) =
        archive::open(tree, directory, &|_| {}).context("reading the tree again")?;
    let (manifest, sums) = (directory.join("manifest"), directory.join("sums"));
    tree::manifest::write(&read, BufWriter::new(File::create(&manifest)?))?;
    fs::write(&sums, Sums::of(&read, &blobs)?.to_text())?;
    Ok((manifest, sums))
}
