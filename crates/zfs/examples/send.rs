//! Writes the send stream of a snapshot to standard output: `send DEVICE SNAPSHOT [OLDER]`.
use std::error::Error;
use std::io::{BufWriter, stdout};
use std::sync::Arc;

use zfs::read::{Device, Pool};
use zfs::send::{SendOptions, StreamWriter, send_snapshot};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: send DEVICE SNAPSHOT [OLDER]".into());
    };
    let file = std::fs::File::open(&path)?;
    let pool = Pool::open(&[Device { name: path, data: Arc::new(file) }])?;
    let snapshot = pool.dataset(&name)?;
    let older = arguments.next().map(|name| pool.dataset(&name)).transpose()?;
    let mut writer = StreamWriter::new(BufWriter::new(stdout().lock()));
    send_snapshot(&pool, &snapshot, older.as_ref(), SendOptions::default(), &mut writer)?;
    writer.finish(false)?;
    Ok(())
}
