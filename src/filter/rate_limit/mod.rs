//! Throttling: how often and how many at once, per client, header, cookie, site or route.
//!
//! The arithmetic (GCRA) is `governor`'s; where its state lives is ours ([`table`]): a table of fixed size without
//! locks, shared by all cores. [`check`] walks the limits of a request.
//!
//! Invariant: no number of keys makes a table grow, and a key that is being limited never gets a fresh allowance
//! by other keys pushing it out.

mod key;
mod permit;
mod table;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::exchange::failure::{Cause, Failure, Kind};
use crate::record::LimitVerdict;
use key::Hasher;
pub use key::{Key, KeyInput};
pub use permit::Permit;
use permit::Permits;
use table::Table;

/// How often: `count` per `per` on average, with up to `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU32,
    pub per: Duration,
    pub burst: NonZeroU32,
}

/// One `limit.NAME` of the config.
#[derive(Clone, Debug)]
pub struct Settings {
    pub name: Arc<str>,
    pub key: Key,
    /// `None`: only [`concurrency`](Self::concurrency) limits.
    pub rate: Option<Rate>,
    /// How many requests of one key may be under way at once; `None`: any number.
    pub concurrency: Option<NonZeroU32>,
    /// How many keys are told apart at a time; more share. Costs 18 bytes each, per kind of limit.
    pub capacity: u32,
    /// Only say in the record what would have been refused.
    pub dry_run: bool,
    /// Status of a refusal; 429 is the usual one (RFC 6585 section 4).
    pub status: StatusCode,
    pub cause: Cause,
}

impl Settings {
    /// Whether the state of a limit with the other settings still means the same under these. What is only shown
    /// (status, cause, dry run) does not count.
    pub fn same_settings(&self, other: &Self) -> bool {
        self.name == other.name
            && self.key == other.key
            && self.rate == other.rate
            && self.concurrency == other.concurrency
            && self.capacity == other.capacity
    }
}

/// Why settings make no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    #[error("needs a rate, a concurrency, or both")]
    Nothing,
    #[error("the rate is faster than one request per nanosecond")]
    NoPeriod,
    #[error("burst times period is more than ten years")]
    TooLong,
}

/// Longest time that an empty bucket may need to fill; keeps the nanosecond arithmetic far from its end.
const LONGEST_FILL: Duration = Duration::from_secs(10 * 366 * 86_400);

/// A limit at work. `C` is the clock; tests wind their own.
pub struct Limit<C: Clock = MonotonicClock> {
    settings: Settings,
    state: Arc<State<C>>,
}

/// What carries over when the plan is swapped.
struct State<C: Clock> {
    hasher: Hasher,
    rate: Option<Pace<C>>,
    permits: Option<Arc<Permits>>,
}

struct Pace<C: Clock> {
    limiter: RateLimiter<u64, Table, C, StateInformationMiddleware>,
    table: Table,
    period: Duration,
    burst: u32,
}

/// What is left of an allowance; written into `RateLimit-*` fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests that a rested client may make at once.
    pub limit: u32,
    pub remaining: u32,
    /// Until the allowance is whole again.
    pub reset: Duration,
    /// The time in which `limit` requests are earned.
    pub window: Duration,
}

/// What one limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `None`: the limit has no rate.
    Allowed(Option<Standing>),
    Refused {
        retry_after: Duration,
        standing: Option<Standing>,
    },
}

impl Limit {
    /// A limit with the state of the one it replaces, if that still means the same.
    ///
    /// # Errors
    /// When the settings make no limit; see [`BadLimit`].
    pub fn new(settings: Settings, replaces: Option<&Self>) -> Result<Self, BadLimit> {
        Self::with_clock(settings, replaces, MonotonicClock)
    }
}

impl<C: Clock> Limit<C> {
    pub fn with_clock(settings: Settings, replaces: Option<&Self>, clock: C) -> Result<Self, BadLimit> {
        let kept = replaces.filter(|old| old.settings.same_settings(&settings));
        let state = match kept {
            Some(old) => Arc::clone(&old.state),
            None => Arc::new(State::new(&settings, clock)?),
        };
        Ok(Self { settings, state })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many checks fell on a shared allowance because the table was full of limited keys.
    pub fn shared(&self) -> u64 {
        let rates = self.state.rate.as_ref().map_or(0, |pace| pace.table.shared());
        let permits = self.state.permits.as_ref().map_or(0, |permits| permits.shared());
        rates + permits
    }

    /// Charges the rate of this limit with one request.
    pub fn check(&self, input: &KeyInput<'_>) -> Verdict {
        match &self.state.rate {
            Some(pace) => pace.check(self.hash(input)),
            None => Verdict::Allowed(None),
        }
    }

    /// Takes one of the concurrent places of the key; it is given back when the permit is dropped.
    /// `Ok(None)` when concurrency is not limited, `Err` when all places are taken.
    pub fn enter(&self, input: &KeyInput<'_>) -> Result<Option<Permit>, Full> {
        match &self.state.permits {
            Some(permits) => Permits::enter(permits, self.hash(input)).map(Some).ok_or(Full),
            None => Ok(None),
        }
    }

    fn hash(&self, input: &KeyInput<'_>) -> u64 {
        self.state.hasher.hash(&self.settings.key, input)
    }
}

/// All concurrent places of the key are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all concurrent places of the key are taken")]
pub struct Full;

impl<C: Clock> State<C> {
    fn new(settings: &Settings, clock: C) -> Result<Self, BadLimit> {
        if settings.rate.is_none() && settings.concurrency.is_none() {
            return Err(BadLimit::Nothing);
        }
        let rate = settings.rate.map(|rate| Pace::new(rate, settings.capacity, clock)).transpose()?;
        let permits = settings.concurrency.map(|most| Arc::new(Permits::new(most, settings.capacity)));
        Ok(Self { hasher: Hasher::default(), rate, permits })
    }
}

impl<C: Clock> Pace<C> {
    fn new(rate: Rate, capacity: u32, clock: C) -> Result<Self, BadLimit> {
        let period = rate.per / rate.count.get();
        if period.checked_mul(rate.burst.get()).is_none_or(|fill| fill > LONGEST_FILL) {
            return Err(BadLimit::TooLong);
        }
        let quota = Quota::with_period(period).ok_or(BadLimit::NoPeriod)?.allow_burst(rate.burst);
        let table = Table::new(capacity, period);
        let limiter = RateLimiter::new(quota, table.clone(), clock);
        Ok(Self { limiter, table, period, burst: rate.burst.get() })
    }

    fn check(&self, hash: u64) -> Verdict {
        match self.limiter.check_key(&hash) {
            Ok(snapshot) => Verdict::Allowed(Some(self.standing(snapshot.remaining_burst_capacity()))),
            Err(not_until) => Verdict::Refused {
                retry_after: not_until.wait_time_from(self.limiter.clock().now()),
                standing: Some(self.standing(0)),
            },
        }
    }

    fn standing(&self, remaining: u32) -> Standing {
        let spent = self.burst.saturating_sub(remaining);
        let window = self.period * self.burst;
        Standing { limit: self.burst, remaining, reset: self.period * spent, window }
    }
}

/// The outcome of all limits of a request that may go on.
#[derive(Debug, Default)]
pub struct Admission {
    /// Keep these until the response body has ended; dropping them frees the places.
    pub permits: Vec<Permit>,
    /// The tightest allowance, for the response.
    pub standing: Option<Standing>,
    /// What the record shows: the limit that would have refused, when it only watches.
    pub dry_run: Option<Arc<str>>,
}

impl Admission {
    /// What the record says in `rl`.
    pub fn verdict(&self) -> LimitVerdict {
        if self.dry_run.is_some() { LimitVerdict::DryRun } else { LimitVerdict::Ok }
    }
}

/// A request that is over a limit.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub limit: Arc<str>,
    pub status: StatusCode,
    pub cause: Cause,
    pub retry_after: Duration,
    pub standing: Option<Standing>,
}

impl Refusal {
    /// Writes `Retry-After` (RFC 9110 section 10.2.3, whole seconds, rounded up) and the `RateLimit` fields.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(RETRY_AFTER, HeaderValue::from(ceil_seconds(self.retry_after).max(1)));
        if let Some(standing) = self.standing {
            standing.write(headers);
        }
    }

    pub fn failure(&self) -> Failure {
        Failure::new(Kind::RateLimited).because(&self.cause)
    }
}

/// Charges all limits of a request, in their order; the first that refuses ends it. Charges of limits before the
/// one that refuses stay: a client that hammers one limit also spends the others.
///
/// # Errors
/// The refusal, with all that its answer needs. Places taken so far are free again.
pub fn check<C: Clock>(limits: &[Arc<Limit<C>>], input: &KeyInput<'_>) -> Result<Admission, Box<Refusal>> {
    let mut admission = Admission::default();
    for limit in limits {
        let refused = match limit.check(input) {
            Verdict::Refused { retry_after, standing } => Some((retry_after, standing)),
            Verdict::Allowed(standing) => {
                admission.tighten(standing);
                match limit.enter(input) {
                    Ok(permit) => {
                        admission.permits.extend(permit);
                        None
                    }
                    Err(Full) => Some((Duration::from_secs(1), None)),
                }
            }
        };
        match refused {
            None => {}
            Some(_) if limit.settings.dry_run => {
                admission.dry_run.get_or_insert_with(|| Arc::clone(&limit.settings.name));
            }
            Some((retry_after, standing)) => return Err(limit.refuse(retry_after, standing)),
        }
    }
    Ok(admission)
}

impl Admission {
    fn tighten(&mut self, standing: Option<Standing>) {
        let Some(new) = standing else { return };
        if self.standing.is_none_or(|old| new.remaining < old.remaining) {
            self.standing = Some(new);
        }
    }
}

impl<C: Clock> Limit<C> {
    fn refuse(&self, retry_after: Duration, standing: Option<Standing>) -> Box<Refusal> {
        Box::new(Refusal {
            limit: Arc::clone(&self.settings.name),
            status: self.settings.status,
            cause: Arc::clone(&self.settings.cause),
            retry_after,
            standing,
        })
    }
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl Standing {
    /// Writes the `RateLimit-Limit`, `-Remaining`, `-Reset` fields and `RateLimit-Policy`: the form of the IETF
    /// draft "RateLimit header fields for HTTP" up to revision 07, which is what clients read. Names that are
    /// there already (from the upstream) are replaced: two sets would contradict each other.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(ceil_seconds(self.reset)));
        // `100;w=2`: a hundred requests in any window of two seconds. Digits and punctuation always fit.
        let policy = format!("{};w={}", self.limit, ceil_seconds(self.window));
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(POLICY, policy);
        }
    }
}

fn ceil_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
