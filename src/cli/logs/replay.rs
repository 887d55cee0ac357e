//! `logs replay ID`: the `curl` command that sends a request again.

use std::time::Instant;

use serde_json::Value;

use super::args::SourceArgs;
use super::output::{Output, note};
use super::words::{number, size, text};
use super::{CommandError, show, source, summary};

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The id, as for `logs show`.
    id: String,
    /// Send it there instead: http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

pub(super) fn run(args: &ReplayArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, _) = source::question(&[], None, &args.source)?;
    let (record, told) = show::one(&source, &args.id)?;
    let to = args.to.as_deref().map(checked).transpose()?;
    let mut output = Output::stdout();
    output.line(&command(&record, to))?;
    output.flush()?;
    if to.is_none() && text(&record, "host").is_none() {
        note("note: its host was not logged, and localhost is only a guess: --to http://HOST says which");
    }
    warnings(&record).iter().for_each(|warning| note(warning));
    summary::end(&mut output, false, &told, started)?;
    Ok(true)
}

fn checked(url: &str) -> Result<&str, CommandError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let is_good = rest.is_some_and(|rest| !rest.is_empty() && !rest.trim_end_matches('/').contains('/'));
    let usage = || CommandError::Usage("--to takes a scheme and a host: http://127.0.0.1:3000".to_owned());
    is_good.then_some(url.trim_end_matches('/')).ok_or_else(usage)
}

/// What the log does not have, so that the copy is not the same.
fn warnings(record: &Value) -> Vec<String> {
    let mut warnings = vec![
        "note: only what is logged can be repeated: other header fields, cookies and credentials are not"
            .to_owned(),
    ];
    let hidden = ["query", "path", "referer"]
        .iter()
        .filter(|name| text(record, name).is_some_and(|text| text.contains("REDACTED")));
    let hidden: Vec<&str> = hidden.copied().collect();
    if !hidden.is_empty() {
        warnings.push(format!(
            "note: secrets in its {} were not logged: replace REDACTED yourself",
            hidden.join(" and ")
        ));
    }
    if let Some(body) = number(record, "rx_body_b").filter(|body| *body > 0) {
        warnings.push(format!(
            "note: its body of {} was not logged: add it with --data-binary @FILE",
            size(body)
        ));
    }
    if !matches!(text(record, "method"), Some("GET" | "HEAD" | "OPTIONS")) {
        warnings.push("note: sending it again may do again what it did".to_owned());
    }
    warnings
}

/// Every word is quoted: nothing in a request can become another command or another option.
fn command(record: &Value, to: Option<&str>) -> String {
    // `--globoff` and `--path-as-is`: curl would change brackets, braces and dots.
    let mut words =
        vec!["curl".to_owned(), "-v".to_owned(), "--globoff".to_owned(), "--path-as-is".to_owned()];
    match text(record, "method") {
        Some("GET") | None => {}
        Some("HEAD") => words.push("--head".to_owned()),
        Some(method) => words.extend(["-X".to_owned(), quoted(method)]),
    }
    let version = match text(record, "proto") {
        Some("1.0") => Some("--http1.0"),
        Some("1.1") => Some("--http1.1"),
        Some("2") => Some("--http2"),
        _ => None,
    };
    words.extend(version.map(str::to_owned));
    let host = text(record, "host").unwrap_or("localhost");
    if to.is_some() {
        words.extend(["-H".to_owned(), quoted(&format!("Host: {host}"))]);
    }
    for (name, header) in [("ua", "User-Agent"), ("referer", "Referer"), ("req_type", "Content-Type")] {
        if let Some(value) = text(record, name) {
            words.extend(["-H".to_owned(), quoted(&format!("{header}: {value}"))]);
        }
    }
    let base =
        to.map_or_else(|| format!("{}://{host}", text(record, "scheme").unwrap_or("http")), str::to_owned);
    words.push(quoted(&format!("{}{}", in_url(&base), in_url(&target(record)))));
    words.join(" ")
}

fn target(record: &Value) -> String {
    let query = text(record, "query").map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", text(record, "path").unwrap_or("/"))
}

/// Characters that no URL has, as their bytes in percent.
fn in_url(text: &str) -> String {
    let byte = |byte: u8| match byte {
        0x21..=0x7e if !b"\"<>\\^`{|}".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// One word for a POSIX shell, safe to be shown: plain, in single quotes, or (with control characters) in `$'…'`.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let is_shown = super::escape::Safe(text).to_string() == text;
    if is_shown {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let escaped = |byte: u8| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    // A hexadecimal escape takes two digits at most in bash and zsh, so the next letter cannot join it.
    format!("$'{}'", text.bytes().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn repeats_what_was_asked() {
        let record = json!({"method": "POST", "scheme": "https", "host": "shop.example", "path": "/a b/../c", "query": "q='x'&t=REDACTED",
            "proto": "2", "ua": "it's; rm -rf /", "rx_body_b": 12});
        assert_eq!(
            command(&record, None),
            r"curl -v --globoff --path-as-is -X POST --http2 -H 'User-Agent: it'\''s; rm -rf /' 'https://shop.example/a%20b/../c?q='\''x'\''&t=REDACTED'"
        );
        assert!(
            command(&record, Some("http://127.0.0.1:3000"))
                .ends_with("'http://127.0.0.1:3000/a%20b/../c?q='\\''x'\\''&t=REDACTED'")
        );
        assert_eq!(warnings(&record).len(), 4);
        assert!(
            checked("http://a/b").is_err() && checked("ftp://a").is_err() && checked("https://a:1/").is_ok()
        );
    }

    proptest! {
        #[test]
        fn a_shell_reads_back_the_same_words(text in "[^\0]{0,40}") {
            let output = std::process::Command::new("bash").args(["-c", &format!("printf %s {}", quoted(&text))]).output().unwrap();
            prop_assert_eq!(output.stdout, text.as_bytes());
            prop_assert!(!quoted(&text).contains(char::is_control));
        }
    }
}
