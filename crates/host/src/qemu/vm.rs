//! A running virtual machine: its process, its console, and its end.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Machine, QEMU, QemuError};
use crate::command::{CommandError, die_with_parent, exited_within, kill_group, wait};
use crate::console::Console;

/// A machine that is on. Dropping it cuts its power.
#[derive(Debug)]
pub struct Vm {
    engine: Engine,
    console: Console,
}

impl Vm {
    /// Turns the machine on. What its console says also goes to `log`, as plain text.
    ///
    /// The machine ends with the thread that calls this, so call it from one that lives.
    pub fn start(
        machine: &Machine<'_>,
        log: Option<Box<dyn Write + Send>>,
    ) -> Result<Vm, QemuError> {
        let mut command = Command::new(QEMU);
        command.args(machine.args()).stdin(Stdio::piped());
        let mut engine = Engine::start(command)?;
        let (output, input) = engine
            .pipes()
            .ok_or_else(|| QemuError::Start(io::Error::other("it has no console")))?;
        Ok(Vm { engine, console: Console::new(output, input).logging_to(log) })
    }

    /// The machine's console.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Waits until the machine has turned itself off; `false` when it did not within `limit`.
    pub fn wait_off(&mut self, limit: Duration) -> Result<bool, QemuError> {
        // Nobody waits for these words, but QEMU must not wait for us to read them.
        let read = self.console.read_until(std::time::Instant::now() + limit);
        let off = exited_within(&self.engine.child, Some(Duration::from_secs(5)))
            .map_err(QemuError::Start)?;
        if !off {
            return Ok(false);
        }
        let status = self.engine.status().map_err(QemuError::Start)?;
        let said = self.engine.end();
        match read {
            Ok(()) if status.success() => Ok(true),
            _ => Err(QemuError::Ended { status, said }),
        }
    }

    /// Cuts the power: nothing in the machine or in QEMU gets a chance to write anything more.
    pub fn cut_power(mut self) {
        self.engine.end();
    }

    /// Cuts the power and tells how QEMU failed, if it did fail by itself before.
    pub fn failure(&mut self) -> Option<QemuError> {
        let failed = match exited_within(&self.engine.child, Some(Duration::from_millis(200))) {
            Ok(true) => self.engine.status().ok().filter(|status| !status.success()),
            _ => None,
        };
        let said = self.engine.end();
        failed.map(|status| QemuError::Ended { status, said })
    }
}

/// The QEMU process itself.
#[derive(Debug)]
pub(super) struct Engine {
    child: Child,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts `command`, with its output and errors captured.
    pub(super) fn start(mut command: Command) -> Result<Engine, QemuError> {
        use std::os::unix::process::CommandExt;
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        die_with_parent(&mut command);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                QemuError::Command(CommandError::NotFound { program: QEMU.into() })
            }
            _ => QemuError::Start(error),
        })?;
        let said = Arc::new(Mutex::new(String::new()));
        let group = rustix::process::Pid::from_child(&child);
        let listener = child.stderr.take().map(|stderr| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    // After this QEMU stays, with a machine that will never move again.
                    let broken = line.contains("KVM internal error");
                    keep(&said, &line);
                    if broken {
                        let _ = rustix::process::kill_process_group(
                            group,
                            rustix::process::Signal::KILL,
                        );
                    }
                }
            })
        });
        Ok(Engine { child, said, listener })
    }

    /// Standard output and input, once.
    pub(super) fn pipes(&mut self) -> Option<(ChildStdout, ChildStdin)> {
        self.child.stdout.take().zip(self.child.stdin.take())
    }

    fn status(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Ends QEMU if it runs, and returns what it said about itself.
    pub(super) fn end(&mut self) -> String {
        self.kill();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.trim().to_owned()
    }

    fn kill(&mut self) {
        // A child that was waited for is no process any more, and its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(&self.child);
            let _ = wait(&mut self.child, None);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// QEMU's complaints are short, but a crash prints registers, and a broken device may repeat itself.
const KEPT: usize = 4096;

fn keep(said: &Mutex<String>, line: &str) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() < KEPT {
        said.push_str(line);
        said.push('\n');
    }
}
