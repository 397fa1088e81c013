//! Named steps run one after the other, and the count at the end.

use std::time::Instant;

use anyhow::{Result, bail};

/// What running a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it is for.
    Passed,
    /// It cannot be done here; why was printed.
    Skipped,
}

/// A step: its name, what it proves, and its work.
pub struct Step<'a, Context> {
    /// What `--only` calls it.
    pub name: &'a str,
    /// What holds when it passed.
    pub proves: &'a str,
    /// The work.
    pub work: fn(&Context) -> Result<Verdict>,
}

/// Runs `steps`, or those named in `only`; an error if any failed. A skipped step fails in CI.
pub fn run<Context>(
    steps: &[&Step<'_, Context>],
    only: &[String],
    context: &Context,
) -> Result<()> {
    if let Some(name) = only.iter().find(|name| !steps.iter().any(|step| step.name == **name)) {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        bail!("there is no step {name}; there are {}", names.join(", "));
    }
    let in_ci = std::env::var_os("CI").is_some();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for step in steps {
        if !only.is_empty() && !only.iter().any(|name| name == step.name) {
            continue;
        }
        println!("==> {}: {}", step.name, step.proves);
        let started = Instant::now();
        let result = (step.work)(context);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(Verdict::Passed) => {
                passed += 1;
                println!("    {} passed in {seconds:.1} s", step.name);
            }
            Ok(Verdict::Skipped) if !in_ci => {
                skipped += 1;
                println!("    {} SKIPPED", step.name);
            }
            Ok(Verdict::Skipped) => {
                failed.push(step.name);
                println!("    {} FAILED: CI skips nothing", step.name);
            }
            Err(error) => {
                failed.push(step.name);
                println!("    {} FAILED after {seconds:.1} s: {error:#}", step.name);
            }
        }
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    let skips = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    println!("{passed} passed, {} failed{skips}", failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("{} of the steps failed", failed.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[&Step<'_, ()>] = &[
        &Step { name: "good", proves: "", work: |()| Ok(Verdict::Passed) },
        &Step { name: "bad", proves: "", work: |()| bail!("no") },
    ];

    #[test]
    fn one_failure_fails_all_and_only_chooses() {
        assert!(run(STEPS, &[], &()).is_err());
        assert!(run(STEPS, &["good".to_owned()], &()).is_ok());
        let error = run(STEPS, &["goood".to_owned()], &()).unwrap_err().to_string();
        assert_eq!(error, "there is no step goood; there are good, bad");
    }
}
