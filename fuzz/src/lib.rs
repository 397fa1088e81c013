//! What the targets share.

use blk::{Memory, ReadAt};
use disk::image::{Alone, Format, open};

/// Opens `data` as an image and walks over the first runs of its disk.
pub fn read_image(data: &[u8], format: Format) {
    let Ok(opened) = open(Box::new(Memory::from(data.to_vec())), Some(format), &Alone) else {
        return;
    };
    let (mut at, mut buf) = (0, vec![0; 70_000]);
    for _ in 0..100 {
        let Ok(Some(run)) = opened.disk.next_data(at) else { break };
        assert!(run.start >= at && run.end > run.start, "{run:?} after {at}");
        let length = (run.end - run.start).min(buf.len() as u64) as usize;
        // Damage is an error.
        let _ = opened.disk.read_exact_at(&mut buf[..length], run.start);
        at = run.end;
    }
}
