//! What a boot check saw, for people as it comes or for programs when it is over.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::guest::Verdict;

/// All that is known about the image after a check.
#[derive(Debug, Serialize)]
pub struct Report {
    image: String,
    accelerator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_kvm: Option<String>,
    controller: String,
    ok: bool,
    seconds: f64,
    checks: Vec<Check>,
    #[serde(skip)]
    as_json: bool,
    #[serde(skip)]
    phase: &'static str,
    #[serde(skip)]
    started: Instant,
}

#[derive(Debug, Serialize)]
struct Check {
    phase: &'static str,
    check: &'static str,
    ok: bool,
    seconds: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl Report {
    /// A report with nothing in it yet.
    pub fn new(image: String, controller: String, as_json: bool) -> Report {
        Report {
            image,
            accelerator: String::new(),
            without_kvm: None,
            controller,
            ok: true,
            seconds: 0.0,
            checks: Vec::new(),
            as_json,
            phase: "",
            started: Instant::now(),
        }
    }

    /// What runs the machine, and why that is not KVM.
    pub fn runs_with(&mut self, accelerator: String, without_kvm: Option<String>) {
        self.accelerator = accelerator;
        self.without_kvm = without_kvm;
    }

    /// What follows belongs to the part of the story called `phase`.
    pub fn begin(&mut self, phase: &'static str) -> io::Result<()> {
        self.phase = phase;
        self.line(format_args!("{phase}"))
    }

    /// Records one check that took `time`.
    pub fn record(
        &mut self,
        check: &'static str,
        time: Duration,
        verdict: Verdict,
    ) -> io::Result<()> {
        let (ok, detail) = match verdict {
            Verdict::Fine(detail) => (true, detail),
            Verdict::Wrong(detail) => (false, detail),
        };
        let seconds = (time.as_secs_f64() * 10.0).round() / 10.0;
        let word = if ok { "ok" } else { "WRONG" };
        if ok && !detail.is_empty() {
            self.line(format_args!("  {word:<5} {seconds:>7.1} s  {check}: {detail}"))?;
        } else {
            self.line(format_args!("  {word:<5} {seconds:>7.1} s  {check}"))?;
            for line in detail.lines() {
                self.line(format_args!("                   {line}"))?;
            }
        }
        self.ok &= ok;
        self.checks.push(Check { phase: self.phase, check, ok, seconds, detail });
        Ok(())
    }

    /// Forgets all checks: the machine is started again from nothing.
    pub fn start_over(&mut self) {
        self.checks.clear();
        self.ok = true;
    }

    /// Prints the end, and tells whether all was well.
    pub fn finish(mut self) -> io::Result<bool> {
        self.seconds = (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        if self.as_json {
            let mut stdout = io::stdout().lock();
            serde_json::to_writer_pretty(&mut stdout, &self)?;
            writeln!(stdout)?;
            return Ok(self.ok);
        }
        let wrong = self.checks.iter().filter(|check| !check.ok).count();
        let count = self.checks.len();
        let (image, seconds) = (&self.image, self.seconds);
        if self.ok {
            self.line(format_args!("{image}: all {count} checks are ok ({seconds} s)"))?;
        } else {
            self.line(format_args!(
                "{image}: {wrong} of {count} checks found something wrong ({seconds} s)"
            ))?;
        }
        Ok(self.ok)
    }

    fn line(&self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        if self.as_json {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_check_makes_it_wrong() {
        let mut report = Report::new("x.qcow2".into(), "virtio".into(), true);
        report.runs_with("TCG".into(), Some("no /dev/kvm".into()));
        report.begin("first boot").unwrap();
        report.record("a", Duration::from_millis(1234), Verdict::Fine("seen".into())).unwrap();
        assert!(report.ok);
        report.record("b", Duration::ZERO, Verdict::Wrong("gone".into())).unwrap();
        assert!(!report.ok);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][0]["seconds"], 1.2);
        assert_eq!(json["checks"][1]["phase"], "first boot");
        assert_eq!(json["checks"][1]["detail"], "gone");
    }
}
