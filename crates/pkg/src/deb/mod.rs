//! Debian's formats: control files, versions, relations, indexes, `.deb` files.
//!
//! Everything borrows from the text it was read from: an index of 60,000 packages is one string and a
//! list of slices into it.

mod container;
mod control;
mod copyright;
mod packages;
mod policy;
mod relation;
mod release;
mod solve;
mod universe;
mod version;

pub use container::{ControlFile, Deb, DebError};
pub use control::{ControlError, ControlProblem, Field, Paragraph, Paragraphs, paragraphs};
pub use copyright::{Copyright, spdx_expression};
pub use packages::{
    IndexError, MultiArch, Package, PackageIndex, Priority, Rejected, parse_packages, write_package,
};
pub use policy::{Pin, PinError, PinTarget, Policy, UnknownName};
pub use relation::{
    ArchQualifier, Clause, Dependency, Operator, Profile, RelationError, Restriction,
    parse_provides, parse_relations,
};
pub use release::{IndexFile, Release, ReleaseError, write_date};
pub use solve::{
    Chosen, OptionalSet, Reason, Request, Skipped, Solution, SolveError, asked, lacking, solve,
};
pub use universe::{
    Entry, IndexInfo, Kind, Name, NameId, Need, Relations, Target, Universe, VersionId,
};
pub use version::{Version, VersionError};
