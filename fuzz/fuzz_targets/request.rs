//! Any bytes as the head of an HTTP request to the darksite's server.
//!
//! Panics are bugs; the error is a status of HTTP that says so. A range lies within the file.
#![no_main]

use darksite::serve::request::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let request = match Request::parse(data) {
        Ok(request) => request,
        Err(status) => return assert!((400..600).contains(&status)),
    };
    assert!(request.path.starts_with('/'));
    for size in [0, 1, 1000, u64::MAX] {
        if let Some((start, length)) = request.range.and_then(|range| range.within(size)) {
            assert!(length > 0 && start.checked_add(length).is_some_and(|end| end <= size));
        }
    }
});
