//! What a build can make: images of the disk, and the send stream of its pool.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use plan::recipe::Output;

use crate::failure::Invalid;
use crate::formats::{self, Format};

/// Something that a build makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// An image of the disk.
    Image(Format),
    /// All datasets as `zfs send -R` writes them.
    Stream,
}

impl Product {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image(format) => format.name(),
            Self::Stream => "zfs-stream",
        }
    }

    /// What a recipe calls these; nothing if there are none.
    pub fn outputs(products: &[Self]) -> Option<Vec<Output>> {
        let named =
            |product: &Self| Output::ALL.into_iter().find(|&one| Self::from(one) == *product);
        let outputs: Vec<Output> = products.iter().filter_map(named).collect();
        Some(outputs).filter(|outputs| !outputs.is_empty())
    }

    /// Its file in a directory.
    pub fn path(self, directory: &Path, name: &str) -> PathBuf {
        match self {
            Self::Image(format) => format.path(directory, name),
            Self::Stream => directory.join(format!("{name}.zfs")),
        }
    }
}

impl ValueEnum for Product {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<Product>> = LazyLock::new(|| {
            let images = Format::value_variants().iter().map(|&format| Product::Image(format));
            images.chain([Product::Stream]).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Image(format) => format.to_possible_value(),
            Self::Stream => {
                let help =
                    "All datasets, without the disk around them: zfs send -R, for zfs receive";
                Some(PossibleValue::new(self.name()).help(help))
            }
        }
    }
}

impl From<Output> for Product {
    fn from(output: Output) -> Self {
        Self::Image(match output {
            Output::Qcow2 => Format::Qcow2,
            Output::Raw => Format::Raw,
            Output::Vhd => Format::Vhd,
            Output::VhdDynamic => Format::VhdDynamic,
            Output::Vhdx => Format::Vhdx,
            Output::Vmdk => Format::Vmdk,
            Output::Ova => Format::Ova,
            Output::Gcp => Format::Gcp,
            Output::ZfsStream => return Self::Stream,
        })
    }
}

/// All that one build makes.
#[derive(Debug)]
pub struct Products {
    /// Formats of images, each once.
    pub images: Vec<Format>,
    /// Whether the stream is wanted.
    pub stream: bool,
}

impl Products {
    /// `wanted` without repetitions; images that would have the same file are an error.
    pub fn new(wanted: &[Product]) -> Result<Self, Invalid> {
        let images = wanted.iter().filter_map(|product| match product {
            Product::Image(format) => Some(*format),
            Product::Stream => None,
        });
        let images = formats::distinct(images).map_err(Invalid)?;
        Ok(Self { images, stream: wanted.contains(&Product::Stream) })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Product> {
        let stream = self.stream.then_some(Product::Stream);
        self.images.iter().copied().map(Product::Image).chain(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_of_a_recipe_is_a_product() {
        for output in Output::ALL {
            let product = Product::from_str(output.name(), false).unwrap();
            assert_eq!((product, product.name()), (output.into(), output.name()));
            assert_eq!(Product::outputs(&[product]), Some(vec![output]));
        }
    }

    #[test]
    fn products_have_files_of_their_own() {
        let [qcow2, vhd, dynamic] = [Format::Qcow2, Format::Vhd, Format::VhdDynamic];
        let images = |formats: &[Format]| formats.iter().copied().map(Product::Image).collect();
        let mut wanted: Vec<Product> = images(&[qcow2, vhd, qcow2]);
        wanted.insert(1, Product::Stream);
        let products = Products::new(&wanted).unwrap();
        assert_eq!((products.images, products.stream), (vec![qcow2, vhd], true));
        assert!(Products::new(&images(&[vhd, dynamic])).is_err());
    }
}
