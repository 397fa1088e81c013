//! The judgement over a bare pool image without a kernel: `zdb`, then libzpool, then `zdb` again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::labels;
use crate::openzfs::UserLand;
use crate::run::Run;
use crate::test::ours;

/// What `tests/libzpool` does with the pool, in this order; `zdb` looks at what each leaves.
const VERBS: [&str; 5] = ["check", "change", "grow", "upgrade", "destroy"];

/// Judges the pool called `pool` in the file `image`, which stays as it is.
pub fn judge(user_land: &UserLand, image: &Path, pool: &str) -> Result<()> {
    judge_as_it_is(user_land, image, pool)?;
    judge_in_use(user_land, image, pool, &VERBS)
}

/// What `zdb` thinks of the image: labels, configuration, features, every block, no leaks.
pub fn judge_as_it_is(user_land: &UserLand, image: &Path, pool: &str) -> Result<()> {
    let image = image.canonicalize().with_context(|| image.display().to_string())?;
    labels::check(&image)?;
    // zdb reads every file beside the one it is told.
    let directory = tempfile::tempdir()?;
    symlink(&image, directory.path().join("pool.img"))?;
    let labels = user_land.zdb().args(["-lll", "-u"]).arg(&image).text()?;
    if !labels.contains("labels = 0 1 2 3") || labels.contains("failed to") {
        bail!("zdb -lll: the four labels are not good and equal:\n{labels}");
    }
    for flags in ["-C", "-d", "-mmm"] {
        zdb(user_land, directory.path(), flags, pool)?;
    }
    no_leaks(user_land, directory.path(), pool)
}

/// What `zdb` prints about every object of every dataset; for small pools.
pub fn dump(user_land: &UserLand, image: &Path, pool: &str) -> Result<String> {
    let image = image.canonicalize().with_context(|| image.display().to_string())?;
    let directory = tempfile::tempdir()?;
    symlink(&image, directory.path().join("pool.img"))?;
    zdb(user_land, directory.path(), "-ddddd", pool)
}

/// What `zdb` with `flags` prints of the pool whose disks are the files in `directory`.
pub fn zdb(user_land: &UserLand, directory: &Path, flags: &str, pool: &str) -> Result<String> {
    user_land.zdb().args(["-e", "-p"]).arg(directory).arg(flags).arg(pool).text()
}

/// `zdb` reads every block in every copy and finds each in the space maps, and nothing else there.
pub fn no_leaks(user_land: &UserLand, directory: &Path, pool: &str) -> Result<()> {
    let text = zdb(user_land, directory, "-bcc", pool)?;
    if text.contains("No leaks (block sum matches space maps exactly)") {
        return Ok(());
    }
    bail!("zdb -bcc ended with status 0 but without \"No leaks\":\n{}", crate::run::end_of(&text))
}

/// Uses the pool, in a copy, as a machine would, with every assertion of OpenZFS on.
pub fn judge_in_use(user_land: &UserLand, image: &Path, pool: &str, verbs: &[&str]) -> Result<()> {
    let scratch = scratch(image)?;
    let copy = sparse_copy(image, scratch.path())?;
    for verb in verbs {
        use_once(user_land, verb, pool, &copy)?;
        no_leaks(user_land, scratch.path(), pool)
            .with_context(|| format!("after libzpool's {verb}"))?;
    }
    Ok(())
}

/// Runs one verb of our libzpool program on `image`, which it changes; returns what it printed.
pub fn use_once(user_land: &UserLand, verb: &str, pool: &str, image: &Path) -> Result<String> {
    user_land.judge()?.args([verb, pool]).arg(image).text()
}

/// A directory on the file system of `image`, which has room for copies of it.
pub fn scratch(image: &Path) -> Result<tempfile::TempDir> {
    let beside = image.canonicalize()?.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    Ok(tempfile::Builder::new().prefix("judge").tempdir_in(beside)?)
}

/// A copy of `image` in `directory`, as sparse as it is.
pub fn sparse_copy(image: &Path, directory: &Path) -> Result<PathBuf> {
    let copy = directory.join("pool.img");
    Run::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image).arg(&copy).text()?;
    Ok(copy)
}

/// Only the first verb: import, scrub, every path and byte, accounting, export.
pub fn check(user_land: &UserLand, image: &Path, pool: &str) -> Result<()> {
    judge_in_use(user_land, image, pool, &VERBS[..1])
}

/// That the judges would notice: a pool that libzpool makes passes, the same pool damaged does not; and
/// that our own program, `kldload`, notices all of it and names the damaged files and no other.
pub fn judge_the_judge(user_land: &UserLand, kldload: &Path, directory: &Path) -> Result<()> {
    let good = directory.join("good.img");
    File::create(&good)?.set_len(1 << 30)?;
    use_once(user_land, "make", "judged", &good)?;
    judge(user_land, &good, "judged").context("a pool that libzpool made itself")?;
    ours::sound(kldload, std::slice::from_ref(&good))?;
    let blocks = only_copies(&dump(user_land, &good, "judged")?);
    for damage in DAMAGES {
        let bad = sparse_copy(&good, directory)?;
        let files = (damage.work)(&bad, &blocks).with_context(|| damage.what.to_owned())?;
        let found = judge_as_it_is(user_land, &bad, "judged")
            .and_then(|()| check(user_land, &bad, "judged"));
        if found.is_ok() {
            bail!("nobody noticed {}", damage.what);
        }
        let bad = sparse_copy(&good, directory)?;
        (damage.work)(&bad, &blocks)?;
        let found = ours::verify(kldload, &[bad], &[])?;
        if found.is_sound() || found.files() != files {
            bail!("{}: verify finds {:#?}, not {files:?}", damage.what, found.problems());
        }
    }
    Ok(())
}

struct Damage {
    what: &'static str,
    /// Does it, knowing the blocks of files; tells what files are damaged.
    work: fn(&Path, &[FileBlock]) -> Result<Vec<String>>,
}

/// Bytes before the first allocatable one: two labels and the boot area.
const FIRST_BLOCK: u64 = 4 << 20;

const DAMAGES: &[Damage] = &[
    Damage {
        what: "a byte of the first label's nvlist",
        work: |image, _| flip(image, (16 << 10) + 300).map(|()| Vec::new()),
    },
    Damage {
        what: "a byte of the last label's nvlist",
        work: |image, _| {
            flip(image, (1 << 30) - (256 << 10) + (16 << 10) + 300).map(|()| Vec::new())
        },
    },
    Damage { what: "a byte of file content", work: flip_content },
];

fn flip(image: &Path, offset: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(image)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 0x40;
    Ok(file.write_all_at(&byte, offset)?)
}

/// Flips a byte in the largest block of which there is one copy, which is file data: metadata has more.
fn flip_content(image: &Path, blocks: &[FileBlock]) -> Result<Vec<String>> {
    let largest = blocks.iter().max_by_key(|block| block.length).context("zdb shows no blocks")?;
    flip(image, FIRST_BLOCK + largest.offset + largest.length / 2)?;
    let same = blocks.iter().filter(|block| block.offset == largest.offset);
    let mut files: Vec<String> = same.map(|block| block.file.clone()).collect();
    files.sort();
    Ok(files)
}

/// A block of which there is one copy, of a file that has one name.
struct FileBlock {
    /// `DATASET:/PATH`.
    file: String,
    length: u64,
    offset: u64,
}

/// All of them that `zdb -ddddd` shows.
fn only_copies(text: &str) -> Vec<FileBlock> {
    let (mut dataset, mut path, mut blocks) = ("", None, Vec::new());
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("Dataset ") {
            dataset = header.split(" [").next().unwrap_or_default();
        } else if line.trim_start().starts_with("Object  lvl") {
            path = None;
        } else if let Some(name) = line.strip_prefix("\tpath\t") {
            path = Some(name);
        } else if line.strip_prefix("\tlinks\t").is_some_and(|links| links != "1") {
            path = None;
        } else if let (Some(path), Some((length, offset))) = (path, only_copy(line)) {
            blocks.push(FileBlock { file: format!("{dataset}:{path}"), length, offset });
        }
    }
    blocks
}

/// Length and offset of a data block that `zdb -ddddd` shows, if there is one copy of it:
/// `0 L0 0:OFFSET:ALLOCATED LOGICALL/PHYSICALP ...`, numbers in hexadecimal.
fn only_copy(line: &str) -> Option<(u64, u64)> {
    let number = |text| u64::from_str_radix(text, 16).ok();
    let mut words = line.split_whitespace().skip_while(|&word| word != "L0").skip(1);
    let offset = number(words.next()?.strip_prefix("0:")?.split(':').next()?)?;
    let (_, physical) = words.next()?.strip_suffix('P')?.split_once("L/")?;
    Some((number(physical)?, offset))
}

#[cfg(test)]
mod tests {
    use super::{only_copies, only_copy};

    #[test]
    fn blocks_of_files_with_one_name() {
        let block = "       0   L0 0:4b6000:1000 1000L/1000P F=1 B=9/9 cksum=1:2:3:4\n";
        let object = |path: &str, links: u32| {
            format!("    Object  lvl   iblk\n\tpath\t{path}\n\tlinks\t{links}\n{block}")
        };
        let text = format!("Dataset t/fs [ZPL], ID 5\n{}{}", object("/a b", 1), object("/c", 2));
        let found = only_copies(&text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].file, found[0].length, found[0].offset),
            ("t/fs:/a b", 0x1000, 0x4b_6000)
        );
    }

    #[test]
    fn blocks_of_one_copy() {
        let of =
            |rest: &str| only_copy(&format!("       20000   L0 {rest} F=1 B=9/9 cksum=1:2:3:4"));
        assert_eq!(of("0:4b6000:20000 20000L/1c000P"), Some((0x1c000, 0x4b_6000)));
        assert_eq!(of("0:4b6000:1000 0:8b6000:1000 1000L/1000P"), None);
        assert_eq!(of("EMBEDDED et=0 200L/20P"), None);
        assert_eq!(only_copy("       0  L1  0:4b6000:1000 20000L/1000P F=1"), None);
    }
}
