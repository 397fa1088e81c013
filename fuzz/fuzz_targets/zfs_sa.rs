//! Any bytes as a bonus area or spill block of system attributes, under a layout that is also theirs.
//!
//! Errors are fine; panics are bugs. What comes out lies in what went in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [count, rest @ ..] = data else { return };
    let Some((layout, buffer)) = rest.split_at_checked(usize::from(count & 31)) else { return };
    let layout: Vec<u16> = layout.iter().map(|&attribute| u16::from(attribute)).collect();
    // Variable, or as long as the number of the attribute says.
    let length = |attribute: u16| (attribute != 255).then_some(attribute & 24);
    if let Ok(found) = zfs::sa::decode(buffer, |_| Some(&layout), length) {
        assert_eq!(found.len(), layout.len());
        assert!(found.iter().all(|(_, value)| value.len() <= buffer.len()));
    }
});
