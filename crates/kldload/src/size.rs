//! Sizes as people write them.

pub use plan::recipe::parse_size as parse;

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
