//! A root shell on a console: commands go in, their exit status and exact output come out.
//!
//! A serial console is shared: the kernel and systemd print into the middle of everything. So what
//! a command prints is kept in a file of the guest and shown between two markers with its SHA-256;
//! a copy that was disturbed is shown again, the command itself runs once.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::login::Login;
use super::{Console, ConsoleError, Stage, Transcript};

/// Where the guest keeps the output of the last command; a file system in memory.
const OUTPUT: &str = "/run/kldload-console";

/// The environment of the shell: no prompts, colours, pagers, translations or questions.
const ENVIRONMENT: &str = "HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:\
                           /sbin:/bin TERM=dumb PS1= PS2= LC_ALL=C PAGER=cat SYSTEMD_PAGER=cat \
                           SYSTEMD_COLORS=0 DEBIAN_FRONTEND=noninteractive";

/// Why a shell could not be had or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The machine came up and asks who is there.
    #[error(
        "the console asks for a login: the machine ignores {}; the console ends with\n{quote}",
        .login.ignored()
    )]
    LoginAsked {
        /// How the login should have gone.
        login: Login,
        /// The last lines of the console.
        quote: String,
    },
    /// The machine is not what it was before the login.
    #[error("the configuration of the login could not be put back: {said}")]
    NotUndone {
        /// What the machine said.
        said: String,
    },
    /// The console did not bring what was waited for.
    #[error(transparent)]
    Console(#[from] ConsoleError),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128 and more for a signal.
    pub status: u32,
    /// What it wrote to standard output and standard error, in order.
    pub text: String,
}

/// A shell that answers on a console.
#[derive(Debug)]
pub struct Shell<'a> {
    console: &'a mut Console,
    patience: Duration,
    count: u32,
}

impl<'a> Shell<'a> {
    /// Waits for the login on a console that is starting, and makes the shell behind it ours. The machine
    /// has the credentials of `login`.
    ///
    /// `boot` is the time until the login appears, `patience` the time that something small takes
    /// at worst on this machine, as starting a program.
    pub fn log_in(
        console: &'a mut Console,
        login: Login,
        boot: Duration,
        patience: Duration,
    ) -> Result<Shell<'a>, ShellError> {
        let mark = console.transcript().end();
        let seen = |word: &'static str| {
            move |transcript: &Transcript| transcript.text_since(mark).contains(word).then_some(())
        };
        let asked = |error: ConsoleError| match error {
            ConsoleError::TimedOut { quote, .. } => ShellError::LoginAsked { login, quote },
            error => error.into(),
        };
        console.wait("the login", boot, Stage::Starting, seen(" login: "))?;
        match login {
            Login::Automatic => {
                // The getty writes these words right behind the others, so a part of the patience does.
                let word = "(automatic login)";
                console
                    .wait("the automatic login", patience / 4, Stage::Starting, seen(word))
                    .map_err(asked)?;
            }
            Login::Permitted => {
                console.type_text("root\n")?;
                let mut shell = Shell { console, patience, count: 0 };
                shell.greet().map_err(|error| match error {
                    ShellError::Console(error) => asked(error),
                    error => error,
                })?;
            }
        }
        let mut shell = Shell::take_over(console, patience)?;
        if let Some(command) = login.undo() {
            let output = shell.run(&command, patience)?;
            if output.status != 0 {
                return Err(ShellError::NotUndone { said: output.text });
            }
        }
        Ok(shell)
    }

    /// Makes the shell that reads this console ours: quiet, without echo, prompts or line editing.
    pub fn take_over(
        console: &'a mut Console,
        patience: Duration,
    ) -> Result<Shell<'a>, ShellError> {
        let mut shell = Shell { console, patience, count: 0 };
        shell.greet()?;
        shell.console.type_text(&format!("exec env -i {ENVIRONMENT} /bin/sh\n"))?;
        shell.greet()?;
        // Kernel messages below emergency, and systemd's status lines (systemd(1), SIGRTMIN+21): the shell of
        // Debian 12 knows that signal by its number only.
        shell.run("dmesg --console-level emerg; kill -55 1", shell.patience)?;
        Ok(shell)
    }

    /// Types a greeting until it is answered: what is typed before a shell reads may be lost.
    fn greet(&mut self) -> Result<(), ShellError> {
        let started = Instant::now();
        let mark = self.console.transcript().end();
        self.count += 1;
        let name = format!("here-{}", self.count);
        let answer = format!("<<kldload:{name}>>");
        loop {
            // The marker is put together by the shell, so that an echo of this line is not taken
            // for the answer.
            self.console.type_text(&format!(
                "stty -echo -opost 2>/dev/null; printf '\\n<<%s:%s>>\\n' kldload {name}\n"
            ))?;
            let answered = self.console.wait(
                "an answer of the shell",
                self.patience / 8,
                Stage::Starting,
                |transcript| transcript.text_since(mark).contains(&answer).then_some(()),
            );
            match answered {
                Ok(()) => return Ok(()),
                Err(ConsoleError::TimedOut { .. }) if started.elapsed() < self.patience * 3 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs `command` (shell text, may have several lines) in a subshell and waits for its end.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Output, ShellError> {
        self.count += 1;
        let count = self.count;
        let mark = self.console.transcript().end();
        let deadline = Instant::now() + limit;
        self.console
            .type_text(&format!("(\n{command}\n) </dev/null >{OUTPUT} 2>&1; kld_status=$?\n"))?;
        loop {
            // Typed ahead, this is read when the command has ended. It is repeated because what it
            // prints may have been disturbed.
            self.console.type_text(&show(count))?;
            let left = deadline.saturating_duration_since(Instant::now());
            let shown = self.console.wait(
                "the end of a command",
                left.min(self.patience),
                Stage::Running,
                |transcript| find_shown(transcript.bytes_since(mark), count),
            );
            match shown {
                Ok(output) => return Ok(output),
                Err(ConsoleError::TimedOut { quote, .. }) if left.is_zero() => {
                    let what = format!("the end of `{}`", command.trim());
                    return Err(ConsoleError::TimedOut { what, limit, quote }.into());
                }
                Err(ConsoleError::TimedOut { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Types `line` and waits for nothing: for a command that ends the shell or the machine, or
    /// whose output is watched while it runs.
    pub fn send(&mut self, line: &str) -> Result<(), ShellError> {
        Ok(self.console.type_text(&format!("{line}\n"))?)
    }

    /// Gives the console back, for a machine that restarts.
    #[must_use]
    pub fn into_console(self) -> &'a mut Console {
        self.console
    }

    /// The console below.
    pub fn console(&mut self) -> &mut Console {
        self.console
    }
}

/// The shell text that shows the kept output between markers.
fn show(count: u32) -> String {
    format!(
        "printf '\\n<<%s:%s>>\\n' kldload begin-{count}; cat {OUTPUT}; \
         printf '\\n<<%s:%s %s %s>>\\n' kldload end-{count} $kld_status \
         \"$(sha256sum <{OUTPUT})\"\n"
    )
}

/// The output of command number `count`, if a whole and undisturbed copy of it is in `bytes`.
fn find_shown(bytes: &[u8], count: u32) -> Option<Output> {
    let begin = format!("\n<<kldload:begin-{count}>>\n");
    let end = format!("\n<<kldload:end-{count} ");
    let mut rest = bytes;
    while let Some(at) = find(rest, begin.as_bytes()) {
        rest = &rest[at + begin.len()..];
        let stop = find(rest, end.as_bytes())?;
        let tail = &rest[stop + end.len()..];
        let words = &tail[..find(tail, b">>")?];
        // The copy may have been shown twice; only the text after the last begin is one copy.
        let body = &rest[..stop];
        let body = match rfind(body, begin.as_bytes()) {
            Some(again) => &body[again + begin.len()..],
            None => body,
        };
        if let Some(output) = check_shown(body, words) {
            return Some(output);
        }
        rest = tail;
    }
    None
}

fn check_shown(body: &[u8], words: &[u8]) -> Option<Output> {
    let mut words = std::str::from_utf8(words).ok()?.split_whitespace();
    let status = words.next()?.parse().ok()?;
    let digest: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    (words.next()? == digest)
        .then(|| Output { status, text: String::from_utf8_lossy(body).into_owned() })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn rfind(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).rposition(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A console with a real shell behind it, though without a terminal.
    fn with_shell<T>(args: &[&str], test: impl FnOnce(&mut Console) -> T) -> T {
        let mut child: Child = Command::new("/bin/sh")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut console = Console::new(child.stdout.take().unwrap(), child.stdin.take().unwrap());
        let result = test(&mut console);
        drop(console);
        child.wait().unwrap();
        result
    }

    fn shell(console: &mut Console) -> Shell<'_> {
        let mut shell = Shell { console, patience: Duration::from_secs(2), count: 0 };
        shell.greet().unwrap();
        shell
    }

    #[test]
    fn status_and_output_come_back() {
        with_shell(&[], |console| {
            let mut shell = shell(console);
            let output = shell.run("echo one\nprintf 'no end'; (exit 7)", SOON).unwrap();
            assert_eq!((output.status, output.text.as_str()), (7, "one\nno end"));
            let output = shell.run("exit 3", SOON).unwrap();
            assert_eq!((output.status, output.text.as_str()), (3, ""));
        });
    }

    #[test]
    fn a_shared_console_does_not_disturb() {
        with_shell(&[], |console| {
            let mut shell = shell(console);
            shell
                .send("(for i in 1 2 3 4 5 6 7 8 9; do echo noise $i; sleep 0.1; done) &")
                .unwrap();
            let output =
                shell.run("for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done", SOON).unwrap();
            assert_eq!(output.text, "line 1\nline 2\nline 3\nline 4\nline 5\n");
        });
    }

    #[test]
    fn a_command_that_does_not_end_is_given_up() {
        with_shell(&[], |console| {
            let mut shell = shell(console);
            let error = shell.run("sleep 3; echo late", Duration::from_millis(300)).unwrap_err();
            assert!(error.to_string().starts_with("the end of `sleep 3"), "{error}");
        });
    }

    #[test]
    fn disturbed_copies_are_passed_over() {
        let digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"; // "foo"
        let whole = format!("\n<<kldload:begin-4>>\nfoo\n<<kldload:end-4 0 {digest}  ->>\n");
        let torn = whole.replace("foo", "f[ 12.3] kernel: hello\noo");
        let cut = "\n<<kldload:begin-4>>\nfo";
        let expected = Output { status: 0, text: "foo".into() };
        for text in [
            whole.clone(),
            format!("{torn}{whole}"),
            format!("{cut}{whole}"),
            format!("noise{whole}{torn}"),
        ] {
            assert_eq!(find_shown(text.as_bytes(), 4), Some(expected.clone()));
        }
        for text in [torn.as_str(), cut, "", &whole.replace("end-4 0", "end-4 x")] {
            assert_eq!(find_shown(text.as_bytes(), 4), None, "{text}");
        }
        assert_eq!(find_shown(whole.as_bytes(), 5), None);
    }

    #[test]
    fn a_login_that_stays_a_question_is_explained() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut console = Console::new(reader, std::io::sink());
        use std::io::Write;
        (&writer).write_all(b"Debian 12 vm ttyS0\r\n\r\nvm login: ").unwrap();
        let error = Shell::log_in(&mut console, Login::Automatic, SOON, Duration::from_millis(100))
            .unwrap_err();
        assert!(matches!(error, ShellError::LoginAsked { .. }), "{error}");
    }

    /// Logs in where `script`, which is given to a real shell, plays the machine.
    fn permitted(script: &str) -> ShellError {
        with_shell(&["-c", script], |console| {
            let patience = Duration::from_secs(2);
            Shell::log_in(console, Login::Permitted, SOON, patience).unwrap_err()
        })
    }

    #[test]
    fn a_login_that_needs_no_password_is_taken_and_undone() {
        // Here nobody has put anything aside, so that there is nothing to put back.
        let error = permitted("printf 'vm login: '; read name; [ \"$name\" = root ] && exec sh");
        assert!(
            matches!(&error, ShellError::NotUndone { said } if said.contains("cp: ")),
            "{error}"
        );
        let error =
            permitted("while printf 'vm login: '; do read name || exit; echo Password:; done");
        let told = error.to_string();
        assert!(told.contains("tmpfiles.extra") && told.contains("Password:"), "{told}");
    }
}
