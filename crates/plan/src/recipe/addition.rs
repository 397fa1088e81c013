//! `[[files]]` and `[[scripts]]`: what is added late.

use pkg::recipe::inside;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::text::{AbsolutePath, Mode, Name};

/// Where the content of a file or script comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file beside the recipe.
    Source(String),
    /// The recipe itself.
    Content(String),
}

impl Source {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Source(file) => Some(file),
            Self::Content(_) => None,
        }
    }

    fn new(what: &str, source: Option<String>, content: Option<String>) -> Result<Self, String> {
        match (source, content) {
            (Some(file), None) => Ok(Self::Source(file)),
            (None, Some(text)) => Ok(Self::Content(text)),
            _ => Err(format!("{what} has either source (a file beside the recipe) or content")),
        }
    }
}

/// A file to add, in place of any that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "FileTable")]
pub struct AddedFile {
    /// Where.
    pub path: AbsolutePath,
    /// What.
    pub source: Source,
    /// Permissions.
    pub mode: Mode,
    /// Owner.
    pub owner: Name,
    /// Group.
    pub group: Name,
}

/// A file to add, in place of any that is there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct FileTable {
    /// Where.
    path: AbsolutePath,
    /// File with the content, beside the recipe.
    source: Option<String>,
    /// The content itself.
    content: Option<String>,
    /// Permissions; `"0644"` if they are not told.
    mode: Option<Mode>,
    /// Owner; `root` if it is not told.
    owner: Option<Name>,
    /// Group; `root` if it is not told.
    group: Option<Name>,
}

impl<'de> Deserialize<'de> for AddedFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, FileTable, _>(from)
    }
}

impl TryFrom<FileTable> for AddedFile {
    type Error = String;

    fn try_from(table: FileTable) -> Result<Self, String> {
        let root = || Name::try_from("root".to_owned());
        Ok(Self {
            source: Source::new(&format!("file {}", table.path), table.source, table.content)?,
            path: table.path,
            mode: table.mode.unwrap_or(Mode(0o644)),
            owner: table.owner.map_or_else(root, Ok)?,
            group: table.group.map_or_else(root, Ok)?,
        })
    }
}

/// A script that is run once, in the finished root, without network; the first line names its
/// interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "ScriptTable")]
pub struct Script {
    /// What messages call it.
    pub name: String,
    /// What is run.
    pub source: Source,
}

/// A script that is run once, in the finished root, without network; the first line names its
/// interpreter.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct ScriptTable {
    /// What messages call it.
    name: Option<String>,
    /// File with the script, beside the recipe.
    source: Option<String>,
    /// The script itself.
    content: Option<String>,
}

impl<'de> Deserialize<'de> for Script {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, ScriptTable, _>(from)
    }
}

impl TryFrom<ScriptTable> for Script {
    type Error = String;

    fn try_from(table: ScriptTable) -> Result<Self, String> {
        let source = Source::new("a script", table.source, table.content)?;
        if let Source::Content(text) = &source
            && !text.starts_with("#!/")
        {
            let first = text.lines().next().unwrap_or_default();
            return Err(format!(
                "a script begins with its interpreter, as #!/bin/sh, not with {first:?}"
            ));
        }
        if let Some(name) = table.name.as_ref().filter(|name| name.contains(char::is_control)) {
            return Err(format!("the name {name:?} of a script has a control character"));
        }
        let name = table.name.or_else(|| source.file().map(str::to_owned));
        Ok(Self { name: name.unwrap_or_else(|| "script".to_owned()), source })
    }
}
