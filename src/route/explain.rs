//! The lookup told aloud. The search itself is the server's; only its listener differs.

use super::{Head, Site};

/// One route and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'t> {
    /// Its place in the site.
    pub index: usize,
    pub name: &'t str,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Won,
    Lost(Lost),
}

/// Why a route did not serve the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The path is another.
    Path,
    /// The path fits, but the condition of this number (from 0) does not hold.
    Condition(usize),
    /// It fits, but the winner is more specific, or stands before it.
    Outranked,
}

/// Hears of the routes that a search tried in vain.
pub(super) trait Watch {
    fn lost(&mut self, route: usize, why: Lost);
}

/// The server listens to nothing, and the compiler removes the calls.
impl Watch for () {
    fn lost(&mut self, _: usize, _: Lost) {}
}

impl Watch for Vec<Option<Lost>> {
    fn lost(&mut self, route: usize, why: Lost) {
        if let Some(slot) = self.get_mut(route) {
            *slot = Some(why);
        }
    }
}

pub(super) fn explain<'t, S, R>(site: &'t Site<S, R>, path: &str, head: &Head<'_>) -> Vec<Considered<'t>> {
    let mut heard: Vec<Option<Lost>> = vec![None; site.routes().len()];
    let winner = site.search(path, head, &mut heard).map(|route| route.index);
    let fate = |index: usize| {
        let route = &site.routes()[index];
        if winner == Some(index) {
            return Verdict::Won;
        }
        // Those of which the search did not speak were not tried: they lie elsewhere, or behind the winner.
        Verdict::Lost(heard[index].unwrap_or_else(|| {
            if !route.path.matches(path) {
                return Lost::Path;
            }
            match route.conditions.iter().position(|condition| !condition.holds(head)) {
                Some(failed) => Lost::Condition(failed),
                None => Lost::Outranked,
            }
        }))
    };
    site.routes()
        .iter()
        .enumerate()
        .map(|(index, route)| Considered { index, name: &route.name, verdict: fate(index) })
        .collect()
}
