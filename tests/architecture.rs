//! The house rules that a machine can check: who may import whom, which words are not used, how long a file may be.
//!
//! `src/lib.rs` lists the rooms in path order and a room may name only rooms above it. The sources are cut into
//! tokens first, so that comments and strings never count.

use std::path::{Path, PathBuf};

/// Rooms that may name `config`, besides itself.
const READS_CONFIG: [&str; 4] = ["plan", "app", "log_service", "cli"];
/// What the log service may not name: everything from the first to the last of these, in path order.
const CLOSED_TO_LOG_SERVICE: (&str, &str) = ("route", "app");
/// The only files that may hold `unsafe`, or allow it.
const UNSAFE_FILES: [&str; 2] = ["src/process/memory.rs", "src/access_log/ring/mapped.rs"];
/// Longest file, without its tests.
const MAX_LINES: usize = 400;
/// Words that tell nothing, or that mean something else here, in the names of modules and types.
const BANNED: [&str; 14] = [
    "util", "utils", "common", "helper", "helpers", "manager", "misc", "globals", "cluster", "backend",
    "backends", "peer", "peers", "context",
];
/// The banned words that no function may carry either (`peer_addr` is a socket's own word).
const BANNED_IN_FUNCTIONS: [&str; 9] =
    ["util", "utils", "helper", "helpers", "manager", "misc", "cluster", "backend", "backends"];

struct Source {
    /// Relative to the package, with `/`.
    path: String,
    text: String,
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let house = read_tree(root, "src");
    assert!(house.len() > 10, "no sources found under {}", root.display());
    let mut broken = broken_rules(&house);
    broken.extend(read_tree(root, "tests").iter().flat_map(bare_ignores));
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn broken_rules(house: &[Source]) -> Vec<String> {
    let Some(lib) = house.iter().find(|source| source.path == "src/lib.rs") else {
        return vec!["src/lib.rs is missing".to_owned()];
    };
    let order = rooms(&lib.text);
    house
        .iter()
        .flat_map(|source| {
            let mut broken = upward_edges(source, &order);
            broken.extend(too_long(source));
            broken.extend(bad_words(source));
            broken.extend(bare_ignores(source));
            broken.extend(unsafe_outside(source));
            broken
        })
        .collect()
}

/// The `mod` lines of lib.rs, in order.
fn rooms(lib: &str) -> Vec<String> {
    let tokens = tokens(lib);
    tokens.windows(3).filter(|t| t[0].is("mod") && t[2].is(";")).map(|t| t[1].text.clone()).collect()
}

fn upward_edges(source: &Source, order: &[String]) -> Vec<String> {
    let Some(home) = home(&source.path) else { return Vec::new() };
    let Some(own) = rank(order, &home[0]) else {
        return vec![format!("{}: the room `{}` is not listed in src/lib.rs", source.path, home[0])];
    };
    edges(source, &home)
        .into_iter()
        .filter_map(|(line, room)| {
            let reason = refusal(order, own, &home[0], &room)?;
            Some(format!("{}:{line}: names `{room}`: {reason}", source.path))
        })
        .collect()
}

/// Why a room with rank `own` may not name `room`; None when it may.
fn refusal(order: &[String], own: usize, own_name: &str, room: &str) -> Option<&'static str> {
    let Some(rank_of_room) = rank(order, room) else { return Some("no such room in src/lib.rs") };
    let closed = rank(order, CLOSED_TO_LOG_SERVICE.0)..=rank(order, CLOSED_TO_LOG_SERVICE.1);
    match room {
        _ if rank_of_room > own => Some("it stands further down in src/lib.rs"),
        "config" if own_name != "config" && !READS_CONFIG.contains(&own_name) => {
            Some("only plan, app, log_service and cli read what the user wrote")
        }
        _ if own_name == "log_service" && closed.contains(&Some(rank_of_room)) => {
            Some("the log service stands beside the path and knows nothing of it")
        }
        _ => None,
    }
}

fn rank(order: &[String], room: &str) -> Option<usize> {
    order.iter().position(|name| name == room)
}

/// The module path of a file; None for lib.rs and main.rs, which stand outside the rooms.
fn home(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    if inner == "lib" || inner == "main" {
        return None;
    }
    Some(inner.split('/').filter(|part| *part != "mod").map(str::to_owned).collect())
}

/// Every room that the file names by `crate::` or by enough `super::`, with the line.
fn edges(source: &Source, home: &[String]) -> Vec<(usize, String)> {
    let tokens = tokens(&source.text);
    let mut found = Vec::new();
    let mut at = 0;
    let mut inline = InlineModules::default();
    while at < tokens.len() {
        inline.step(&tokens, at);
        let (next, reached_root) = climb(&tokens, at, home.len() + inline.depth());
        if reached_root {
            found.extend(first_segments(&tokens, next));
        }
        at = next.max(at + 1);
    }
    found
}

/// Reads `crate::` or a chain of `super::`; returns the place behind it, and whether that place is the crate's root.
fn climb(tokens: &[Token], at: usize, depth: usize) -> (usize, bool) {
    let path_sign =
        |i: usize| tokens.get(i).is_some_and(|t| t.is(":")) && tokens.get(i + 1).is_some_and(|t| t.is(":"));
    if tokens[at].is("crate") && path_sign(at + 1) {
        return (at + 3, true);
    }
    let (mut next, mut levels) = (at, 0);
    while tokens.get(next).is_some_and(|t| t.is("super")) && path_sign(next + 1) {
        next += 3;
        levels += 1;
    }
    (next, levels > 0 && levels >= depth)
}

/// `room`, or each `room` of `{room::…, room}`.
fn first_segments(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if !first.is("{") {
        return vec![(first.line, first.text.clone())];
    }
    let (mut found, mut depth, mut expects_name) = (Vec::new(), 0, false);
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if expects_name => found.push((token.line, name.to_owned())),
            _ => {}
        }
        expects_name = depth == 1 && (token.is("{") || token.is(","));
        if depth == 0 {
            break;
        }
    }
    found
}

/// How many `mod name { … }` are open: `super` inside them climbs one step less far.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    opened_at: Vec<usize>,
}

impl InlineModules {
    fn step(&mut self, tokens: &[Token], at: usize) {
        if tokens[at].is("{") {
            self.braces += 1;
            if at >= 2 && tokens[at - 2].is("mod") {
                self.opened_at.push(self.braces);
            }
        } else if tokens[at].is("}") {
            if self.opened_at.last() == Some(&self.braces) {
                self.opened_at.pop();
            }
            self.braces = self.braces.saturating_sub(1);
        }
    }

    fn depth(&self) -> usize {
        self.opened_at.len()
    }
}

fn too_long(source: &Source) -> Option<String> {
    if source.path.ends_with("/tests.rs") || source.path.contains("/tests/") {
        return None;
    }
    let lines = production_lines(&source.text);
    (lines > MAX_LINES).then(|| format!("{}: {lines} lines without tests, {MAX_LINES} at most", source.path))
}

/// Lines up to the first `#[cfg(test)] mod … {`; tests stand at the bottom.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
        .unwrap_or(lines.len())
}

fn bad_words(source: &Source) -> Vec<String> {
    let file_words = source.path.trim_end_matches(".rs").split(['/', '_']);
    let mut broken: Vec<String> = file_words
        .filter(|word| BANNED.contains(word))
        .map(|word| format!("{}: `{word}` is not a name for a file", source.path))
        .collect();
    for pair in tokens(&source.text).windows(2) {
        let banned: &[&str] = match pair[0].text.as_str() {
            "struct" | "enum" | "trait" | "union" | "type" | "mod" => &BANNED,
            "fn" | "const" | "static" => &BANNED_IN_FUNCTIONS,
            _ => continue,
        };
        let words = words(&pair[1].text);
        if let Some(word) = words.iter().find(|word| banned.contains(&word.as_str())) {
            broken.push(format!(
                "{}:{}: `{}` carries the word `{word}`",
                source.path, pair[1].line, pair[1].text
            ));
        }
    }
    broken
}

/// `ConnPool` and `conn_pool` are both `conn`, `pool`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

fn bare_ignores(source: &Source) -> Vec<String> {
    tokens(&source.text)
        .windows(3)
        .filter(|t| t[0].is("[") && t[1].is("ignore") && t[2].is("]"))
        .map(|t| format!("{}:{}: #[ignore] without a reason", source.path, t[1].line))
        .collect()
}

fn unsafe_outside(source: &Source) -> Vec<String> {
    if UNSAFE_FILES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    tokens(&source.text)
        .iter()
        .filter(|token| token.is("unsafe") || token.is("unsafe_code"))
        .map(|token| format!("{}:{}: unsafe code lives in {UNSAFE_FILES:?} only", source.path, token.line))
        .collect()
}

/// Every `.rs` file below a folder of the package, in order of path. Packages of their own in there are left out.
fn read_tree(root: &Path, folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in entries {
            if path.is_dir() && !path.join("Cargo.toml").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|path| read(root, path)).collect()
}

fn read(root: &Path, path: &PathBuf) -> Source {
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    Source { path: relative, text: std::fs::read_to_string(path).unwrap_or_default() }
}

struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// Words and single signs of Rust; comments, strings, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: text, line: 1 };
    std::iter::from_fn(|| scanner.next_token()).collect()
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl Scanner<'_> {
    fn next_token(&mut self) -> Option<Token> {
        loop {
            let length = self.skippable();
            if length == 0 {
                break;
            }
            self.advance(length);
        }
        let first = self.rest.chars().next()?;
        let length = match is_word(first) {
            true => self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len()),
            false => first.len_utf8(),
        };
        let token = Token { line: self.line, text: self.rest[..length].to_owned() };
        self.advance(length);
        Some(token)
    }

    fn advance(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }

    /// Length of the space, comment or literal that stands next; 0 when it is a token.
    fn skippable(&self) -> usize {
        let rest = self.rest;
        let length = rest.len();
        let space = length - rest.trim_start().len();
        if space > 0 {
            return space;
        }
        if rest.starts_with("//") {
            return rest.find('\n').unwrap_or(length);
        }
        if rest.starts_with("/*") {
            return block_comment(rest);
        }
        raw_string(rest).or_else(|| quoted(rest)).or_else(|| character_or_lifetime(rest)).unwrap_or(0)
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let step = &rest.as_bytes()[at..];
        if step.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if step.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let body =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let close = inside.find(&end).unwrap_or(inside.len());
    Some((rest.len() - inside.len() + close + end.len()).min(rest.len()))
}

fn quoted(rest: &str) -> Option<usize> {
    let inside =
        rest.strip_prefix("b\"").or_else(|| rest.strip_prefix("c\"")).or_else(|| rest.strip_prefix('"'))?;
    Some((rest.len() - inside.len() + until_quote(inside, b'"')).min(rest.len()))
}

fn character_or_lifetime(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix("b'").or_else(|| rest.strip_prefix('\''))?;
    let mut letters = inside.chars();
    let (first, second) = (letters.next()?, letters.next());
    let is_lifetime = is_word(first) && second != Some('\'');
    let length = match is_lifetime {
        true => inside.find(|c| !is_word(c)).unwrap_or(inside.len()),
        false => until_quote(inside, b'\''),
    };
    Some((rest.len() - inside.len() + length).min(rest.len()))
}

/// Length up to and with the closing quote; a backslash hides the sign behind it.
fn until_quote(inside: &str, quote: u8) -> usize {
    let (mut at, bytes) = (0, inside.as_bytes());
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

mod rules_of_the_test {
    use super::{Source, broken_rules, edges, production_lines, tokens, words};

    const LIB: &str = "pub mod units;\npub mod config;\npub mod route;\npub mod plan;\npub mod app;\npub mod log_service;\npub mod cli;\n";

    fn broken(path: &str, text: &str) -> Vec<String> {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        broken_rules(&[source("src/lib.rs", LIB), source(path, text)])
    }

    #[track_caller]
    fn refuses(path: &str, text: &str, word: &str) {
        let broken = broken(path, text);
        assert!(broken.len() == 1 && broken[0].contains(word), "{path} `{text}` gave {broken:?}");
    }

    #[track_caller]
    fn accepts(path: &str, text: &str) {
        assert_eq!(broken(path, text), Vec::<String>::new(), "{path} `{text}`");
    }

    #[test]
    fn refuses_upward_edges_however_written() {
        refuses("src/units.rs", "use crate::route::Table;", "src/units.rs:1: names `route`");
        refuses("src/units.rs", "\nfn f() { crate::plan::compile() }", "src/units.rs:2: names `plan`");
        refuses("src/route/mod.rs", "use crate::{units, plan::{a, b}};", "`plan`");
        refuses("src/route/path.rs", "use super::super::plan::Plan;", "`plan`");
        refuses("src/route/mod.rs", "use super::plan::Plan;", "`plan`");
        refuses("src/route/mod.rs", "mod tests { use super::super::plan::Plan; }", "`plan`");
        refuses("src/route/mod.rs", "use crate::nowhere::Plan;", "no such room");
        refuses("src/attic/mod.rs", "", "`attic` is not listed");
    }

    #[test]
    fn accepts_downward_edges_and_the_own_room() {
        accepts("src/plan/mod.rs", "use crate::{config::Config, route, units::{Size, Rate}};");
        accepts("src/route/path.rs", "use super::Table; use crate::route::host; use self::x;");
        accepts("src/route/mod.rs", "mod tests { use super::plan_of; mod deeper { use super::super::x; } }");
        accepts(
            "src/units.rs",
            "// crate::plan\n/* crate::plan /* nested */ */ const A: &str = \"crate::plan\";",
        );
        accepts(
            "src/units.rs",
            "const A: &str = r#\"\" crate::plan \"#; fn f<'a>(_: &'a str) -> char { '\\'' }",
        );
    }

    #[test]
    fn config_is_for_the_assembly_only() {
        refuses("src/route/mod.rs", "use crate::config::Config;", "read what the user wrote");
        accepts("src/config/site.rs", "use crate::config::At;");
        accepts("src/cli/check.rs", "use crate::config;");
    }

    #[test]
    fn the_log_service_knows_nothing_of_the_path() {
        refuses("src/log_service/mod.rs", "use crate::route::Table;", "beside the path");
        refuses("src/log_service/mod.rs", "use crate::app::App;", "beside the path");
        accepts("src/log_service/mod.rs", "use crate::units::Size;");
    }

    #[test]
    fn refuses_long_files_but_not_for_their_tests() {
        let long = "const A: u8 = 1;\n".repeat(401);
        refuses("src/units.rs", &long, "401 lines");
        accepts("src/route/tests.rs", &long);
        accepts("src/units.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}\n"));
        assert_eq!(production_lines("a\nb\n"), 2);
    }

    #[test]
    fn refuses_words_that_tell_nothing() {
        refuses("src/route/utils.rs", "", "`utils`");
        refuses("src/units.rs", "struct PoolManager;", "`PoolManager`");
        refuses("src/units.rs", "fn pick_backend() {}", "`backend`");
        refuses("src/units.rs", "enum Peer {}", "`peer`");
        accepts("src/units.rs", "fn peer_addr() {} struct Speer { peer_ip: u8 }");
        assert_eq!(words("ConnPool_of")[1..], ["conn", "pool", "of"]);
    }

    #[test]
    fn refuses_ignored_tests_without_reason() {
        refuses("src/units.rs", "#[test]\n#[ignore]\nfn f() {}", "src/units.rs:2");
        accepts("src/units.rs", "#[ignore = \"needs an hour\"]\nfn f() {}");
    }

    #[test]
    fn refuses_unsafe_outside_its_file() {
        refuses("src/units.rs", "fn f() { unsafe { g() } }", "src/units.rs:1");
        refuses("src/units.rs", "#![allow(unsafe_code)]", "unsafe");
        accepts("src/units.rs", "// unsafe\n");
    }

    #[test]
    fn counts_lines_across_comments_and_strings() {
        let text = "/*\n\n*/ \"\n\" // x\ncrate::a";
        let source = Source { path: "src/b.rs".to_owned(), text: text.to_owned() };
        assert_eq!(edges(&source, &["b".to_owned()]), [(5, "a".to_owned())]);
        assert_eq!(tokens("").len(), 0);
    }
}
