//! LZJB, the compression of the first pools.
//!
//! Source: OpenZFS `module/zfs/lzjb.c`. A byte of flags precedes eight items; each is a byte of its
//! own or, flag set, a copy: 6 bits of length less 3, 10 bits of distance.

const MATCH_MIN: usize = 3;

/// Fills `output`; bytes left over in `input` are padding.
pub(super) fn decompress(input: &[u8], output: &mut [u8]) -> Result<(), &'static str> {
    const SHORT: &str = "the input ends early";
    let mut input = input.iter().copied();
    let mut next = || input.next().ok_or(SHORT);
    let mut at = 0;
    let (mut flags, mut left) = (0u8, 0);
    while at < output.len() {
        if left == 0 {
            (flags, left) = (next()?, 8);
        }
        if flags & 1 == 0 {
            if let Some(slot) = output.get_mut(at) {
                *slot = next()?;
            }
            at += 1;
        } else {
            let (high, low) = (next()?, next()?);
            let length = usize::from(high >> 2) + MATCH_MIN;
            let distance = usize::from(high & 3) << 8 | usize::from(low);
            let from = at.checked_sub(distance).ok_or("a copy from before the block")?;
            if distance == 0 {
                return Err("a copy of itself");
            }
            let end = (at + length).min(output.len());
            for (to, from) in (at..end).zip(from..) {
                output[to] = output[from];
            }
            at = end;
        }
        flags >>= 1;
        left -= 1;
    }
    Ok(())
}
