//! Verdicts that were found, for as long as they are good.
//!
//! A good verdict lives for [`Limits::verdict_time`](crate::Limits::verdict_time) or until its token
//! ends. After that it is *known* for a while: asking for it once more is no guess, so that it does
//! not count as one. A bad verdict lives likewise, in a table of its own: no number of wrong tokens
//! drives out a right one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::token::TokenDigest;
use super::{Identity, Token, VerifierKind};
use crate::time::{Instant, Now};

/// How many lives of a verdict its token is known.
const KNOWN_LIVES: u32 = 10;

/// A token that was found good.
#[derive(Clone, Debug)]
pub(crate) struct Good {
    pub(crate) identity: Arc<Identity>,
    pub(crate) verifier: VerifierKind,
    /// The token itself, to ask about it once more while a stream is open; `None` where nobody is
    /// asked.
    pub(crate) token: Option<Token>,
    /// Until when the verdict is good.
    pub(crate) until: Instant,
}

impl Good {
    pub(crate) fn is_live(&self, now: Now) -> bool {
        now.monotonic < self.until && !has_ended(&self.identity, now)
    }
}

/// Until when a verdict of now is good that may live for so long.
pub(crate) fn good_until(identity: &Identity, life: Duration, now: Now) -> Instant {
    let until = now.monotonic + life;
    match identity.expires_at {
        None => until,
        Some(end) => {
            let left = end.saturating_mul(1000).saturating_sub(now.unix_ms);
            until.min(now.monotonic + Duration::from_millis(left))
        }
    }
}

/// Whether the token has ended by its own word.
pub(crate) fn has_ended(identity: &Identity, now: Now) -> bool {
    identity
        .expires_at
        .is_some_and(|end| end.saturating_mul(1000) <= now.unix_ms)
}

/// What is known of a token.
#[derive(Debug)]
pub(crate) enum Known<'v> {
    Live(&'v Good),
    /// It was good, and is to be asked about again.
    Lapsed(&'v Good),
    Bad,
    Nothing,
}

/// The two tables.
pub(crate) struct Verdicts {
    life: Duration,
    good: Table<Good>,
    bad: Table<()>,
}

impl Verdicts {
    pub(crate) fn new(life: Duration, capacity: usize) -> Self {
        Self {
            life,
            good: Table::new(capacity),
            bad: Table::new(capacity),
        }
    }

    pub(crate) fn get(&self, digest: &TokenDigest, now: Now) -> Known<'_> {
        if let Some(good) = self.good.get(digest) {
            return match good.is_live(now) {
                true => Known::Live(good),
                false => Known::Lapsed(good),
            };
        }
        match self.bad.entries.get(digest) {
            Some(&((), forget_at)) if now.monotonic < forget_at => Known::Bad,
            _ => Known::Nothing,
        }
    }

    /// Keeps a good verdict, and says until when it is good.
    pub(crate) fn allow(
        &mut self,
        digest: TokenDigest,
        identity: Arc<Identity>,
        verifier: VerifierKind,
        token: Option<Token>,
        now: Now,
    ) -> Instant {
        let until = good_until(&identity, self.life, now);
        self.bad.remove(&digest);
        let forget_at = now.monotonic + self.life * KNOWN_LIVES;
        let good = Good {
            identity,
            verifier,
            token,
            until,
        };
        self.good.insert(digest, good, forget_at);
        until
    }

    /// Keeps in mind for longer what was found good, without making its verdict good for longer.
    pub(crate) fn remember(&mut self, digest: &TokenDigest, now: Instant) {
        self.good.postpone(digest, now + self.life * KNOWN_LIVES);
    }

    /// Forgets a good verdict, and keeps a bad one.
    pub(crate) fn deny(&mut self, digest: TokenDigest, now: Now) {
        self.good.remove(&digest);
        self.bad.insert(digest, (), now.monotonic + self.life);
    }

    /// Forgets a good verdict.
    pub(crate) fn forget(&mut self, digest: &TokenDigest) {
        self.good.remove(digest);
    }

    /// Forgets what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.good.expire(now);
        self.bad.expire(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.good.first(), self.bad.first()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// A bounded map whose entries are forgotten at their time, the earliest one also for want of room.
struct Table<V> {
    capacity: usize,
    entries: BTreeMap<TokenDigest, (V, Instant)>,
    order: BTreeSet<(Instant, TokenDigest)>,
}

impl<V> Table<V> {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }

    fn get(&self, digest: &TokenDigest) -> Option<&V> {
        self.entries.get(digest).map(|(value, _)| value)
    }

    fn insert(&mut self, digest: TokenDigest, value: V, forget_at: Instant) {
        self.remove(&digest);
        if self.entries.len() >= self.capacity
            && let Some((_, earliest)) = self.order.pop_first()
        {
            self.entries.remove(&earliest);
        }
        self.entries.insert(digest, (value, forget_at));
        self.order.insert((forget_at, digest));
    }

    fn remove(&mut self, digest: &TokenDigest) {
        if let Some((_, forget_at)) = self.entries.remove(digest) {
            self.order.remove(&(forget_at, *digest));
        }
    }

    fn postpone(&mut self, digest: &TokenDigest, until: Instant) {
        if let Some((_, forget_at)) = self.entries.get_mut(digest) {
            self.order.remove(&(*forget_at, *digest));
            *forget_at = until;
            self.order.insert((until, *digest));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((forget_at, digest)) = self.order.first().copied()
            && forget_at <= now
        {
            self.order.pop_first();
            self.entries.remove(&digest);
        }
    }

    fn first(&self) -> Option<Instant> {
        self.order.first().map(|&(forget_at, _)| forget_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Principal;

    const LIFE: Duration = Duration::from_secs(60);
    const CAPACITY: usize = 4;

    fn identity(expires_at: Option<u64>) -> Arc<Identity> {
        Arc::new(Identity {
            principal: Principal {
                issuer: "test".to_owned(),
                subject: "test".to_owned(),
                client_id: None,
            },
            scopes: Vec::new(),
            expires_at,
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allow(u8, Option<u64>),
        Deny(u8),
        Remember(u8),
        Wait(u64),
        Expire,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..8, prop::option::of(0u64..200)).prop_map(|(key, life)| Step::Allow(key, life)),
            (0u8..8).prop_map(Step::Deny),
            (0u8..8).prop_map(Step::Remember),
            (0u64..90_000).prop_map(Step::Wait),
            Just(Step::Expire),
        ]
    }

    proptest! {
        /// Against a list of everything that was ever said: what is answered was said last, and is
        /// not older than it may be. Both tables keep to their capacity.
        #[test]
        fn an_answer_is_the_last_word_and_not_too_old(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut verdicts = Verdicts::new(LIFE, CAPACITY);
            let mut ms = 1_000_000u64;
            // When, and for a good verdict: until when by the token's own word.
            let mut last: BTreeMap<u8, (u64, Option<u64>)> = BTreeMap::new();
            let at = |ms: u64| Now { monotonic: Instant::from_nanos(ms * 1_000_000), unix_ms: ms };
            for step in steps {
                match step {
                    Step::Allow(key, life) => {
                        let end = life.map(|life| ms / 1000 + life);
                        let token = Token::new("t").ok();
                        let digest = TokenDigest([key; 32]);
                        let kind = VerifierKind::Custom;
                        verdicts.allow(digest, identity(end), kind, token, at(ms));
                        last.insert(key, (ms, Some(end.unwrap_or(u64::MAX / 1000) * 1000)));
                    }
                    Step::Deny(key) => {
                        verdicts.deny(TokenDigest([key; 32]), at(ms));
                        last.insert(key, (ms, None));
                    }
                    Step::Remember(key) => {
                        verdicts.remember(&TokenDigest([key; 32]), at(ms).monotonic);
                    }
                    Step::Wait(more) => ms += more,
                    Step::Expire => verdicts.handle_timeout(at(ms).monotonic),
                }
                prop_assert!(verdicts.good.entries.len() <= CAPACITY);
                prop_assert!(verdicts.bad.entries.len() <= CAPACITY);
                prop_assert_eq!(verdicts.good.entries.len(), verdicts.good.order.len());
                prop_assert_eq!(verdicts.bad.entries.len(), verdicts.bad.order.len());
                for key in 0..8 {
                    let said = last.get(&key);
                    match verdicts.get(&TokenDigest([key; 32]), at(ms)) {
                        Known::Live(_) => {
                            let (when, end) = said.unwrap();
                            prop_assert!(ms - when < 60_000 && ms < end.unwrap());
                        }
                        Known::Lapsed(_) => {
                            let (when, end) = said.unwrap();
                            prop_assert!(ms - when >= 60_000 || ms >= end.unwrap());
                        }
                        Known::Bad => {
                            let (when, end) = said.unwrap();
                            prop_assert!(ms - when < 60_000 && end.is_none());
                        }
                        Known::Nothing => {}
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_tokens_do_not_drive_out_right_ones() {
        let mut verdicts = Verdicts::new(LIFE, CAPACITY);
        let now = Now::default();
        let right = TokenDigest([0; 32]);
        let token = Token::new("t").ok();
        verdicts.allow(right, identity(None), VerifierKind::Http, token, now);
        for key in 1..100 {
            verdicts.deny(TokenDigest([key; 32]), now);
        }
        assert!(matches!(verdicts.get(&right, now), Known::Live(_)));
    }
}
