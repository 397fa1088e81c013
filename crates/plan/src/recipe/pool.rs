//! `[pool]`: the pool, its datasets and their properties.

use std::collections::BTreeMap;

use bootenv::layout::{Additional, Layout, Options, Override};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pool. What is not told is as in the built-in layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Table")]
#[schemars(with = "Table")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Name of the boot environment; the distribution's if it is not told.
    pub boot_environment: Option<String>,
    /// More datasets.
    pub datasets: Vec<Dataset>,
    /// Properties by dataset: full names, or names below the pool.
    pub properties: BTreeMap<String, BTreeMap<String, String>>,
}

/// One more dataset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Full name, or the name below the pool.
    pub name: String,
    /// Where it is mounted; inherited if it is not told.
    pub mountpoint: Option<String>,
}

/// The pool. What is not told is as in the built-in layout.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Table {
    /// Its name; `rpool` if it is not told.
    name: Option<String>,
    /// Name of the boot environment; the distribution's if it is not told.
    boot_environment: Option<String>,
    /// More datasets.
    #[serde(default)]
    datasets: Vec<Dataset>,
    /// Properties by dataset: full names, or names below the pool.
    #[serde(default)]
    properties: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            name: "rpool".to_owned(),
            boot_environment: None,
            datasets: Vec::new(),
            properties: BTreeMap::new(),
        }
    }
}

impl Pool {
    /// Changes to properties of datasets.
    pub fn overrides(&self) -> Vec<Override> {
        let each = |(dataset, properties): (&String, &BTreeMap<String, String>)| {
            let dataset = dataset.clone();
            let change = move |(property, value): (&String, &String)| Override {
                dataset: dataset.clone(),
                property: property.clone(),
                value: value.clone(),
            };
            properties.iter().map(change).collect::<Vec<_>>()
        };
        self.properties.iter().flat_map(each).collect()
    }

    /// More datasets.
    pub fn additional(&self) -> Vec<Additional> {
        let each = |dataset: &Dataset| Additional {
            dataset: dataset.name.clone(),
            mountpoint: dataset.mountpoint.clone(),
        };
        self.datasets.iter().map(each).collect()
    }
}

impl TryFrom<Table> for Pool {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let pool = Self {
            name: table.name.unwrap_or_else(|| Self::default().name),
            boot_environment: table.boot_environment,
            datasets: table.datasets,
            properties: table.properties,
        };
        // The same checks as when it is made; here, the error has the line of the table.
        let options = Options {
            overrides: pool.overrides(),
            additional: pool.additional(),
            ..Options::default()
        };
        let boot_environment = pool.boot_environment.as_deref().unwrap_or("debian");
        let layout = Layout::new(&pool.name, boot_environment, &options);
        for dataset in layout.map_err(|error| error.to_string())?.datasets {
            for (name, value) in &dataset.properties {
                zfs::check_property(name, value)
                    .map_err(|error| format!("{}: {error}", dataset.name))?;
            }
        }
        Ok(pool)
    }
}
