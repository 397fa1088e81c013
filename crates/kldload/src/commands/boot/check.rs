//! `kldload boot --check`: the story of a machine's first days, and what has to be true in it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use host::console::{Console, ConsoleError, Login, Mark, Output, Shell, ShellError, Stage};
use host::qemu::{
    Accelerator, Boot, Firmware, ImageInfo, Machine, Network, Overlay, Pace, Probe, Screen,
    Terminal, Variables, Vm,
};

use super::guest::{self, Synced, Verdict};
use super::report::Report;
use super::{BootArgs, hint, slow};
use crate::failure::MISMATCH;
use crate::output::OutputFile;

/// By how much the machine's disk is larger than the image, in bytes.
const GROWTH: u64 = 2 << 30;

/// Colours that a greeter's picture has at least: writing with smooth edges, on whatever background.
const COLOURS: usize = 32;
/// Between two pictures of a screen.
const GLANCE: Duration = Duration::from_secs(3);

/// What Linux prints at last before it resets the machine.
const RESTARTING: &str = "reboot: Restarting system";

/// How many files must be safe on disk before the power is cut.
const FILES: usize = 40;

// Time limits, in seconds, for a quick machine with KVM; see `Pace`.
const BOOT: u32 = 90;
const SHUTDOWN: u32 = 60;
const SETTLE: u32 = 90;
const GREETER: u32 = 60;
const QUESTION: u32 = 20;
const SCRUB: u32 = 120;
const INITRAMFS: u32 = 180;
const SMALL: u32 = 10;

/// Runs the check and prints what it saw.
pub fn run(args: &BootArgs) -> anyhow::Result<ExitCode> {
    let mut lab = Lab::new(args)?;
    let controller = args.controller.to_string();
    let mut report = Report::new(args.image.display().to_string(), controller, args.json);
    loop {
        if let Some(note) = slow(&lab.probe) {
            eprintln!("{note}");
        }
        report.runs_with(lab.probe.accelerator.to_string(), lab.probe.without_kvm.clone());
        match live(&lab, &mut report) {
            Ok(()) | Err(Stop::Recorded) => break,
            Err(Stop::Host(error)) => return Err(error),
            Err(Stop::KvmBroke(reason)) => {
                lab.give_up_kvm(reason)?;
                report.start_over();
            }
            Err(Stop::LoginAsked) => {
                eprintln!(
                    "the console asks for a login, as systemd before 256 does; starting over, with a login \
                     that needs no password until somebody is in"
                );
                lab.login = Login::Permitted;
                report.start_over();
            }
        }
    }
    Ok(if report.finish()? { ExitCode::SUCCESS } else { ExitCode::from(MISMATCH) })
}

/// Why the story ends early.
enum Stop {
    /// The machine is lost, and the report says so.
    Recorded,
    /// KVM ran the probe and not the machine.
    KvmBroke(String),
    /// The machine takes another way in.
    LoginAsked,
    /// It is not the machine's fault.
    Host(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Host(error.into())
    }
}

/// The whole story: first boot, reboot, power cut, and the boot after it.
fn live(lab: &Lab<'_>, report: &mut Report) -> Result<(), Stop> {
    let overlay = Overlay::new(&lab.args.image, &lab.image, GROWTH, &lab.scratch).map_err(hint)?;
    let variables = Variables::new(&lab.firmware, &lab.scratch)?;

    let mut vm = lab.power_on(&overlay, &variables)?;
    let days = until_the_reboot(lab, report, vm.console(), &overlay);
    let root = days.or_else(|stop| lab.explain(stop, &mut vm))?;
    restart(lab, report, &mut vm)?;

    let mut vm = lab.power_on(&overlay, &variables)?;
    let days = until_the_cut(lab, report, vm.console(), &root);
    let files = days.or_else(|stop| lab.explain(stop, &mut vm))?;
    vm.cut_power();

    let mut vm = lab.power_on(&overlay, &variables)?;
    let days = after_the_cut(lab, report, vm.console(), &root, &files);
    days.or_else(|stop| lab.explain(stop, &mut vm))?;
    turn_off(lab, report, &mut vm)
}

fn until_the_reboot(
    lab: &Lab<'_>,
    report: &mut Report,
    console: &mut Console,
    overlay: &Overlay,
) -> Result<String, Stop> {
    report.begin("first boot")?;
    let mut guest = Guest::log_in(lab, report, console)?;
    guest.is_up()?;
    guest.screen_is_well(lab)?;
    let root = guest.root()?;
    let pool = pool_of(&root);
    guest.storage_is_well(&root)?;
    guest.ask(
        "partition and pool have grown to the larger disk",
        &guest::ask_sizes(pool),
        QUESTION,
        |output| guest::grown(output, overlay.size()),
    )?;
    guest.packages_are_well()?;
    guest.scrub(pool)?;
    guest.ask(
        "the initramfs is made anew (update-initramfs -u -k all)",
        "update-initramfs -u -k all",
        INITRAMFS,
        guest::done,
    )?;

    guest.report.begin("reboot")?;
    guest.shell.send("systemctl reboot")?;
    Ok(root)
}

fn until_the_cut(
    lab: &Lab<'_>,
    report: &mut Report,
    console: &mut Console,
    root: &str,
) -> Result<Vec<Synced>, Stop> {
    let mut guest = Guest::log_in(lab, report, console)?;
    guest.is_up()?;
    guest.same_root(root)?;
    guest.storage_is_well(root)?;

    guest.report.begin("power cut")?;
    guest.write_until_safe()
}

fn after_the_cut(
    lab: &Lab<'_>,
    report: &mut Report,
    console: &mut Console,
    root: &str,
    files: &[Synced],
) -> Result<(), Stop> {
    let mut guest = Guest::log_in(lab, report, console)?;
    guest.is_up()?;
    guest.same_root(root)?;
    guest.storage_is_well(root)?;
    guest.ask(
        "files that were synced are whole",
        &guest::ask_digests(files),
        QUESTION,
        |output| guest::files_whole(output, files),
    )?;
    guest.packages_are_well()?;
    guest.scrub(pool_of(root))?;
    guest.shell.send("systemctl poweroff")?;
    Ok(())
}

/// Waits for the reset that the machine asks for, which ends its QEMU (see `power_on`).
fn restart(lab: &Lab<'_>, report: &mut Report, vm: &mut Vm) -> Result<(), Stop> {
    ends(lab, report, vm, "asks for a reset", |said| match said.contains(RESTARTING) {
        true => Verdict::Fine(String::new()),
        false => Verdict::Wrong("it turned off".into()),
    })
}

fn turn_off(lab: &Lab<'_>, report: &mut Report, vm: &mut Vm) -> Result<(), Stop> {
    ends(lab, report, vm, "turns off", |_| Verdict::Fine(String::new()))
}

fn ends(
    lab: &Lab<'_>,
    report: &mut Report,
    vm: &mut Vm,
    check: &'static str,
    judge: impl FnOnce(&str) -> Verdict,
) -> Result<(), Stop> {
    let limit = lab.pace.limit(SHUTDOWN);
    let started = Instant::now();
    let off = vm.wait_off(limit)?;
    let transcript = vm.console().transcript();
    if off {
        let verdict = judge(transcript.text_since(Mark::default()));
        return Ok(report.record(check, started.elapsed(), verdict)?);
    }
    let verdict =
        Verdict::Wrong(format!("still on after {} s:\n{}", limit.as_secs(), transcript.quote()));
    report.record(check, started.elapsed(), verdict)?;
    Err(Stop::Recorded)
}

fn pool_of(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or(dataset)
}

/// What every machine of a check is made of.
struct Lab<'a> {
    args: &'a BootArgs,
    image: ImageInfo,
    firmware: Firmware,
    probe: Probe,
    pace: Pace,
    scratch: PathBuf,
    screen: Screen,
    login: Login,
    log: Option<File>,
}

impl<'a> Lab<'a> {
    fn new(args: &'a BootArgs) -> anyhow::Result<Lab<'a>> {
        let scratch = args.scratch();
        let image = args.image()?;
        let firmware = args.firmware()?;
        let log = args
            .keep_log
            .as_ref()
            .map(|path| File::create(path).with_context(|| format!("{}", path.display())))
            .transpose()?;
        let probe = Probe::run(&scratch).map_err(hint)?;
        let pace = Pace::new(&probe, args.timeout_scale.unwrap_or(1.0));
        let screen = Screen::new()?;
        Ok(Lab {
            args,
            image,
            firmware,
            probe,
            pace,
            scratch,
            screen,
            login: Login::Automatic,
            log,
        })
    }

    fn give_up_kvm(&mut self, reason: String) -> anyhow::Result<()> {
        self.probe = Probe::without_kvm(reason, &self.scratch)?;
        self.pace = Pace::new(&self.probe, self.args.timeout_scale.unwrap_or(1.0));
        Ok(())
    }

    fn power_on(&self, overlay: &Overlay, variables: &Variables) -> anyhow::Result<Vm> {
        let machine = Machine {
            accelerator: self.probe.accelerator,
            memory: self.args.memory,
            cpus: self.args.cpus.unwrap_or(self.probe.accelerator.processors()),
            boot: Boot::Uefi { firmware: &self.firmware, variables },
            disks: vec![overlay.disk(self.args.controller.into())],
            network: Network::Isolated,
            terminal: Terminal::Pipe,
            credentials: self.login.credentials(),
            // A reset ends QEMU, and a new one goes on: in one that emulates two processors the firmware
            // has hung after a reset, and that is not what is checked.
            extra: std::iter::once("-no-reboot".into())
                .chain(self.screen.args())
                .chain(self.args.qemu.iter().cloned())
                .collect(),
        };
        let log = match &self.log {
            Some(file) => Some(Box::new(file.try_clone()?) as Box<dyn Write + Send>),
            None => None,
        };
        Vm::start(&machine, log).map_err(hint)
    }

    /// Finds out whether it was QEMU that failed and not the machine.
    fn explain<T>(&self, stop: Stop, vm: &mut Vm) -> Result<T, Stop> {
        let with_kvm = self.probe.accelerator == Accelerator::Kvm;
        let said_nothing = vm.console().transcript().bytes_since(Mark::default()).is_empty();
        Err(match (stop, vm.failure()) {
            (Stop::Recorded, Some(error)) if with_kvm => Stop::KvmBroke(first_line(&error)),
            (Stop::Recorded, Some(error)) => Stop::Host(error.into()),
            (Stop::Recorded, None) if with_kvm && said_nothing => {
                Stop::KvmBroke("the machine said nothing at all".into())
            }
            (stop, _) => stop,
        })
    }
}

fn first_line(error: &impl ToString) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// A machine with somebody logged in, and the report on it.
struct Guest<'a> {
    report: &'a mut Report,
    shell: Shell<'a>,
    pace: Pace,
}

impl<'a> Guest<'a> {
    fn log_in(
        lab: &Lab<'_>,
        report: &'a mut Report,
        console: &'a mut Console,
    ) -> Result<Guest<'a>, Stop> {
        let started = Instant::now();
        let (boot, small) = (lab.pace.limit(BOOT), lab.pace.limit(SMALL));
        let shell = Shell::log_in(console, lab.login, boot, small);
        let took = started.elapsed();
        match shell {
            Ok(shell) => {
                report.record("reaches a login", took, Verdict::Fine(String::new()))?;
                Ok(Guest { report, shell, pace: lab.pace })
            }
            Err(ShellError::LoginAsked { login: Login::Automatic, .. }) => Err(Stop::LoginAsked),
            Err(error) => Err(lost(report, "reaches a login", took, error)),
        }
    }

    /// Asks one question and records the verdict on its answer.
    fn ask(
        &mut self,
        check: &'static str,
        command: &str,
        seconds: u32,
        judge: impl FnOnce(&Output) -> Verdict,
    ) -> Result<(), Stop> {
        let started = Instant::now();
        match self.shell.run(command, self.pace.limit(seconds)) {
            Ok(output) => Ok(self.report.record(check, started.elapsed(), judge(&output))?),
            Err(error) => Err(lost(self.report, check, started.elapsed(), error)),
        }
    }

    fn is_up(&mut self) -> Result<(), Stop> {
        self.ask(
            "systemd has started everything",
            "systemctl is-system-running --wait",
            SETTLE,
            guest::system_state,
        )?;
        self.ask("no unit has failed", guest::FAILED_UNITS, QUESTION, guest::nothing)
    }

    /// Where there is a greeter it shows; keeps a picture of the screen if asked for.
    fn screen_is_well(&mut self, lab: &Lab<'_>) -> Result<(), Stop> {
        let mut greets = false;
        self.ask(
            "the display manager runs, if there is one",
            guest::DISPLAY_MANAGER,
            QUESTION,
            |output| {
                let verdict = guest::display_manager(output);
                greets = matches!(&verdict, Verdict::Fine(name) if !name.is_empty());
                verdict
            },
        )?;
        if greets {
            let started = Instant::now();
            let verdict = greeter(&lab.screen, self.pace.limit(GREETER))?;
            self.report.record("the greeter shows", started.elapsed(), verdict)?;
        }
        if let Some(path) = &lab.args.screenshot {
            let output = OutputFile::create(path)?;
            output
                .file()
                .write_all(&lab.screen.png()?)
                .with_context(|| path.display().to_string())?;
            output.publish()?;
        }
        Ok(())
    }

    /// The root dataset; without it there is nothing more to look at.
    fn root(&mut self) -> Result<String, Stop> {
        let mut root = Err(String::new());
        self.ask(
            "root is the dataset of the kernel command line",
            guest::ROOT,
            QUESTION,
            |output| {
                root = guest::root_dataset(output);
                match &root {
                    Ok(dataset) => Verdict::Fine(dataset.clone()),
                    Err(reason) => Verdict::Wrong(reason.clone()),
                }
            },
        )?;
        root.map_err(|_| Stop::Recorded)
    }

    fn same_root(&mut self, root: &str) -> Result<(), Stop> {
        self.ask("root is the same dataset as before", guest::ROOT, QUESTION, |output| {
            match guest::root_dataset(output) {
                Ok(dataset) if dataset == root => Verdict::Fine(dataset),
                Ok(dataset) => Verdict::Wrong(format!("{dataset}, not {root}")),
                Err(reason) => Verdict::Wrong(reason),
            }
        })
    }

    fn storage_is_well(&mut self, root: &str) -> Result<(), Stop> {
        self.ask(
            "every dataset is mounted",
            &guest::ask_datasets(pool_of(root)),
            QUESTION,
            guest::datasets_mounted,
        )?;
        self.ask("the pool is healthy", "zpool status -x", QUESTION, guest::pools_healthy)?;
        self.ask(
            "there is no /etc/hostid",
            "ls -l /etc/hostid 2>/dev/null; true",
            QUESTION,
            guest::nothing,
        )
    }

    fn packages_are_well(&mut self) -> Result<(), Stop> {
        self.ask("all packages are whole (dpkg --audit)", "dpkg --audit", QUESTION, guest::nothing)
    }

    fn scrub(&mut self, pool: &str) -> Result<(), Stop> {
        self.ask(
            "scrub finds no error",
            &format!("zpool scrub -w {pool} && zpool status -x"),
            SCRUB,
            guest::pools_healthy,
        )
    }

    /// Has the machine write, and returns in the midst of it, with the files that it has promised.
    fn write_until_safe(&mut self) -> Result<Vec<Synced>, Stop> {
        let check = "writes and syncs files until the power is cut";
        let started = Instant::now();
        let limit = self.pace.limit(QUESTION);
        let mark = self.shell.console().transcript().end();
        self.shell.send(guest::WRITE_FOR_EVER)?;
        let files = self.shell.console().wait(
            "the promise of enough files",
            limit,
            Stage::Running,
            |transcript| {
                let files = guest::synced(transcript.text_since(mark));
                (files.len() >= FILES).then_some(files)
            },
        );
        let took = started.elapsed();
        match files {
            Ok(files) => {
                let verdict = Verdict::Fine(format!("{} files", files.len()));
                self.report.record(check, took, verdict)?;
                Ok(files)
            }
            Err(error) => Err(lost(self.report, check, took, error.into())),
        }
    }
}

/// Waits for a picture with many colours that stays as it is.
fn greeter(screen: &Screen, limit: Duration) -> Result<Verdict, Stop> {
    let started = Instant::now();
    let mut before = screen.picture()?;
    loop {
        thread::sleep(GLANCE);
        let now = screen.picture()?;
        let colours = now.colours();
        if now == before && colours >= COLOURS {
            return Ok(Verdict::Fine(format!("{colours} colours")));
        }
        if started.elapsed() > limit {
            let limit = limit.as_secs();
            let what =
                format!("after {limit} s the screen has {colours} colours; --screenshot shows it");
            return Ok(Verdict::Wrong(what));
        }
        before = now;
    }
}

/// Records that a machine is lost, unless it is our own side that failed.
fn lost(report: &mut Report, check: &'static str, took: Duration, error: ShellError) -> Stop {
    if matches!(error, ShellError::Console(ConsoleError::Io(_))) {
        return error.into();
    }
    match report.record(check, took, Verdict::Wrong(error.to_string())) {
        Ok(()) => Stop::Recorded,
        Err(error) => error.into(),
    }
}
