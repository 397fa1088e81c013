//! Lists the datasets of a pool: `cargo run --example list -- DEVICE...`
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut devices = Vec::new();
    for path in std::env::args().skip(1) {
        let data = Arc::new(std::fs::File::open(&path)?);
        devices.push(zfs::read::Device { name: path, data });
    }
    for dataset in zfs::read::Pool::open(&devices)?.datasets()?.datasets {
        println!("{:>14} {:>14}  {}", dataset.used, dataset.referenced, dataset.name);
    }
    Ok(())
}
