//! The real QEMU as judge: guests start, firmware without a disk is recognised as lost, overlays
//! keep the image as it is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use host::console::{ConsoleError, Stage};
use host::qemu::{
    Boot, Controller, Disk, Firmware, ImageInfo, Machine, Network, Overlay, Pace, Probe, QEMU,
    Terminal, Variables, Vm,
};

/// Whether the programs are here; a missing one is an error where the tests are meant to judge.
fn have_qemu() -> bool {
    let missing: Vec<&str> = [QEMU, "qemu-img"]
        .into_iter()
        .filter(|program| Command::new(program).arg("--version").output().is_err())
        .collect();
    let missing = match Firmware::find(Controller::VirtioBlk) {
        Ok(_) => missing.join(", "),
        Err(error) => format!("{} {error}", missing.join(", ")),
    };
    if missing.is_empty() {
        return true;
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "CI=true, so QEMU must judge here, but is not installed: {missing}");
    eprintln!("\n***** SKIPPED: not installed, nothing was judged: {missing} *****\n");
    false
}

fn machine<'a>(
    probe: &Probe,
    firmware: &'a Firmware,
    variables: &'a Variables,
    disk: Disk,
) -> Machine<'a> {
    Machine {
        accelerator: probe.accelerator,
        memory: 256,
        cpus: 1,
        boot: Boot::Uefi { firmware, variables },
        disks: vec![disk],
        network: Network::Isolated,
        terminal: Terminal::Pipe,
        credentials: Vec::new(),
        extra: Vec::new(),
    }
}

/// One test, because one machine at a time is enough.
#[test]
fn an_empty_disk_does_not_boot_and_stays_empty() {
    if !have_qemu() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("an \"empty\", disk.raw");
    std::fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();

    let probe = Probe::run(scratch.path()).unwrap();
    let pace = Pace::new(&probe, 4.0);
    assert!(pace.factor() >= 4.0);

    let info = ImageInfo::read(&image).unwrap();
    assert_eq!((info.format.as_str(), info.virtual_size), ("raw", 8 << 20));
    let overlay = Overlay::new(&image, &info, 1 << 20, scratch.path()).unwrap();
    assert_eq!(overlay.size(), 9 << 20);

    let firmware = Firmware::find(Controller::VirtioBlk).unwrap();
    for controller in [
        Controller::VirtioBlk,
        Controller::VirtioScsi,
        Controller::Ahci,
        Controller::Nvme,
        Controller::Pvscsi,
    ] {
        let variables = Variables::new(&firmware, scratch.path()).unwrap();
        let machine = machine(&probe, &firmware, &variables, overlay.disk(controller));
        let mut vm = Vm::start(&machine, None).unwrap();
        let error = vm
            .console()
            .wait("a login", pace.limit(30), Stage::Starting, |transcript| {
                transcript.text_since(Default::default()).contains("login:").then_some(())
            })
            .unwrap_err();
        assert!(
            matches!(error, ConsoleError::Trouble { .. }),
            "{controller:?}: {error}; {:?}",
            vm.failure()
        );
        vm.cut_power();
    }
    // Only our own file stands there, as it was.
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    assert!(std::fs::read(&image).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn qemu_that_refuses_tells_why() {
    if !have_qemu() {
        return;
    }
    let scratch = Path::new("/var/tmp");
    let firmware = Firmware::find(Controller::VirtioBlk).unwrap();
    let variables = Variables::new(&firmware, scratch).unwrap();
    let probe = Probe::without_kvm("a test".into(), scratch).unwrap();
    let disk =
        Disk { path: "/no/such/image".into(), format: "raw".into(), controller: Controller::Ahci };
    let mut vm = Vm::start(&machine(&probe, &firmware, &variables, disk), None).unwrap();
    let error = vm
        .console()
        .wait("a login", Duration::from_secs(60), Stage::Starting, |_| None::<()>)
        .unwrap_err();
    assert!(matches!(error, ConsoleError::Closed { .. }), "{error}");
    let failure = vm.failure().unwrap().to_string();
    assert!(failure.contains("/no/such/image"), "{failure}");
}

#[test]
fn a_fixed_vhd_is_one() {
    if !have_qemu() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (subformat, name) in [("fixed", "fixed.vhd"), ("dynamic", "dynamic.vhd")] {
        let path = directory.path().join(name);
        let options = format!("subformat={subformat},force_size=on");
        let create = ["create", "-q", "-f", "vpc", "-o", &options];
        let status = Command::new("qemu-img").args(create).arg(&path).arg("8M").status().unwrap();
        assert!(status.success());
        let info = ImageInfo::read(&path).unwrap();
        assert_eq!((info.format.as_str(), info.virtual_size), ("vpc", 8 << 20), "{name}");
    }
    let raw = directory.path().join("raw");
    std::fs::write(&raw, [0; 512]).unwrap();
    assert_eq!(ImageInfo::read(&raw).unwrap().format, "raw");
}
