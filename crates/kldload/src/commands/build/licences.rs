//! What the packages of a lock say of their licences, kept: to read it, each package is decompressed.

use std::fs;

use darksite::lock::Lock;
use darksite::sbom::{License, Licenses};
use darksite::site::Site;
use serde_json::json;

use super::made;
use crate::cache::Cache;
use crate::commands::darksite::sbom::read_licenses;
use crate::ui::Ui;

/// Kind of these entries in the cache.
const KIND: &str = "licences";
/// File with the list.
const LIST: &str = "licences.json";

/// The licences, from the cache or read now.
pub fn licences(
    lock: &Lock,
    site: &Site,
    cache: Option<&Cache>,
    ui: &mut Ui,
) -> anyhow::Result<Licenses> {
    let Some(cache) = cache else { return read_licenses(lock, site, ui) };
    let packages = lock.packages.iter().map(|package| package.blob.digest.to_string());
    let key = made::key(&json!(packages.collect::<Vec<_>>()))?;
    if let Some(path) = cache.find(KIND, &key)
        && let Ok(text) = fs::read(path.join(LIST))
        && let Ok(list) = serde_json::from_slice::<Vec<(String, License)>>(&text)
    {
        let parsed =
            list.into_iter().map(|(digest, license)| Some((digest.parse().ok()?, license)));
        if let Some(licenses) = parsed.collect() {
            return Ok(licenses);
        }
    }
    let licenses = read_licenses(lock, site, ui)?;
    let list: Vec<_> = licenses.iter().map(|(digest, one)| (digest.to_string(), one)).collect();
    let what = format!("{} of {} packages", list.len(), lock.packages.len());
    cache.keep(KIND, &key, &what, LIST, &serde_json::to_vec(&list)?)?;
    Ok(licenses)
}
