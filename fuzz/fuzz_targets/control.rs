//! Any text as a control file.
//!
//! Errors are fine, panics are bugs. What is accepted has its fields where the lines say, in order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = 0;
    for paragraph in pkg::deb::paragraphs(text).map_while(Result::ok) {
        for field in paragraph.fields() {
            assert!(field.line > last);
            last = field.line;
            assert!(lines[field.line - 1].starts_with(field.name));
        }
    }
});
