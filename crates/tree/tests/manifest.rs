//! Properties of the manifest.

mod arbitrary;

use proptest::prelude::*;
use tree::manifest;

proptest! {
    #[test]
    fn a_tree_survives_its_manifest((tree, _) in arbitrary::trees()) {
        let mut text = Vec::new();
        manifest::write(&tree, &mut text).unwrap();
        let again = manifest::parse(&text).unwrap();
        let mut text_again = Vec::new();
        manifest::write(&again, &mut text_again).unwrap();
        prop_assert_eq!(String::from_utf8(text), String::from_utf8(text_again));
        prop_assert_eq!(manifest::digest(&tree), manifest::digest(&again));
        // A parsed tree has its inodes in the manifest's order: now they are equal as values.
        let mut third = Vec::new();
        manifest::write(&again, &mut third).unwrap();
        prop_assert_eq!(manifest::parse(&third).unwrap(), again);
    }

    #[test]
    fn a_damaged_manifest_is_an_error_or_another_tree(
        (tree, _) in arbitrary::trees(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut text = Vec::new();
        manifest::write(&tree, &mut text).unwrap();
        let at = at.index(text.len());
        prop_assume!(text[at] != byte);
        text[at] = byte;
        if let Ok(other) = manifest::parse(&text) {
            prop_assert_ne!(manifest::digest(&other), manifest::digest(&tree));
        }
    }
}
