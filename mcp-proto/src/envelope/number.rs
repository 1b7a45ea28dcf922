//! Numbers of JSON (RFC 8259, section 6), by their value.

use std::fmt;

/// A number's exact value. Two spellings of one value are equal: `42`, `42.0` and `4.2e1`.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Number {
    negative: bool,
    /// Neither the first nor the last is `0`; none for zero.
    digits: Vec<u8>,
    /// The power of ten that the digits, read as an integer, are multiplied with.
    exponent: i64,
}

/// The most zeros that are written out at the end of an integer.
const ZEROS: i64 = 20;

impl Number {
    /// Reads the JSON text of a number; `None` if it is none, or if its exponent has more than 18
    /// digits.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let (integer, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
            None => (mantissa, None),
        };
        let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let is_led_by_zero = integer.len() > 1 && integer[0] == b'0';
        if !is_digits(integer) || is_led_by_zero || !fraction.is_none_or(is_digits) {
            return None;
        }
        let exponent = match exponent {
            None => 0,
            Some(text) => {
                let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+"));
                let digits = unsigned.unwrap_or(text);
                if !is_digits(digits) || digits.len() > 18 {
                    return None;
                }
                str::from_utf8(text).ok()?.parse::<i64>().ok()?
            }
        };
        let fraction = fraction.unwrap_or_default();
        let digits = [integer, fraction].concat();
        let Some(first) = digits.iter().position(|&digit| digit != b'0') else {
            return Some(Self {
                negative: false,
                digits: Vec::new(),
                exponent: 0,
            });
        };
        let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0');
        let zeros = zeros.count();
        // A document has less than 4 GiB, and an exponent 18 digits: nothing overflows.
        Some(Self {
            negative,
            digits: digits[first..digits.len() - zeros].to_vec(),
            exponent: exponent - fraction.len() as i64 + zeros as i64,
        })
    }
}

/// JSON text that all spellings of one value share.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let digits = str::from_utf8(&self.digits).expect("digits are ASCII");
        match self.exponent {
            _ if digits.is_empty() => f.write_str("0"),
            0..=ZEROS => write!(f, "{sign}{digits}{:0<1$}", "", self.exponent as usize),
            exponent => write!(f, "{sign}{digits}e{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Option<String> {
        Number::parse(text.as_bytes()).map(|number| number.to_string())
    }

    #[test]
    fn spellings_of_one_value_are_equal() {
        for (value, spellings) in [
            ("42", &["42", "42.0", "4.2e1", "4200e-2", "0.42E+2"][..]),
            ("-7", &["-7", "-7.00", "-0.7e1"]),
            ("0", &["0", "-0", "0.0", "0e9", "-0.00e-3"]),
            ("15e-1", &["1.5", "15e-1", "0.0150e2"]),
            ("100", &["100", "1e2"]),
            ("1e30", &["1e30", "10e29", "0.1e31"]),
        ] {
            for spelling in spellings {
                assert_eq!(written(spelling).as_deref(), Some(value), "{spelling}");
            }
        }
        let big = "9007199254740993";
        assert_eq!(written(big).as_deref(), Some(big));
    }

    #[test]
    fn what_is_no_number_of_json_is_none() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1e1.0",
            "1e--1",
            "0x1",
            " 1",
            "1 ",
            "NaN",
            "1e1000000000000000000",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?") {
            let number = Number::parse(text.as_bytes()).expect("a number");
            let written = number.to_string();
            prop_assert_eq!(Number::parse(written.as_bytes()), Some(number));
            let float = |text: &str| text.parse::<f64>().expect("a number");
            prop_assert!(float(&text) == float(&written), "{}", written);
        }

        #[test]
        fn integers_are_written_as_they_are(number: i64) {
            prop_assert_eq!(written(&number.to_string()), Some(number.to_string()));
        }
    }
}
