//! What CI and people run: tests with the real tools as judges, benchmarks.
fn main() {}
