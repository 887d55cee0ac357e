//! `${VAR}` and `${VAR:-default}` inside string values, put in after parsing; `$${` stands for `${`.
//!
//! After parsing, so that no variable can add keys or close a string, and every span stays right.

use std::sync::Arc;

use super::codes;
use super::diagnostic::Diagnostic;
use super::place::Place;
use super::read::Sink;

/// Where variables come from.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process; `TOLLGATE` is the path of this program where nothing else is said.
pub fn process_env(name: &str) -> Option<String> {
    let found = std::env::var(name).ok();
    if found.is_some() || name != "TOLLGATE" {
        return found;
    }
    std::env::current_exe().ok().map(|path| path.to_string_lossy().into_owned())
}

/// `text` with every variable put in; None when one of them could not be, which is reported.
pub(super) fn expand(
    text: &str,
    place: &Place,
    variables: Variables<'_>,
    sink: &mut Sink,
) -> Option<Arc<str>> {
    let mut done = String::with_capacity(text.len());
    let mut is_whole = true;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(escaped) = before.strip_suffix('$') {
            done.push_str(escaped);
            done.push_str("${");
            rest = after;
            continue;
        }
        done.push_str(before);
        let Some(end) = after.find('}') else {
            sink.push(unclosed(place));
            return None;
        };
        match variable(&after[..end], variables) {
            Ok(value) => done.push_str(&value),
            Err(wrong) => {
                sink.push((*wrong).at(place, "in this string"));
                is_whole = false;
            }
        }
        rest = &after[end + 1..];
    }
    done.push_str(rest);
    is_whole.then(|| done.into())
}

fn variable(inside: &str, variables: Variables<'_>) -> Result<String, Box<Diagnostic>> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(Box::new(bad_name(name)));
    }
    // As in a shell, an empty variable takes the default too.
    let found = variables(name).filter(|value| default.is_none() || !value.is_empty());
    found.or_else(|| default.map(str::to_owned)).ok_or_else(|| Box::new(undefined(name)))
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn undefined(name: &str) -> Diagnostic {
    Diagnostic::error(codes::UNDEFINED_VARIABLE, format!("the environment variable `{name}` is not set"))
        .help(format!("set it, or give a default: `${{{name}:-value}}`; write `$${{` for a plain `${{`"))
}

fn unclosed(place: &Place) -> Diagnostic {
    Diagnostic::error(codes::BAD_VARIABLE, "`${` without a closing `}`")
        .at(place, "in this string")
        .help("write `$${` for a plain `${`")
}

fn bad_name(name: &str) -> Diagnostic {
    Diagnostic::error(codes::BAD_VARIABLE, format!("`{}` is not the name of a variable", name.escape_debug()))
        .help("names have letters, digits and `_`, and do not begin with a digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> (String, usize) {
        let mut sink = Sink::default();
        let env: Variables<'_> = &|name| (name == "HOME").then(|| "/root\" x = 1".to_owned());
        let text =
            expand(text, &Place::Default, env, &mut sink).map_or(String::new(), |text| text.to_string());
        (text, sink.found.len())
    }

    #[test]
    fn variables_are_put_in_as_plain_text() {
        assert_eq!(expanded("a ${HOME} b"), ("a /root\" x = 1 b".into(), 0));
        assert_eq!(expanded("${NONE:-d}${NONE:-}"), ("d".into(), 0));
    }

    #[test]
    fn two_dollars_are_no_variable() {
        assert_eq!(expanded("$${HOME} $5 {x}"), ("${HOME} $5 {x}".into(), 0));
    }

    #[test]
    fn undefined_unclosed_and_misnamed_variables_are_reported() {
        assert_eq!(expanded("${NONE}").1, 1);
        assert_eq!(expanded("x ${HOME").1, 1);
        assert_eq!(expanded("${1A} ${}").1, 2);
    }
}
