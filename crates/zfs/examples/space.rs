//! Tells what of a pool's devices is in use: `space DEVICE…`.
use std::error::Error;
use std::sync::Arc;

use zfs::read::{Device, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    let mut devices = Vec::new();
    for name in std::env::args().skip(1) {
        let file = std::fs::File::open(&name)?;
        devices.push(Device { name, data: Arc::new(file) });
    }
    let pool = Pool::open(&devices)?;
    for (number, vdev) in zfs::space::allocated(&pool)?.iter().enumerate() {
        println!("vdev {number}: {} of {} bytes allocated", vdev.allocated.bytes(), vdev.size);
    }
    for device in zfs::space::used(&pool)? {
        let (bytes, ranges) = (device.used.bytes(), device.used.len());
        println!("{}: {bytes} of {} bytes used, in {ranges} ranges", device.name, device.size);
        device.uncertain.iter().for_each(|why| println!("  uncertain: {why}"));
    }
    Ok(())
}
