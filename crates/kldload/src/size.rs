//! Sizes as people write them.

/// Parses `20G`, `512M`, `1048576`; units are powers of 1024.
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size: a number of bytes, or one with K, M, G or T");
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// A size for people: `512`, `1.5K`, `20G`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut shown = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if shown < 1023.5 {
            break;
        }
        shown /= 1024.0;
        unit = larger;
    }
    if shown < 9.95 { format!("{shown:.1}{unit}") } else { format!("{shown:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::{human, parse};

    #[test]
    fn sizes_for_people() {
        let shown = [0, 1023, 1024, 1536, 10 << 10, 20 << 30, u64::MAX].map(human);
        assert_eq!(shown, ["0", "1023", "1.0K", "1.5K", "10K", "20G", "16E"]);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse("20G"), Ok(20 << 30));
        assert_eq!(parse("1MiB"), Ok(1 << 20));
        assert_eq!(parse("1048576"), Ok(1 << 20));
        for bad in ["", "G", "-1", "1.5G", "1X", "99999999999T"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
