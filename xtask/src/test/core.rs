//! The profile core: built from the archive by an ordinary user, recorded, booted; built again by others.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::image::{NOBODY, boot_check, booted};
use super::inputs::Inputs;
use crate::run::Run;
use crate::steps::Verdict;
use crate::{apt, checkout};

const RECIPE: &str = "debian-trixie-core";
/// What the recipe gets besides. Its script runs in a copy of the root, with owners that only a sandbox of an
/// ordinary user's has.
const SCRIPT: &str = r#"
[[scripts]]
content = """
#!/bin/sh
set -e
test "$(stat -c %a:%U:%G /usr/bin/su)" = 4755:root:root
test "$(stat -c %a:%U:%G /etc/shadow)" = 640:root:shadow
echo late > /etc/late
chown 4242:4242 /etc/late
"""
"#;
/// A build may compile OpenZFS.
pub const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Builds the machine, looks at its record, and starts it: it boots while other steps run, as an emulated machine
/// keeps one processor busy for ten minutes. [`boot`] awaits it.
pub fn core(inputs: &Inputs) -> Result<Verdict> {
    let home = inputs.core()?;
    record(home)?;
    let late =
        format!("{}:rpool/ROOT/debian/etc/late", home.join(format!("{RECIPE}.qcow2")).display());
    let file: Value =
        serde_json::from_str(&inputs.kldload()?.args(["ls", "--json", &late]).text()?)?;
    ensure!(file["uid"] == 4242 && file["size"] == 5, "the script made {file}");
    inputs.core_machine()?;
    Ok(Verdict::Passed)
}

/// The machine boots and goes on booting.
pub fn boot(inputs: &Inputs) -> Result<Verdict> {
    inputs.core_machine()?.ended()
}

/// The check of a machine, in a thread of its own.
pub struct Machine(Cell<Option<JoinHandle<Result<String>>>>);

impl Machine {
    /// Starts `kldload boot --check` of what [`build`] has made.
    pub fn start(inputs: &Inputs) -> Result<Self> {
        let image = inputs.core()?.join(format!("{RECIPE}.qcow2"));
        let check = boot_check(inputs, &image, &["--controller", "virtio"], RECIPE)?;
        Ok(Self(Cell::new(Some(thread::spawn(move || check.text())))))
    }

    fn ended(&self) -> Result<Verdict> {
        let thread = self.0.take().context("this machine has ended before")?;
        booted(&thread.join().map_err(|_| anyhow!("the machine's thread failed"))??);
        Ok(Verdict::Passed)
    }
}

impl Drop for Machine {
    /// No machine outlives the tests.
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _nobody_asks = thread.join();
        }
    }
}

/// Builds the smallest recipe, with a script, in an empty home with nothing but kernel modules that were compiled
/// before; who is root becomes an ordinary user. Returns a directory below `scratch` with recipe, lock, darksite, image, record.
pub fn build(program: &Path, scratch: &Path) -> Result<PathBuf> {
    // Somewhere that everybody may enter, unlike a checkout below somebody's home.
    let place = tempfile::Builder::new().prefix("kldload-core").tempdir()?;
    let here = place.path();
    fs::set_permissions(here, fs::Permissions::from_mode(0o755))?;
    fs::copy(program, here.join("kldload"))?;
    let (home, kept) = (here.join("home"), checkout::cache()?.join("modules"));
    let modules = home.join("cache/modules");
    fs::create_dir_all(home.join("cache"))?;
    Run::new("cp").arg("-rL").args([&kept, &modules]).text()?;
    let recipe = format!("{RECIPE}.toml");
    let text = fs::read_to_string(checkout::root().join("recipes").join(&recipe))?;
    fs::write(home.join(&recipe), text + SCRIPT)?;

    let command = format!("../kldload build {recipe} --darksite site --cache cache -o .");
    let (run, script) = if apt::is_root() {
        Run::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(&home).text()?;
        // Subordinate ids, seen by nobody else.
        fs::write(here.join("ids"), format!("{NOBODY}:200000:65536\n"))?;
        let script = format!(
            "mount --bind ../ids /etc/subuid && mount --bind ../ids /etc/subgid && umask 077 && \
             exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {command}"
        );
        (Run::new("unshare").args(["--mount", "sh"]), script)
    } else {
        (Run::new("sh"), command)
    };
    run.args(["-c", &script])
        .directory(&home)
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .limit(LIMIT)
        .text()?;

    for entry in fs::read_dir(&modules)? {
        let entry = entry?;
        let to = kept.join(entry.file_name());
        if !to.exists() {
            Run::new("cp").arg("-r").args([entry.path(), to]).text()?;
        }
    }
    fs::remove_dir_all(home.join("cache"))?;
    let core = scratch.join("core");
    Run::new("mv").args([&home, &core]).text()?;
    Ok(core)
}

/// Root makes the same image elsewhere, later, offline and without cache.
pub fn recipe(inputs: &Inputs) -> Result<Verdict> {
    if !apt::is_root() {
        println!("    only root can have another host name and no network");
        return Ok(Verdict::Skipped);
    }
    let (core, elsewhere) = (inputs.core()?, inputs.scratch().join("elsewhere"));
    fs::create_dir(&elsewhere)?;
    let names = ["site", &format!("{RECIPE}.toml"), &format!("{RECIPE}.lock")];
    Run::new("cp").arg("-r").args(names.map(|name| core.join(name))).arg(&elsewhere).text()?;
    let script = format!(
        "hostname elsewhere && exec faketime '2031-05-06 07:08:09' \"$0\" build {RECIPE}.toml \
         --darksite site --no-cache -o ."
    );
    Run::new("unshare")
        .args(["--uts", "--net", "sh", "-c", &script])
        .arg(inputs.program()?)
        .directory(&elsewhere)
        .env("HOME", &elsewhere)
        .env("TMPDIR", &elsewhere)
        .env("TZ", "Pacific/Chatham")
        .env("LC_ALL", "tr_TR.UTF-8")
        .limit(LIMIT)
        .text()?;
    let image = format!("{RECIPE}.qcow2");
    Run::new("cmp").arg(core.join(&image)).arg(elsewhere.join(&image)).text()?;
    let left: Vec<String> = fs::read_dir(&elsewhere)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(!left.iter().any(|name| name.starts_with('.')), "the build has left {left:?}");
    println!("    root elsewhere, later, offline, without cache makes the same image");
    Ok(fs::remove_dir_all(&elsewhere).map(|()| Verdict::Passed)?)
}

/// What lies beside the image says what is in it, and is signed.
fn record(home: &Path) -> Result<()> {
    let at = |ending: &str| home.join(format!("{RECIPE}.{ending}"));
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
        (&record["lock"], at("lock")),
    ] {
        let is = digest(path.clone())?;
        ensure!(*told == is, "the record says {told} of {}, which is {is}", path.display());
    }
    let packages = record["packages"].as_array().map_or(0, Vec::len);
    let materials: Value = serde_json::from_slice(&fs::read(at("spdx.json"))?)?;
    let listed = materials["packages"].as_array().map_or(0, Vec::len);
    ensure!(packages > 100 && packages == listed, "{packages} packages, {listed} in the SBOM");
    // gpgv reads binary keyrings only.
    let keyring = home.join("keyring");
    let script = "grep -v -e '^-' -e '^$' -e '^=' -e ': ' \"$1\" | base64 -d >\"$2\"";
    Run::new("sh")
        .args(["-c", script, "sh"])
        .args([home.join("site/keys/public.asc"), keyring.clone()])
        .text()?;
    Run::new("gpgv")
        .args(["--keyring".as_ref(), keyring.as_os_str()])
        .args([at("json.asc"), at("json")])
        .text()?;
    println!("    {packages} packages, image, SBOM and lock are as the signed record says");
    Ok(())
}
