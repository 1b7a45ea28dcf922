//! The queue in front of the trail, and the thread behind it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use mcp_proto::AuditRecord;
use tracing::{error, warn};

use super::sink::{Sink, Tail};
use super::trail::{Entry, Trail};
use crate::settings::AuditSink;

/// Records that wait for the sink. Past them records are lost, and counted: a reader that stands
/// still must not have the gateway stand still.
const WAITING_RECORDS: usize = 4096;

/// Records that wait no longer for others to be gathered: a burst must not fill the queue meanwhile.
const MANY_RECORDS: usize = WAITING_RECORDS / 2;

/// How long a sink that failed is left alone while there is nothing to write.
const RETRY_TIME: Duration = Duration::from_secs(1);

/// How long records are gathered before they are written: a record each time would cost the thread a
/// wake-up and a write for each request.
const GATHER_TIME: Duration = Duration::from_millis(10);

/// How long the end waits for the sink.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The audit trail, from its start to its end. Dropping it ends it: what was handed over is written,
/// as far as the sink takes it within a second, and what writers hand over from then on goes nowhere.
#[must_use = "the trail ends when this is dropped"]
pub struct AuditLog {
    /// `None` where nothing is kept.
    shared: Option<Arc<Shared>>,
    /// Until it begins.
    trail: Option<Trail>,
}

/// Where records are handed over. Clones are cheap, and hand over to the same trail.
#[derive(Clone)]
pub struct AuditWriter {
    shared: Option<Arc<Shared>>,
}

/// What the writers and the thread have in common.
struct Shared {
    queue: Mutex<Queue>,
    /// The queue is not what it was.
    changed: Condvar,
    /// How many records were lost so far.
    lost: AtomicU64,
    /// What the owner was told last: whether the sink works.
    told: Mutex<bool>,
    on_state: Box<dyn Fn(bool) + Send + Sync>,
}

struct Queue {
    /// At most `WAITING_RECORDS` records, and as many orders to reopen as were given between them.
    items: VecDeque<Item>,
    /// How many records were lost after the last of `items`, since there was no room for them.
    lost: u64,
    /// Why records cannot be kept, if they cannot.
    trouble: Option<Box<str>>,
    closing: bool,
    /// The thread waits for something to come.
    idle: bool,
    /// The thread has ended.
    ended: bool,
}

enum Item {
    Record(SystemTime, AuditRecord),
    Reopen,
}

impl AuditLog {
    /// Opens the sink, to which nothing is written before [`AuditLog::begin`]: records that come
    /// until then wait.
    ///
    /// `on_state` is called with `false` when records cannot be kept, and with `true` when they can
    /// again; by whichever thread finds out. It must return at once and must not panic.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, another process has it, or what stands in it is no trail.
    pub fn open(
        sink: &AuditSink,
        on_state: impl Fn(bool) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (sink, tail) = match sink {
            AuditSink::Off => {
                return Ok(Self {
                    shared: None,
                    trail: None,
                });
            }
            AuditSink::Stdout => (Sink::stdout()?, Tail::Empty),
            AuditSink::File(path) => Sink::file(path)?,
        };
        Ok(Self::new(Trail::new(sink, tail), on_state))
    }

    /// A trail to an embedder's own `output`, where it begins anew. `output` may block and may fail;
    /// see [`AuditLog::open`] for the rest.
    pub fn to_output(
        output: impl Write + Send + 'static,
        on_state: impl Fn(bool) + Send + Sync + 'static,
    ) -> Self {
        let sink = Sink::Stream(Box::new(output));
        Self::new(Trail::new(sink, Tail::Empty), on_state)
    }

    fn new(trail: Trail, on_state: impl Fn(bool) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                items: VecDeque::new(),
                lost: 0,
                trouble: None,
                closing: false,
                idle: false,
                ended: false,
            }),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
            told: Mutex::new(true),
            on_state: Box::new(on_state),
        });
        Self {
            shared: Some(shared),
            trail: Some(trail),
        }
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// If there can be none.
    pub fn begin(&mut self) -> io::Result<()> {
        if let (Some(trail), Some(shared)) = (self.trail.take(), &self.shared) {
            let behind = Arc::clone(shared);
            thread::Builder::new()
                .name("audit".to_owned())
                .spawn(move || behind.run(trail))?;
        }
        Ok(())
    }

    /// A writer to this trail.
    pub fn writer(&self) -> AuditWriter {
        AuditWriter {
            shared: self.shared.clone(),
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        // What came before a start that failed is on record too.
        if let Err(error) = self.begin() {
            error!(%error, "audit records cannot be written");
            return;
        }
        let Some(shared) = self.shared.take() else {
            return;
        };
        let mut queue = shared.queue();
        queue.closing = true;
        shared.changed.notify_all();
        let (queue, timeout) = shared
            .changed
            .wait_timeout_while(queue, CLOSE_TIME, |queue| !queue.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            let waiting = queue.items.len();
            error!(waiting, "the audit sink takes nothing; what waits is lost");
        }
    }
}

impl AuditWriter {
    /// Opens the file anew, for whoever rotates it: what was handed over before goes to the old
    /// one, and the chain goes on in the new one. If that fails, the old one is kept and the log
    /// says why.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            let mut queue = shared.queue();
            // One order after another is the same order.
            if !matches!(queue.items.back(), Some(Item::Reopen)) {
                queue.items.push_back(Item::Reopen);
                shared.changed.notify_all();
            }
        }
    }

    /// Records that wait for the sink.
    pub(crate) fn waiting(&self) -> usize {
        let shared = self.shared.as_ref();
        shared.map_or(0, |shared| shared.queue().items.len())
    }

    /// Records that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        let shared = self.shared.as_ref();
        shared.map_or(0, |shared| shared.lost.load(Ordering::Relaxed))
    }

    /// Hands over a record, which happened now. Never blocks: where there is no room, the record is
    /// lost, and counted.
    pub fn write(&self, record: AuditRecord) {
        let Some(shared) = &self.shared else {
            return;
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a record says when it was handed over"
        )]
        let time = SystemTime::now();
        let mut queue = shared.queue();
        if queue.closing {
            return;
        }
        if queue.items.len() >= WAITING_RECORDS {
            queue.lost += 1;
            shared.lost.fetch_add(1, Ordering::Relaxed);
            let trouble = || "the sink takes less than there is to write".into();
            queue.trouble.get_or_insert_with(trouble);
            drop(queue);
            shared.tell();
        } else {
            queue.items.push_back(Item::Record(time, record));
            let wakes = mem::take(&mut queue.idle) || queue.items.len() == MANY_RECORDS;
            drop(queue);
            if wakes {
                shared.changed.notify_all();
            }
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, to the end.
    fn run(&self, mut trail: Trail) {
        let mut outcome = trail.write([]);
        loop {
            self.note(&outcome);
            let Some((items, lost)) = self.next(outcome.is_err(), GATHER_TIME) else {
                break;
            };
            let before = trail.unkept();
            outcome = write(&mut trail, items, lost);
            let unkept = trail.unkept() - before;
            self.lost.fetch_add(unkept, Ordering::Relaxed);
        }
        if trail.lost() > 0 {
            let records = trail.lost();
            error!(records, "audit records are lost");
        }
        // The file's lock with it: whoever waits for the end may open the file again.
        drop(trail);
        self.queue().ended = true;
        self.changed.notify_all();
    }

    /// Waits for something to write, or to try again, and `gather_time` for more of it; `None` at
    /// the end.
    fn next(&self, failed: bool, gather_time: Duration) -> Option<(VecDeque<Item>, u64)> {
        let idle = |queue: &mut Queue| queue.items.is_empty() && queue.lost == 0 && !queue.closing;
        let mut queue = self.queue();
        queue.idle = true;
        let mut queue = if failed {
            let waited = self.changed.wait_timeout_while(queue, RETRY_TIME, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let waited = self.changed.wait_while(queue, idle);
            waited.unwrap_or_else(PoisonError::into_inner)
        };
        queue.idle = false;
        let gathering = |queue: &mut Queue| !queue.closing && queue.items.len() < MANY_RECORDS;
        let gathered = self
            .changed
            .wait_timeout_while(queue, gather_time, gathering);
        let mut queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
        let ended = queue.closing && queue.items.is_empty() && queue.lost == 0;
        (!ended).then(|| (mem::take(&mut queue.items), mem::take(&mut queue.lost)))
    }

    /// Takes note of how the last write went.
    fn note(&self, outcome: &io::Result<()>) {
        let mut queue = self.queue();
        match outcome {
            Err(error) => queue.trouble = Some(error.to_string().into()),
            Ok(()) if queue.lost == 0 => queue.trouble = None,
            // The trail does not tell yet what was lost meanwhile.
            Ok(()) => {}
        }
        drop(queue);
        self.tell();
    }

    /// Tells the owner and the log what has become of the sink, once. Two threads may have found
    /// out different things: what is told last is what holds.
    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = self.queue().trouble.clone();
        if *told != trouble.is_none() {
            *told = trouble.is_none();
            match trouble {
                Some(why) => error!(%why, "audit records cannot be kept"),
                None => warn!("audit records are kept again; the trail says how many were lost"),
            }
            (self.on_state)(*told);
        }
    }
}

/// Writes `items`, and that `lost` more would have followed.
fn write(trail: &mut Trail, items: VecDeque<Item>, lost: u64) -> io::Result<()> {
    let mut entries = Vec::with_capacity(items.len() + 1);
    for item in items {
        match item {
            Item::Record(time, record) => entries.push(Entry::Record(time, record)),
            Item::Reopen => {
                // Where it fails, what is owed may find its place in the new file.
                let _ = trail.write(mem::take(&mut entries));
                trail.reopen();
            }
        }
    }
    entries.extend((lost > 0).then_some(Entry::Lost(lost)));
    trail.write(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_proto::AuditEvent;
    use std::sync::mpsc;

    #[test]
    fn many_records_end_the_time_in_which_they_are_gathered() {
        let log = AuditLog::to_output(io::sink(), |_| {});
        let shared = log.shared.clone().unwrap();
        let (sender, taken) = mpsc::channel();
        thread::spawn(move || {
            let (items, _) = shared.next(false, Duration::from_secs(3600)).unwrap();
            sender.send(items.len()).unwrap();
        });
        let record = || AuditRecord::new(AuditEvent::SessionOpened);
        log.writer().write(record());
        // The thread gathers by now, most likely; if it does not, it has less to do.
        thread::sleep(Duration::from_millis(50));
        for _ in 1..MANY_RECORDS {
            log.writer().write(record());
        }
        // So that a failure does not hang.
        let taken = taken.recv_timeout(Duration::from_secs(30));
        assert_eq!(taken, Ok(MANY_RECORDS));
    }
}
