//! Recipes: what a person writes, typed and checked.
//!
//! [`Recipe::parse`] is pure: text comes in, a recipe or an error with its line comes out. What the
//! recipe says of packages is read by [`pkg::recipe`]; this room reads what the machine is to be. Files
//! that a recipe names are read by the program ([`Recipe::files`] tells which).

mod account;
mod addition;
mod choice;
mod convert;
mod machine;
mod network;
mod place;
mod pool;
mod rules;
mod text;
mod word;

use pkg::recipe::{Document, Packages, RecipeError};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

pub use account::{Sudo, User};
pub use addition::{AddedFile, Script, Source};
pub use choice::{CloudInit, Keyboard};
pub use convert::{FileError, Files};
pub use machine::{Image, Machine, ModuleSigning, Output, Services};
pub use network::{Cidr, Network};
pub use pool::{Dataset, Pool};
pub use rules::Finding;
pub use text::{
    AbsolutePath, Compression, FileName, HostName, Interface, Ip, KernelArgument, Locale, Mode,
    Name, PasswordHash, Size, SshKey, TimeZone, Unit, parse_size,
};

/// A recipe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Recipe {
    /// What it is made of.
    #[serde(flatten)]
    pub packages: Packages,
    /// What it is to be.
    #[serde(flatten)]
    pub machine: Machine,
}

impl Recipe {
    /// Reads a recipe in TOML. Errors have the line, and for unknown words the nearest known one.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let mut document = Document::parse(text)?;
        let (packages, machine) = (document.take()?, document.take()?);
        document.finish()?;
        let recipe = Self { packages, machine };
        match rules::judge(&recipe) {
            Ok(()) => Ok(recipe),
            Err(wrong) => Err(RecipeError::at(text, &wrong.place, wrong.problem)),
        }
    }

    /// The files that the machine's part names, as they are written there: paths beside the recipe. Each has
    /// the place of its name, as [`RecipeError::at`] takes it.
    pub fn files(&self) -> Vec<(String, &str)> {
        let machine = &self.machine;
        let mut files: Vec<(String, Option<&str>)> = Vec::new();
        for (at, user) in machine.users.iter().enumerate() {
            let hash = user.password_hash_file.as_deref();
            files.push((format!("users.{at}.password_hash_file"), hash));
            files.push((format!("users.{at}.ssh_keys_file"), user.ssh_keys_file.as_deref()));
        }
        for (at, file) in machine.files.iter().enumerate() {
            files.push((format!("files.{at}.source"), file.source.file()));
        }
        for (at, script) in machine.scripts.iter().enumerate() {
            files.push((format!("scripts.{at}.source"), script.source.file()));
        }
        if let Some(signing) = &machine.module_signing {
            files.push(("module_signing.key".to_owned(), Some(&signing.key)));
            files.push(("module_signing.certificate".to_owned(), Some(&signing.certificate)));
        }
        files.into_iter().filter_map(|(place, file)| Some((place, file?))).collect()
    }

    /// Words that this program does not know, and that the packages of the root may know all the same.
    pub fn unlisted(&self) -> Vec<Finding> {
        rules::unlisted(&self.machine)
    }

    /// The JSON Schema of recipes (draft 2020-12), for editors.
    pub fn schema() -> Schema {
        let mut schema = SchemaGenerator::default().into_root_schema_for::<Self>();
        schema.insert("title".to_owned(), "kldload recipe".into());
        schema.insert("additionalProperties".to_owned(), false.into());
        schema
    }
}

#[cfg(test)]
pub(crate) use tests::EVERYTHING;

#[cfg(test)]
mod tests;
