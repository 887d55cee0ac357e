//! One site: its routes, indexed by path.

use std::collections::HashMap;

use http::Method;

use super::condition::same_conditions;
use super::explain::{Lost, Watch};
use super::{BuildError, Condition, Head, PathPattern, RouteSpec, SiteSpec};

/// A site of the table.
#[derive(Debug)]
pub struct Site<S, R> {
    /// Its place in the file, from 0.
    pub index: usize,
    pub name: String,
    pub value: S,
    routes: Vec<Route<R>>,
    exact: HashMap<Box<str>, Group, foldhash::fast::RandomState>,
    /// In the order in which they are tried.
    regexes: Group,
    prefixes: Prefixes,
}

/// A route of a site.
#[derive(Debug)]
pub struct Route<R> {
    /// Its place in the site, from 0.
    pub index: usize,
    pub name: String,
    pub path: PathPattern,
    pub conditions: Vec<Condition>,
    pub value: R,
}

/// Numbers of routes, best first.
type Group = Vec<usize>;

impl<S, R> Site<S, R> {
    pub(super) fn build(index: usize, spec: SiteSpec<S, R>) -> Result<Self, BuildError> {
        let name = spec.name;
        let routes: Vec<Route<R>> =
            spec.routes.into_iter().enumerate().map(|(at, route)| Route::build(at, route)).collect();
        if let Some(twin) =
            routes.iter().enumerate().find_map(|(at, a)| routes[..at].iter().find(|b| a.equals(b)))
        {
            return Err(BuildError::RouteTwice { site: name, route: twin.name.clone() });
        }
        let mut exact: HashMap<Box<str>, Group, _> = HashMap::default();
        let mut regexes = Group::new();
        let mut prefixes: Vec<(&str, Group)> = Vec::new();
        for at in by_conditions(&routes) {
            match &routes[at].path {
                PathPattern::Exact(path) => exact.entry(path.as_str().into()).or_default().push(at),
                PathPattern::Regex(_) => regexes.push(at),
                PathPattern::Prefix(prefix) => match prefixes.iter_mut().find(|(known, _)| known == prefix) {
                    Some((_, group)) => group.push(at),
                    None => prefixes.push((prefix, vec![at])),
                },
            }
        }
        // File order of the expressions; among twins of one expression, `by_conditions` has the word (a stable sort).
        let first = |at: usize| routes.iter().position(|route| route.path.same(&routes[at].path));
        regexes.sort_by_key(|&at| first(at));
        let prefixes = Prefixes::build(prefixes)
            .map_err(|route| BuildError::PathConflict { site: name.clone(), route })?;
        Ok(Self { index, name, value: spec.value, routes, exact, regexes, prefixes })
    }

    /// In file order.
    pub fn routes(&self) -> &[Route<R>] {
        &self.routes
    }

    /// The best route whose path and conditions fit; tells `watch` of those that it tried in vain.
    pub(super) fn search(&self, path: &str, head: &Head<'_>, watch: &mut impl Watch) -> Option<&Route<R>> {
        if !self.exact.is_empty()
            && let Some(group) = self.exact.get(path)
            && let Some(route) = self.first_of(group, head, watch)
        {
            return Some(route);
        }
        for &at in &self.regexes {
            let route = &self.routes[at];
            if route.path.matches(path)
                && let Some(route) = self.first_of(&[at], head, watch)
            {
                return Some(route);
            }
        }
        let mut next = self.prefixes.longest(path);
        while let Some(node) = next {
            if let Some(route) = self.first_of(&node.group, head, watch) {
                return Some(route);
            }
            next = node.shorter.map(|at| &self.prefixes.nodes[at]);
        }
        None
    }

    /// Methods that would have found a route here; for `Allow` when there is none. Empty: the path has no route at all.
    pub fn allowed_methods(&self, path: &str, head: &Head<'_>) -> Vec<Method> {
        let mut allowed: Vec<Method> = Vec::new();
        for route in self.routes.iter().filter(|route| route.path.matches(path)) {
            for method in route.methods_if_rest_holds(head) {
                if !allowed.contains(method) {
                    allowed.push(method.clone());
                }
            }
        }
        allowed
    }

    fn first_of(&self, group: &[usize], head: &Head<'_>, watch: &mut impl Watch) -> Option<&Route<R>> {
        for &at in group {
            let route = &self.routes[at];
            match route.conditions.iter().position(|condition| !condition.holds(head)) {
                None => return Some(route),
                Some(failed) => watch.lost(at, Lost::Condition(failed)),
            }
        }
        None
    }
}

impl<R> Route<R> {
    fn build(index: usize, spec: RouteSpec<R>) -> Self {
        let RouteSpec { name, path, conditions, value } = spec;
        Self { index, name, path, conditions, value }
    }

    /// The methods of its condition, provided that every other condition holds.
    fn methods_if_rest_holds(&self, head: &Head<'_>) -> &[Method] {
        let mut methods: &[Method] = &[];
        for condition in &self.conditions {
            match condition {
                Condition::Method(named) => methods = named,
                other if other.holds(head) => {}
                _ => return &[],
            }
        }
        methods
    }

    fn equals(&self, other: &Self) -> bool {
        self.path.same(&other.path) && same_conditions(&self.conditions, &other.conditions)
    }
}

/// More conditions first, then file order.
fn by_conditions<R>(routes: &[Route<R>]) -> Group {
    let mut order: Group = (0..routes.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(routes[at].conditions.len()));
    order
}

/// Prefixes as a tree for the longest match, and a chain from each to the next shorter one that holds it.
#[derive(Debug, Default)]
struct Prefixes {
    nodes: Vec<Node>,
    tree: matchit::Router<usize>,
    /// `/*`, which most sites end with: needs no tree.
    root: Option<usize>,
    only_root: bool,
}

#[derive(Debug)]
struct Node {
    group: Group,
    shorter: Option<usize>,
}

impl Prefixes {
    /// The error is the prefix that the tree does not take.
    fn build(mut prefixes: Vec<(&str, Group)>) -> Result<Self, String> {
        prefixes.sort_by_key(|(prefix, _)| prefix.len());
        let mut built = Self { only_root: true, ..Self::default() };
        for (at, (prefix, group)) in prefixes.iter().enumerate() {
            let shorter = prefixes[..at].iter().rposition(|(other, _)| prefix.starts_with(other));
            built.nodes.push(Node { group: group.clone(), shorter });
            if *prefix == "/" {
                built.root = Some(at);
            } else {
                built.only_root = false;
                built.insert(prefix, at)?;
            }
        }
        Ok(built)
    }

    fn insert(&mut self, prefix: &str, at: usize) -> Result<(), String> {
        // A canonical path holds no braces, so nothing in a prefix can be taken for a parameter. The catch-all takes
        // one character at least, hence the second entry.
        let below = format!("{prefix}{{*rest}}");
        let entries = self.tree.insert(prefix, at).and_then(|()| self.tree.insert(below, at));
        entries.map_err(|_| prefix.to_owned())
    }

    fn longest(&self, path: &str) -> Option<&Node> {
        let found = if self.only_root { None } else { self.tree.at(path).ok().map(|found| *found.value) };
        self.nodes.get(found.or(self.root.filter(|_| path.starts_with('/')))?)
    }
}
