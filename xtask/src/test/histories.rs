//! Pools with snapshots of different contents, clones, a volume, large dnodes, and a mirror: zdb counts
//! their blocks and shows every object as we do, libzpool reads every state and destroys them one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::inputs::{Inputs, describe};
use super::objects;
use crate::judge_pool::{judge_in_use, no_leaks, zdb};
use crate::openzfs::UserLand;
use crate::run::Run;
use crate::vm;

const POOL: &str = "history";

/// What the judges get.
pub struct Histories {
    /// A pool on one disk, of features that all releases know.
    single: PathBuf,
    /// A directory with two disks of a mirror, with features of 2.3.
    mirror: PathBuf,
    /// What `kldload verify` says of the first.
    verified: Value,
    /// What `kldload dump` says of both.
    dumps: [String; 2],
    /// Directories with the states, by the snapshots or datasets that have them.
    states: [(&'static str, PathBuf); 4],
}

impl Histories {
    /// Writes the pools.
    pub fn write(inputs: &Inputs) -> Result<Self> {
        let scratch = inputs.scratch().join("histories");
        crate::checkout::fresh(&scratch)?;
        let states = states(&scratch)?;
        let volume = scratch.join("volume");
        fs::write(&volume, random(9, 300_000))?;
        let (single, mirror) = (scratch.join("single"), scratch.join("mirror"));
        fs::create_dir_all(&single)?;
        fs::create_dir_all(&mirror)?;
        let pool = || -> Result<Run> {
            let named = |name: &str, path: &Path| format!("{name}={}", path.display());
            let [a, b, c, d] = &states;
            Ok(inputs
                .kldload()?
                .args(["pool", "--name", POOL, "--size", "256M", "--tree"])
                .arg(c)
                .args(["--earlier", &named("a", a), "--earlier", &named("b", b)])
                .args(["--clone", "same@b", "--clone", &named("other@a", d)])
                .args(["--volume", &named("vol", &volume)])
                .args(["--property", "dnodesize=auto", "--large-dnodes"]))
        };
        let image = single.join("pool.img");
        pool()?.arg("-o").arg(&image).text()?;
        pool()?
            .args(["--features", "openzfs-2.3", "--property", "recordsize=1M"])
            .args(["--property", "compression=zstd-7", "--seed", "mirror", "-o"])
            .arg(mirror.join("a.img"))
            .arg("--mirror")
            .arg(mirror.join("b.img"))
            .text()?;
        let verify = |images: &[PathBuf]| -> Result<Value> {
            let text = inputs.kldload()?.args(["verify", "--json"]).args(images).text()?;
            Ok(serde_json::from_str(&text)?)
        };
        let disks = [mirror.join("a.img"), mirror.join("b.img")];
        verify(&disks).context("our own verify")?;
        let dump = |images: &[PathBuf]| inputs.kldload()?.arg("dump").args(images).text();
        let dumps = [dump(std::slice::from_ref(&image))?, dump(&disks)?];
        let verified = verify(&[image]).context("our own verify")?;
        let [a, b, c, d] = states;
        let states = [("fs@a", a), ("same", b), ("fs", c), ("other", d)];
        Ok(Self { single, mirror, verified, dumps, states })
    }

    /// What a kernel makes of them and of streams of the first.
    pub fn judge_in_kernel(&self, inputs: &Inputs) -> Result<()> {
        let image = self.single.join("pool.img");
        let scratch = self.single.parent().context("scratch")?;
        let mut files = vec![("volume", scratch.join("volume"))];
        for (name, snapshot, more) in [
            ("whole", "@install", &["-R"][..]),
            ("full", "/fs@a", &[]),
            ("next", "/fs@b", &["--from", "a"]),
        ] {
            let stream = scratch.join(format!("{name}.zfs"));
            let place = format!("{}:{POOL}{snapshot}", image.display());
            inputs.kldload()?.arg("send").arg(place).args(more).arg("-o").arg(&stream).text()?;
            files.push((name, stream));
        }
        for (manifest, sums, state) in [
            ("manifest-a", "sums-a", "a"),
            ("manifest-b", "sums-b", "b"),
            ("manifest-c", "sums-c", "c"),
            ("manifest-d", "sums-d", "d"),
        ] {
            let described = scratch.join(format!("described-{state}"));
            fs::create_dir_all(&described)?;
            let tar = described.join("tree.tar");
            let pack = Run::new("tar").arg("-C").arg(scratch.join(state)).arg("-cf").arg(&tar);
            pack.args(["--format=posix", "."]).text()?;
            let paths = describe(&tar, &described)?;
            files.extend([(manifest, paths.0), (sums, paths.1)]);
        }
        let disks = [&image, &self.mirror.join("a.img"), &self.mirror.join("b.img")];
        let disks = disks.map(PathBuf::as_path);
        inputs.kernel()?.judge(vm::Case::Histories { disks, files: &files }, 120)
    }

    /// What a release thinks of them, and of using them.
    pub fn judge(&self, user_land: &UserLand) -> Result<()> {
        self.judge_as_they_are(user_land)?;
        judge_in_use(user_land, &self.single.join("pool.img"), POOL, &["check", "destroy"])
    }

    /// What `zdb` of a release thinks of them.
    pub fn judge_as_they_are(&self, user_land: &UserLand) -> Result<()> {
        for flags in ["-d", "-mmm"] {
            zdb(user_land, &self.single, flags, POOL)?;
        }
        no_leaks(user_land, &self.single, POOL)?;
        self.compare_blocks(&zdb(user_land, &self.single, "-Pbb", POOL)?)?;
        self.compare_objects(user_land, &self.single, &self.dumps[0])?;
        // `zdb -r` of 2.1 forgets which object it has found.
        if user_land.version != "2.1" {
            self.compare_contents(user_land)?;
            zdb(user_land, &self.mirror, "-d", POOL)?;
            no_leaks(user_land, &self.mirror, POOL).context("a mirror")?;
            self.compare_objects(user_land, &self.mirror, &self.dumps[1]).context("a mirror")?;
        }
        Ok(())
    }

    fn compare_objects(&self, user_land: &UserLand, disks: &Path, ours: &str) -> Result<()> {
        let count = objects::compare(ours, &zdb(user_land, disks, "-Pddddd", POOL)?)?;
        println!("    OpenZFS {}: {count} objects are the same", user_land.version);
        Ok(())
    }

    /// zdb reads files of every state as they were written.
    fn compare_contents(&self, user_land: &UserLand) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        let copy = scratch.path().join("copy");
        for (dataset, state) in &self.states {
            for path in ["large/0", "large/1", "small/3", "small/100"] {
                let Ok(expected) = fs::read(state.join(path)) else { continue };
                let zdb = user_land.zdb().args(["-e", "-p"]).arg(&self.single).arg("-r");
                zdb.arg(format!("{POOL}/{dataset}")).arg(path).arg(&copy).text()?;
                if fs::read(&copy)? != expected {
                    bail!("zdb -r: {path} of {dataset} is another file");
                }
            }
        }
        Ok(())
    }

    /// Numbers and sizes of blocks by type of object: zdb's and ours.
    fn compare_blocks(&self, text: &str) -> Result<()> {
        let theirs = table(text);
        let ours = self.verified["types"].as_object().context("types of blocks")?;
        let mut same: BTreeMap<String, [u64; 4]> = BTreeMap::new();
        for (name, counted) in ours {
            let number = |field: &str| counted[field].as_u64().unwrap_or(u64::MAX);
            // All types that are only told by how they are swapped are one for zdb.
            let name = if name.starts_with("bswap ") { "other" } else { name };
            let sum = same.entry(name.to_owned()).or_default();
            for (sum, field) in sum.iter_mut().zip(["blocks", "lsize", "psize", "asize"]) {
                *sum = sum.saturating_add(number(field));
            }
        }
        // Types that take no space, as their blocks are in block pointers, zdb leaves out.
        same.retain(|_, [.., asize]| *asize > 0);
        if theirs.is_empty() || theirs != same {
            bail!("blocks by type: zdb counts {theirs:#?}, we {same:#?}");
        }
        Ok(())
    }
}

/// Blocks, logical, physical and allocated bytes by the name of their type, as `zdb -Pbb` prints them.
fn table(text: &str) -> BTreeMap<String, [u64; 4]> {
    let rows = text.lines().skip_while(|line| !line.starts_with("Blocks")).skip(1);
    // Tables of other things follow.
    let rows = rows.take_while(|row| !row.ends_with("Total"));
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split('\t').map(str::trim).collect();
        let (name, numbers) = fields.split_last()?;
        let numbers: Option<Vec<u64>> =
            numbers.iter().take(4).map(|number| number.parse().ok()).collect();
        Some(((*name).to_owned(), numbers?.try_into().ok()?))
    })
    .collect()
}

/// Bytes that do not compress.
fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

/// Four directories, each made from another.
fn states(scratch: &Path) -> Result<[PathBuf; 4]> {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| scratch.join(name));
    for directory in ["small", "large"] {
        fs::create_dir_all(a.join(directory))?;
    }
    for number in 0..200 {
        fs::write(a.join(format!("small/{number}")), format!("file {number}\n").repeat(number))?;
    }
    for (number, length) in [2_000_000, 1_000_000, 700_000].into_iter().enumerate() {
        fs::write(a.join(format!("large/{number}")), random(number as u64, length))?;
    }
    // Longer than the bonus area of a small dnode has room for.
    std::os::unix::fs::symlink("x".repeat(400), a.join("long link"))?;
    let copy = |from: &Path, to: &Path| -> Result<()> {
        Run::new("cp").arg("-a").arg(from).arg(to).text().map(drop)
    };
    copy(&a, &b)?;
    fs::write(b.join("large/1"), random(11, 1_100_000))?;
    fs::remove_file(b.join("large/2"))?;
    for number in (0..200).step_by(3) {
        fs::remove_file(b.join(format!("small/{number}")))?;
    }
    copy(&b, &c)?;
    fs::write(c.join("large/2"), random(2, 700_000))?;
    fs::hard_link(c.join("large/0"), c.join("large/again"))?;
    copy(&a, &d)?;
    fs::write(d.join("large/0"), "short now")?;
    fs::write(d.join("of the clone"), random(12, 200_000))?;
    Ok([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_zdb() {
        let text = "x\n\nBlocks\tLSIZE\tPSIZE\tASIZE\t  avg\t comp\t%Total\tType\n     -\t    -\t    -\t    \
                    -\t    -\t    -\t     -\tunallocated\n     2\t32768\t 8192\t24576\t12288\t 4.00\t  0.14\t\
                    object directory\n     9\t1\t1\t1\t1\t1\t100.00\tTotal\n";
        let expected = [("object directory".to_owned(), [2, 32768, 8192, 24576])];
        assert_eq!(table(text), BTreeMap::from(expected));
    }
}
