//! The images: made without a name, read back, published together with their manifest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use ::image::Source;
use ::image::verify::{verify, verify_gcp};
use anyhow::Context;
use blk::Window;
use disk::export::{ImageWriter, Runs, Written};
use disk::image::{Alone, Format as DiskFormat, OpenedFile, open};
use serde_json::{Value, json};
use tree::Digest;

use crate::failure::Refused;
use crate::formats::{Format, Settings};
use crate::output::{OutputDirectory, OutputFile, check_targets, sha256};
use crate::ui::Ui;

/// The outputs of one export.
#[derive(Debug)]
pub struct Outputs {
    files: Vec<(Format, OutputFile)>,
    manifest: OutputFile,
    name: String,
    force: bool,
    _directory: OutputDirectory,
}

/// What is told of a finished image.
#[derive(Debug)]
pub struct Published {
    /// For people.
    pub text: String,
    /// For programs.
    pub value: Value,
}

impl Outputs {
    /// Begins all files. One that is there already is refused unless `force`, and always if it is
    /// one of `sources`.
    pub fn create(
        directory: &Path,
        name: &str,
        formats: &[Format],
        sources: &[OpenedFile],
        force: bool,
    ) -> anyhow::Result<Self> {
        let manifest = directory.join(format!("{name}.json"));
        refuse_signed(&manifest, &directory.join(format!("{name}.json.asc")))?;
        let images = formats.iter().map(|format| format.path(directory, name));
        let targets: Vec<PathBuf> = images.chain([manifest.clone()]).collect();
        let sources: Vec<PathBuf> = sources.iter().map(|file| file.path.clone()).collect();
        check_targets(&targets, &sources, force)?;
        let made = OutputDirectory::create(directory)?;
        let begin = |path: &Path| -> anyhow::Result<OutputFile> {
            let file = OutputFile::create(path)?;
            Ok(if force { file } else { file.keeping() })
        };
        let files = formats
            .iter()
            .zip(&targets)
            .map(|(&format, path)| Ok((format, begin(path)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let manifest = begin(&manifest)?;
        Ok(Self { files, manifest, name: name.to_owned(), force, _directory: made })
    }

    /// A writer for each.
    pub fn writers(&self, settings: &Settings) -> anyhow::Result<Vec<Box<dyn ImageWriter>>> {
        self.files
            .iter()
            .map(|(format, output)| {
                let file = output.file().try_clone()?;
                Ok(format.writer(file, &self.name, settings)?)
            })
            .collect()
    }

    /// Compares every image with the source.
    pub fn verify(&self, source: &Source<'_>, runs: &Runs, ui: &mut Ui) -> anyhow::Result<()> {
        for (format, output) in &self.files {
            let mut progress = ui.totals();
            let file = output.file().try_clone()?;
            let result = match format {
                Format::Gcp => verify_gcp(source, runs, Reader { file, at: 0 }, &mut progress),
                Format::Ova => {
                    let inside = disk::export::ova::disk_range(&file)?;
                    let window = Window::new(file, inside)?;
                    let disk = open(Box::new(window), Some(DiskFormat::Vmdk), &Alone)?.disk;
                    verify(source, runs, &*disk, &mut progress)
                }
                other => {
                    let read_as = match other {
                        Format::Qcow2 => DiskFormat::Qcow2,
                        Format::Raw => DiskFormat::Raw,
                        Format::Vhdx => DiskFormat::Vhdx,
                        Format::Vmdk => DiskFormat::Vmdk,
                        _ => DiskFormat::Vhd,
                    };
                    let disk = open(Box::new(file), Some(read_as), &Alone)?.disk;
                    verify(source, runs, &*disk, &mut progress)
                }
            };
            result.with_context(|| format!("verifying the {} image", format.name()))?;
        }
        Ok(())
    }

    /// SHA-256 of each image: of compressed ones, and of all if `all`.
    pub fn digests(&self, written: &[Written], all: bool) -> anyhow::Result<Vec<Option<[u8; 32]>>> {
        thread::scope(|scope| {
            let threads: Vec<_> = self
                .files
                .iter()
                .zip(written)
                .map(|((format, output), written)| {
                    let wanted = written.sha256.is_none() && (all || format.compressed());
                    scope.spawn(move || match wanted {
                        true => sha256(output.file(), &mut |_| {}).map(|digest| Some(digest.0)),
                        false => Ok(written.sha256),
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(digest) => digest.context("reading an image back"),
                    Err(_) => anyhow::bail!("the digest of an image failed"),
                })
                .collect()
        })
    }

    /// Gives all files their names, the manifest last. If one cannot have its name, those that have got
    /// theirs go again, unless they took the place of others.
    pub fn publish(
        self,
        written: &[Written],
        digests: &[Option<[u8; 32]>],
        manifest: &mut Value,
    ) -> anyhow::Result<Vec<Published>> {
        let mut named = Named { paths: Vec::new(), remove: !self.force };
        let mut published = Vec::new();
        let mut images = Vec::new();
        for ((format, output), (written, digest)) in
            self.files.into_iter().zip(written.iter().zip(digests))
        {
            let path = output.publish()?;
            named.paths.push(path.clone());
            let (digest, verity) = (hexadecimal(*digest), hexadecimal(written.verity));
            images.push(json!({
                "format": format.name(),
                "file": path.file_name().map(|name| name.to_string_lossy()),
                "length": written.length,
                "sha256": digest,
                "fsverity": verity,
            }));
            published.push(Published {
                text: path.display().to_string(),
                value: json!({
                    "event": "image",
                    "format": format.name(),
                    "path": path,
                    "length": written.length,
                    "sha256": digest,
                    "fsverity": verity,
                }),
            });
        }
        manifest["images"] = Value::Array(images);
        let text = serde_json::to_string_pretty(manifest)?;
        let mut file = self.manifest.file();
        file.write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .with_context(|| format!("cannot write {}", self.manifest.path().display()))?;
        self.manifest.publish()?;
        named.remove = false;
        Ok(published)
    }
}

/// Refuses to replace the record of a build, which its signature would no longer fit; whoever forces images
/// does not mean that.
fn refuse_signed(manifest: &Path, signature: &Path) -> Result<(), Refused> {
    if !signature.exists() {
        return Ok(());
    }
    Err(Refused(format!(
        "{} is the record of a build, which {} signs, and an export has its own there; take another --name, \
         or another directory with -o",
        manifest.display(),
        signature.display()
    )))
}

/// Files that have their names, and lose them again if the others do not get theirs.
struct Named {
    paths: Vec<PathBuf>,
    remove: bool,
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.remove {
            // The error that ends the export is the one to tell.
            self.paths.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}

fn hexadecimal(digest: Option<[u8; 32]>) -> Option<String> {
    digest.map(|digest| Digest(digest).to_string())
}

/// Reads a file from its start without the position that clones share.
struct Reader {
    file: File,
    at: u64,
}

impl io::Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = FileExt::read_at(&self.file, buf, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}
