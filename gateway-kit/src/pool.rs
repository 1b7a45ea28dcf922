//! A few threads for what blocks and for what computes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Threads that wait for other servers, and the work that may wait for such a thread.
const WAITING_THREADS: usize = 4;
const QUEUE: usize = 64;

/// Threads in two groups, so that what computes never stands behind what waits: four wait for
/// other servers, with a bounded queue; one computes. Its queue has no bound of its own, since
/// each piece takes well under a millisecond and stands for a request that the gateway has admitted.
///
/// Dropping the pool does not wait: what is queued is answered with [`NotDone::Stopping`], and each
/// thread ends with what it is doing.
#[derive(Debug)]
pub(crate) struct Pool {
    waiting: Sender<Job>,
    computing: Sender<Job>,
    stopping: Arc<AtomicBool>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// The queue is full.
    Busy,
    /// The work panicked, and said so on stderr.
    Panicked,
    /// The pool was dropped.
    Stopping,
}

/// Work and whom to tell of it; runs the work unless it is told why not.
type Job = Box<dyn FnOnce(Result<(), NotDone>) + Send>;

impl Pool {
    /// Starts every thread at once: that there can be none is known at the start, not in the middle.
    pub(crate) fn start() -> io::Result<Self> {
        let (waiting, waits) = bounded(QUEUE);
        let (computing, computes) = unbounded();
        let stopping = Arc::new(AtomicBool::new(false));
        for _ in 0..WAITING_THREADS {
            spawn("fetch", &waits, &stopping)?;
        }
        spawn("signature", &computes, &stopping)?;
        Ok(Self {
            waiting,
            computing,
            stopping,
        })
    }

    /// Has `work` done that may wait for others. `done` is called exactly once, and never by
    /// this thread: whoever submits may hold a lock that `done` takes.
    pub(crate) fn wait<T>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Result<T, NotDone>) + Send + 'static,
    ) {
        if let Err(refused) = self.waiting.try_send(job(work, done)) {
            let job = refused.into_inner();
            // The waiting threads may all be stuck; this one is not.
            self.push(Box::new(move |go| job(go.and(Err(NotDone::Busy)))));
        }
    }

    /// Has `work` done that only computes; `done` as with [`Pool::wait`].
    pub(crate) fn compute<T>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Result<T, NotDone>) + Send + 'static,
    ) {
        self.push(job(work, done));
    }

    fn push(&self, job: Job) {
        let sent = self.computing.send(job);
        assert!(sent.is_ok(), "the computing thread outlives the pool");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
    }
}

fn job<T>(
    work: impl FnOnce() -> T + Send + 'static,
    done: impl FnOnce(Result<T, NotDone>) + Send + 'static,
) -> Job {
    Box::new(move |go| {
        done(go.and_then(|()| catch_unwind(AssertUnwindSafe(work)).map_err(|_| NotDone::Panicked)));
    })
}

/// One thread, which ends when the pool is gone and its queue is empty.
fn spawn(name: &str, jobs: &Receiver<Job>, stopping: &Arc<AtomicBool>) -> io::Result<()> {
    let (jobs, stopping) = (jobs.clone(), stopping.clone());
    let run = move || {
        for job in jobs {
            let go = match stopping.load(Ordering::Acquire) {
                true => Err(NotDone::Stopping),
                false => Ok(()),
            };
            // A `done` that panics has been called; the next one still must be.
            let _ = catch_unwind(AssertUnwindSafe(|| job(go)));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    /// Fills every waiting thread with work that ends when the sender is dropped.
    fn block(pool: &Pool) -> (Sender<()>, Receiver<Result<(), NotDone>>) {
        let (gate, closed) = bounded::<()>(0);
        let (began, begins) = channel();
        let (done, answers) = channel();
        for _ in 0..WAITING_THREADS {
            let (closed, began, done) = (closed.clone(), began.clone(), done.clone());
            let work = move || {
                began.send(()).unwrap();
                let _ = closed.recv();
            };
            pool.wait(work, move |result| done.send(result).unwrap());
        }
        for _ in 0..WAITING_THREADS {
            begins.recv().unwrap();
        }
        (gate, answers)
    }

    #[test]
    fn work_past_the_queue_is_answered_as_busy_at_once_and_the_rest_is_done() {
        let pool = Pool::start().unwrap();
        let (gate, answers) = block(&pool);
        let (done, queued) = channel();
        for number in 0..QUEUE {
            let done = done.clone();
            pool.wait(move || number, move |result| done.send(result).unwrap());
        }
        let (busy, refused) = channel();
        let caller = thread::current().id();
        pool.wait(
            || panic!("refused work is not done"),
            move |result: Result<(), _>| {
                assert_ne!(thread::current().id(), caller);
                busy.send(result).unwrap();
            },
        );
        assert_eq!(refused.recv(), Ok(Err(NotDone::Busy)));
        drop(gate);
        assert!(
            answers
                .iter()
                .take(WAITING_THREADS)
                .all(|result| result.is_ok())
        );
        let mut numbers: Vec<_> = queued.iter().take(QUEUE).map(Result::unwrap).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..QUEUE));
    }

    #[test]
    fn what_computes_does_not_stand_behind_what_waits() {
        let pool = Pool::start().unwrap();
        let (_gate, _answers) = block(&pool);
        let (done, answer) = channel();
        pool.compute(|| 6 * 7, move |result| done.send(result).unwrap());
        assert_eq!(answer.recv(), Ok(Ok(42)));
    }

    #[test]
    fn a_panic_is_an_answer_and_costs_no_thread() {
        let pool = Pool::start().unwrap();
        let (done, answers) = channel();
        for _ in 0..2 * WAITING_THREADS {
            let done = done.clone();
            pool.wait(
                || panic!("on purpose: in the work"),
                move |result: Result<(), _>| {
                    done.send(result).unwrap();
                    panic!("on purpose: in the answer");
                },
            );
        }
        let panicked = answers.iter().take(2 * WAITING_THREADS);
        assert!(panicked.eq([Err(NotDone::Panicked); 2 * WAITING_THREADS]));
        pool.compute(
            || panic!("on purpose: in the work"),
            |_: Result<(), _>| {
                panic!("on purpose: in the answer");
            },
        );
        // Every thread is still there.
        let (_gate, _answers) = block(&pool);
        pool.compute(|| (), move |result| done.send(result).unwrap());
        assert_eq!(answers.recv(), Ok(Ok(())));
    }

    #[test]
    fn dropping_the_pool_waits_for_nothing_and_forgets_nobody() {
        let pool = Pool::start().unwrap();
        let (gate, answers) = block(&pool);
        let (done, queued) = channel();
        pool.wait(|| (), move |result| done.send(result).unwrap());
        drop(pool);
        drop(gate);
        assert_eq!(queued.recv(), Ok(Err(NotDone::Stopping)));
        // Every sender of an answer goes with its thread's work: this ends.
        assert_eq!(answers.iter().count(), WAITING_THREADS);
    }
}
