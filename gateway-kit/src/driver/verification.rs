//! An embedder's own verifier of tokens.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use mcp_proto::auth::{Token, Verdict, VerificationId};

use super::{Driver, with_live};

pub(super) type Verifier = Box<dyn Fn(Token) -> Asked + Send + Sync>;

type Asked = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A question to the embedder's verifier, to be awaited in a task of its own. The gateway hears the
/// verdict; of a verifier that panics, that it cannot say.
pub struct Verification {
    driver: Weak<Driver>,
    id: VerificationId,
    /// Until the verifier is asked, which is in the task too: it may take a while, or panic.
    token: Option<Token>,
    asked: Option<Asked>,
}

impl Verification {
    pub(super) fn new(driver: Weak<Driver>, id: VerificationId, token: Token) -> Self {
        Self {
            driver,
            id,
            token: Some(token),
            asked: None,
        }
    }

    fn poll_verdict(&mut self, context: &mut Context<'_>) -> Poll<Verdict> {
        if let Some(token) = self.token.take()
            && let Some(driver) = self.driver.upgrade()
        {
            self.asked = driver.verifier.get().map(|verifier| verifier(token));
        }
        match &mut self.asked {
            Some(asked) => asked.as_mut().poll(context),
            None => Poll::Ready(Verdict::Unavailable),
        }
    }
}

impl Future for Verification {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // What a panic leaves behind is not polled again.
        let verdict = catch_unwind(AssertUnwindSafe(|| this.poll_verdict(context)));
        let verdict = ready!(verdict.unwrap_or(Poll::Ready(Verdict::Unavailable)));
        this.asked = None;
        let id = this.id;
        with_live(&this.driver, |gateway, now| {
            gateway.handle_verdict(id, verdict, now);
        });
        Poll::Ready(())
    }
}
