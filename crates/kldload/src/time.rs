//! Times as people read them.

use jiff::Timestamp;

/// Seconds since 1970 as `2026-11-25 20:50:00`, in UTC; as `@SECONDS` beyond the year 9999.
pub fn utc(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn known_days() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(utc(1_795_305_440), "2026-11-21 23:57:20");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(i64::MAX), "@9223372036854775807");
    }
}
