//! Sizes, durations and times, as they are written on the command line and printed.

use std::time::Duration;

/// Parses a number of bytes: `4096`, `64K`, `4M`, `2GiB`. The units are powers of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| fault(text, "bytes, such as 4096, 64K, 4M or 2G"))?;
    let shift = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(fault(text, "bytes, such as 4096, 64K, 4M or 2G")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is more than 2^64 bytes"))
}

/// Parses a number of bytes that is not 0.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("it is to be more than 0".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Parses the time between two looks, from a millisecond to a day, as [`parse_duration`] does.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(1)..=Duration::from_secs(86_400);
    let time = parse_duration(text)?;
    if range.contains(&time) { Ok(time) } else { Err("it is not from 1ms to 1d".to_owned()) }
}

/// Parses a duration: `500ms`, `30s`, `1.5m`, `2h`. A number without a unit is of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let wrong = || fault(text, "a duration, such as 500ms, 30s, 10m or 1h");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

fn split(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(at)
}

fn fault(text: &str, wanted: &str) -> String {
    format!("`{text}` is not {wanted}")
}

/// Nanoseconds since 1970 as the date and time of UTC, to the millisecond.
pub(crate) fn show_time(nanos: u64) -> String {
    let (seconds, millis) = (nanos / 1_000_000_000, nanos / 1_000_000 % 1000);
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Days to a date, by eras of 400 years that begin on the first of March (Howard Hinnant, chrono-compatible
    // low-level date algorithms).
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let sizes = [("17", 17), ("64K", 65536), ("4M", 4 << 20), ("2GiB", 2 << 30), ("1tb", 1 << 40)];
        for (text, bytes) in sizes {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "1.5M", "4X", "-1", "99999999999T"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        let durations = [("2", 2000), ("500ms", 500), ("1.5m", 90_000), ("1h", 3_600_000)];
        for (text, millis) in durations {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "3 parsecs", "1e400h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_of_the_calendar() {
        assert_eq!(show_time(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(show_time(951_782_399_999_000_000), "2000-02-28 23:59:59.999Z");
        assert_eq!(show_time(951_868_799_001_000_000), "2000-02-29 23:59:59.001Z");
        assert_eq!(show_time(1_795_953_600_000_000_000), "2026-11-29 12:00:00.000Z");
        assert_eq!(show_time(u64::MAX), "2554-07-21 23:34:33.709Z");
    }
}
