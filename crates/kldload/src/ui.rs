//! Progress for people and programs: a bar on a terminal, plain lines elsewhere, JSON when asked.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

/// How often it is shown that something is still being done.
const TICK: Duration = Duration::from_millis(125);
/// Whether standard output is read by a program that waits for events.
static EVENTS: AtomicBool = AtomicBool::new(false);
/// Whether a command has begun to work on something, so that its printing is not all that it does.
static WORKED: AtomicBool = AtomicBool::new(false);
/// Why nothing is written to standard output any more.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// What a command prints could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct Unheard(io::Error);

impl Unheard {
    /// Whether nobody needs to hear of it: a reader that has seen enough went away, and nothing else was done.
    pub fn is_quiet(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe && !WORKED.load(Ordering::Relaxed)
    }
}

/// Prints what a command was asked for. A reader that went away before, or a full disk, is an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of something written to standard output.
pub fn written(result: io::Result<()>) -> anyhow::Result<()> {
    Ok(result.map_err(Unheard)?)
}

/// What could not be written of the facts and events of this command.
pub fn unheard() -> Option<Unheard> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take().map(Unheard)
}

/// A text for a terminal: whoever made the names in it may have meant to do something to that.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter.is_control() {
            true => plain.extend(letter.escape_default()),
            false => plain.push(letter),
        }
    }
    plain
}

/// The same for several lines.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// A warning of a command that shows no progress.
pub fn warn(text: &str) {
    eprintln!("warning: {}", plain(text));
}

/// Tells a program that waits for events how the command ended.
pub fn failed(text: &str, code: u8) {
    if EVENTS.load(Ordering::Relaxed) {
        event(&json!({"event": "error", "text": text, "code": code}));
    }
}

fn event(value: &serde_json::Value) {
    tell(value);
}

/// Writes a line. If that fails nothing more is written, as who reads lines with a gap would not know of it. It is
/// no reason to stop in the middle of an image: [`unheard`] tells in the end.
fn tell(line: &dyn std::fmt::Display) {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    if lost.is_none() {
        *lost = writeln!(io::stdout(), "{line}").err();
    }
}

/// Renders the progress of one command.
#[derive(Debug)]
pub struct Ui {
    json: bool,
    bar: Option<ProgressBar>,
    stage: String,
    started: Instant,
    done: u64,
    total: u64,
    reported: Instant,
}

impl Ui {
    /// `json` asks for one JSON object a line on standard output.
    pub fn new(json: bool) -> Self {
        EVENTS.store(json, Ordering::Relaxed);
        let now = Instant::now();
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8))
                .with_style(ProgressStyle::default_spinner())
        });
        Self { json, bar, stage: String::new(), started: now, done: 0, total: 0, reported: now }
    }

    /// Begins a stage of `total` bytes; 0 when that is not known.
    pub fn stage(&mut self, stage: &str, total: u64) {
        let template = "{msg:>12} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        self.begin(stage, total, template);
    }

    /// Begins a stage of `total` steps; 0 when that is not known.
    pub fn steps(&mut self, stage: &str, total: u64) {
        self.begin(stage, total, "{msg:>12} [{bar:40}] {pos}/{len} {eta}");
    }

    fn begin(&mut self, stage: &str, total: u64, template: &str) {
        self.end_stage();
        WORKED.store(true, Ordering::Relaxed);
        let now = Instant::now();
        (self.stage, self.total, self.done) = (stage.to_owned(), total, 0);
        (self.started, self.reported) = (now, now);
        match &self.bar {
            Some(bar) => {
                // A bar of nothing would be full at once.
                let template = if total == 0 { "{msg:>12} {spinner} {elapsed}" } else { template };
                // The style comes last, or it shows what was before for a moment.
                bar.reset();
                bar.set_length(total);
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("=> "));
                }
                match total {
                    0 => bar.enable_steady_tick(TICK),
                    _ => bar.disable_steady_tick(),
                }
                bar.set_message(stage.to_owned());
            }
            None if self.json => event(&json!({"event": "stage", "name": stage, "total": total})),
            None => eprintln!("{stage} ..."),
        }
    }

    /// `bytes` more of the stage are done.
    pub fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.json && self.reported.elapsed().as_millis() >= 500 {
            self.reported = Instant::now();
            let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
            let left = (self.total >= self.done && self.done > 0)
                .then(|| ((self.total - self.done) as f64 / rate).ceil() as u64);
            let event = json!({
                "event": "progress", "name": self.stage, "done": self.done, "total": self.total,
                "bytes_per_second": rate as u64, "seconds_left": left,
            });
            self::event(&event);
        }
    }

    /// For work that tells how much of it is done: takes those totals, the first part of the stage being done.
    pub fn totals(&mut self) -> impl FnMut(u64) {
        let mut before = 0;
        move |done| {
            self.advance(done - before);
            before = done;
        }
    }

    /// Prints a fact of the result: `text` for people, `value` for programs.
    pub fn result(&mut self, text: &str, value: serde_json::Value) {
        self.end_stage();
        self.stage.clear();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.json {
            event(&value);
        } else {
            tell(&text);
        }
    }

    /// A fact on the way, for people only.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None if self.json => {}
            None => eprintln!("{text}"),
        }
    }

    /// A warning that does not stop anything.
    pub fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("warning: {text}")),
            None if self.json => event(&json!({"event": "warning", "text": text})),
            None => eprintln!("warning: {text}"),
        }
    }

    fn end_stage(&self) {
        if self.stage.is_empty() {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            event(&json!({"event": "done", "name": self.stage, "seconds": seconds}));
        } else if self.bar.is_none() {
            eprintln!("{} {seconds:.1} s", self.stage);
        }
    }
}
