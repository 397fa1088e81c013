//! Whether hardware virtualisation really works here, and how fast guests run: found out by running
//! one.
//!
//! `/dev/kvm` may exist, open and still not run a guest: QEMU aborts, reports an internal error, or
//! hangs, mostly where this machine is a virtual machine itself. So a firmware of ours of 300 bytes
//! (`probe.s`) is started as any guest is. It also does a fixed piece of work; how long that takes
//! sets all time limits.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::nameless::Nameless;
use super::vm::Engine;
use super::{QEMU, QemuError};
use crate::console::{Console, Stage};

/// What runs a guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// Translation by QEMU: works everywhere, ten to thirty times slower.
    Tcg,
}

impl Accelerator {
    /// How many processors a machine should have. QEMU's emulation has a fault: code that a kernel patches while
    /// another processor runs it can end in a crash.
    pub fn processors(self) -> u32 {
        match self {
            Self::Kvm => 2,
            Self::Tcg => 1,
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => "TCG",
        })
    }
}

/// How guests run on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The fastest that works.
    pub accelerator: Accelerator,
    /// Why it is not KVM, when it is not.
    pub without_kvm: Option<String>,
    /// How long the probe's work took.
    pub work: Duration,
}

/// How long a trivial guest may take before its accelerator counts as not working.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where Linux offers hardware virtualisation.
const KVM: &str = "/dev/kvm";

impl Probe {
    /// Starts a trivial guest, with KVM if that exists and else without.
    ///
    /// The firmware image is a throw-away file on the file system of `scratch`.
    pub fn run(scratch: &Path) -> Result<Probe, QemuError> {
        let opened = std::fs::File::options().read(true).write(true).open(KVM);
        let without_kvm = match opened {
            Err(error) => format!("{KVM}: {error}"),
            Ok(_) => match start(Accelerator::Kvm, scratch) {
                Ok(work) => {
                    return Ok(Probe { accelerator: Accelerator::Kvm, without_kvm: None, work });
                }
                Err(QemuError::Unusable { said, .. }) => said,
                Err(error) => return Err(error),
            },
        };
        Probe::without_kvm(without_kvm, scratch)
    }

    /// Starts a trivial guest with TCG, because KVM does not do for the given reason.
    pub fn without_kvm(reason: String, scratch: &Path) -> Result<Probe, QemuError> {
        Ok(Probe {
            accelerator: Accelerator::Tcg,
            without_kvm: Some(reason),
            work: start(Accelerator::Tcg, scratch)?,
        })
    }
}

/// How much longer things take here than on the machine that time limits are written for: a quick
/// one with KVM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// The pace that the probe's work shows, times `scale`.
    #[must_use]
    pub fn new(probe: &Probe, scale: f64) -> Pace {
        // The work is a tight loop, which TCG does well. Booting is what it does badly: new code all
        // the time, page tables, devices.
        let (usual, translation) = match probe.accelerator {
            Accelerator::Kvm => (0.15, 1.0),
            Accelerator::Tcg => (0.3, 12.0),
        };
        let slower = (probe.work.as_secs_f64() / usual).clamp(1.0, 20.0);
        Pace(slower * translation * scale)
    }

    /// The time limit for what takes at worst `seconds` on the quick machine.
    #[must_use]
    pub fn limit(self, seconds: u32) -> Duration {
        Duration::from_secs_f64((f64::from(seconds) * self.0).clamp(1.0, 1e6))
    }

    /// How many times longer than on the quick machine.
    #[must_use]
    pub fn factor(self) -> f64 {
        self.0
    }
}

/// Runs the probe's guest and returns how long its work took.
fn start(accelerator: Accelerator, scratch: &Path) -> Result<Duration, QemuError> {
    let firmware = Nameless::with(&firmware(), scratch)?;
    let mut command = Command::new(QEMU);
    command
        .args(["-no-user-config", "-nodefaults", "-display", "none"])
        .args(["-machine", "q35", "-cpu", "max", "-m", "16M"])
        .args(["-accel", &accelerator.to_string().to_lowercase()])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(["-serial", "chardev:console"])
        .args(["-device", "isa-debug-exit,iobase=0xf4"])
        .arg("-bios")
        .arg(firmware.path())
        .stdin(Stdio::piped());
    let mut engine = Engine::start(command)?;
    let unusable = |said: String| QemuError::Unusable { accelerator, said };
    let mut console = match engine.pipes() {
        Some((output, input)) => Console::new(output, input),
        None => return Err(unusable("it has no console".into())),
    };
    let mut wait = |word: char| {
        console.wait("a guest", PATIENCE, Stage::Running, |transcript| {
            let text = transcript.text_since(crate::console::Mark::default());
            text.contains(word).then(Instant::now)
        })
    };
    match wait('R').and_then(|ready| wait('D').map(|done| done - ready)) {
        Ok(work) => Ok(work),
        Err(error) => {
            let said = engine.end();
            let said = said.lines().next().unwrap_or_default().trim().to_owned();
            Err(unusable(match (said.as_str(), error) {
                ("", crate::console::ConsoleError::TimedOut { .. }) => {
                    format!("nothing happened in {} s", PATIENCE.as_secs())
                }
                ("", error) => error.to_string(),
                _ => said,
            }))
        }
    }
}

/// The firmware image: the code, and a jump to it where the processor starts.
fn firmware() -> Vec<u8> {
    const SIZE: usize = 0x1_0000;
    const RESET: usize = 0xfff0;
    // ljmp 0xf000:0
    const JUMP: [u8; 5] = [0xea, 0x00, 0x00, 0x00, 0xf0];
    let mut image = vec![0; SIZE];
    image[..CODE.len()].copy_from_slice(&CODE);
    image[RESET..RESET + JUMP.len()].copy_from_slice(&JUMP);
    image
}

/// `probe.s`, assembled.
#[rustfmt::skip]
const CODE: [u8; 294] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbf, 0x00, 0x10, 0x8e, 0xc0, 0xb9, 0x00, 0x18, 0xfc,
    0xf3, 0xab, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, 0xbf, 0x00,
    0x30, 0x66, 0x31, 0xc0, 0xb9, 0x00, 0x02, 0x67, 0x66, 0x8d, 0x90, 0x83, 0x00, 0x00, 0x00, 0x66,
    0x89, 0x15, 0x66, 0x05, 0x00, 0x00, 0x20, 0x00, 0x83, 0xc7, 0x08, 0xe2, 0xea, 0x66, 0xb8, 0x00,
    0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xe0, 0x66, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0,
    0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x66, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30,
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x20, 0x01, 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0x00, 0x00, 0x80,
    0x0f, 0x22, 0xc0, 0x66, 0xea, 0x7b, 0x00, 0x0f, 0x00, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e,
    0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x80, 0x00, 0x00, 0xb8, 0x07, 0x00, 0x00, 0x00, 0x31,
    0xc9, 0x0f, 0xa2, 0x0f, 0xba, 0xe3, 0x08, 0x73, 0x15, 0xb9, 0x03, 0x00, 0x00, 0x00, 0xc4, 0xe2,
    0xf1, 0xf7, 0xc3, 0xc4, 0xe3, 0xfb, 0xf0, 0xd8, 0x05, 0xc4, 0xe2, 0xe3, 0xf6, 0xc8, 0xb0, 0x52,
    0xe8, 0x3a, 0x00, 0x00, 0x00, 0xb9, 0x00, 0x00, 0x00, 0x08, 0xbe, 0x00, 0x00, 0x01, 0x00, 0x31,
    0xc0, 0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, 0x05, 0x5f, 0xf3, 0x6e, 0x3c, 0x89, 0xc2, 0xc1, 0xea,
    0x10, 0x81, 0xe2, 0xfc, 0xff, 0x00, 0x00, 0x01, 0x04, 0x16, 0xff, 0xc9, 0x75, 0xe3, 0xb0, 0x44,
    0xe8, 0x0a, 0x00, 0x00, 0x00, 0x66, 0xba, 0xf4, 0x00, 0x31, 0xc0, 0xef, 0xf4, 0xeb, 0xfd, 0x88,
    0xc4, 0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0x88, 0xe0, 0x66, 0xba, 0xf8, 0x03,
    0xee, 0xc3, 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xaf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00,
    0x17, 0x00, 0x08, 0x01, 0x0f, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Program;

    #[test]
    fn the_bytes_are_the_assembled_source() {
        let directory = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/qemu/probe.s");
        let object = directory.path().join("probe.o");
        let binary = directory.path().join("probe.bin");
        let assembled = Program::new("as").args(["--64", source, "-o"]).arg(&object).run();
        if cfg!(not(target_arch = "x86_64")) && assembled.is_err() {
            eprintln!("SKIPPED: no assembler for x86-64 here");
            return;
        }
        assembled.unwrap();
        Program::new("objcopy")
            .args(["-O", "binary", "-j", ".text"])
            .arg(&object)
            .arg(&binary)
            .run()
            .unwrap();
        assert_eq!(std::fs::read(binary).unwrap(), CODE);
    }

    #[test]
    fn limits_follow_the_pace() {
        let probe = |accelerator, work| Probe {
            accelerator,
            without_kvm: None,
            work: Duration::from_millis(work),
        };
        let limit = |probe, scale| Pace::new(&probe, scale).limit(10).as_secs();
        assert_eq!(limit(probe(Accelerator::Kvm, 10), 1.0), 10);
        assert_eq!(limit(probe(Accelerator::Kvm, 300), 1.0), 20);
        assert_eq!(limit(probe(Accelerator::Tcg, 300), 1.0), 120);
        assert_eq!(limit(probe(Accelerator::Tcg, 300), 2.0), 240);
    }
}
