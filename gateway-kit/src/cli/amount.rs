//! Sizes, counts and times as people type them, and back into text that reads the same.

use mcp_proto::auth::{ParseRateError, Rate};
use std::time::Duration;

const KIB: usize = 1024;
const UNITS: [(&str, usize); 4] = [
    ("GiB", KIB * KIB * KIB),
    ("MiB", KIB * KIB),
    ("KiB", KIB),
    ("B", 1),
];

/// The most that may be asked for, so that no sum or product of limits can overflow.
const MOST_BYTES: usize = 64 * KIB * KIB * KIB;
const MOST_COUNT: usize = 1_000_000;
const MOST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether zero means something for a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    /// Zero would switch off what the limit bounds.
    Refused,
    /// Zero says "at once" or "none", and works.
    Allowed,
}

/// A size in bytes: `4096`, `16KiB`, `4MiB`, `1GiB`.
pub(crate) struct Bytes;

impl Bytes {
    pub(crate) const VALUE: &str = "SIZE";

    pub(crate) fn read(text: &str, zero: Zero) -> Result<usize, String> {
        let shape = || "is not a size; give bytes, or a number with KiB, MiB or GiB".to_owned();
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .unwrap_or((text, 1));
        let number = whole(digits.trim_end()).ok_or_else(shape)?;
        let bytes = number
            .checked_mul(unit)
            .filter(|bytes| *bytes <= MOST_BYTES)
            .ok_or("is too large; 64GiB is the most")?;
        nonzero(bytes, zero, "1 or more bytes")
    }

    /// In the largest unit that divides it, so that nothing is lost.
    pub(crate) fn show(bytes: &usize) -> String {
        UNITS
            .iter()
            .find(|(_, unit)| *bytes != 0 && bytes.is_multiple_of(*unit))
            .map_or_else(
                || "0".to_owned(),
                |(name, unit)| format!("{}{name}", bytes / unit),
            )
    }
}

/// A plain count.
pub(crate) struct Count;

impl Count {
    pub(crate) const VALUE: &str = "COUNT";

    pub(crate) fn read(text: &str, zero: Zero) -> Result<usize, String> {
        let count = whole(text).ok_or("is not a whole number")?;
        if count > MOST_COUNT {
            return Err(format!("is too large; {MOST_COUNT} is the most"));
        }
        nonzero(count, zero, "1 or more")
    }

    pub(crate) fn show(count: &usize) -> String {
        count.to_string()
    }
}

/// A length of time: `200ms`, `30m`, `1h 30m`, or bare seconds.
pub(crate) struct Time;

impl Time {
    pub(crate) const VALUE: &str = "TIME";

    pub(crate) fn read(text: &str, zero: Zero) -> Result<Duration, String> {
        let time = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => humantime::parse_duration(text)
                .map_err(|_| "is not a time; give seconds, or for example 200ms, 30s, 10m, 1h")?,
        };
        if time > MOST_TIME {
            return Err("is too long; 365 days is the most".to_owned());
        }
        nonzero(time, zero, "more than 0")
    }

    pub(crate) fn show(time: &Duration) -> String {
        humantime::format_duration(*time).to_string()
    }
}

/// A length of time, or `off`.
pub(crate) struct TimeOrOff;

impl TimeOrOff {
    pub(crate) const VALUE: &str = "TIME|off";

    pub(crate) fn read(text: &str, zero: Zero) -> Result<Option<Duration>, String> {
        if text == "off" {
            return Ok(None);
        }
        Time::read(text, zero)
            .map(Some)
            .map_err(|why| format!("{why}, or off"))
    }

    pub(crate) fn show(time: &Option<Duration>) -> String {
        time.as_ref().map_or_else(|| "off".to_owned(), Time::show)
    }
}

/// How often something may happen: `10/m`.
pub(crate) struct PerTime;

impl PerTime {
    pub(crate) const VALUE: &str = "RATE";

    pub(crate) fn read(text: &str, _zero: Zero) -> Result<Rate, String> {
        let rate: Rate = text
            .parse()
            .map_err(|why: ParseRateError| why.to_string())?;
        if rate.count.get() as usize > MOST_COUNT {
            return Err(format!("is too often; {MOST_COUNT} is the most"));
        }
        Ok(rate)
    }

    pub(crate) fn show(rate: &Rate) -> String {
        rate.to_string()
    }
}

/// How often something may happen, or `off`.
pub(crate) struct PerTimeOrOff;

impl PerTimeOrOff {
    pub(crate) const VALUE: &str = "RATE|off";

    pub(crate) fn read(text: &str, zero: Zero) -> Result<Option<Rate>, String> {
        if text == "off" {
            return Ok(None);
        }
        PerTime::read(text, zero)
            .map(Some)
            .map_err(|why| format!("{why}, or off"))
    }

    pub(crate) fn show(rate: &Option<Rate>) -> String {
        rate.as_ref()
            .map_or_else(|| "off".to_owned(), PerTime::show)
    }
}

fn whole(digits: &str) -> Option<usize> {
    // `parse` alone would take a leading `+`.
    (digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn nonzero<T: Default + PartialEq>(amount: T, zero: Zero, wanted: &str) -> Result<T, String> {
    if zero == Zero::Refused && amount == T::default() {
        return Err(format!("makes no sense here; give {wanted}"));
    }
    Ok(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    #[test]
    fn sizes_are_read_as_people_type_them() {
        let read = |text| Bytes::read(text, Zero::Refused);
        assert_eq!(read("4096"), Ok(4096));
        assert_eq!(read("16KiB"), Ok(16 * 1024));
        assert_eq!(read("4 MiB"), Ok(4 * 1024 * 1024));
        assert_eq!(read("1GiB"), Ok(1024 * 1024 * 1024));
        for bad in [
            "",
            "0",
            "-1",
            "+1",
            "1.5MiB",
            "4MB",
            "MiB",
            "1TiB",
            "99999999999999GiB",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_people_type_them() {
        let read = |text| TimeOrOff::read(text, Zero::Refused);
        assert_eq!(read("90"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(read("200ms"), Ok(Some(Duration::from_millis(200))));
        assert_eq!(read("1h 30m"), Ok(Some(Duration::from_secs(5400))));
        assert_eq!(read("off"), Ok(None));
        for bad in ["", "0", "0s", "-1", "soon", "30 parsecs", "2years"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(Time::read("0", Zero::Allowed), Ok(Duration::ZERO));
    }

    #[test]
    fn rates_are_read_as_people_type_them() {
        let read = |text| PerTimeOrOff::read(text, Zero::Refused);
        let rate = |count, seconds| {
            let period = Duration::from_secs(seconds);
            Ok(Some(Rate {
                count: NonZeroU32::new(count).unwrap(),
                period,
            }))
        };
        assert_eq!(read("10/m"), rate(10, 60));
        assert_eq!(read("1/s"), rate(1, 1));
        assert_eq!(read("1000000/h"), rate(1_000_000, 3600));
        assert_eq!(read("off"), Ok(None));
        for bad in [
            "",
            "0",
            "10",
            "0/m",
            "-1/m",
            "+1/m",
            "1.5/s",
            "10/d",
            "10/",
            "/m",
            "10 /m",
            "10/m/s",
            "1000001/h",
            "99999999999/h",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(PerTime::read("off", Zero::Refused).is_err());
    }

    proptest! {
        #[test]
        fn a_rate_that_is_shown_reads_back(
            count in 1..=1_000_000_u32, unit in prop::sample::select(vec!["s", "m", "h"]),
        ) {
            let text = format!("{count}/{unit}");
            let rate = PerTime::read(&text, Zero::Refused).unwrap();
            prop_assert_eq!(PerTime::show(&rate), text);
            prop_assert_eq!(PerTimeOrOff::show(&Some(rate)), PerTime::show(&rate));
        }

        #[test]
        fn what_is_shown_reads_back(
            bytes in 0..=MOST_BYTES,
            shift in 0..30u32,
            time in 0..=u64::try_from(MOST_TIME.as_millis()).unwrap(),
        ) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(Bytes::read(&Bytes::show(&bytes), Zero::Allowed), Ok(bytes));
            let time = Duration::from_millis(time);
            prop_assert_eq!(Time::read(&Time::show(&time), Zero::Allowed), Ok(time));
        }
    }
}
