//! `?filter_path=errors,items.*.status`: which members of an answer the asker wants.
//!
//! Paths are separated by commas, names within a path by dots; `*` stands for any letters of a name, `**` for any names, `-`
//! in front says what is left out. Arrays are passed through. What has nothing left in it goes too.
//!
//! Source: Elasticsearch 8 reference, "Common options: response filtering".

use serde_json::{Map, Value};

/// Paths and names that are looked at; more ask for nothing that anybody would want.
const MAX_PATHS: usize = 32;
const MAX_NAMES: usize = 16;

/// What of an answer is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterPath {
    wanted: Vec<Vec<String>>,
    unwanted: Vec<Vec<String>>,
}

impl FilterPath {
    /// Reads the value of the parameter.
    pub fn parse(text: &str) -> Self {
        let mut filter = Self::default();
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()).take(MAX_PATHS) {
            let (paths, path) = match path.strip_prefix('-') {
                Some(path) => (&mut filter.unwanted, path),
                None => (&mut filter.wanted, path),
            };
            paths.push(path.split('.').take(MAX_NAMES).map(str::to_owned).collect());
        }
        filter
    }

    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// What is wanted of a value; `None` if nothing is.
    pub fn apply(&self, value: Value) -> Option<Value> {
        let value = if self.unwanted.is_empty() { value } else { without(value, &slices(&self.unwanted))? };
        if self.wanted.is_empty() { Some(value) } else { only(value, &slices(&self.wanted)) }
    }
}

type Path<'p> = &'p [String];

fn slices(paths: &[Vec<String>]) -> Vec<Path<'_>> {
    paths.iter().map(Vec::as_slice).collect()
}

fn only(value: Value, paths: &[Path<'_>]) -> Option<Value> {
    match value {
        Value::Object(members) => kept(members, |name, value| {
            let rest = below(paths, name);
            if rest.iter().any(is_end) { Some(value) } else { only(value, &rest) }
        }),
        Value::Array(values) => each(values, |value| only(value, paths)),
        _ => None,
    }
}

fn without(value: Value, paths: &[Path<'_>]) -> Option<Value> {
    match value {
        Value::Object(members) => kept(members, |name, value| {
            let rest = below(paths, name);
            if rest.iter().any(is_end) { None } else { without(value, &rest) }
        }),
        Value::Array(values) => each(values, |value| without(value, paths)),
        other => Some(other),
    }
}

fn kept(members: Map<String, Value>, mut of: impl FnMut(&str, Value) -> Option<Value>) -> Option<Value> {
    let members: Map<String, Value> = members
        .into_iter()
        .filter_map(|(name, value)| {
            let value = of(&name, value)?;
            Some((name, value))
        })
        .collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

fn each(values: Vec<Value>, of: impl FnMut(Value) -> Option<Value>) -> Option<Value> {
    let values: Vec<Value> = values.into_iter().filter_map(of).collect();
    (!values.is_empty()).then_some(Value::Array(values))
}

/// What remains of the paths that lead through a member of this name.
fn below<'p>(paths: &[Path<'p>], name: &str) -> Vec<Path<'p>> {
    let mut rest: Vec<Path<'p>> = Vec::new();
    for path in paths {
        step(path, name, &mut rest);
    }
    rest
}

fn step<'p>(path: Path<'p>, name: &str, rest: &mut Vec<Path<'p>>) {
    let Some((first, further)) = path.split_first() else { return };
    if first == "**" {
        // It may stand for this name and more, or for none.
        add(path, rest);
        step(further, name, rest);
    } else if matches(first.as_bytes(), name.as_bytes()) {
        add(further, rest);
    }
}

/// Once each: several `**` would multiply them.
fn add<'p>(path: Path<'p>, rest: &mut Vec<Path<'p>>) {
    if !rest.contains(&path) {
        rest.push(path);
    }
}

fn is_end(path: &Path<'_>) -> bool {
    path.iter().all(|name| name == "**")
}

/// Whether a name fits a pattern with `*`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = memchr::memmem::find(rest, part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filtered(paths: &str) -> Value {
        let answer = json!({
            "took": 3, "errors": true,
            "items": [
                { "create": { "_index": "a", "status": 201 } },
                { "create": { "_index": "a", "status": 400, "error": { "type": "t", "reason": "r" } } },
            ],
        });
        FilterPath::parse(paths).apply(answer).unwrap_or_default()
    }

    #[test]
    fn the_forms_of_shippers_work() {
        assert_eq!(filtered("errors"), json!({ "errors": true }));
        assert_eq!(
            filtered("errors,items.*.error,items.*.status"),
            json!({ "errors": true, "items": [
                { "create": { "status": 201 } },
                { "create": { "status": 400, "error": { "type": "t", "reason": "r" } } },
            ] })
        );
        assert_eq!(
            filtered("items.*.error.reason"),
            json!({ "items": [{ "create": { "error": { "reason": "r" } } }] })
        );
        assert_eq!(
            filtered("**.status,to*"),
            json!({ "took": 3, "items": [
            { "create": { "status": 201 } }, { "create": { "status": 400 } },
        ] })
        );
        assert_eq!(
            filtered("items,-items.create.error,-**._index"),
            json!({ "items": [
            { "create": { "status": 201 } }, { "create": { "status": 400 } },
        ] })
        );
        assert_eq!(filtered("nothing"), Value::Null);
        assert!(FilterPath::parse(" , ").is_all());
    }

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("*b*", "abc", true),
            ("a*b*c", "axbxc", true),
            ("a*a", "a", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_and_keeps_nothing_that_was_not_there(text in ".{0,60}") {
            let kept = filtered(&text).to_string();
            prop_assert!(kept.len() <= filtered("**").to_string().len());
        }
    }
}
