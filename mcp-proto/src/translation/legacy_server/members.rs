//! Members of objects in a payload, which are found without reading it.

use crate::envelope::Span;

/// What to cut out of a valid document so that members are gone, given where their values lie. Keys
/// may be written with escapes, but must not hold quotes. The spans are sorted and disjoint.
pub(super) fn cuts(document: &[u8], mut values: Vec<Span>) -> Vec<Span> {
    values.sort_by_key(|value| value.start);
    let mut cuts: Vec<Span> = Vec::with_capacity(values.len());
    for value in values {
        let key = key_start(document, value.start as usize);
        let before = space_start(document, key);
        let taken = cuts.last().map_or(0, |cut| cut.end as usize);
        // A comma belongs to the member after it; the first one that stays must not have any.
        let (start, end) = if document[before - 1] == b',' && before > taken {
            (before - 1, value.end as usize)
        } else {
            let after = space_end(document, value.end as usize);
            let comma = document[after] == b',';
            (key, if comma { after + 1 } else { value.end as usize })
        };
        cuts.push(Span {
            start: start as u32,
            end: end as u32,
        });
    }
    cuts
}

/// Where the key begins, with its quote, whose value begins at `value`.
fn key_start(document: &[u8], value: usize) -> usize {
    let colon = space_start(document, value) - 1;
    let quote = space_start(document, colon) - 1;
    memchr::memrchr(b'"', &document[..quote]).expect("a key has two quotes")
}

/// Where the white space begins that ends at `end`.
fn space_start(document: &[u8], end: usize) -> usize {
    let space = document[..end].iter().rev();
    end - space.take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the white space ends that begins at `start`.
fn space_end(document: &[u8], start: usize) -> usize {
    let space = document[start..].iter();
    start + space.take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Whether an object has no members.
pub(super) fn is_empty_object(object: &[u8]) -> bool {
    object.get(space_end(object, 1)) == Some(&b'}')
}
