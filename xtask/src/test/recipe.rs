//! The machine of a recipe: built twice in different circumstances, recorded, booted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::image::{NOBODY, boot_check, boot_image, booted};
use super::inputs::Inputs;
use crate::run::Run;
use crate::steps::Verdict;
use crate::{apt, checkout};

const RECIPE: &str = "debian-trixie-core";
/// A build may compile OpenZFS.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Builds the smallest recipe as root, and as an ordinary user elsewhere, at another time, without network
/// and without cache; looks at the record; boots the machine.
pub fn recipe(inputs: &Inputs) -> Result<Verdict> {
    if !apt::is_root() {
        println!("    only root can become another user with another clock and no network");
        return Ok(Verdict::Skipped);
    }
    let scratch = inputs.scratch().join("recipe");
    fs::create_dir_all(&scratch)?;
    let name = format!("{RECIPE}.toml");
    fs::copy(checkout::root().join("recipes").join(&name), scratch.join(&name))?;
    let (site, out) = (scratch.join("site"), scratch.join("out"));
    inputs
        .kldload()?
        .arg("build")
        .arg(scratch.join(&name))
        .args(["--cache".as_ref(), checkout::cache()?.as_os_str()])
        .args(["--darksite".as_ref(), site.as_os_str()])
        .args(["-o".as_ref(), out.as_os_str()])
        .limit(LIMIT)
        .text()?;
    record(&scratch, &site, &out)?;
    clear_cache(inputs)?;
    elsewhere(inputs, &scratch, &out)?;
    boot_image(inputs, &out.join(format!("{RECIPE}.qcow2")), "virtio")
}

/// Builds the larger profiles and boots them. The desktop's greeter has to show; its picture stays as evidence.
pub fn profiles(inputs: &Inputs) -> Result<Verdict> {
    let greeter = checkout::oracle()?.join("greeter.png").display().to_string();
    let desktop = ["--memory", "4G", "--screenshot", &greeter];
    built_and_booted(inputs, "debian-trixie-server", &[])?;
    built_and_booted(inputs, "debian-trixie-desktop", &desktop)?;
    println!("    the greeter: {greeter}");
    Ok(Verdict::Passed)
}

/// Builds the core of the releases before and after the usual one, with other kernels, OpenZFS and systemd.
pub fn other_releases(inputs: &Inputs) -> Result<Verdict> {
    built_and_booted(inputs, "debian-bookworm-core", &[])?;
    built_and_booted(inputs, "debian-forky-core", &[])?;
    Ok(Verdict::Passed)
}

/// Builds a recipe and boots what it made; `options` are for `boot --check`.
fn built_and_booted(inputs: &Inputs, name: &str, options: &[&str]) -> Result<()> {
    let scratch = inputs.scratch().join(name);
    fs::create_dir_all(&scratch)?;
    let recipe = scratch.join(format!("{name}.toml"));
    fs::copy(checkout::root().join("recipes").join(format!("{name}.toml")), &recipe)?;
    let build = inputs.kldload()?.arg("build").arg(&recipe);
    build
        .args(["--cache".as_ref(), checkout::cache()?.as_os_str()])
        .args(["--darksite".as_ref(), scratch.join("site").as_os_str()])
        .args(["-o".as_ref(), scratch.as_os_str()])
        .limit(LIMIT)
        .text()?;
    clear_cache(inputs)?;
    let image = scratch.join(format!("{name}.qcow2"));
    booted(boot_check(inputs, &image, options, name)?).context(name.to_owned())?;
    Ok(fs::remove_dir_all(&scratch)?)
}

/// Removes what builds keep but for kernel modules.
pub fn clear_cache(inputs: &Inputs) -> Result<()> {
    let gc = inputs.kldload()?.args(["cache", "gc", "--max-size", "0", "--cache"]);
    gc.arg(checkout::cache()?).text().map(drop)
}

/// What lies beside the image says what is in it, and is signed.
fn record(scratch: &Path, site: &Path, out: &Path) -> Result<()> {
    let at = |ending: &str| out.join(format!("{RECIPE}.{ending}"));
    let record: Value = serde_json::from_slice(&fs::read(at("json"))?)?;
    let digest = |path: PathBuf| -> Result<Value> {
        let text = Run::new("sha256sum").arg(&path).text()?;
        Ok(text.split(' ').next().context("sha256sum says nothing")?.into())
    };
    let image = &record["images"][0];
    ensure!(image["file"] == format!("{RECIPE}.qcow2").as_str(), "the record is of {image}");
    for (told, path) in [
        (&image["sha256"], at("qcow2")),
        (&record["sbom"], at("spdx.json")),
        (&record["lock"], scratch.join(format!("{RECIPE}.lock"))),
    ] {
        let is = digest(path.clone())?;
        ensure!(*told == is, "the record says {told} of {}, which is {is}", path.display());
    }
    let packages = record["packages"].as_array().map_or(0, Vec::len);
    let materials: Value = serde_json::from_slice(&fs::read(at("spdx.json"))?)?;
    let listed = materials["packages"].as_array().map_or(0, Vec::len);
    ensure!(packages > 100 && packages == listed, "{packages} packages, {listed} in the SBOM");
    // gpgv reads binary keyrings only.
    let keyring = scratch.join("keyring");
    let script = "grep -v -e '^-' -e '^$' -e '^=' -e ': ' \"$1\" | base64 -d >\"$2\"";
    Run::new("sh")
        .args(["-c", script, "sh"])
        .args([site.join("keys/public.asc"), keyring.clone()])
        .text()?;
    Run::new("gpgv")
        .args(["--keyring".as_ref(), keyring.as_os_str()])
        .args([at("json.asc"), at("json")])
        .text()?;
    println!("    {packages} packages, image, SBOM and lock are as the signed record says");
    Ok(())
}

/// Another user in another place makes the same image.
fn elsewhere(inputs: &Inputs, scratch: &Path, out: &Path) -> Result<()> {
    // Somewhere that everybody may enter, unlike a checkout below somebody's home.
    let place = tempfile::Builder::new().prefix("kldload-recipe").tempdir()?;
    let here = place.path();
    fs::set_permissions(here, fs::Permissions::from_mode(0o755))?;
    let program = here.join("kldload");
    fs::copy(inputs.kldload()?.path(), &program)?;
    let home = here.join("home");
    fs::create_dir(&home)?;
    Run::new("cp")
        .arg("-r")
        .args(
            ["site", &format!("{RECIPE}.toml"), &format!("{RECIPE}.lock")].map(|n| scratch.join(n)),
        )
        .arg(&home)
        .text()?;
    Run::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(&home).text()?;
    // Its subordinate ids, seen by nobody else.
    fs::write(here.join("ids"), format!("{NOBODY}:200000:65536\n"))?;
    let script = format!(
        "hostname elsewhere && mount --bind \"$1/ids\" /etc/subuid && \
                  mount --bind \"$1/ids\" /etc/subgid && cd \"$1/home\" && umask 077 && \
                  exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
                  faketime '2031-05-06 07:08:09' ../kldload build {RECIPE}.toml \
                  --darksite site --no-cache -o ."
    );
    Run::new("unshare")
        .args(["--mount", "--uts", "--net", "sh", "-c", &script, "sh"])
        .arg(here)
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .env("TZ", "Pacific/Chatham")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("USER", "nobody")
        .limit(LIMIT)
        .text()?;
    let name = format!("{RECIPE}.qcow2");
    Run::new("cmp").arg(out.join(&name)).arg(home.join(&name)).text()?;
    let left: Vec<String> = fs::read_dir(&home)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(!left.iter().any(|name| name.starts_with('.')), "the build has left {left:?}");
    println!("    an ordinary user elsewhere, later, offline, without cache makes the same image");
    Ok(())
}
