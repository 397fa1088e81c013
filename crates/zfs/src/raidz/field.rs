//! The field GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 and generator 2.

const POLYNOMIAL: u16 = 0x11d;

/// Powers of 2 (twice around) and logarithms.
const TABLES: ([u8; 512], [u8; 256]) = {
    let (mut exp, mut log) = ([0; 512], [0; 256]);
    let (mut power, mut n) = (1u16, 0);
    while n < 255 {
        exp[n] = power as u8;
        exp[n + 255] = power as u8;
        log[power as usize] = n as u8;
        power <<= 1;
        if power & 0x100 != 0 {
            power ^= POLYNOMIAL;
        }
        n += 1;
    }
    (exp, log)
};

/// 2 to the power of `exponent`.
pub(super) fn power(exponent: usize) -> u8 {
    TABLES.0[exponent % 255]
}

pub(super) fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    let sum = usize::from(TABLES.1[usize::from(a)]) + usize::from(TABLES.1[usize::from(b)]);
    TABLES.0[sum]
}

/// The inverse of `a`, which must not be 0.
fn inverse(a: u8) -> u8 {
    TABLES.0[255 - usize::from(TABLES.1[usize::from(a)])]
}

/// Adds `factor` times `from` to `to`; what `to` has beyond the end of `from` stays.
pub(super) fn add_multiple(to: &mut [u8], from: &[u8], factor: u8) {
    match factor {
        0 => {}
        1 => to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from),
        _ => {
            let mut products = [0; 256];
            for (value, product) in (0..=255).zip(&mut products) {
                *product = multiply(factor, value);
            }
            to.iter_mut().zip(from).for_each(|(to, from)| *to ^= products[usize::from(*from)]);
        }
    }
}

/// The inverse of a square matrix of up to 3 rows; `None` if it has none.
pub(super) fn invert(mut matrix: [[u8; 3]; 3], size: usize) -> Option<[[u8; 3]; 3]> {
    let mut result = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    for column in 0..size {
        let pivot = (column..size).find(|&row| matrix[row][column] != 0)?;
        matrix.swap(column, pivot);
        result.swap(column, pivot);
        let scale = inverse(matrix[column][column]);
        for at in 0..3 {
            matrix[column][at] = multiply(matrix[column][at], scale);
            result[column][at] = multiply(result[column][at], scale);
        }
        for row in (0..size).filter(|&row| row != column) {
            let factor = matrix[row][column];
            for at in 0..3 {
                matrix[row][at] ^= multiply(factor, matrix[column][at]);
                result[row][at] ^= multiply(factor, result[column][at]);
            }
        }
    }
    Some(result)
}
