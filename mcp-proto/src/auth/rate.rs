//! How often something may happen.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// How often something may happen: `count` times at once, and as many again in each `period`.
/// Written as `10/m`; units are `s`, `m` and `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub period: Duration,
}

/// A text that is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseRateError;

const UNITS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

impl Rate {
    /// `count` times a minute. Panics if `count` is 0, at compile time in a constant.
    pub const fn per_minute(count: u32) -> Self {
        Self {
            count: NonZeroU32::new(count).expect("a rate of zero is no rate"),
            period: Duration::from_secs(60),
        }
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, ParseRateError> {
        let (count, unit) = text.split_once('/').ok_or(ParseRateError)?;
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        match (count, unit) {
            (Some(count), Some((_, seconds))) => Ok(Self {
                count,
                period: Duration::from_secs(*seconds),
            }),
            _ => Err(ParseRateError),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.period.as_secs();
        match UNITS.iter().find(|(_, unit)| *unit == seconds) {
            Some((name, _)) => write!(f, "{}/{name}", self.count),
            None => write!(f, "{} in {:?}", self.count, self.period),
        }
    }
}

impl fmt::Display for ParseRateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a rate; give one such as 10/m (units: s, m, h)")
    }
}

impl std::error::Error for ParseRateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, count, seconds) in [
            ("1/s", 1, 1),
            ("10/m", 10, 60),
            ("4294967295/h", u32::MAX, 3600),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count.get(), rate.period.as_secs()), (count, seconds));
            assert_eq!(rate.to_string(), text);
        }
        let odd = Rate {
            period: Duration::from_secs(90),
            ..Rate::per_minute(3)
        };
        assert_eq!(odd.to_string(), "3 in 90s");
    }

    #[test]
    fn what_is_no_rate_is_refused_with_an_example() {
        for text in [
            "",
            "10",
            "/m",
            "0/m",
            "-1/m",
            "+1/m",
            "1.5/m",
            "10/",
            "10/d",
            "10/M",
            "10 /m",
            "4294967296/h",
        ] {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.to_string().contains("10/m"), "{text}");
        }
    }
}
