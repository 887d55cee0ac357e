//! `[log.sink.NAME]` and `[log.input.NAME]`: keys that their type has no use for, keys that it needs, addresses.

use super::super::log::{Log, LogService};
use super::super::log_input::{InputType, LogInput};
use super::super::log_sink::{LogSink, Remote, SinkForm, SinkType};
use super::super::place::Place;
use super::super::read::Sink;
use super::super::words::{Name, Text};
use super::super::{At, Diagnostic, codes};
use super::log::is_field_value;
use super::{pair, without_effect};

pub(super) fn check(log: &Log, sink: &mut Sink) {
    for (name, one) in log.sink.iter() {
        check_sink(name, one, sink);
    }
    for (name, one) in log.input.iter() {
        check_input(name, one, sink);
    }
    let is_served_elsewhere = matches!(log.service.value, LogService::Unix(_) | LogService::Url(_));
    let has_no_files = is_served_elsewhere || matches!(log.service.value, LogService::None);
    if let Some((name, _)) = log.sink.iter().find(|(_, one)| has_no_files && one.kind.value == S3) {
        let message =
            "what goes to object storage are files of the log service, which is not the embedded one";
        sink.push(
            without_effect(&name.place, message)
                .help("write it where that log service is started: `tollgate -c FILE logs serve`"),
        );
    }
    if let Some((name, _)) = log.input.iter().find(|_| is_served_elsewhere) {
        let message = "inputs are doors of the log service, which is somewhere else";
        sink.push(
            without_effect(&name.place, message)
                .help("write them where that log service is started: `tollgate -c FILE logs serve`"),
        );
    }
}

fn check_sink(name: &At<Name>, one: &At<LogSink>, sink: &mut Sink) {
    let kind = one.kind.value;
    for (key, place, kinds) in written(one) {
        if !kinds.contains(&kind) {
            let message = format!("`{key}` has no meaning for a sink of type `{}`", kind.word());
            sink.push(without_effect(place, message));
        }
    }
    addresses(name, one, sink);
    names(one, sink);
    pair(("user", one.user.as_ref()), ("password", one.password.as_ref()), sink);
    pair(("cert", one.cert.as_ref()), ("key", one.key.as_ref()), sink);
    if let Some(user) = one.user.as_ref().filter(|_| kind == Forward && one.token.is_none()) {
        let message = "`user` has no meaning for `forward` without `token`, the shared key";
        sink.push(without_effect(&user.place, message));
    }
    if kind == S3 {
        check_bucket(one, sink);
    }
    for (key, secret) in [("token", &one.token), ("user", &one.user), ("password", &one.password)] {
        if secret.as_ref().is_some_and(|secret| !is_field_value(secret)) {
            // Without its line: it may have the secret in it.
            let message = format!("`{key}` of the sink `{}` is empty, or has control bytes", name.value);
            sink.push(Diagnostic::error(codes::BAD_VALUE, message));
        }
    }
    if kind == Syslog {
        element_name(&format!("the sink `{}`", name.value), one.token.as_ref(), sink);
    }
    if kind == Kafka && !cfg!(feature = "kafka") {
        let message = "this program was built without sinks of type `kafka`";
        let help = "build it with `cargo build --release --features kafka`";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&one.kind.place, "").help(help));
    }
    let is_text = matches!(one.form.value, SinkForm::Combined | SinkForm::Haproxy);
    if is_text && !TEXTS.contains(&kind) {
        let message = format!("a sink of type `{}` takes objects: `native`, `ecs` or `otel`", kind.word());
        sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&one.form.place, ""));
    }
    if let Some(token) = one.token.as_ref().filter(|_| one.user.is_some() && HTTP.contains(&kind)) {
        sink.push(without_effect(
            &token.place,
            "`token` has no meaning beside `user`: both are `Authorization`",
        ));
    }
}

/// Names that an address can hold: `.` and `..` would lead to another bucket.
fn check_bucket(one: &At<LogSink>, sink: &mut Sink) {
    match &one.bucket {
        None => missing(&one.kind.place, "bucket", sink),
        Some(bucket) => {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if !(1..=255).contains(&bucket.len())
                || !bucket.bytes().all(is_fit)
                || bucket.bytes().all(|byte| byte == b'.')
            {
                let message = "a bucket has a name of letters, digits, `.`, `-` and `_`";
                sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&bucket.place, ""));
            }
        }
    }
    if one.user.is_none() && one.password.is_none() {
        missing(&one.kind.place, "user", sink);
    }
    if one.prefix.len() > 512
        || one.prefix.chars().any(char::is_control)
        || one.prefix.split('/').any(|part| matches!(part, "." | ".."))
    {
        let message = "a prefix has at most 512 bytes, no control characters, and no part `.` or `..`";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&one.prefix.place, ""));
    }
    let is_region = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if one.region.is_empty() || !one.region.bytes().all(is_region) {
        let message = "a region has a name of letters, digits, `-` and `_`";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&one.region.place, ""));
    }
}

use SinkType::{
    ClickHouse, Elasticsearch, File, Forward, Http, Kafka, Loki, Lumberjack, Otlp, Packets, S3, Stdout,
    Syslog,
};

const ALL_BUT_LOCAL: &[SinkType] =
    &[Elasticsearch, Loki, Otlp, ClickHouse, Kafka, Forward, Lumberjack, Syslog, Packets, Http, S3];
const HTTP: &[SinkType] = &[Elasticsearch, Loki, Otlp, ClickHouse, Http];
/// Those that take any line.
const TEXTS: &[SinkType] = &[Kafka, Syslog, Http, File, Stdout, Loki];

const FORMS: &[SinkType] =
    &[Elasticsearch, Loki, Otlp, ClickHouse, Kafka, Forward, Lumberjack, Syslog, Packets, Http, File, Stdout];
const SHIPPED: &[SinkType] =
    &[Elasticsearch, Loki, Otlp, ClickHouse, Kafka, Forward, Lumberjack, Syslog, Packets, Http];
const COMPRESSED: &[SinkType] = &[Elasticsearch, Loki, Otlp, ClickHouse, Kafka, Forward, Lumberjack, Http];
const TOKENS: &[SinkType] = &[Elasticsearch, Loki, Otlp, ClickHouse, Http, Forward, Syslog];
const USERS: &[SinkType] = &[Elasticsearch, Loki, Otlp, ClickHouse, Http, Kafka, S3, Forward];
const ROTATED: &[SinkType] =
    &[Elasticsearch, Loki, Otlp, ClickHouse, Kafka, Forward, Lumberjack, Syslog, Packets, Http, File];

/// A key that is written, where, and the types that it means something for.
type Written<'a> = (&'static str, &'a Place, &'static [SinkType]);

/// What is written, and for which types it means something.
fn written(one: &LogSink) -> Vec<Written<'_>> {
    let mut found: Vec<Written<'_>> = Vec::new();
    macro_rules! look {
        ($($field:ident: $kinds:expr,)*) => {$(
            if one.$field.is_written() {
                found.push((stringify!($field), &one.$field.place, $kinds));
            }
        )*};
    }
    look! {
        form: FORMS,
        index: &[Elasticsearch],
        table: &[ClickHouse],
        topic: &[Kafka],
        tag: &[Forward, Syslog],
        facility: &[Syslog],
        labels: &[Loki],
        region: &[S3],
        prefix: &[S3],
        distributor: &[Packets],
        headers: HTTP,
        compress: COMPRESSED,
        batch_records: SHIPPED,
        timeout: ALL_BUT_LOCAL,
        retry_max: ALL_BUT_LOCAL,
        rotate: ROTATED,
    }
    macro_rules! look_optional {
        ($($field:ident: $kinds:expr,)*) => {$(
            if let Some(value) = &one.$field {
                found.push((stringify!($field), &value.place, $kinds));
            }
        )*};
    }
    look_optional! {
        bucket: &[S3],
        token: TOKENS,
        user: USERS,
        password: USERS,
        ca: ALL_BUT_LOCAL,
        cert: ALL_BUT_LOCAL,
        key: ALL_BUT_LOCAL,
        batch: SHIPPED,
        linger: SHIPPED,
        dead_letter: SHIPPED,
    }
    found
}

fn addresses(name: &At<Name>, one: &LogSink, sink: &mut Sink) {
    let kind = one.kind.value;
    match (kind, one.to.len()) {
        (Stdout, 0) => return,
        (Stdout, _) => {
            sink.push(without_effect(&one.to.place, "`to` has no meaning for a sink of type `stdout`"));
            return;
        }
        (_, 0) if !sink.is_broken_at(&name.place, &["to"]) => return missing(&one.kind.place, "to", sink),
        (File, 1) => return,
        (File | S3, 2..) => {
            let message = format!("a sink of type `{}` has one place", kind.word());
            sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&one.to[1].place, ""));
            return;
        }
        _ => {}
    }
    for to in one.to.iter() {
        let Err(problem) = Remote::parse(to, kind, one.distributor.value) else { continue };
        if to.contains('@') {
            // Without its line: it may have a secret in it.
            let message = format!("an address of the sink `{}` has an `@` in it", name.value);
            let help = "an address has no user and password: use `user` and `password`";
            sink.push(Diagnostic::error(codes::BAD_VALUE, message).help(help));
        } else {
            sink.bad_value(&to.place, "address", Remote::example(kind), problem);
        }
    }
}

/// What the other side would refuse with every record, for ever.
fn names(one: &LogSink, sink: &mut Sink) {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !br#"\/*?"<>|,#"#.contains(&byte);
    if one.kind.value == Elasticsearch && (one.index.is_empty() || !one.index.bytes().all(is_fit)) {
        let help = "letters, digits, `-`, `_` and `.` make one";
        let wrong = Diagnostic::error(codes::BAD_VALUE, "that cannot be the name of an index");
        sink.push(wrong.at(&one.index.place, "").help(help));
    }
    for (name, _) in one.labels.iter().filter(|(name, _)| !is_label(name)) {
        let message = format!("`{}` cannot be the name of a label", name.escape_debug());
        let help = "it has letters, digits and `_`, and begins with no digit";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message).at(&name.place, "").help(help));
    }
}

/// Prometheus' rule, which Loki has too.
fn is_label(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn check_input(name: &At<Name>, one: &At<LogInput>, sink: &mut Sink) {
    pair(("cert", one.cert.as_ref()), ("key", one.key.as_ref()), sink);
    if let Some(place) = one.client_ca.as_ref().filter(|_| one.cert.is_none()) {
        sink.push(without_effect(&place.place, "`client_ca` has no meaning without `cert`"));
    }
    if one.token.as_ref().is_some_and(|token| !is_field_value(token)) {
        let message = format!("`token` of the input `{}` is empty, or has control bytes", name.value);
        sink.push(Diagnostic::error(codes::BAD_VALUE, message));
    }
    if one.kind.value == InputType::Syslog {
        element_name(&format!("the input `{}`", name.value), one.token.as_ref(), sink);
    }
    // Neither protocol has a place for it.
    let has_no_token = matches!(one.kind.value, InputType::Lumberjack | InputType::Packets);
    if let Some(token) = one.token.as_ref().filter(|_| has_no_token) {
        let message = format!("`token` has no meaning for an input of type `{}`", one.kind.value.word());
        sink.push(without_effect(&token.place, message).help("use `client_ca`: senders show a certificate"));
    }
}

/// Over syslog a token is the name of an element of structured data (RFC 5424 section 6.3.2).
fn element_name(of: &str, token: Option<&At<Text>>, sink: &mut Sink) {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b'"' | b']');
    // With the six bytes of the number behind it.
    if token.is_some_and(|token| token.len() > 26 || !token.bytes().all(is_fit)) {
        // Without its line: it has the secret in it.
        let message = format!("`token` of {of} cannot be the name of an element of structured data");
        let help = "over syslog it has up to 26 printable characters, none of them a space, `=`, `\"` or `]`";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message).help(help));
    }
}

fn missing(place: &Place, key: &str, sink: &mut Sink) {
    if sink.is_broken_beside(place, key) {
        return;
    }
    let message = format!("`{key}` is missing");
    sink.push(Diagnostic::error(codes::MISSING_KEY, message).at(place, "a sink of this type needs it"));
}
