//! What an upstream says against itself.

use super::super::read::Sink;
use super::super::upstream::Upstream;
use super::super::words::Name;
use super::super::{Config, Diagnostic, Named, codes};

pub(super) fn check(config: &Config, sink: &mut Sink) {
    for upstream in &config.upstreams {
        endpoints(upstream, sink);
        servers(&upstream.body, sink);
        health(&upstream.body, sink);
        workers(&upstream.body, sink);
    }
}

fn endpoints(upstream: &Named<Name, Upstream>, sink: &mut Sink) {
    let (name, body) = (&upstream.name, &upstream.body);
    if sink.is_broken_at(&name.place, &["servers", "workers"]) {
        return;
    }
    if body.servers.is_empty() && body.workers.is_none() {
        let wrong =
            Diagnostic::error(codes::NO_ENDPOINT, format!("upstream `{}` has no endpoint", name.value));
        sink.push(
            wrong
                .at(&name.place, "")
                .help("add `servers = [\"127.0.0.1:3000\"]` or `workers = { command = [\"…\"] }`"),
        );
    }
    let only_backups = body.servers.iter().all(|server| server.is_backup()) && body.workers.is_none();
    if only_backups && !body.servers.is_empty() {
        let message = format!("upstream `{}` has nothing but backups", name.value);
        sink.push(Diagnostic::warning(codes::ONLY_BACKUPS, message).at(&body.servers.place, ""));
    }
}

fn servers(upstream: &Upstream, sink: &mut Sink) {
    for (index, server) in upstream.servers.iter().enumerate() {
        let first = upstream.servers.iter().take(index).find(|other| other.address() == server.address());
        if let Some(first) = first {
            sink.push(
                Diagnostic::error(codes::SAME_SERVER, "the same server stands twice")
                    .at(&server.place, "again here")
                    .also(&first.place, "first here")
                    .help("for a larger share write `{ addr = \"…\", weight = 2 }`"),
            );
        }
    }
}

fn health(upstream: &Upstream, sink: &mut Sink) {
    let Some(health) = &upstream.health else { return };
    if health.timeout.value > health.every.value {
        let place = if health.timeout.is_written() { &health.timeout.place } else { &health.every.place };
        let message = "a check may take longer than the pause between two";
        sink.push(
            Diagnostic::warning(codes::UNUSED_TIMEOUT, message).at(place, "").note(format!(
                "timeout = \"{}\", every = \"{}\"",
                health.timeout.written, health.every.written
            )),
        );
    }
}

fn workers(upstream: &Upstream, sink: &mut Sink) {
    let Some(workers) = &upstream.workers else { return };
    let is_empty = workers.command.first().is_none_or(|program| program.is_empty());
    if is_empty && !sink.is_broken(&workers.command.place) {
        let wrong =
            Diagnostic::error(codes::BAD_VALUE, "the command is empty").at(&workers.command.place, "");
        sink.push(wrong.help("write the program and its arguments: `[\"node\", \"server.js\"]`"));
    }
    let restart = &workers.restart;
    if restart.delay.value > restart.max_delay.value {
        let place = if restart.delay.is_written() { &restart.delay.place } else { &restart.max_delay.place };
        let wrong =
            Diagnostic::error(codes::OUT_OF_ORDER, "`delay` is longer than `max_delay`").at(place, "");
        sink.push(wrong.note(format!(
            "delay = \"{}\", max_delay = \"{}\"",
            restart.delay.written, restart.max_delay.written
        )));
    }
}
