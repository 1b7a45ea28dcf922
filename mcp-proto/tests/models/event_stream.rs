//! An event stream's parser, written from WHATWG HTML, section 9.2, and with no knowledge of how
//! events are made.

/// An event as a client gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) last_id: String,
}

/// An event stream's interpretation (section 9.2.6): the events, and the retry time if any was set.
pub(crate) fn parse(stream: &[u8]) -> (Vec<Event>, Option<u64>) {
    let stream = String::from_utf8_lossy(stream);
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(&stream);
    let (mut events, mut retry) = (Vec::new(), None);
    let (mut kind, mut data, mut last_id) = (String::new(), String::new(), String::new());
    let mut rest = stream;
    // A line ends with CR LF, LF or CR; what is not ended is not taken.
    while let Some(end) = rest.find(['\r', '\n']) {
        let line = &rest[..end];
        rest = &rest[end..];
        rest = rest.strip_prefix("\r\n").unwrap_or_else(|| &rest[1..]);
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                let kind = if kind.is_empty() {
                    "message".to_owned()
                } else {
                    kind.clone()
                };
                events.push(Event {
                    kind,
                    data: data.clone(),
                    last_id: last_id.clone(),
                });
            }
            kind.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => last_id = value.to_owned(),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                retry = value.parse().ok();
            }
            _ => {}
        }
    }
    (events, retry)
}
