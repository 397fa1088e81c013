//! What OpenZFS leaves when it stops in the middle, and what it makes of a pool whose disk goes: our
//! reader tells it, and takes none of it for damage.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::inputs::Inputs;
use super::{objects, ours};
use crate::judge_pool::{sparse_copy, use_once, zdb};
use crate::openzfs::UserLand;
use crate::steps::Verdict;

const POOL: &str = "judged";

/// Runs everything with each release.
pub fn told(inputs: &Inputs) -> Result<Verdict> {
    for user_land in inputs.user_lands()? {
        let scratch = inputs.scratch().join(format!("stopped-{}", user_land.version));
        crate::checkout::fresh(&scratch)?;
        judge(inputs, user_land, &scratch)
            .with_context(|| format!("OpenZFS {}", user_land.version))?;
        fs::remove_dir_all(&scratch)?;
    }
    Ok(Verdict::Passed)
}

fn judge(inputs: &Inputs, user_land: &UserLand, scratch: &Path) -> Result<()> {
    let good = scratch.join("good.img");
    File::create(&good)?.set_len(1 << 30)?;
    use_once(user_land, "make", POOL, &good)?;
    let changed = |verb: &str| -> Result<(PathBuf, String)> {
        let directory = scratch.join(verb);
        fs::create_dir_all(&directory)?;
        let image = sparse_copy(&good, &directory)?;
        let said = use_once(user_land, verb, POOL, &image)?;
        Ok((image, said))
    };

    let (image, tokens) = changed("interrupt")?;
    let report = inspect(inputs, &image)?;
    for line in tokens.lines() {
        let (dataset, token) = line.split_once('\t').context("a line without a token")?;
        let ours = dataset_of(&report, dataset)?["interrupted_receive"]["token"].clone();
        let ours =
            ours.as_str().with_context(|| format!("{dataset} is not said to be half received"))?;
        if unpacked(ours)? != unpacked(token)? {
            bail!("the token of {dataset} is {token}, ours {ours}");
        }
    }
    sound(inputs, &[image], "half received")?;

    let (image, dataset) = changed("stop")?;
    let log = dataset_of(&inspect(inputs, &image)?, dataset.trim())?["intent_log"].clone();
    if (&log["unreplayed"], &log["claim_txg"]) != (&Value::from(3), &Value::from(0)) {
        bail!("of three writes the intent log of {dataset} is said to have {log}");
    }
    sound(inputs, &[image], "3 records of its intent log")?;

    let (image, _) = changed("remove")?;
    let disk = second(&image);
    // Most blocks lie where the removed vdev was, and are read through its mapping.
    let theirs = zdb(user_land, &scratch.join("remove"), "-Pddddd", POOL)?;
    objects::compare(&ours::dump(inputs.program()?, std::slice::from_ref(&disk))?, &theirs)
        .context("after a vdev was removed")?;
    let notes = verify(inputs, &[disk])?;
    if notes.iter().any(|note| note.contains("leaks were not looked for")) {
        bail!("leaks were not looked for after a vdev was removed");
    }
    let (image, _) = changed("replace")?;
    let disks = [second(&image), image];
    sound(inputs, &disks, "may lack blocks of transaction groups")
}

/// The disk that the second verb added.
fn second(image: &Path) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(".2");
    path.into()
}

fn inspect(inputs: &Inputs, image: &Path) -> Result<Value> {
    let text = inputs.kldload()?.args(["inspect", "--json"]).arg(image).text()?;
    Ok(serde_json::from_str(&text)?)
}

fn dataset_of<'r>(report: &'r Value, name: &str) -> Result<&'r Value> {
    let datasets = report["datasets"].as_array().context("no datasets")?;
    let found = datasets.iter().find(|dataset| dataset["name"] == name);
    found.with_context(|| format!("there is no {name}"))
}

/// The notes of `kldload verify` on what must be sound.
fn verify(inputs: &Inputs, images: &[PathBuf]) -> Result<Vec<String>> {
    let text = inputs.kldload()?.args(["verify", "--json"]).args(images).text()?;
    let report: Value = serde_json::from_str(&text)?;
    let notes = report["notes"].as_array().context("no notes")?;
    Ok(notes.iter().filter_map(|note| Some(note.as_str()?.to_owned())).collect())
}

fn sound(inputs: &Inputs, images: &[PathBuf], expected: &str) -> Result<()> {
    let notes = verify(inputs, images)?;
    if notes.iter().any(|note| note.contains(expected)) {
        return Ok(());
    }
    bail!("{expected:?} is not in the notes of verify: {notes:?}")
}

/// What a token says: its bytes before they were compressed.
fn unpacked(token: &str) -> Result<Vec<u8>> {
    let digits = token.rsplit('-').next().unwrap_or_default().as_bytes();
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    let bytes = digits.chunks(2).map(byte).collect::<Result<Vec<u8>>>()?;
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&*bytes), &mut unpacked)?;
    Ok(unpacked)
}
