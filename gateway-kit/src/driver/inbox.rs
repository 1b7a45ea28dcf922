//! Mail on its way: an inbox for each exchange and each upstream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use super::standing::Shown;
use mcp_proto::{Exchange, ExchangeId, ExchangeMail, Now, UpstreamMail};

/// A connection, as an upstream closes it whose reader has stopped.
pub trait Connection: Send + Sync {
    /// Closes the connection at once, whatever it is about to write. It must not wait, and must not
    /// call the driver.
    fn abort(&self);
}

/// Mail for one exchange, and whoever waits for it.
pub(super) struct ExchangeInbox {
    state: Mutex<ExchangeInboxState>,
    connection: Arc<dyn Connection>,
}

#[derive(Default)]
struct ExchangeInboxState {
    mail: VecDeque<ExchangeMail>,
    upstream_lost: bool,
    waker: Option<Waker>,
}

impl ExchangeInbox {
    pub(super) fn new(connection: Arc<dyn Connection>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            connection,
        })
    }

    /// Adds mail. Whoever waits is not woken yet: a burst is then one wake-up.
    pub(super) fn push(&self, mail: ExchangeMail) {
        lock(&self.state).mail.push_back(mail);
    }

    pub(super) fn upstream_lost(&self) {
        lock(&self.state).upstream_lost = true;
        self.wake();
    }

    /// Wakes whoever waits, with the lock free for them to take.
    pub(super) fn wake(&self) {
        let waker = lock(&self.state).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands what has come to the exchange. With nothing there, `context` is woken later.
    pub(super) fn deliver(
        &self,
        exchange: &mut Exchange,
        now: Now,
        context: Option<&mut Context<'_>>,
    ) -> bool {
        let (mail, lost) = {
            let mut state = lock(&self.state);
            let mail = std::mem::take(&mut state.mail);
            let lost = std::mem::take(&mut state.upstream_lost);
            if mail.is_empty()
                && !lost
                && let Some(context) = context
            {
                state.waker = Some(context.waker().clone());
            }
            (mail, lost)
        };
        let any = !mail.is_empty() || lost;
        for mail in mail {
            exchange.handle_mail(mail, now);
        }
        if lost {
            exchange.handle_upstream_lost(now);
        }
        any
    }

    /// Closes the connection at once.
    pub(super) fn disconnect(&self) {
        self.connection.abort();
    }
}

/// Mail for one upstream, and its task.
#[derive(Default)]
pub(super) struct UpstreamInbox {
    state: Mutex<UpstreamInboxState>,
    /// How its upstream stands, for whoever asks from outside.
    pub(super) shown: Shown,
}

#[derive(Default)]
struct UpstreamInboxState {
    mail: VecDeque<Post>,
    waker: Option<Waker>,
    /// Whether the task has ended before its upstream was drained.
    lost: bool,
}

/// What comes for an upstream.
pub(super) enum Post {
    /// A piece of mail; an exchange's first carries the way back.
    Mail {
        mail: UpstreamMail,
        from: Option<(ExchangeId, Arc<ExchangeInbox>)>,
    },
    /// Nobody reads this exchange's mail any more.
    Gone(ExchangeId),
}

impl UpstreamInbox {
    pub(super) fn push(&self, mail: UpstreamMail, from: Option<(ExchangeId, Arc<ExchangeInbox>)>) {
        let mut state = lock(&self.state);
        if state.lost {
            if let Some((_, inbox)) = from {
                inbox.upstream_lost();
            }
            return;
        }
        state.mail.push_back(Post::Mail { mail, from });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells those that their upstream is lost who have written and were not heard, and all who
    /// write later.
    pub(super) fn lose(&self) {
        let mail = {
            let mut state = lock(&self.state);
            state.lost = true;
            std::mem::take(&mut state.mail)
        };
        for post in mail {
            if let Post::Mail {
                from: Some((_, inbox)),
                ..
            } = post
            {
                inbox.upstream_lost();
            }
        }
    }

    /// Whether anything has come. With nothing there, `context` is woken later.
    pub(super) fn poll_any(&self, context: &mut Context<'_>) -> bool {
        let mut state = lock(&self.state);
        if state.mail.is_empty() {
            state.waker = Some(context.waker().clone());
        }
        !state.mail.is_empty()
    }

    /// Has the way to an exchange forgotten that wrote: one that gave its grant back, or whose
    /// client has gone, gets no last mail. There is no hurry, so that nobody is woken.
    pub(super) fn gone(&self, exchange: ExchangeId) {
        lock(&self.state).mail.push_back(Post::Gone(exchange));
    }

    /// Takes all that has come.
    pub(super) fn take(&self) -> VecDeque<Post> {
        std::mem::take(&mut lock(&self.state).mail)
    }
}

/// An inbox is whole whatever happened to whoever held it: there is no step in between.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
