//! `kldload schema`: what a recipe may say, for editors and programs.

use std::process::ExitCode;

use clap::Args;
use plan::recipe::Recipe;

/// Print the JSON Schema of recipes
///
/// Editors that know JSON Schema complete and check recipes with it; docs/recipe.schema.json is the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload schema > recipe.schema.json")]
pub struct SchemaArgs {}

/// Runs the command.
pub fn run(_: &SchemaArgs) -> anyhow::Result<ExitCode> {
    crate::ui::print(&format!("{}\n", serde_json::to_string_pretty(&Recipe::schema())?))?;
    Ok(ExitCode::SUCCESS)
}
