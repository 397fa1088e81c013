//! What a user asks of a layout, as text.

use std::str::FromStr;

use thiserror::Error;

use crate::property::is_mountpoint;

/// `DATASET:PROPERTY=VALUE`: a property of one dataset.
///
/// The dataset ends at the first colon, the property at the first equals sign behind it; so a user
/// property is written `rpool/home:com.example:keep=yes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Full name, or the name below the pool.
    pub dataset: String,
    /// The property.
    pub property: String,
    /// Its value, not checked yet.
    pub value: String,
}

/// `DATASET[:MOUNTPOINT]`: one more dataset; without a mount point it inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Additional {
    /// Full name, or the name below the pool.
    pub dataset: String,
    /// `none`, `legacy` or an absolute path.
    pub mountpoint: Option<String>,
}

/// Text that is not a request.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// No colon or no equals sign.
    #[error("{0:?} is not DATASET:PROPERTY=VALUE, for example rpool/home:compression=zstd")]
    Override(String),
    /// No name, or no path behind the colon.
    #[error("{0:?} is not DATASET[:MOUNTPOINT], for example rpool/var/lib/docker:/var/lib/docker")]
    Additional(String),
}

impl FromStr for Override {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        text.split_once(':')
            .and_then(|(dataset, rest)| Some((dataset, rest.split_once('=')?)))
            .filter(|(dataset, (property, _))| !dataset.is_empty() && !property.is_empty())
            .map(|(dataset, (property, value))| Self {
                dataset: dataset.to_owned(),
                property: property.to_owned(),
                value: value.to_owned(),
            })
            .ok_or_else(|| RequestError::Override(text.to_owned()))
    }
}

impl FromStr for Additional {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (dataset, mountpoint) = match text.split_once(':') {
            Some((dataset, mountpoint)) => (dataset, Some(mountpoint)),
            None => (text, None),
        };
        if dataset.is_empty() || mountpoint.is_some_and(|path| !is_mountpoint(path)) {
            return Err(RequestError::Additional(text.to_owned()));
        }
        Ok(Self { dataset: dataset.to_owned(), mountpoint: mountpoint.map(str::to_owned) })
    }
}
