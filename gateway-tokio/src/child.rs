//! One task per child: it drives an [`Upstream`], drains its whole inbox into one vectored write,
//! and reads in large pieces, whether or not it can write.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use gateway_kit::logging::StderrLines;
use mcp_proto::framing::Frame;
use mcp_proto::{ExchangeId, Now, Stop, Upstream, UpstreamOutput};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant as TokioInstant, Sleep};
use tracing::{info, warn};

use crate::driver::Driver;
use crate::inbox::{ExchangeInbox, Post, UpstreamInbox};
use crate::process::Process;

/// Reads in a row before the task lets others run: a quarter of the queue of one reader, so that
/// one who keeps up is not a whole queue behind before it had a turn.
const READS_PER_TURN: usize = 4;

/// Most reads of what an ended child left in its pipe.
const LAST_READS: usize = 16;

/// Most slices of one vectored write; the kernel takes 1,024.
const SLICES_PER_WRITE: usize = 64;

/// Lines of a child's stderr that are logged in one second; what is beyond them is counted.
const STDERR_LINES_PER_SECOND: u32 = 200;

/// Drives an upstream until it is drained. `_alive` tells of the task's end.
pub(crate) async fn drive(
    upstream: Upstream,
    inbox: Arc<UpstreamInbox>,
    driver: Arc<Driver>,
    _alive: mpsc::Sender<()>,
) {
    let mut task = Task {
        upstream,
        inbox,
        driver,
        process: None,
        unwritten: Unwritten::default(),
        close_stdin: false,
        exchanges: HashMap::new(),
        sleep: Box::pin(tokio::time::sleep_until(TokioInstant::now())),
        marker: None,
        drained: false,
        mail_is_due: false,
        written_to: Vec::new(),
    };
    poll_fn(|context| task.poll(context)).await;
    if let Some(marker) = task.marker.take() {
        task.driver.sweep.end(marker).await;
    }
}

struct Task {
    upstream: Upstream,
    inbox: Arc<UpstreamInbox>,
    driver: Arc<Driver>,
    process: Option<Process>,
    unwritten: Unwritten,
    close_stdin: bool,
    exchanges: HashMap<ExchangeId, Arc<ExchangeInbox>>,
    sleep: Pin<Box<Sleep>>,
    marker: Option<String>,
    drained: bool,
    /// Whether mail was seen in the turn before.
    mail_is_due: bool,
    /// Exchanges that have got mail and were not woken.
    written_to: Vec<Arc<ExchangeInbox>>,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Mail is taken one turn after it was seen, and once a turn: those who run in between add
        // theirs, and one write carries all of it.
        let mut progress = if std::mem::take(&mut self.mail_is_due) {
            self.take_mail();
            true
        } else {
            false
        };
        for _ in 0..READS_PER_TURN {
            self.mail_is_due = self.inbox.poll_any(context);
            self.perform();
            progress |= self.write(context);
            progress |= self.read(context);
            self.perform();
            progress |= self.see_exit(context);
            progress |= self.see_time(context);
            self.perform();
            if self.upstream.is_drained() {
                self.drained = true;
                self.driver.forget(self.upstream.id());
                return Poll::Ready(());
            }
            if !std::mem::take(&mut progress) {
                if self.mail_is_due {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_mail(&mut self) {
        let now = self.driver.now();
        for post in self.inbox.take() {
            match post {
                Post::Mail { mail, from } => {
                    self.exchanges.extend(from);
                    self.upstream.handle_mail(mail, now);
                }
                Post::Gone(exchange) => drop(self.exchanges.remove(&exchange)),
            }
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.upstream.poll_output() {
            match output {
                UpstreamOutput::Spawn => self.spawn(),
                UpstreamOutput::Stdin(frame) => self.unwritten.push(frame),
                UpstreamOutput::Stop(Stop::CloseStdin) => self.close_stdin = true,
                UpstreamOutput::Stop(stop) => {
                    self.unwritten.clear();
                    if let Some(process) = &mut self.process {
                        process.stdin = None;
                        match stop {
                            Stop::Kill => process.kill(),
                            _ => process.terminate(),
                        }
                    }
                }
                UpstreamOutput::ToExchange {
                    exchange,
                    mail,
                    last,
                } => {
                    let inbox = match last {
                        true => self.exchanges.remove(&exchange),
                        false => self.exchanges.get(&exchange).cloned(),
                    };
                    if let Some(inbox) = inbox {
                        inbox.push(mail);
                        let is_same = |before: &Arc<_>| Arc::ptr_eq(before, &inbox);
                        if !self.written_to.last().is_some_and(is_same) {
                            self.written_to.push(inbox);
                        }
                    }
                }
                UpstreamOutput::Disconnect { exchange } => {
                    if let Some(inbox) = self.exchanges.remove(&exchange) {
                        inbox.disconnect();
                    }
                }
                UpstreamOutput::ToGateway(mail) => self.driver.tell_gateway(mail),
                UpstreamOutput::Audit(record) => self.driver.audit(record),
            }
        }
        for inbox in self.written_to.drain(..) {
            inbox.wake();
        }
    }

    fn spawn(&mut self) {
        let number = self.upstream.id().get();
        let spawned = Process::spawn(&self.driver.equipment.command, number, &self.driver);
        let spawned = match spawned {
            Ok(mut process) => {
                if let Some(stderr) = process.stderr.take() {
                    tokio::spawn(log_stderr(stderr, number));
                }
                self.process = Some(process);
                true
            }
            Err(error) => {
                let program = self.driver.equipment.command.program.display();
                warn!(upstream = number, %program, %error, "the server could not be started");
                false
            }
        };
        self.upstream.handle_spawned(spawned, self.driver.now());
    }

    fn write(&mut self, context: &mut Context<'_>) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        let Some(stdin) = &mut process.stdin else {
            return false;
        };
        let mut any = false;
        while !self.unwritten.is_empty() {
            match self.unwritten.poll_write(Pin::new(stdin), context) {
                Poll::Ready(Ok(written)) => {
                    any = true;
                    self.upstream
                        .handle_stdin_written(written, self.driver.now());
                }
                // The child does not read any more; its end, or its silence, tells the rest.
                Poll::Ready(Err(_)) => {
                    self.unwritten.clear();
                    process.stdin = None;
                    return true;
                }
                Poll::Pending => return any,
            }
        }
        if self.close_stdin {
            process.stdin = None;
            return true;
        }
        any
    }

    fn read(&mut self, context: &mut Context<'_>) -> bool {
        if !self.upstream.wants_stdout() {
            return false;
        }
        let Some(stdout) = self
            .process
            .as_mut()
            .and_then(|process| process.stdout.as_mut())
        else {
            return false;
        };
        match stdout.poll_read_ready(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return self.close_stdout(),
            Poll::Pending => return false,
        }
        // Not `try_read`: here a read that does not fill the buffer tells the runtime that there is
        // no more, and spares a second one to find that out.
        let mut buffer = ReadBuf::new(self.upstream.stdout_buffer());
        match Pin::new(stdout).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().len() {
                0 => self.close_stdout(),
                read => {
                    self.upstream.handle_stdout(read, self.driver.now());
                    true
                }
            },
            Poll::Ready(Err(_)) => self.close_stdout(),
            Poll::Pending => false,
        }
    }

    fn close_stdout(&mut self) -> bool {
        if let Some(process) = &mut self.process {
            process.stdout = None;
        }
        self.upstream.handle_stdout_closed(self.driver.now());
        true
    }

    fn see_exit(&mut self, context: &mut Context<'_>) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        if process.poll_exit(context).is_pending() {
            return false;
        }
        // What it wrote before its end is still in the pipe: up to the pipe's size.
        let now = self.driver.now();
        for _ in 0..LAST_READS {
            if !self.upstream.wants_stdout() {
                break;
            }
            let Some(stdout) = &process.stdout else {
                break;
            };
            match stdout.try_read(self.upstream.stdout_buffer()) {
                Ok(read @ 1..) => self.upstream.handle_stdout(read, now),
                _ => break,
            }
        }
        self.marker = self.process.take().map(Process::reap);
        self.upstream.handle_exit(now);
        true
    }

    fn see_time(&mut self, context: &mut Context<'_>) -> bool {
        let Some(due) = self.upstream.poll_timeout() else {
            return false;
        };
        let now: Now = self.driver.now();
        if due <= now.monotonic {
            self.upstream.handle_timeout(now);
            return true;
        }
        // An alarm that comes early does no harm, so that a later one need not be set.
        let due = self.driver.to_tokio(due);
        if due < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(due);
        }
        if self.sleep.as_mut().poll(context).is_ready() {
            self.sleep.as_mut().reset(due);
            return true;
        }
        false
    }
}

/// A task that ends before its upstream is drained has panicked, or the runtime stops.
impl Drop for Task {
    fn drop(&mut self) {
        if self.drained {
            return;
        }
        self.inbox.lose();
        for inbox in self.exchanges.values() {
            inbox.upstream_lost();
        }
        if std::thread::panicking() {
            self.driver.lose(self.upstream.id());
        }
    }
}

/// Bytes for the child's stdin that the pipe has not taken.
#[derive(Default)]
struct Unwritten {
    slices: VecDeque<Bytes>,
}

impl Unwritten {
    fn push(&mut self, frame: Frame) {
        self.slices.extend(frame.into_slices());
    }

    fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    fn clear(&mut self) {
        self.slices.clear();
    }

    fn poll_write(
        &mut self,
        stdin: Pin<&mut pipe::Sender>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let mut count = 0;
        for (slot, slice) in slices.iter_mut().zip(&self.slices) {
            *slot = IoSlice::new(slice);
            count += 1;
        }
        let written = match stdin.poll_write_vectored(context, &slices[..count]) {
            Poll::Ready(Ok(written)) => written,
            other => return other,
        };
        let mut left = written;
        while let Some(first) = self.slices.front_mut() {
            if first.len() > left {
                first.advance(left);
                break;
            }
            left -= first.len();
            self.slices.pop_front();
        }
        Poll::Ready(Ok(written))
    }
}

/// Writes a child's stderr to the log, bounded and escaped.
async fn log_stderr(stderr: pipe::Receiver, upstream: u64) {
    let mut lines = StderrLines::new();
    let mut buffer = vec![0; 4096];
    let mut second = TokioInstant::now();
    let (mut logged, mut dropped) = (0, 0_u64);
    loop {
        if stderr.readable().await.is_err() {
            break;
        }
        let read = match stderr.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        if second.elapsed().as_secs() >= 1 {
            if dropped > 0 {
                warn!(target: "stderr", upstream, dropped, "lines of stderr were left out");
            }
            second = TokioInstant::now();
            (logged, dropped) = (0, 0);
        }
        for line in lines.feed(&buffer[..read]) {
            if logged < STDERR_LINES_PER_SECOND {
                logged += 1;
                info!(target: "stderr", upstream, "{line}");
            } else {
                dropped += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    if let Some(line) = lines.finish() {
        info!(target: "stderr", upstream, "{line}");
    }
    if dropped > 0 {
        warn!(target: "stderr", upstream, dropped, "lines of stderr were left out");
    }
}
