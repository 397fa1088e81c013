//! What was found, as lines on the console that the other side waits for.

use std::time::Instant;

use anyhow::Result;

/// How many findings of one step are printed; the rest are only counted.
const PRINTED: usize = 25;

/// Counts and prints.
#[derive(Debug)]
pub struct Report {
    ok: usize,
    failed: usize,
}

impl Report {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self { ok: 0, failed: 0 }
    }

    /// Runs a step; what it returns is printed beside its name. An error is passed on as well.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
        let started = Instant::now();
        let detail = work().map_err(|error| error.context(name.to_owned()))?;
        self.ok += 1;
        println!("judge: ok {name} ({:.1} s) {detail}", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// A step that collects findings: each is a failure, none is a success.
    pub fn findings(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Vec<String>) -> Result<String>,
    ) -> Result<()> {
        let mut found = Vec::new();
        let started = Instant::now();
        let detail = work(&mut found).map_err(|error| error.context(name.to_owned()))?;
        for finding in found.iter().take(PRINTED) {
            self.failed(name, finding);
        }
        if found.len() > PRINTED {
            self.failed(name, &format!("and {} more", found.len() - PRINTED));
        }
        if found.is_empty() {
            self.ok += 1;
            println!("judge: ok {name} ({:.1} s) {detail}", started.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Something is wrong.
    pub fn failed(&mut self, name: &str, finding: &str) {
        self.failed += 1;
        println!("judge: FAIL {name}: {finding}");
    }

    /// The last line.
    pub fn end(&self) {
        println!("judge: end {} ok, {} failed", self.ok, self.failed);
    }
}
