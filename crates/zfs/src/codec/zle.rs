//! ZLE: runs of zeros are shortened.
//!
//! Source: OpenZFS `module/zfs/zle.c`. A byte below 64 announces that many bytes and one more; any
//! other announces zeros, one for 64.

const LITERALS: usize = 64;

/// Fills `output`; bytes left over in `input` are padding.
pub(super) fn decompress(input: &[u8], output: &mut [u8]) -> Result<(), &'static str> {
    let (mut input, mut output) = (input, output);
    while !output.is_empty() {
        let (&head, rest) = input.split_first().ok_or("the input ends early")?;
        input = rest;
        let length = usize::from(head) + 1;
        let zeros = length.checked_sub(LITERALS).filter(|&zeros| zeros > 0);
        let (run, after) = core::mem::take(&mut output)
            .split_at_mut_checked(zeros.unwrap_or(length))
            .ok_or("a run beyond the block's end")?;
        output = after;
        match zeros {
            Some(_) => run.fill(0),
            None => {
                let (bytes, rest) =
                    input.split_at_checked(length).ok_or("the input ends in a run")?;
                run.copy_from_slice(bytes);
                input = rest;
            }
        }
    }
    Ok(())
}
