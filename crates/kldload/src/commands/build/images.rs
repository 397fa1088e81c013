//! The images of a build: the raw disk is made first, one pass over it writes every other format.

use std::path::Path;

use ::image::{Source, export};
use anyhow::Context;
use disk::export::ImageWriter;

use crate::formats::{Format, Settings};
use crate::output::OutputFile;
use crate::ui::Ui;

/// Makes images of all `formats` of the finished disk `raw`, in their order. They are called `name` and
/// lie in `directory` once they are published.
pub fn write(
    raw: OutputFile,
    formats: &[Format],
    directory: &Path,
    name: &str,
    ui: &mut Ui,
) -> anyhow::Result<Vec<(Format, OutputFile)>> {
    let others: Vec<Format> =
        formats.iter().copied().filter(|&format| format != Format::Raw).collect();
    let mut images = others
        .iter()
        .map(|&format| Ok((format, OutputFile::create(&format.path(directory, name))?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if !others.is_empty() {
        // What the pool does not use was never written, so that there is no free space to look for.
        let source = Source::new(raw.file(), None, false)?;
        let settings = Settings::new(&source, name, &[])?;
        let writers = images
            .iter()
            .map(|(format, output)| {
                Ok(format.writer(output.file().try_clone()?, name, &settings)?)
            })
            .collect::<anyhow::Result<Vec<Box<dyn ImageWriter>>>>()?;
        ui.stage("writing images", settings.total());
        let options = settings.options(&others, None);
        export(&source, &settings.runs, writers, options, &mut ui.totals())
            .with_context(|| format!("writing to {}", directory.display()))?;
    }
    if let Some(at) = formats.iter().position(|&format| format == Format::Raw) {
        images.insert(at, (Format::Raw, raw));
    }
    Ok(images)
}
