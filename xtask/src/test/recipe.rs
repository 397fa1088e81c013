//! The machines of larger profiles and other releases: built and booted.

use std::fs;

use anyhow::{Context, Result};

use super::core::LIMIT;
use super::image::{boot_check, booted};
use super::inputs::Inputs;
use crate::checkout;
use crate::steps::Verdict;

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
    // A desktop needs an hour where a processor is emulated; `boot --check` has limits of its own for each step.
    let check = boot_check(inputs, &image, options, name)?.limit(LIMIT);
    booted(&check.text().context(name.to_owned())?);
    Ok(fs::remove_dir_all(&scratch)?)
}

/// Removes what builds keep but for kernel modules.
pub fn clear_cache(inputs: &Inputs) -> Result<()> {
    let gc = inputs.kldload()?.args(["cache", "gc", "--max-size", "0", "--cache"]);
    gc.arg(checkout::cache()?).text().map(drop)
}
