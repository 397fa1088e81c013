//! How errors end the program: what is printed, and which exit code.

use std::process::ExitCode;

use archive::OpenError;
use archive::tar::ImportError;
use plan::PlanError;
use plan::image::ImageError;
use zfs::read::ReadError;

use crate::image::ImageProblem;

/// Something went wrong that is not the input's fault.
const FAILED: u8 = 1;
/// The input is not what it should be.
const INVALID_INPUT: u8 = 3;

/// Prints `error` with its causes and gives the exit code that belongs to it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Transparent errors repeat their source.
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    eprintln!("kldload: {text}");
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let invalid = error.chain().any(|cause| {
        if let Some(error) = cause.downcast_ref::<OpenError>() {
            return matches!(
                error,
                OpenError::Archive(ImportError::Tar { .. }) | OpenError::Store(_)
            );
        }
        if let Some(error) = cause.downcast_ref::<ImageError>() {
            use zfs::WriteError as E;
            return matches!(
                error,
                ImageError::Pool(
                    E::NoSpace { .. }
                        | E::Property { .. }
                        | E::Dataset { .. }
                        | E::DeviceTooSmall { .. }
                )
            );
        }
        if let Some(error) = cause.downcast_ref::<ReadError>() {
            return !matches!(error, ReadError::NotFound { .. });
        }
        cause.is::<PlanError>()
            || cause.is::<ImageProblem>()
            || cause.is::<disk::image::OpenError>()
    });
    if invalid { INVALID_INPUT } else { FAILED }
}
