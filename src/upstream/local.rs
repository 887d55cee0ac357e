//! What one core keeps for the upstreams: idle connections and the turn of the balancer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::balance::Turn;
use super::connecting::Line;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::{Pool, Upstream};

/// All upstreams of one core.
#[derive(Default)]
pub struct Locals {
    by_id: RefCell<HashMap<u64, Rc<Local>, foldhash::fast::FixedState>>,
}

impl Locals {
    /// This core's part of `upstream`, made on first use.
    pub fn of(&self, upstream: &Upstream) -> Rc<Local> {
        let mut by_id = self.by_id.borrow_mut();
        Rc::clone(by_id.entry(upstream.id).or_insert_with(|| Rc::new(Local::new(upstream))))
    }

    /// Drops what is too old or closed, and forgets upstreams that `is_known` no longer names.
    pub fn sweep(&self, now_ms: u64, is_known: impl Fn(u64) -> bool) {
        let mut by_id = self.by_id.borrow_mut();
        by_id.retain(|id, _| is_known(*id));
        for local in by_id.values() {
            local.sweep(now_ms);
        }
    }

    /// Idle connections now.
    pub fn idle(&self) -> usize {
        self.by_id.borrow().values().map(|l| l.idle()).sum()
    }
}

/// One upstream on one core.
pub struct Local {
    pub turn: Turn,
    pool: Pool,
    stacks: RefCell<Vec<Stack>>,
}

/// Idle connections of one endpoint; the last used is taken first, so that the rest can age out.
struct Stack {
    endpoint: Arc<Endpoint>,
    /// Who waits for one; nobody does while there are idle ones, unless only a new one will do.
    line: Line,
    #[expect(
        clippy::vec_box,
        reason = "a connection is large, and is taken and given back once per request"
    )]
    idle: Vec<Box<Connection>>,
}

impl Local {
    fn new(upstream: &Upstream) -> Self {
        let seed = upstream.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
        Self { turn: Turn::new(seed), pool: upstream.settings.pool.clone(), stacks: RefCell::default() }
    }

    /// An idle connection to `endpoint` that is still good.
    pub fn take(&self, endpoint: &Arc<Endpoint>, now_ms: u64) -> Option<Box<Connection>> {
        let mut stacks = self.stacks.borrow_mut();
        let stack = stacks.iter_mut().find(|s| Arc::ptr_eq(&s.endpoint, endpoint))?;
        while let Some(mut connection) = stack.idle.pop() {
            if !is_stale(&connection, &self.pool, now_ms)
                && (connection.is_quiet() || connection.settle().is_pending())
                && connection.is_reusable()
            {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection` for the next request, if it is clean and there is room; at once if one waits for it.
    pub fn give_back(&self, mut connection: Box<Connection>, now_ms: u64) {
        if connection.settle().is_ready() || !connection.is_reusable() {
            return;
        }
        connection.idle_since_ms = now_ms;
        self.keep(connection, false);
    }

    /// Gives a clean `connection` to who waits for it, or keeps it if there is room.
    pub(super) fn keep(&self, connection: Box<Connection>, is_new: bool) {
        let mut stacks = self.stacks.borrow_mut();
        let stack = stack_of(&mut stacks, &connection.endpoint);
        let left = match stack.line.is_empty() {
            true => Some(connection),
            false => stack.line.give(connection, is_new),
        };
        if let Some(connection) = left
            && stack.idle.len() < self.pool.idle
        {
            stack.idle.push(connection);
        }
    }

    /// Works on the line of those who wait for a connection to `endpoint`.
    pub(super) fn with_line<T>(&self, endpoint: &Arc<Endpoint>, work: impl FnOnce(&mut Line) -> T) -> T {
        work(&mut stack_of(&mut self.stacks.borrow_mut(), endpoint).line)
    }

    /// How many connections to one endpoint may be made at once; at least one.
    pub(super) fn connecting(&self) -> usize {
        self.pool.connecting.max(1)
    }

    fn sweep(&self, now_ms: u64) {
        let mut stacks = self.stacks.borrow_mut();
        for stack in &mut *stacks {
            stack.idle.retain_mut(|c| {
                (c.is_quiet() || c.settle().is_pending()) && !is_stale(c, &self.pool, now_ms)
            });
        }
        stacks.retain(|s| !s.idle.is_empty() || s.line.is_busy());
    }

    fn idle(&self) -> usize {
        self.stacks.borrow().iter().map(|s| s.idle.len()).sum()
    }
}

fn stack_of<'a>(stacks: &'a mut Vec<Stack>, endpoint: &Arc<Endpoint>) -> &'a mut Stack {
    let index = stacks.iter().position(|s| Arc::ptr_eq(&s.endpoint, endpoint)).unwrap_or_else(|| {
        stacks.push(Stack { endpoint: Arc::clone(endpoint), line: Line::default(), idle: Vec::new() });
        stacks.len() - 1
    });
    &mut stacks[index]
}

fn is_stale(connection: &Connection, pool: &Pool, now_ms: u64) -> bool {
    let is_over = |since: u64, limit: Duration| u128::from(now_ms.saturating_sub(since)) > limit.as_millis();
    is_over(connection.idle_since_ms, pool.idle_timeout) || is_over(connection.born_ms, pool.max_age)
}
