//! FAT's date and time.

use tree::Timestamp;

/// 1980-01-01 00:00:00 UTC, the first second FAT knows.
const FIRST: i64 = 315_532_800;
/// 2107-12-31 23:59:59 UTC, the last one.
const LAST: i64 = 4_354_819_199;

/// A moment as a directory entry stores it, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DosTime {
    /// Years since 1980, month, day: 7, 4 and 5 bits.
    pub date: u16,
    /// Hours, minutes, double seconds: 5, 6 and 5 bits.
    pub time: u16,
    /// Hundredths of a second after `time`, below 200.
    pub hundredths: u8,
}

impl From<Timestamp> for DosTime {
    /// Moments FAT does not know become its first or last one.
    fn from(moment: Timestamp) -> Self {
        let seconds = moment.seconds.clamp(FIRST, LAST);
        let nanoseconds = if seconds == moment.seconds { moment.nanoseconds } else { 0 };
        let (year, month, day) = civil(seconds / 86_400);
        let second = seconds % 86_400;
        let date = ((year - 1980) << 9) | (month << 5) | day;
        let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
        let hundredths = second % 2 * 100 + i64::from(nanoseconds / 10_000_000).min(99);
        Self { date: date as u16, time: time as u16, hundredths: hundredths as u8 }
    }
}

/// Year, month and day of a day after 1970-01-01. Counted in years that start in March, so that
/// the leap day is the last one.
fn civil(days: i64) -> (i64, i64, i64) {
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let dos = |seconds, nanoseconds| {
            let time = DosTime::from(Timestamp { seconds, nanoseconds });
            let date = (1980 + (time.date >> 9), time.date >> 5 & 15, time.date & 31);
            (date, (time.time >> 11, time.time >> 5 & 63, (time.time & 31) * 2), time.hundredths)
        };
        assert_eq!(dos(1_709_210_097, 250_000_000), ((2024, 2, 29), (12, 34, 56), 125));
        assert_eq!(dos(951_782_400, 0), ((2000, 2, 29), (0, 0, 0), 0));
        assert_eq!(dos(0, 9), ((1980, 1, 1), (0, 0, 0), 0));
        assert_eq!(dos(i64::MIN, 0), ((1980, 1, 1), (0, 0, 0), 0));
        assert_eq!(dos(i64::MAX, 0), ((2107, 12, 31), (23, 59, 58), 100));
        assert_eq!(dos(4_107_542_400, 0), ((2100, 3, 1), (0, 0, 0), 0));
    }
}
