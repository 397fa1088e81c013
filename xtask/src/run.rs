//! Programs run by the tests: output into one text, a time limit, and the whole story when one fails.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What is shown of the output of a program that failed, from its end, in bytes.
const SHOWN: usize = 6000;

/// How a program ended and what it wrote, standard output and standard error as one.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub text: String,
}

/// A program to run.
#[derive(Debug)]
pub struct Run {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Option<File>,
    limit: Duration,
    errors_apart: bool,
}

impl Run {
    /// The program called `program`, with ten minutes to do its work.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            input: None,
            limit: Duration::from_secs(600),
            errors_apart: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Lets it read `file`; without this it reads nothing.
    #[must_use]
    pub fn input(mut self, file: File) -> Self {
        self.input = Some(file);
        self
    }

    /// Runs it as the arguments of `program`, after `args`.
    #[must_use]
    pub fn within<const N: usize>(mut self, program: &str, args: [&str; N]) -> Self {
        let inner = std::mem::replace(&mut self.program, program.into());
        let args = args.map(OsString::from).into_iter().chain([inner]);
        self.args.splice(0..0, args);
        self
    }

    /// What is run.
    pub fn path(&self) -> &Path {
        Path::new(&self.program)
    }

    /// Kills it when it runs longer than this.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Leaves standard error where ours goes, so that the text is standard output alone.
    #[must_use]
    pub fn errors_apart(mut self) -> Self {
        self.errors_apart = true;
        self
    }

    /// Runs to the end; an exit status other than 0 is no error here.
    pub fn output(&self) -> Result<Output> {
        let mut file = tempfile::tempfile()?;
        let started = Instant::now();
        let mut command = Command::new(&self.program);
        // What `cargo run` told us of ourselves makes build scripts run again, ring's for one, and all above it.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name_text.starts_with(start)) {
                command.env_remove(&name);
            }
        }
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        match &self.input {
            Some(file) => command.stdin(file.try_clone()?),
            None => command.stdin(Stdio::null()),
        };
        command.stdout(file.try_clone()?).process_group(0);
        if !self.errors_apart {
            command.stderr(file.try_clone()?);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.to_string_lossy()))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > self.limit {
                child.kill()?;
                child.wait()?;
                bail!(
                    "{self} was stopped after {} s; its last words:\n{}",
                    self.limit.as_secs(),
                    end_of(&read(&mut file)?)
                );
            }
            std::thread::sleep(Duration::from_millis(15));
        };
        Ok(Output { status, text: read(&mut file)? })
    }

    /// Runs to the end and wants exit status 0; returns what it wrote.
    pub fn text(&self) -> Result<String> {
        let Output { status, text } = self.output()?;
        if status.success() {
            return Ok(text);
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            _ => "ended".to_owned(),
        };
        bail!("{self} {how}; it said:\n{}", end_of(&text))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}", self.program.to_string_lossy())?;
        for arg in &self.args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        write!(f, "`")
    }
}

fn read(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a long text.
pub fn end_of(text: &str) -> &str {
    let mut start = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Run {
        Run::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn both_outputs_and_the_status_are_told() {
        assert_eq!(shell("echo a; echo b >&2").text().unwrap(), "a\nb\n");
        let error = shell("echo why; exit 3").text().unwrap_err().to_string();
        assert!(error.contains("status 3") && error.ends_with("why"), "{error}");
        let error = shell("kill -9 $$").text().unwrap_err().to_string();
        assert!(error.contains("signal 9"), "{error}");
    }

    #[test]
    fn a_program_is_not_told_which_package_we_are() {
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some(), "cargo runs this test");
        let text = shell("env | grep -e ^CARGO_PKG_ -e ^CARGO_MANIFEST_; true").text().unwrap();
        assert_eq!(text, "");
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let error = shell("echo waiting; exec sleep 60").limit(Duration::from_millis(200)).text();
        assert!(error.unwrap_err().to_string().ends_with("waiting"));
    }
}
