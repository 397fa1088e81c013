//! How errors end the program: what is printed, and which exit code.

use std::error::Error;
use std::process::ExitCode;
use std::{io, iter};

use ::image::verify::VerifyError;
use archive::OpenError;
use archive::tar::ImportError;
use darksite::copy::CopyError;
use darksite::fetch::FetchError;
use darksite::keys::KeysError;
use darksite::publish::PublishError;
use darksite::request::ResolveError;
use darksite::sbom::SbomError;
use darksite::site::SiteError;
use darksite::source::SourceError;
use darksite::store::StoreError;
use plan::PlanError;
use plan::image::ImageError;
use rootfs::bootstrap::BootstrapError;
use zfs::read::ReadError;
use zfs::send::SendError;

use crate::commands::usage;
use crate::image::ImageProblem;
use crate::ui::{self, Unheard};

/// Something went wrong that is not the input's fault.
const FAILED: u8 = 1;
/// The arguments cannot be meant.
const USAGE: u8 = 2;
/// The input is not what it should be.
const INVALID_INPUT: u8 = 3;
/// Doing it could lose or tear data.
const REFUSED: u8 = 4;
/// Something is not what a signature, a digest or a comparison says.
pub const MISMATCH: u8 = 5;

/// Something is not what a signature, a digest or a comparison says; the text says what.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(pub String);

/// Refused for safety; the text says why and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The arguments contradict each other; the text says where. For what is found when there is something to
/// clean up already: otherwise [`usage`] ends the program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misused(pub String);

/// The input is not what it should be; the text says what is expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Prints `error` with its causes and gives the exit code that belongs to it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref().is_some_and(Unheard::is_quiet) {
        return ExitCode::from(FAILED);
    }
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
    let code = code(error);
    ui::failed(&text, code);
    if code == USAGE {
        usage(text);
    }
    eprintln!("kldload: {}", ui::plain_lines(&text));
    ExitCode::from(code)
}

/// How a command ends that ended with `code`: whoever gets 0 may take it that all facts of the result were written.
pub fn heard(code: ExitCode) -> ExitCode {
    let Some(unheard) = ui::unheard() else { return code };
    let reported = report(&unheard.into());
    if code == ExitCode::SUCCESS { reported } else { code }
}

/// `error` and its causes, also those that are carried.
fn causes(error: &anyhow::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error.as_ref();
    iter::successors(Some(first), |&cause| carried(cause).or_else(|| cause.source()))
}

/// The error that another one shows as itself, so that its source is one further down.
fn carried<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return Some(error.get_ref()?);
    }
    if let Some(ResolveError::Source(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(error) = cause.downcast_ref::<SourceError>() {
        return match error {
            SourceError::Store(error) => Some(error),
            SourceError::Fetch(error) => Some(error),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<SbomError>() {
        return match error {
            SbomError::Distribution(error) => Some(error),
            SbomError::Source(error) => Some(error),
            SbomError::Store(error) => Some(error),
            SbomError::Package { .. } => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<SiteError>() {
        return match error {
            SiteError::Store(error) => Some(error),
            SiteError::Distribution(error) => Some(error),
            _ => None,
        };
    }
    match cause.downcast_ref::<PublishError>()? {
        PublishError::Site(error) => Some(error),
        PublishError::Source(error) => Some(error),
        _ => None,
    }
}

fn code(error: &anyhow::Error) -> u8 {
    if causes(error).any(is_refusal) {
        return REFUSED;
    }
    if causes(error).any(|cause| cause.is::<Misused>()) {
        return USAGE;
    }
    if causes(error).any(is_wrong_content) {
        return MISMATCH;
    }
    let differs = |cause: &VerifyError| !matches!(cause, VerifyError::Source { .. });
    if causes(error).filter_map(|cause| cause.downcast_ref()).any(differs) {
        return MISMATCH;
    }
    if causes(error).filter_map(|cause| cause.downcast_ref()).any(is_mismatch) {
        return MISMATCH;
    }
    let invalid = causes(error).any(|cause| {
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
        if let Some(error) = cause.downcast_ref::<SendError>() {
            return !matches!(error, SendError::Stream(_));
        }
        if let Some(error) = cause.downcast_ref::<ReadError>() {
            return !matches!(error, ReadError::NotFound { .. });
        }
        cause.is::<PlanError>()
            || cause.is::<ImageProblem>()
            || cause.downcast_ref().is_some_and(is_damage)
            || matches!(cause.downcast_ref(), Some(disk::export::WriteError::Size { .. }))
            || is_bad_request(cause)
    });
    if invalid { INVALID_INPUT } else { FAILED }
}

/// Whether going on could lose what is somebody else's, or let others sign.
fn is_refusal(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<Refused>()
        || matches!(
            cause.downcast_ref(),
            Some(CopyError::Foreign { .. } | CopyError::Inside { .. })
        )
        || matches!(cause.downcast_ref(), Some(KeysError::Open { .. } | KeysError::Lost { .. }))
}

/// Whether the image is to blame, and not what it lies on.
fn is_damage(error: &disk::image::OpenError) -> bool {
    use disk::image::OpenError as E;
    match error {
        E::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        E::Companion { source, .. } => {
            !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }
        E::Open(_) => false,
        _ => true,
    }
}

/// Whether a recipe, a lock, or what they ask for is to blame.
fn is_bad_request(cause: &(dyn Error + 'static)) -> bool {
    use rootfs::personalise::PersonaliseError;
    cause.is::<Invalid>()
        || cause.downcast_ref().is_some_and(|error| !matches!(error, PersonaliseError::Rootfs(_)))
        || cause.is::<pkg::recipe::RecipeError>()
        || cause.is::<plan::recipe::FileError>()
        || cause.is::<darksite::lock::LockError>()
        || cause.is::<darksite::LocationError>()
        || cause.is::<pkg::distribution::DistributionError>()
        || cause.is::<pkg::profile::ProfileError>()
        || cause.is::<pkg::openpgp::KeyError>()
        || matches!(
            cause.downcast_ref(),
            Some(
                ResolveError::Request(_)
                    | ResolveError::Packages(_)
                    | ResolveError::Distribution(_)
            )
        )
        || matches!(cause.downcast_ref(), Some(PublishError::Unknown { .. }))
        || matches!(
            cause.downcast_ref(),
            Some(
                SiteError::NoLock { .. }
                    | SiteError::NoSnapshot { .. }
                    | SiteError::NoCurrent { .. }
                    | SiteError::Empty { .. }
            )
        )
        || matches!(
            cause.downcast_ref(),
            Some(FetchError::Proxy { .. } | FetchError::Certificates { .. })
        )
        || matches!(
            cause.downcast_ref(),
            Some(SourceError::NoComponent { .. } | SourceError::NoIndex { .. })
        )
}

fn is_mismatch(error: &SourceError) -> bool {
    use SourceError as S;
    matches!(error, S::Signature { .. } | S::OtherSuite { .. } | S::Date { .. } | S::NoDate { .. })
}

/// Whether what was fetched, or lies in the store, has other bytes than its name tells.
fn is_wrong_content(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<Mismatch>()
        || cause.downcast_ref().is_some_and(FetchError::is_wrong_content)
        || matches!(cause.downcast_ref(), Some(StoreError::Damaged { .. }))
        || matches!(cause.downcast_ref(), Some(BootstrapError::Damaged { .. }))
}
