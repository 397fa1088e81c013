//! One recipe sets every key, is built from a darksite, and the machine that boots is asked for each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use host::qemu::Controller;
use serde_json::Value;

use super::core::LIMIT;
use super::inputs::Inputs;
use super::recipe::clear_cache;
use crate::checkout;
use crate::run::Run;
use crate::steps::Verdict;
use crate::vm::lab::Lab;

const RECIPE: &str = include_str!("every_field/recipe.toml");
/// What the machine runs: it prints `ok KEY` or `not ok KEY: why`.
const MACHINE: &str = include_str!("every_field/machine.sh");
/// Parts the keys that only the second build has, which takes its packages from the first one's darksite.
const SAME: &str = "\n# What follows is the same for the darksite.\n";

/// Keys that neither the machine nor its build can be asked for, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("backports", "a darksite has one suite; crates/pkg/tests/apt.rs"),
    ("check_valid_until", "a darksite's does not expire; crates/darksite/tests/darksite/source.rs"),
    ("hold", "a darksite has one version of each; crates/kldload/tests/darksite.rs"),
    ("scripts.name", "only what messages call it; crates/plan/src/recipe/tests.rs"),
    ("security_mirror", "a darksite has one suite; crates/kldload/tests/darksite.rs"),
    (SNAPSHOT, "the recipe does not set it, as it takes the place of mirrors"),
];

/// The public archive of snapshots.
const SNAPSHOT: &str = "snapshot";

/// Files beside the recipe.
const FILES: &[(&str, &str)] = &[
    ("more.txt", "nftables\n"),
    ("wishes.txt", "tree\nno-such-apple\n"),
    (
        "alice.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0v0n2ZpXQm0sD6v7xR1w8QwL5y0sGQm3m1u2k3v4w6 alice@elsewhere\n",
    ),
    (
        "bob.hash",
        "$6$bobssalt$9a/p35/eGu57/9MK9/a.973VXE0axCxHyptiysXUR9A58v7WHQ4.jrPUiLHRZdSEilY8AU1WBb2dPCI9/q5NR1\n",
    ),
    ("late.sh", "#!/bin/sh\nset -e\ntest -d /srv/alice\necho late >/etc/late-script\n"),
    ("machine.sh", MACHINE),
];

/// See the module.
pub fn every_field(inputs: &Inputs) -> Result<Verdict> {
    let scratch = inputs.scratch().join("every-field");
    fs::create_dir_all(&scratch)?;
    let mut keys = keys(inputs)?;
    let set: Value = toml::from_str(RECIPE)?;
    for key in &keys {
        ensure!(is_set(&set, key) || key == SNAPSHOT, "the recipe does not set {key}");
    }
    let out = built(inputs, &scratch)?;
    for key in asked_of_the_build(inputs, &scratch)? {
        ensure!(keys.remove(key), "{key} is no key of the schema");
    }
    for (key, _) in ELSEWHERE {
        ensure!(keys.remove(*key), "{key} is no key of the schema");
    }

    let lab = Lab::new(inputs.scratch())?;
    let overlay = lab.overlay(&out.join("pear.qcow2"), 0)?;
    let variables = lab.variables()?;
    let mut vm =
        lab.power_on("every-field", vec![overlay.disk(Controller::VirtioBlk)], &variables)?;
    let mut guest = lab.log_in(&mut vm)?;
    let said = guest.run("it is asked for every key", "every-field", 180)?;
    guest.power_off()?;
    lab.wait_off(&mut vm)?;
    let wrong: Vec<&str> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let told: BTreeSet<String> =
        said.lines().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned).collect();
    let missed: Vec<&String> = keys.symmetric_difference(&told).collect();
    ensure!(missed.is_empty(), "asked for, but no key, or the other way round: {missed:?}");
    println!("    the machine has {} keys as the recipe says", told.len());
    Ok(Verdict::Passed)
}

/// All keys of the schema, as `users.name`.
fn keys(inputs: &Inputs) -> Result<BTreeSet<String>> {
    let schema = serde_json::from_str(&inputs.kldload()?.arg("schema").text()?)?;
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    ensure!(keys.len() > 50, "the schema has only {keys:?}");
    Ok(keys)
}

/// Adds the keys below `schema`, a part of `whole`; `name` itself if there are none.
fn collect(whole: &Value, schema: &Value, name: &str, keys: &mut BTreeSet<String>) {
    let parts = parts(whole, schema);
    let tables: Vec<_> = parts.iter().filter_map(|part| part["properties"].as_object()).collect();
    if tables.is_empty() {
        keys.insert(name.to_owned());
    }
    for (key, below) in tables.into_iter().flatten() {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        collect(whole, below, &name, keys);
    }
}

/// The schemas that one stands for: behind references, choices and lists.
fn parts<'a>(whole: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![schema];
    let reference = schema["$ref"].as_str().and_then(|name| whole.pointer(name.strip_prefix('#')?));
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    for next in choices.chain(reference).chain(schema.get("items")) {
        found.extend(parts(whole, next));
    }
    found
}

/// Whether a recipe sets a key, in one table of a list at least.
fn is_set(recipe: &Value, key: &str) -> bool {
    match (recipe, key.split_once('.')) {
        (Value::Array(tables), _) => tables.iter().any(|table| is_set(table, key)),
        (_, Some((first, rest))) => is_set(&recipe[first], rest),
        (_, None) => !recipe[key].is_null(),
    }
}

/// Makes a darksite, and the machine of it.
fn built(inputs: &Inputs, scratch: &Path) -> Result<PathBuf> {
    for (name, content) in FILES {
        fs::write(scratch.join(name), content)?;
    }
    Run::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 3650 -subj".split(' '))
        .args(["/CN=Pear modules/", "-keyout", "mok.key", "-outform", "DER", "-out", "mok.der"])
        .directory(scratch)
        .text()?;
    let (_, same) = RECIPE.split_once(SAME).context("the recipe has no part for the darksite")?;
    fs::write(scratch.join("darksite.toml"), same)?;
    let site = scratch.join("darksite");
    let sync = inputs.kldload()?.args(["darksite", "sync", "--dir"]);
    sync.arg(&site).arg(scratch.join("darksite.toml")).limit(LIMIT).text()?;
    fs::copy(site.join("keys/public.asc"), scratch.join("darksite.asc"))?;
    let recipe = RECIPE.replace("@SITE@", site.to_str().context("a path that is no text")?);
    fs::write(scratch.join("every.toml"), &recipe)?;
    let seed = recipe.replace("seed = \"pears\"", "seed = \"apples\"");
    fs::write(scratch.join("seed.toml"), seed)?;
    build(inputs, scratch, "every")?;
    Ok(scratch.join("every"))
}

/// What a build prints; its output goes to a directory called as the recipe.
fn build(inputs: &Inputs, scratch: &Path, name: &str) -> Result<Vec<Value>> {
    let at = |name: &str| scratch.join(name);
    let said = inputs
        .kldload()?
        .args(["build", "--json"])
        .args([at(&format!("{name}.toml")), "--cache".into(), checkout::cache()?])
        .args(["--darksite".into(), at("site"), "-o".into(), at(name)])
        .args(["--lock".into(), at("every.lock")])
        .errors_apart()
        .limit(LIMIT)
        .text()?;
    said.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// Keys that decide what is built and where, not what the machine is; each was asked for.
fn asked_of_the_build(inputs: &Inputs, scratch: &Path) -> Result<Vec<&'static str>> {
    let lock = fs::read_to_string(scratch.join("every.lock"))?;
    let of_kind = |kind: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        lock.lines().map(words).filter(|words| words[0] == kind).collect()
    };
    let suites = of_kind("suite");
    let [suite] = &suites[..] else { bail!("not one suite, but {suites:?}") };
    let from = suite.last().context("a suite without a mirror")?;
    ensure!(suite[1] == "trixie" && from.starts_with("file:"), "{suite:?} is not the darksite's");
    let indexes = of_kind("index");
    let component = |index: &Vec<String>| Some(index.last()?.split('/').next()?.to_owned());
    let components: BTreeSet<String> = indexes.iter().filter_map(component).collect();
    let asked = ["contrib", "main"].map(str::to_owned);
    ensure!(components == asked.into(), "the lock reads {components:?}");

    // The distribution's own keys know nothing of the darksite's.
    let recipe = fs::read_to_string(scratch.join("every.toml"))?;
    fs::write(scratch.join("strange.toml"), recipe.replace("keyring = \"darksite.asc\"\n", ""))?;
    let strange = inputs.kldload()?.args(["darksite", "sync", "--dir"]);
    let refused =
        strange.arg(scratch.join("strange")).arg(scratch.join("strange.toml")).output()?;
    ensure!(refused.status.code() == Some(5), "a stranger's signature: {}", refused.text);

    for name in ["pear.qcow2", "pear.vhd"] {
        ensure!(scratch.join("every").join(name).is_file(), "there is no {name}");
    }
    let again = build(inputs, scratch, "every")?;
    ensure!(
        again.iter().any(|event| event["event"] == "unchanged"),
        "nothing changed, but all was made again"
    );
    let guid = |events: &[Value]| {
        events.iter().find_map(|event| event["pool_guid"].as_u64()).context("no pool was made")
    };
    let other = guid(&build(inputs, scratch, "seed")?)?;
    fs::remove_dir_all(scratch.join("every"))?;
    ensure!(guid(&build(inputs, scratch, "every")?)? != other, "another seed makes the same pool");

    let key = fs::read_to_string(scratch.join("mok.key"))?;
    let line = key.lines().nth(1).context("an empty key")?;
    let places = [checkout::cache()?, scratch.join("every"), scratch.join("site")];
    let found = Run::new("grep").args(["-rlF", line]).args(places).output()?;
    ensure!(found.text.is_empty(), "the private key is in {}", found.text);
    clear_cache(inputs)?;
    Ok(vec![
        "suites",
        "mirror",
        "components",
        "keyring",
        "image.name",
        "image.outputs",
        "image.seed",
    ])
}
