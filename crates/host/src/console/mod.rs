//! The serial console of a machine: everything it said, and waiting for it to say something.

mod login;
mod shell;
mod text;
mod trouble;

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

pub use login::Login;
pub use shell::{Output, Shell, ShellError};
pub use text::Cleaner;
pub use trouble::{Stage, find as find_trouble};

/// How many lines an error quotes from the end of the console.
const QUOTED: usize = 30;

/// Why waiting for a console ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The machine said that it is lost.
    #[error("{meaning}; the console ends with\n{quote}")]
    Trouble {
        /// What the sentence means.
        meaning: &'static str,
        /// The last lines.
        quote: String,
    },
    /// It did not come in time.
    #[error("{what} did not come within {} s; the console ends with\n{quote}", .limit.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// The last lines.
        quote: String,
    },
    /// The machine is gone: nothing more can come.
    #[error("the machine ended before {what}; the console ends with\n{quote}")]
    Closed {
        /// What was waited for.
        what: String,
        /// The last lines.
        quote: String,
    },
    /// Talking to the machine failed on our side.
    #[error("cannot talk to the console: {0}")]
    Io(#[from] io::Error),
}

/// A machine's console: a reader that never blocks the machine, and a line to type on.
pub struct Console {
    chunks: Receiver<Vec<u8>>,
    input: Box<dyn Write + Send>,
    transcript: Transcript,
    /// Up to where (in `transcript.text`) complete lines have been looked at for trouble.
    watched: usize,
    log: Option<Box<dyn Write + Send>>,
}

/// All that a console said so far.
#[derive(Debug, Default)]
pub struct Transcript {
    raw: Vec<u8>,
    text: String,
    cleaner: Cleaner,
}

/// A place in a transcript: what came later is looked at from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    raw: usize,
    text: usize,
}

impl Transcript {
    /// The plain text that came since `mark`.
    #[must_use]
    pub fn text_since(&self, mark: Mark) -> &str {
        self.text.get(mark.text..).unwrap_or_default()
    }

    /// The very bytes that came since `mark`.
    #[must_use]
    pub fn bytes_since(&self, mark: Mark) -> &[u8] {
        self.raw.get(mark.raw..).unwrap_or_default()
    }

    /// The end of everything so far.
    #[must_use]
    pub fn end(&self) -> Mark {
        Mark { raw: self.raw.len(), text: self.text.len() }
    }

    /// The last lines that are not empty, indented for quoting in a message.
    #[must_use]
    pub fn quote(&self) -> String {
        let lines: Vec<&str> =
            self.text.lines().rev().filter(|line| !line.trim().is_empty()).take(QUOTED).collect();
        if lines.is_empty() {
            return "    (nothing was ever printed)".into();
        }
        let lines: Vec<String> =
            lines.iter().rev().map(|line| format!("    {}", line.trim_end())).collect();
        lines.join("\n")
    }

    fn add(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.cleaner.feed(bytes, &mut self.text);
    }
}

impl Console {
    /// Reads `output` on a thread of its own until it ends; what is typed goes to `input`.
    pub fn new(output: impl Read + Send + 'static, input: impl Write + Send + 'static) -> Console {
        let (sender, chunks) = channel();
        thread::spawn(move || {
            let mut output = output;
            let mut buffer = [0; 16384];
            loop {
                match output.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The end of the machine is the end of the console, clean or not.
                    Ok(0) | Err(_) => return,
                    Ok(count) => {
                        if sender.send(buffer[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Console {
            chunks,
            input: Box::new(input),
            transcript: Transcript::default(),
            watched: 0,
            log: None,
        }
    }

    /// Also writes the plain text to `log`, as it comes.
    #[must_use]
    pub fn logging_to(mut self, log: Option<Box<dyn Write + Send>>) -> Console {
        self.log = log;
        self
    }

    /// What came so far.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Types `text`; the caller ends lines with `\n`.
    pub fn type_text(&mut self, text: &str) -> Result<(), ConsoleError> {
        self.input.write_all(text.as_bytes())?;
        Ok(self.input.flush()?)
    }

    /// Reads until `found` finds something in the transcript, and returns that.
    ///
    /// It stops at once when the machine says that it is lost. `what` names in an error what was
    /// waited for, as the subject of "… did not come".
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        stage: Stage,
        mut found: impl FnMut(&Transcript) -> Option<T>,
    ) -> Result<T, ConsoleError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(result) = found(&self.transcript) {
                return Ok(result);
            }
            if let Some(meaning) = self.trouble(stage) {
                // What explains it often follows: a call trace, the reason for an emergency shell.
                let _ = self.read_until(Instant::now() + Duration::from_millis(1500));
                return Err(ConsoleError::Trouble { meaning, quote: self.transcript.quote() });
            }
            match self.receive(deadline)? {
                Received::Bytes => {}
                Received::Nothing => {
                    return Err(ConsoleError::TimedOut {
                        what: what.to_owned(),
                        limit,
                        quote: self.transcript.quote(),
                    });
                }
                Received::End => {
                    return Err(ConsoleError::Closed {
                        what: what.to_owned(),
                        quote: self.transcript.quote(),
                    });
                }
            }
        }
    }

    /// Reads whatever still comes until the machine is gone or `deadline` passed.
    pub fn read_until(&mut self, deadline: Instant) -> Result<(), ConsoleError> {
        while self.receive(deadline)? == Received::Bytes {}
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Received, ConsoleError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.chunks.recv_timeout(left) {
            Ok(bytes) => {
                let before = self.transcript.text.len();
                self.transcript.add(&bytes);
                if let Some(log) = &mut self.log {
                    log.write_all(&self.transcript.text.as_bytes()[before..])?;
                    log.flush()?;
                }
                Ok(Received::Bytes)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Received::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Received::End),
        }
    }

    fn trouble(&mut self, stage: Stage) -> Option<&'static str> {
        let text = &self.transcript.text[self.watched..];
        let meaning = text.split('\n').find_map(|line| trouble::find(line, stage));
        // The last line may still grow, so it is looked at again.
        self.watched += text.rfind('\n').map_or(0, |newline| newline + 1);
        meaning
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Bytes,
    Nothing,
    End,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("transcript", &self.transcript).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    fn console(output: &'static [u8]) -> Console {
        Console::new(output, io::sink())
    }

    fn login(transcript: &Transcript) -> Option<usize> {
        transcript.text_since(Mark::default()).find("login:")
    }

    #[test]
    fn finds_what_it_waits_for() {
        let mut console = console(b"boot\r\nvm \x1b[1mlog\x1b[0min: ");
        let at = console.wait("a login prompt", SOON, Stage::Starting, login);
        assert_eq!(at.unwrap(), 8);
    }

    #[test]
    fn trouble_ends_the_wait_and_is_quoted() {
        let mut console =
            console(b"one\r\n[ 1.0] Kernel panic - not syncing: no init\r\ntrace\r\n");
        let error = console.wait("a login prompt", SOON, Stage::Starting, login).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel panicked; the console ends with\n    one\n    \
             [ 1.0] Kernel panic - not syncing: no init\n    trace"
        );
    }

    #[test]
    fn a_prompt_without_an_end_of_line_is_seen() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x\r\n(initram").unwrap();
        let mut console = Console::new(reader, io::sink());
        assert!(matches!(
            console.wait("it", SOON, Stage::Starting, login),
            Err(ConsoleError::TimedOut { .. })
        ));
        writer.write_all(b"fs) ").unwrap();
        assert!(matches!(
            console.wait("it", SOON, Stage::Starting, login),
            Err(ConsoleError::Trouble { .. })
        ));
    }

    #[test]
    fn the_end_of_the_machine_is_told() {
        let error = console(b"").wait("a login prompt", SOON, Stage::Starting, login).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the machine ended before a login prompt; the console ends with\n    \
             (nothing was ever printed)"
        );
    }
}
