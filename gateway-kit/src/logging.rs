//! The log on stderr, and a child's stderr made fit for it.

use crate::settings::{LogFormat, LogSettings};
use std::fmt::Write as _;
use std::io;
use std::sync::OnceLock;
use tracing::Dispatch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Most bytes that are kept of one line of a child's stderr.
pub const LINE_BYTES: usize = 8 * 1024;

/// Why the log could not be set up.
#[derive(Debug)]
pub enum InitError {
    /// [`LogSettings::filter`] cannot be read.
    Filter(String),
    /// The process has a log already.
    AlreadySet,
}

impl std::fmt::Display for InitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Filter(why) => write!(f, "log-level: {why}"),
            Self::AlreadySet => f.write_str("the process has a log already"),
        }
    }
}

impl std::error::Error for InitError {}

/// Lines that wait for whoever reads stderr. Past them lines are lost: a reader of the log that
/// stands still must not have the gateway stand still.
const WAITING_LINES: usize = 4096;

/// The log's end: dropping it writes what waits, as far as stderr is read.
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard {
    _worker: WorkerGuard,
}

/// Counts the lines that are lost.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines of the process's log that were lost so far, since whoever reads it stood still.
pub(crate) fn lost_lines() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

/// Sends the process's log to stderr, from a thread of its own.
///
/// # Errors
///
/// If the filter cannot be read, or the process has a log already.
pub fn init(settings: &LogSettings) -> Result<LogGuard, InitError> {
    let (writer, worker): (NonBlocking, _) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(io::stderr());
    // Another log than the first there is none.
    let _ = LOST.set(writer.error_counter());
    let dispatch = dispatch(settings, writer)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| InitError::AlreadySet)?;
    Ok(LogGuard { _worker: worker })
}

fn dispatch<W>(settings: &LogSettings, writer: W) -> Result<Dispatch, InitError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(&settings.filter).map_err(|why| InitError::Filter(why.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        // It would say so on stderr, and panic where stderr is what has failed.
        .log_internal_errors(false);
    Ok(match settings.format {
        LogFormat::Text => Dispatch::new(builder.finish()),
        LogFormat::Json => Dispatch::new(builder.json().flatten_event(true).finish()),
    })
}

/// `bytes` as text that can stand in a log line: what is not UTF-8, control characters, and
/// characters that reorder or break a line are escaped, a backslash too, so that nothing can pass
/// for an escape. Past `max` bytes of text it ends in a mark with the number of bytes left out.
///
/// ```
/// use gateway_kit::logging::escape;
///
/// assert_eq!(escape(b"caf\xc3\xa9\n\x1b[31m\xff", 80), r"café\n\x1b[31m\xff");
/// assert_eq!(escape(b"123456789", 4), "1234...(5 more bytes)");
/// ```
pub fn escape(bytes: &[u8], max: usize) -> String {
    let mut escaped = String::with_capacity(bytes.len().min(max));
    let mut left = bytes.len();
    let mut item = String::new();
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(|c| (Ok(c), c.len_utf8()));
        let invalid = chunk.invalid().iter().map(|byte| (Err(*byte), 1));
        for (part, length) in valid.chain(invalid) {
            item.clear();
            push_escaped(&mut item, part);
            if escaped.len() + item.len() > max {
                let _ = write!(escaped, "...({left} more bytes)");
                return escaped;
            }
            escaped.push_str(&item);
            left -= length;
        }
    }
    escaped
}

fn push_escaped(text: &mut String, part: Result<char, u8>) {
    let _ = match part {
        Ok('\n') => write!(text, "\\n"),
        Ok('\r') => write!(text, "\\r"),
        Ok('\t') => write!(text, "\\t"),
        Ok('\\') => write!(text, "\\\\"),
        Ok(c) if c.is_ascii_control() => write!(text, "\\x{:02x}", u32::from(c)),
        Ok(c) if c.is_control() || misleads(c) => write!(text, "\\u{{{:x}}}", u32::from(c)),
        Ok(c) => write!(text, "{c}"),
        Err(byte) => write!(text, "\\x{byte:02x}"),
    };
}

/// Whether some reader would break the line here, show it in another order, or show nothing.
pub(crate) fn misleads(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Splits a child's stderr into lines for the log, each escaped and at most [`LINE_BYTES`] long.
///
/// However much a child writes without a line end, no more than one line is held; however the
/// bytes are cut into pieces, the lines are the same.
///
/// ```
/// use gateway_kit::logging::StderrLines;
///
/// let mut lines = StderrLines::new();
/// assert_eq!(lines.feed(b"star").count(), 0);
/// let told: Vec<_> = lines.feed(b"ted\r\n\nready\nbye").collect();
/// assert_eq!(told, ["started", "ready"]);
/// assert_eq!(lines.finish().as_deref(), Some("bye"));
/// ```
#[derive(Debug, Default)]
pub struct StderrLines {
    /// The line so far: never more than `LINE_BYTES`.
    line: Vec<u8>,
    /// How many of its bytes were left out.
    dropped: usize,
}

impl StderrLines {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines that end in `bytes`, blank ones left out. What remains is kept for the next call,
    /// once the iterator has been run to its end.
    pub fn feed<'a>(&'a mut self, bytes: &'a [u8]) -> impl Iterator<Item = String> + 'a {
        let mut pieces = bytes.split_inclusive(|byte| *byte == b'\n');
        std::iter::from_fn(move || {
            loop {
                let piece = pieces.next()?;
                let (piece, ends) = match piece {
                    [line @ .., b'\n'] => (line, true),
                    part => (part, false),
                };
                let kept = piece.len().min(LINE_BYTES - self.line.len());
                self.line.extend_from_slice(&piece[..kept]);
                self.dropped += piece.len() - kept;
                if ends && let Some(line) = self.finish() {
                    return Some(line);
                }
            }
        })
    }

    /// The last line, if the child ended without a line end.
    pub fn finish(&mut self) -> Option<String> {
        let line = self.line.trim_ascii_end();
        let told = (!line.is_empty()).then(|| escape(line, LINE_BYTES));
        let dropped = std::mem::take(&mut self.dropped);
        self.line.clear();
        let mut told = told?;
        if dropped > 0 {
            let _ = write!(told, "...({dropped} bytes of this line dropped)");
        }
        Some(told)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    proptest! {
        #[test]
        fn what_is_escaped_stays_on_its_line_and_within_its_bound(
            bytes: Vec<u8>, max in 0..200_usize,
        ) {
            let escaped = escape(&bytes, max);
            prop_assert!(!escaped.chars().any(|c| c.is_control() || misleads(c)));
            prop_assert!(escaped.len() <= max + 40);
            if bytes.len() * 8 <= max {
                prop_assert!(!escaped.contains("more bytes"));
            }
        }

        #[test]
        fn text_without_anything_to_escape_passes(text in "[a-zA-Z0-9 äöü€]{0,40}") {
            prop_assert_eq!(escape(text.as_bytes(), 200), text);
        }

        #[test]
        fn how_stderr_is_cut_changes_nothing(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let whole = pieces.concat();
            let mut one = StderrLines::new();
            let mut expected: Vec<_> = one.feed(&whole).collect();
            expected.extend(one.finish());
            let mut many = StderrLines::new();
            let mut told = Vec::new();
            for piece in &pieces {
                told.extend(many.feed(piece));
            }
            told.extend(many.finish());
            prop_assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut lines = StderrLines::new();
        for _ in 0..1000 {
            assert_eq!(lines.feed(&[b'x'; 1024]).count(), 0);
        }
        assert!(lines.line.capacity() <= 2 * LINE_BYTES);
        let line = lines.feed(b"\nnext\n").next().unwrap();
        let dropped = 1000 * 1024 - LINE_BYTES;
        assert!(line.ends_with(&format!("x...({dropped} bytes of this line dropped)")));
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs on this thread.
    fn written(settings: &LogSettings, act: impl FnOnce()) -> String {
        let written = Shared::default();
        let writer = written.clone();
        let log = dispatch(settings, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&log, act);
        let written = written.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    /// What `act` logs on this thread, as it is logged by default.
    pub(crate) fn logged(act: impl FnOnce()) -> String {
        written(&LogSettings::default(), act)
    }

    #[test]
    fn text_and_json_tell_the_same() {
        let told = |format| {
            let filter = "info".to_owned();
            written(&LogSettings { format, filter }, || {
                tracing::info!(child = 7, "ready");
                tracing::debug!("hidden");
            })
        };
        let text = told(LogFormat::Text);
        assert!(
            text.contains("INFO") && text.contains("ready child=7"),
            "{text}"
        );
        assert!(!text.contains("hidden") && !text.contains('\x1b'));
        let json = told(LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&line["message"], &line["child"]),
            (&"ready".into(), &7.into())
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_told() {
        let settings = LogSettings {
            filter: "info=what=".to_owned(),
            ..LogSettings::default()
        };
        assert!(matches!(init(&settings), Err(InitError::Filter(_))));
    }
}
