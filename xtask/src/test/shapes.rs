//! Pools of several disks that libzpool made: raidz, and one of several vdevs of which each is for something
//! else. We read what is in their files, with all disks, with as many absent as there is parity for, and with
//! as many damaged. Streams that libzpool sent are received here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tree::{Blobs, Kind};

use super::inputs::Inputs;
use super::pool::with_each;
use super::{objects, ours};
use crate::judge_pool::{no_leaks, use_once, zdb};
use crate::openzfs::UserLand;
use crate::run::Run;
use crate::steps::Verdict;

const POOL: &str = "judged";
/// Where labels and boot area end.
const DATA: u64 = 4 << 20;

/// What each release makes, and how many disks of it have parity.
const SHAPES: &[(&str, &[(&str, usize)])] = &[
    ("2.1", &[("raidz2", 2), ("classes", 0)]),
    ("2.3", &[("raidz1", 1), ("raidz3", 3), ("classes", 0)]),
];

/// Makes the shapes, and reads them.
pub fn read(inputs: &Inputs) -> Result<Verdict> {
    let (scratch, kldload) = (inputs.scratch(), inputs.program()?);
    with_each(inputs, |user_land| {
        let of_release = SHAPES.iter().filter(|(version, _)| *version == user_land.version);
        for (shape, parity) in of_release.flat_map(|(_, shapes)| *shapes) {
            let directory = scratch.join(format!("{shape}-{}", user_land.version));
            let pool = Shape::make(kldload, user_land, shape, directory)?;
            pool.judge(*parity).with_context(|| (*shape).to_owned())?;
            fs::remove_dir_all(&pool.directory)?;
        }
        Ok(())
    })
}

/// A pool, as libzpool made it.
struct Shape<'i> {
    kldload: &'i Path,
    user_land: &'i UserLand,
    directory: PathBuf,
    /// Its disks in the order of their numbers.
    disks: Vec<PathBuf>,
    contents: Contents,
    /// What else libzpool printed.
    rest: Vec<String>,
}

impl<'i> Shape<'i> {
    fn make(
        kldload: &'i Path,
        user_land: &'i UserLand,
        shape: &str,
        directory: PathBuf,
    ) -> Result<Self> {
        crate::checkout::fresh(&directory)?;
        let first = directory.join("disk");
        File::create(&first)?;
        let said = use_once(user_land, shape, POOL, &first)?;
        let mut disks: Vec<PathBuf> =
            fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        disks.sort();
        let (contents, rest) = Contents::parse(&said)?;
        Ok(Self { kldload, user_land, directory, disks, contents, rest })
    }

    fn judge(&self, parity: usize) -> Result<()> {
        ours::sound(self.kldload, &self.disks)?;
        no_leaks(self.user_land, &self.directory, POOL)?;
        let theirs = zdb(self.user_land, &self.directory, "-Pddddd", POOL)?;
        let count = objects::compare(&ours::dump(self.kldload, &self.disks)?, &theirs)?;
        self.read(&self.disks)?;
        println!("    {} disks: {count} objects, {} files", self.disks.len(), self.contents.len());
        // Of "classes" the intent log was not replayed.
        if let [dataset] = &self.rest[..] {
            let report = Run::new(self.kldload).args(["inspect", "--json"]).args(&self.disks);
            let report: serde_json::Value = serde_json::from_str(&report.errors_apart().text()?)?;
            let all = report["datasets"].as_array().context("no datasets")?;
            let found = all.iter().find(|found| found["name"] == **dataset);
            let log = &found.context("the dataset with the log")?["intent_log"];
            ensure!(log["unreplayed"] == 3, "the log of {dataset} is said to have {log}");
        }
        if parity == 0 {
            return Ok(());
        }
        for absent in [0, self.disks.len() - parity] {
            let mut left = self.disks.clone();
            let absent: Vec<PathBuf> = left.drain(absent..absent + parity).collect();
            self.read(&left).with_context(|| format!("without {absent:?}"))?;
            let found = ours::verify(self.kldload, &left, &[])?;
            let told = found.texts().filter(|text| text.ends_with("absent")).count();
            ensure!(told == parity, "without {absent:?}: {:#?}", found.problems());
        }
        let (bad, good) = self.disks.split_at(parity);
        bad.iter().try_for_each(|disk| damage(disk))?;
        self.read(&self.disks).with_context(|| format!("with {bad:?} damaged"))?;
        no_leaks(self.user_land, &self.directory, POOL)?;
        let found = ours::verify(self.kldload, &self.disks, &[])?;
        let blamed = |disk: &PathBuf| {
            let name = format!("{},", disk.display());
            found.texts().any(|text| text.contains(&name))
        };
        ensure!(bad.iter().all(blamed), "a damaged disk was not told: {:#?}", found.problems());
        ensure!(!good.iter().any(blamed), "a good disk is blamed: {:#?}", found.problems());
        Ok(())
    }

    /// That files have their contents.
    fn read(&self, disks: &[PathBuf]) -> Result<()> {
        let to = self.directory.join("copied");
        let names: Vec<String> = disks.iter().map(|disk| disk.display().to_string()).collect();
        for (dataset, files) in &self.contents.0 {
            let mut directories: Vec<&str> =
                files.keys().filter_map(|path| Some(path.split_once('/')?.0)).collect();
            directories.dedup();
            for directory in directories {
                crate::checkout::fresh(&to)?;
                let from = format!("{}:{dataset}/{directory}", names.join(","));
                Run::new(self.kldload).args(["cp", "-r", &from]).arg(&to).text()?;
                for (path, expected) in
                    files.range(format!("{directory}/")..format!("{directory}0"))
                {
                    let found = digest(&fs::read(to.join(path)).with_context(|| path.clone())?);
                    ensure!(found == *expected, "{dataset}/{path} is {found:?}, not {expected:?}");
                }
            }
        }
        Ok(fs::remove_dir_all(&to)?)
    }
}

/// Flips a byte of every sector in use that is not of a label.
fn damage(disk: &Path) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let (mut sector, end) = (vec![0; 4096], file.metadata()?.len() - (512 << 10));
    for at in (DATA..end).step_by(sector.len()) {
        file.read_exact_at(&mut sector, at)?;
        if sector.iter().any(|byte| *byte != 0) {
            file.write_all_at(&[!sector[77]], at + 77)?;
        }
    }
    Ok(())
}

/// Size and digest of files, by path, by dataset.
#[derive(Debug, Default)]
struct Contents(BTreeMap<String, BTreeMap<String, (u64, u64)>>);

impl Contents {
    /// From the lines that our libzpool program prints; what is no such line is left.
    fn parse(text: &str) -> Result<(Self, Vec<String>)> {
        let (mut contents, mut rest) = (Self::default(), Vec::new());
        for line in text.lines() {
            let [dataset, path, size, digest] = &line.split('\t').collect::<Vec<_>>()[..] else {
                rest.push(line.to_owned());
                continue;
            };
            let file = (size.parse()?, u64::from_str_radix(digest, 16)?);
            contents.0.entry((*dataset).to_owned()).or_default().insert((*path).to_owned(), file);
        }
        if contents.0.is_empty() {
            bail!("libzpool shows no file:\n{text}");
        }
        Ok((contents, rest))
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

/// Size and FNV-1a of bytes.
fn digest(bytes: &[u8]) -> (u64, u64) {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    (bytes.len() as u64, bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Receives a full stream and two of changes, as libzpool sends them (large blocks, embedded data, compressed
/// records), and finds the files of the last snapshot in it.
pub fn streams(inputs: &Inputs) -> Result<Verdict> {
    for user_land in inputs.user_lands()? {
        let directory = inputs.scratch().join(format!("streams-{}", user_land.version));
        crate::checkout::fresh(&directory)?;
        let image = directory.join("pool");
        File::create(&image)?;
        use_once(user_land, "make", POOL, &image)?;
        let (contents, _) = Contents::parse(&use_once(user_land, "send", POOL, &image)?)?;
        received(&image, &contents).with_context(|| format!("OpenZFS {}", user_land.version))?;
        println!("    OpenZFS {}: {} files were received", user_land.version, contents.len());
        fs::remove_dir_all(&directory)?;
    }
    Ok(Verdict::Passed)
}

fn received(image: &Path, contents: &Contents) -> Result<()> {
    let spool = tempfile::tempfile()?;
    spool.set_len(1 << 40)?;
    let mut receiver = zfs::send::Receiver::new(spool)?;
    for number in 0..3 {
        let stream = File::open(format!("{}.{number}", image.display()))?;
        receiver.receive(BufReader::new(stream)).with_context(|| format!("stream {number}"))?;
    }
    let newest = receiver.received().last().context("nothing was received")?;
    ensure!(contents.0.contains_key(&newest.name), "{} was received", newest.name);
    let filesystem = receiver.filesystem(newest.guid)?;
    let (tree, blobs) = filesystem.tree(filesystem.root)?;
    for (path, expected) in contents.0.values().flatten() {
        let inode = tree.get(path).with_context(|| format!("there is no {path}"))?;
        let Kind::File(file) = &tree.inode(inode).kind else { bail!("{path} is no file") };
        let mut stored = Vec::new();
        std::io::Read::read_to_end(&mut blobs.open(&file.blob)?, &mut stored)?;
        let mut bytes = Vec::new();
        match &file.extents {
            None => bytes = stored,
            Some(extents) => {
                let mut stored = &*stored;
                for extent in extents {
                    let length = usize::try_from(extent.length)?;
                    bytes.resize(usize::try_from(extent.offset)?, 0);
                    let (now, left) = stored.split_at_checked(length).context("a short blob")?;
                    bytes.extend(now);
                    stored = left;
                }
                bytes.resize(usize::try_from(file.size)?, 0);
            }
        }
        ensure!(digest(&bytes) == *expected, "{path} is another file");
    }
    Ok(())
}
