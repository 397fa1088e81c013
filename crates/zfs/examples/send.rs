//! Writes a send stream to standard output: `send DEVICE SNAPSHOT [OLDER]` that of a snapshot,
//! `send DEVICE SNAPSHOT -R` that of a tree of datasets with their properties.
use std::error::Error;
use std::io::{BufWriter, stdout};
use std::sync::Arc;

use zfs::read::{Device, Pool};
use zfs::send::{SendOptions, StreamWriter, send_snapshot, send_tree};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: send DEVICE SNAPSHOT [OLDER]".into());
    };
    let file = std::fs::File::open(&path)?;
    let pool = Pool::open(&[Device { name: path, data: Arc::new(file) }])?;
    let snapshot = pool.dataset(&name)?;
    let options = SendOptions::default();
    let mut writer = StreamWriter::new(BufWriter::new(stdout().lock()));
    let older = arguments.next();
    if older.as_deref() == Some("-R") {
        let (dataset, snapshot) = name.split_once('@').ok_or("no snapshot")?;
        send_tree(&pool, dataset, snapshot, None, options, &mut writer)?;
        writer.finish(true)?;
        return Ok(());
    }
    let older = older.map(|name| pool.dataset(&name)).transpose()?;
    send_snapshot(&pool, &snapshot, older.as_ref(), options, &mut writer)?;
    writer.finish(false)?;
    Ok(())
}
