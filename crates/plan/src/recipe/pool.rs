//! `[pool]`: the pool, its datasets and their properties.

use std::collections::BTreeMap;

use bootenv::layout::{Additional, Layout, Options, Override};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Finding;

/// The pool. What is not told is as in the built-in layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "Table")]
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

impl Pool {
    /// What is wrong with it first. Only the whole can be judged: a layout says no more than which dataset is to
    /// blame. So keys are added one by one, and it is the one with which that very problem appears.
    pub(super) fn judge(&self) -> Result<(), Finding> {
        let Err(problem) = self.check() else { return Ok(()) };
        let place = self.culprit(&problem).unwrap_or_else(|| "pool".to_owned());
        Err(Finding { place, problem })
    }

    /// The key with which the problem appears. A problem has the name of its dataset in it, and so those of all above,
    /// or at least the part that is wrong: the pool is judged again only for these.
    fn culprit(&self, problem: &String) -> Option<String> {
        let appears = |part: &Self| part.check().as_ref() == Err(problem);
        let named = |name: &str| {
            name.split('/').any(|part| problem.contains(&part.escape_debug().to_string()))
        };
        let mut part = Self { name: self.name.clone(), ..Self::default() };
        if appears(&part) {
            return Some("pool.name".to_owned());
        }
        part.boot_environment.clone_from(&self.boot_environment);
        if appears(&part) {
            return Some("pool.boot_environment".to_owned());
        }
        for (at, dataset) in self.datasets.iter().enumerate() {
            let named = named(&dataset.name);
            part.datasets.push(Dataset { mountpoint: None, ..dataset.clone() });
            if named && appears(&part) {
                return Some(format!("pool.datasets.{at}.name"));
            }
            part.datasets.pop();
            part.datasets.push(dataset.clone());
            if named && appears(&part) {
                return Some(format!("pool.datasets.{at}.mountpoint"));
            }
        }
        for (dataset, properties) in &self.properties {
            let named = named(dataset);
            for (property, value) in properties {
                let known = part.properties.entry(dataset.clone()).or_default();
                known.insert(property.clone(), value.clone());
                if named && appears(&part) {
                    return Some(format!("pool.properties.{dataset}.{property}"));
                }
            }
        }
        None
    }

    /// The same checks as when it is made.
    fn check(&self) -> Result<(), String> {
        let options = Options {
            overrides: self.overrides(),
            additional: self.additional(),
            ..Options::default()
        };
        let boot_environment = self.boot_environment.as_deref().unwrap_or("debian");
        let layout = Layout::new(&self.name, boot_environment, &options);
        for dataset in layout.map_err(|error| error.to_string())?.datasets {
            for (name, value) in &dataset.properties {
                zfs::check_property(name, value)
                    .map_err(|error| format!("{}: {error}", dataset.name))?;
            }
        }
        Ok(())
    }
}

impl From<Table> for Pool {
    fn from(table: Table) -> Self {
        Self {
            name: table.name.unwrap_or_else(|| Self::default().name),
            boot_environment: table.boot_environment,
            datasets: table.datasets,
            properties: table.properties,
        }
    }
}
