//! The config language from outside: what bad files are told, and that everything shipped is good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bad;
mod broken;
mod reference;
mod shipped;
mod values;

/// The variables that the files here may use.
fn variables(name: &str) -> Option<String> {
    match name {
        "TOLLGATE" => Some("/usr/bin/tollgate".to_owned()),
        "PORT_OF_APP" => Some("3000".to_owned()),
        "EMPTY" => Some(String::new()),
        // Secrets of the examples.
        name if ["_TOKEN", "_KEY", "_PASSWORD"].iter().any(|end| name.ends_with(end)) => {
            Some("secret".to_owned())
        }
        _ => None,
    }
}
