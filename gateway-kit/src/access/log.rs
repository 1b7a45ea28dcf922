//! The buffer in front of stderr, and the thread behind it.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use mcp_proto::AccessRecord;
use tracing::warn;

use super::line::Formatter;
use crate::settings::LogFormat;

/// Bytes of lines that wait for whoever reads stderr. Past them lines are lost, and counted: a reader
/// that stands still must not have the gateway stand still.
const WAITING_BYTES: usize = 1024 * 1024;

/// Bytes that wait no longer for others to be gathered.
const MANY_BYTES: usize = WAITING_BYTES / 2;

/// How long lines are gathered before they are written.
const GATHER_TIME: Duration = Duration::from_millis(10);

/// How long the end waits for whoever reads stderr.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What an idle buffer may hold on to.
const KEPT_BYTES: usize = 64 * 1024;

/// The access log, from its start to its end. Dropping it ends it: what was handed over is written, as
/// far as it is read within a second.
#[must_use = "the access log ends when this is dropped"]
pub struct AccessLog {
    shared: Arc<Shared>,
}

/// Where records are handed over. Clones are cheap, and hand over to the same log.
#[derive(Clone)]
pub struct AccessWriter {
    /// `None` where nothing is logged.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    buffer: Mutex<Buffer>,
    /// The buffer is not what it was.
    changed: Condvar,
}

struct Buffer {
    formatter: Formatter,
    lines: String,
    /// How many lines were lost, since there was no room for them.
    lost: u64,
    /// How many were lost so far, those included.
    lost_so_far: u64,
    /// The thread waits for something to come.
    idle: bool,
    closing: bool,
    /// The thread has ended.
    ended: bool,
}

impl AccessLog {
    /// A log on stderr, whose lines do not mingle with those of [`logging`](crate::logging). `path`
    /// is that of the MCP endpoint.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn start(format: LogFormat, path: &str) -> io::Result<Self> {
        // The lock is held for a whole write: no line of the log's comes in between.
        Self::to_output(format, path, |lines| io::stderr().lock().write_all(lines))
    }

    fn to_output(
        format: LogFormat,
        path: &str,
        write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            buffer: Mutex::new(Buffer {
                formatter: Formatter::new(format, path),
                lines: String::new(),
                lost: 0,
                lost_so_far: 0,
                idle: false,
                closing: false,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let behind = Arc::clone(&shared);
        thread::Builder::new()
            .name("access".to_owned())
            .spawn(move || behind.run(write))?;
        Ok(Self { shared })
    }

    /// A writer to this log.
    pub fn writer(&self) -> AccessWriter {
        AccessWriter {
            shared: Some(Arc::clone(&self.shared)),
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let mut buffer = self.shared.buffer();
        buffer.closing = true;
        self.shared.changed.notify_all();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(buffer, CLOSE_TIME, |buffer| !buffer.ended);
        drop(waited);
    }
}

impl AccessWriter {
    /// One to no log.
    pub fn off() -> Self {
        Self { shared: None }
    }

    /// Lines that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        let shared = self.shared.as_ref();
        shared.map_or(0, |shared| shared.buffer().lost_so_far)
    }

    /// Hands over a record of a request, which ends now. Never blocks: where there is no room, the
    /// line is lost, and counted.
    pub fn write(&self, record: &AccessRecord) {
        let Some(shared) = &self.shared else {
            return;
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a line says when its request ended"
        )]
        let time = SystemTime::now();
        let mut buffer = shared.buffer();
        if buffer.lines.len() >= WAITING_BYTES {
            buffer.lost += 1;
            buffer.lost_so_far += 1;
            return;
        }
        let Buffer {
            formatter, lines, ..
        } = &mut *buffer;
        let before = lines.len();
        formatter.push(lines, record, time);
        let many = before < MANY_BYTES && lines.len() >= MANY_BYTES;
        let wakes = mem::take(&mut buffer.idle) || many;
        drop(buffer);
        if wakes {
            shared.changed.notify_all();
        }
    }
}

impl Shared {
    /// A buffer whose last line was not finished is still one of lines.
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, to the end.
    fn run(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        let mut lines = String::new();
        while let Some(lost) = self.next(&mut lines) {
            // Nobody could be told of it but on stderr.
            let _ = write(lines.as_bytes());
            if lost > 0 {
                warn!(lost, "access lines are lost: stderr is not read");
            }
        }
        self.buffer().ended = true;
        self.changed.notify_all();
    }

    /// Waits for lines, and a while for more of them, and puts them in place of `lines`. Returns how
    /// many were lost after them; `None` at the end.
    fn next(&self, lines: &mut String) -> Option<u64> {
        lines.clear();
        lines.shrink_to(KEPT_BYTES);
        let mut buffer = self.buffer();
        buffer.idle = true;
        let idle = |buffer: &mut Buffer| buffer.lines.is_empty() && !buffer.closing;
        let waited = self.changed.wait_while(buffer, idle);
        let mut buffer = waited.unwrap_or_else(PoisonError::into_inner);
        buffer.idle = false;
        let gathering = |buffer: &mut Buffer| !buffer.closing && buffer.lines.len() < MANY_BYTES;
        let gathered = self
            .changed
            .wait_timeout_while(buffer, GATHER_TIME, gathering);
        let mut buffer = gathered.unwrap_or_else(PoisonError::into_inner).0;
        if buffer.lines.is_empty() {
            return None;
        }
        mem::swap(&mut buffer.lines, lines);
        Some(mem::take(&mut buffer.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_proto::{Caller, ExchangeId, Refusal, RequestId};
    use std::sync::mpsc;

    fn record(number: usize) -> AccessRecord {
        let caller = Caller {
            address: "192.0.2.7".parse().unwrap(),
            identity: None,
        };
        let request = RequestId::parse(format!("r-{number}").as_bytes()).unwrap();
        AccessRecord::of_violation(ExchangeId(1), request, Refusal::BadHost, caller, 0)
    }

    #[test]
    fn every_line_is_written_in_its_order_before_the_end() {
        let (sender, written) = mpsc::channel();
        let write = move |lines: &[u8]| sender.send(lines.to_vec()).map_err(io::Error::other);
        let log = AccessLog::to_output(LogFormat::Text, "/mcp", write).unwrap();
        let writer = log.writer();
        (0..1000).for_each(|number| writer.write(&record(number)));
        drop(log);
        let written: Vec<Vec<u8>> = written.try_iter().collect();
        assert!(written.len() < 1000, "they are gathered");
        let text = String::from_utf8(written.concat()).unwrap();
        assert_eq!(text.lines().count(), 1000);
        for (number, line) in text.lines().enumerate() {
            assert!(line.contains(&format!(" request=r-{number} ")), "{line}");
        }
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_more_than_bounded_memory() {
        let (entered, entering) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let write = move |lines: &[u8]| {
            entered.send(lines.len()).map_err(io::Error::other)?;
            released.recv().map_err(io::Error::other)
        };
        let log = AccessLog::to_output(LogFormat::Json, "/mcp", write).unwrap();
        let writer = log.writer();
        writer.write(&record(0));
        entering.recv().unwrap();
        let mut handed_over = 0;
        while writer.shared.as_ref().unwrap().buffer().lost < 10 {
            writer.write(&record(handed_over));
            handed_over += 1;
        }
        let waiting = writer.shared.as_ref().unwrap().buffer().lines.len();
        assert!((WAITING_BYTES..WAITING_BYTES + 1024).contains(&waiting));
        release.send(()).unwrap();
        assert_eq!(entering.recv().unwrap(), waiting);
        assert_eq!(writer.shared.as_ref().unwrap().buffer().lost, 0);
        release.send(()).unwrap();
        drop(log);
    }
}
