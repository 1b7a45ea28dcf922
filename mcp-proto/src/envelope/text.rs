//! JSON strings and integers, by RFC 8259, sections 6 and 7.

use std::borrow::Cow;
use std::str::Chars;

/// The index of the first byte from `from` on that ends a run of plain string content: a quote, a
/// backslash or a control character. The document's length if there is none.
///
/// Payloads of megabytes are mostly strings: short ones are read by the word, long ones by blocks,
/// in a loop that compiles to vector instructions.
pub(super) fn plain_end(document: &[u8], from: usize) -> usize {
    let mut rest = &document[from..];
    let mut words = 0;
    while let Some((word, after)) = rest.split_first_chunk() {
        let hits = ends(u64::from_le_bytes(*word));
        if hits != 0 {
            return document.len() - rest.len() + (hits.trailing_zeros() / 8) as usize;
        }
        rest = after;
        words += 1;
        if words == 2 {
            while let Some((block, after)) = rest.split_first_chunk::<32>()
                && block
                    .iter()
                    .fold(0, |any, byte| any | u8::from(is_end(*byte)))
                    == 0
            {
                rest = after;
            }
        }
    }
    let plain = rest.iter().position(|byte| is_end(*byte));
    document.len() - rest.len() + plain.unwrap_or(rest.len())
}

fn is_end(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The top bit of every byte that [`is_end`]. Borrows can set it for bytes above such a byte too,
/// so only the lowest is to be trusted.
fn ends(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let less = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    (less(word, 0x20) | less(quotes, 1) | less(backslashes, 1)) & TOPS
}

/// The characters of a string's content; the first thing that is not a character of valid JSON, a
/// lone surrogate above all, gives an error.
pub(super) struct Decoded<'a>(Chars<'a>);

/// A lone surrogate, or what no JSON string holds.
pub(super) struct NotText;

impl<'a> Decoded<'a> {
    /// Reads what stands between a string's quotes.
    pub(super) fn new(content: &'a str) -> Self {
        Self(content.chars())
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.0.next()? {
            plain @ ('"' | '\\' | '/') => plain,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => match self.unit()? {
                high @ 0xd800..=0xdbff => {
                    if (self.0.next()?, self.0.next()?) != ('\\', 'u') {
                        return None;
                    }
                    let low = self
                        .unit()
                        .filter(|unit| (0xdc00..=0xdfff).contains(unit))?;
                    return char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                }
                // Of what is left, only a lone low surrogate is no character.
                unit => return char::from_u32(unit),
            },
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.0.next()?.to_digit(16)?))
    }
}

impl Iterator for Decoded<'_> {
    type Item = Result<char, NotText>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.0.next()? {
            '\\' => self.escape().ok_or(NotText),
            '"' | '\0'..='\u{1f}' => Err(NotText),
            plain => Ok(plain),
        })
    }
}

/// The value of a string's JSON text, which begins and ends with a quote; `None` if that is not
/// what `raw` is, or if it holds a lone surrogate.
pub(crate) fn decode_string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let content = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let plain = plain_end(content, 0) == content.len();
    let content = str::from_utf8(content).ok()?;
    if plain {
        Some(Cow::Borrowed(content))
    } else {
        decode(content).map(Cow::Owned)
    }
}

/// The value of what stands between a string's quotes.
pub(super) fn decode(content: &str) -> Option<String> {
    Decoded::new(content).collect::<Result<_, _>>().ok()
}

/// Whether the text is `-?(0|[1-9][0-9]*)`.
pub(super) fn is_integer(raw: &[u8]) -> bool {
    match raw.strip_prefix(b"-").unwrap_or(raw) {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_content_ends_at_the_first_byte_that_ends_it() {
        for length in 0..100 {
            for from in [0, 1, 7] {
                let mut document = vec![b'a'; from + length];
                assert_eq!(plain_end(&document, from), document.len());
                for end in from..document.len() {
                    for byte in 0..=255 {
                        document[end] = byte;
                        // Something that ends it further on, and before it, must not disturb.
                        let after = document.len() - 1;
                        document[after] = if end == after { byte } else { b'"' };
                        document[..from].fill(b'"');
                        let expected = if is_end(byte) { end } else { after };
                        let expected = expected + usize::from(end == after && !is_end(byte));
                        assert_eq!(plain_end(&document, from), expected, "{byte} at {end}");
                    }
                    document[end] = b'\x7f';
                }
            }
        }
    }

    #[test]
    fn strings_decode_as_they_should() {
        for (raw, value) in [
            (r#""""#, Some("")),
            (r#""a\u0062c""#, Some("abc")),
            (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r#""\ud83d\ude00\uD83D\uDE00""#, Some("\u{1f600}\u{1f600}")),
            (
                r#""\ue000\uffff\udbff\udfff""#,
                Some("\u{e000}\u{ffff}\u{10ffff}"),
            ),
            (r#""\ud83d""#, None),
            (r#""\ude00""#, None),
            (r#""\ud83d\ud83d""#, None),
            (r#""\ud83dx\ude00""#, None),
            (r#""\ud83d\n""#, None),
            (r#""\u+061""#, None),
            (r#""\u00""#, None),
            (r#""\x""#, None),
            (r#""a\""#, None),
            (r#""a"b""#, None),
            ("\"a\nb\"", None),
            ("\"", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(decode_string(raw.as_bytes()).as_deref(), value, "{raw}");
        }
        assert_eq!(decode_string(b"\"\xff\""), None);
        assert!(matches!(
            decode_string(b"\"plain\""),
            Some(Cow::Borrowed("plain"))
        ));
    }
}
