//! One task per child: it drives an [`Upstream`](mcp_proto::Upstream), drains its whole inbox into
//! one vectored write, and reads in large pieces, whether or not it can write.

use std::future::poll_fn;
use std::io::{self, IoSlice, PipeReader, PipeWriter, Read};
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use async_executor::Executor;
use async_io::Async;
use futures_lite::AsyncWrite;
use futures_lite::future::yield_now;
use gateway_kit::child::{StderrLog, log_failed_start};
use gateway_kit::driver::{ChildOutput, DrivenUpstream};
use mcp_proto::framing::WriteQueue;
use mcp_proto::{Stop, UpstreamId};

use crate::alarm::Alarm;
use crate::process::Process;
use crate::source::{Source, is_transient};

/// Reads in a row before the task lets others run: a quarter of the queue of one reader, so that
/// one who keeps up is not a whole queue behind before it had a turn.
const READS_PER_TURN: usize = 4;

/// Most reads of what an ended child left in its pipe.
const LAST_READS: usize = 16;

/// Most slices of one vectored write; the kernel takes 1,024.
const SLICES_PER_WRITE: usize = 64;

/// Drives an upstream until it is drained.
pub(crate) async fn drive(upstream: DrivenUpstream, executor: Weak<Executor<'static>>) {
    let mut task = Task {
        driven: upstream,
        executor,
        process: None,
        unwritten: WriteQueue::default(),
        close_stdin: false,
        alarm: Alarm::new(),
        mail_is_due: false,
    };
    poll_fn(|context| task.poll(context)).await;
}

struct Task {
    driven: DrivenUpstream,
    executor: Weak<Executor<'static>>,
    process: Option<Process>,
    /// Bytes for the child's stdin that the pipe has not taken.
    unwritten: WriteQueue,
    close_stdin: bool,
    alarm: Alarm,
    /// Whether mail was seen in the turn before.
    mail_is_due: bool,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Mail is taken one turn after it was seen, and once a turn: those who run in between add
        // theirs, and one write carries all of it.
        let mut progress = if std::mem::take(&mut self.mail_is_due) {
            self.driven.take_mail();
            true
        } else {
            false
        };
        for _ in 0..READS_PER_TURN {
            self.mail_is_due = self.driven.poll_mail(context);
            self.perform();
            progress |= self.write(context);
            progress |= self.read(context);
            self.perform();
            progress |= self.see_exit(context);
            progress |= self.see_time(context);
            self.perform();
            if self.driven.is_drained() {
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

    fn perform(&mut self) {
        while let Some(output) = self.driven.poll_output() {
            match output {
                ChildOutput::Spawn => self.spawn(),
                ChildOutput::Stdin(frame) => self.unwritten.push_frame(frame),
                ChildOutput::Stop(Stop::CloseStdin) => self.close_stdin = true,
                ChildOutput::Stop(stop) => {
                    self.unwritten.clear();
                    if let Some(process) = &mut self.process {
                        process.stdin = None;
                        match stop {
                            Stop::Kill => process.group.kill(),
                            _ => process.group.terminate(),
                        }
                    }
                }
            }
        }
    }

    fn spawn(&mut self) {
        let driver = self.driven.driver();
        let upstream = self.driven.upstream.id();
        match Process::spawn(upstream, driver) {
            Ok(mut process) => {
                if let (Some(stderr), Some(executor)) =
                    (process.stderr.take(), self.executor.upgrade())
                {
                    executor.spawn(log_stderr(stderr, upstream)).detach();
                }
                self.process = Some(process);
            }
            Err(error) => {
                log_failed_start(driver, upstream, &error);
                self.driven.sweep();
            }
        }
        let spawned = self.process.is_some();
        let now = self.driven.now();
        self.driven.upstream.handle_spawned(spawned, now);
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
            match poll_write(&mut self.unwritten, stdin, context) {
                Poll::Ready(Ok(written)) => {
                    any = true;
                    let now = self.driven.now();
                    self.driven.upstream.handle_stdin_written(written, now);
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
        if !self.driven.upstream.wants_stdout() {
            return false;
        }
        let Some(stdout) = self
            .process
            .as_mut()
            .and_then(|process| process.stdout.as_mut())
        else {
            return false;
        };
        while stdout.poll_ready(context).is_ready() {
            match stdout.read(self.driven.upstream.stdout_buffer()) {
                Ok(read @ 1..) => {
                    let now = self.driven.now();
                    self.driven.upstream.handle_stdout(read, now);
                    return true;
                }
                Err(error) if is_transient(&error) => {}
                Ok(_) | Err(_) => return self.close_stdout(),
            }
        }
        false
    }

    fn close_stdout(&mut self) -> bool {
        if let Some(process) = &mut self.process {
            process.stdout = None;
        }
        let now = self.driven.now();
        self.driven.upstream.handle_stdout_closed(now);
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
        let now = self.driven.now();
        for _ in 0..LAST_READS {
            if !self.driven.upstream.wants_stdout() {
                break;
            }
            let Some(stdout) = &mut process.stdout else {
                break;
            };
            match stdout.read(self.driven.upstream.stdout_buffer()) {
                Ok(read @ 1..) => self.driven.upstream.handle_stdout(read, now),
                _ => break,
            }
        }
        self.process = None;
        self.driven.sweep();
        self.driven.upstream.handle_exit(now);
        true
    }

    fn see_time(&mut self, context: &mut Context<'_>) -> bool {
        let Some(due) = self.driven.due() else {
            return false;
        };
        if self.alarm.poll(due, context).is_pending() {
            return false;
        }
        let now = self.driven.now();
        self.driven.upstream.handle_timeout(now);
        true
    }
}

fn poll_write(
    queue: &mut WriteQueue,
    stdin: &mut Async<PipeWriter>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let count = queue.fill(&mut slices);
    let written = ready!(Pin::new(stdin).poll_write_vectored(context, &slices[..count]))?;
    queue.advance(written);
    Poll::Ready(Ok(written))
}

/// Writes a child's stderr to the log.
async fn log_stderr(mut stderr: Source<PipeReader>, upstream: UpstreamId) {
    let mut log = StderrLog::new(upstream);
    let mut buffer = vec![0; 4096];
    loop {
        poll_fn(|context| stderr.poll_ready(context)).await;
        match stderr.read(&mut buffer) {
            Ok(read @ 1..) => log.feed(&buffer[..read]),
            Err(error) if is_transient(&error) => {}
            Ok(_) | Err(_) => break,
        }
        yield_now().await;
    }
}
