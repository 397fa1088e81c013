//! Whole machines: a disk image boots by its own boot loader, as on a PC, and somebody is logged in as root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use host::console::{Console, Login, Shell};
use host::qemu::{
    Boot, Controller, Disk, Firmware, ImageInfo, Machine, Network, Overlay, Pace, Probe, Terminal,
    Variables, Vm,
};

use crate::checkout;

// Time limits, in seconds, for a quick machine with KVM; see `Pace`.
const BOOT: u32 = 120;
const SMALL: u32 = 10;
const SETTLE: u32 = 90;
const SHUTDOWN: u32 = 60;

/// What machines are made of.
#[derive(Debug)]
pub struct Lab {
    firmware: Firmware,
    probe: Probe,
    pace: Pace,
    scratch: PathBuf,
}

impl Lab {
    /// Finds out how fast guests run here. What machines write lies on the file system of `scratch`.
    pub fn new(scratch: &Path) -> Result<Self> {
        let probe = Probe::run(scratch)?;
        if let Some(reason) = &probe.without_kvm {
            println!("    virtual machines run without KVM: {reason}");
        }
        let pace = Pace::new(&probe, 1.0);
        let firmware = Firmware::find(Controller::VirtioBlk)?;
        Ok(Self { firmware, probe, pace, scratch: scratch.to_owned() })
    }

    /// A throw-away layer over `image`, whose disk is larger by `growth` bytes.
    pub fn overlay(&self, image: &Path, growth: u64) -> Result<Overlay> {
        Ok(Overlay::new(image, &ImageInfo::read(image)?, growth, &self.scratch)?)
    }

    /// The variable store of a new machine.
    pub fn variables(&self) -> Result<Variables> {
        Ok(Variables::new(&self.firmware, &self.scratch)?)
    }

    /// Turns on a machine with `disks`, the first of which boots. Its console goes to
    /// `target/oracle/console-NAME.log`.
    pub fn power_on(&self, name: &str, disks: Vec<Disk>, variables: &Variables) -> Result<Vm> {
        let machine = Machine {
            accelerator: self.probe.accelerator,
            memory: 2048,
            cpus: self.probe.accelerator.processors(),
            boot: Boot::Uefi { firmware: &self.firmware, variables },
            disks,
            network: Network::Isolated,
            terminal: Terminal::Pipe,
            credentials: Login::Automatic.credentials(),
            extra: Vec::new(),
        };
        let log = checkout::oracle()?.join(format!("console-{name}.log"));
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        Ok(Vm::start(&machine, Some(Box::new(log) as Box<dyn Write + Send>))?)
    }

    /// Waits for the login and for everything to be started without a fault.
    pub fn log_in<'a>(&self, vm: &'a mut Vm) -> Result<Guest<'a>> {
        Guest::wait(vm.console(), self.pace)
    }

    /// Waits until a machine that was told to has turned itself off.
    pub fn wait_off(&self, vm: &mut Vm) -> Result<()> {
        if !vm.wait_off(self.pace.limit(SHUTDOWN))? {
            bail!("the machine does not turn off:\n{}", vm.console().transcript().quote());
        }
        Ok(())
    }
}

/// A running machine with somebody logged in.
#[derive(Debug)]
pub struct Guest<'a> {
    shell: Shell<'a>,
    pace: Pace,
}

impl<'a> Guest<'a> {
    fn wait(console: &'a mut Console, pace: Pace) -> Result<Self> {
        let started = Instant::now();
        let shell = Shell::log_in(console, Login::Automatic, pace.limit(BOOT), pace.limit(SMALL))?;
        let mut guest = Self { shell, pace };
        let command = "systemctl is-system-running --wait || { systemctl --failed --no-legend; \
                       journalctl -b -p err -n 30 --no-pager; false; }";
        let output = guest.shell.run(command, pace.limit(SETTLE))?;
        if output.status != 0 {
            bail!("systemd did not start everything: {}", output.text.trim());
        }
        println!("    boots and is running ({:.0} s)", started.elapsed().as_secs_f64());
        Ok(guest)
    }

    /// Runs `command`, which must end with status 0, and returns what it wrote. Says how long `what`
    /// took; `seconds` is what it takes at worst on a quick machine with KVM.
    pub fn run(&mut self, what: &str, command: &str, seconds: u32) -> Result<String> {
        let started = Instant::now();
        let output = self.shell.run(command, self.pace.limit(seconds)).context(what.to_owned())?;
        if output.status != 0 {
            bail!("{what}: status {}: {}", output.status, crate::run::end_of(&output.text));
        }
        println!("    {what} ({:.0} s)", started.elapsed().as_secs_f64());
        Ok(output.text)
    }

    /// The same for something small whose duration does not matter.
    pub fn ask(&mut self, command: &str) -> Result<String> {
        let output = self.shell.run(command, self.pace.limit(30)).context(command.to_owned())?;
        if output.status != 0 {
            bail!("{command}: status {}: {}", output.status, output.text.trim());
        }
        Ok(output.text.trim().to_owned())
    }

    /// Wants `command` to end with status 0 and to say `expected`.
    pub fn expect(&mut self, command: &str, expected: &str) -> Result<()> {
        let is = self.ask(command)?;
        if is != expected {
            bail!("{command} says {is:?}, not {expected:?}");
        }
        println!("    {command}: {is}");
        Ok(())
    }

    /// Restarts the machine and waits for it as after power-on.
    pub fn reboot(mut self) -> Result<Self> {
        self.shell.send("systemctl reboot")?;
        Self::wait(self.shell.into_console(), self.pace)
    }

    /// Tells the machine to turn itself off.
    pub fn power_off(mut self) -> Result<()> {
        Ok(self.shell.send("systemctl poweroff")?)
    }
}
