//! [`Field`]: names of the record's members, their short forms, and what kind of value they hold.

use serde_json::Value;

use super::units::Unit;
use crate::record::host;

/// Short forms that people type. A short form may stand for several members.
const ALIASES: &[(&str, &[&str])] = &[
    ("id", &["id", "rid", "trace_id"]),
    ("dur", &["dur_us"]),
    ("ip", &["client_ip"]),
    ("client", &["client_ip"]),
    ("port", &["client_port"]),
    ("time", &["ts"]),
    ("tx", &["tx_body_b"]),
    ("rx", &["rx_body_b"]),
    ("bytes", &["tx_body_b"]),
    ("up", &["upstream"]),
    ("addr", &["up_addr"]),
    ("agent", &["ua"]),
    ("type", &["resp_type"]),
    ("size", &["tx_body_b"]),
    ("tls", &["tls_ver"]),
    ("head", &["t_head_us"]),
    ("policy", &["t_policy_us"]),
    ("queue", &["t_queue_us"]),
    ("connect", &["t_conn_us"]),
    ("send", &["t_send_us"]),
    ("wait", &["t_wait_us"]),
    ("resp", &["t_resp_us"]),
    ("self", &["t_self_us"]),
    // What applications call it, by weight.
    ("msg", &["msg", "message", "log"]),
    ("message", &["msg", "message", "log"]),
    ("service", &["service", "service.name"]),
    ("logger", &["logger", "logger_name", "log.logger"]),
    ("hostname", &["hostname", "host.name"]),
    ("request_id", &["rid", "request_id"]),
];

/// Members of our own records, for the hint about a mistyped name.
const KNOWN: &[&str] = &[
    "v",
    "kind",
    "ts",
    "recv",
    "from",
    "id",
    "rid",
    "rid_in",
    "trace_id",
    "span_id",
    "parent_id",
    "trace_flags",
    "proxy",
    "boot",
    "core",
    "seq",
    "cfg",
    "conn",
    "conn_req",
    "h2_stream",
    "listener",
    "client_ip",
    "client_port",
    "peer_ip",
    "user",
    "method",
    "scheme",
    "host",
    "path",
    "query",
    "site",
    "route",
    "proto",
    "referer",
    "ua",
    "req_type",
    "status",
    "up_status",
    "resp_type",
    "enc",
    "cache",
    "cache_age_s",
    "rx_head_b",
    "rx_body_b",
    "tx_head_b",
    "tx_body_b",
    "up_tx_b",
    "up_rx_b",
    "dur_us",
    "t_tls_us",
    "t_idle_us",
    "t_head_us",
    "t_policy_us",
    "t_queue_us",
    "t_dns_us",
    "t_conn_us",
    "t_uptls_us",
    "t_send_us",
    "t_wait_us",
    "t_resp_us",
    "t_self_us",
    "upstream",
    "up_addr",
    "worker",
    "up_reused",
    "up_proto",
    "pick",
    "tries",
    "try_log",
    "end_by",
    "end_at",
    "reason",
    "cause",
    "err",
    "rl",
    "rl_rule",
    "rl_delay_us",
    "acl",
    "auth",
    "tls_ver",
    "tls_cipher",
    "tls_group",
    "tls_alpn",
    "tls_sni",
    "tls_resumed",
    "tls_early",
    "tls_client",
    "n_conn",
    "n_req",
    "up_req",
    "n_queue",
    "lag_us",
    "sw",
    "detail",
    "missing",
    "first_seq",
    "last_seq",
    "stream",
    "line",
    "level",
    "msg",
];

/// Those of them that requests do not have.
const OF_LINES: &[&str] = &["level", "stream", "line", "msg"];

/// A field as somebody wrote it, and the members that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    written: Box<str>,
    members: Vec<Box<str>>,
}

impl Field {
    /// Any name may be asked for: entries of other services have members of their own.
    pub fn named(name: &str) -> Self {
        let alias = ALIASES.iter().find(|(short, _)| *short == name);
        let members =
            alias.map_or_else(|| vec![name.into()], |(_, full)| full.iter().map(|m| Box::from(*m)).collect());
        Self { written: name.into(), members }
    }

    /// The name as it was written.
    pub fn name(&self) -> &str {
        &self.written
    }

    /// Whether the field stands for this member.
    pub fn is(&self, member: &str) -> bool {
        self.members.iter().any(|name| **name == *member)
    }

    /// The first member of the entry that the field stands for; `x.key` looks into an object.
    pub fn of<'v>(&self, entry: &'v Value) -> Option<&'v Value> {
        self.all_of(entry).next()
    }

    /// Names of the members that the field stands for, in the order of their weight.
    pub(in crate::log_service) fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|name| &**name)
    }

    pub(super) fn all_of<'v>(&self, entry: &'v Value) -> impl Iterator<Item = &'v Value> {
        self.members.iter().filter_map(|name| lookup(entry, name)).filter(|value| !value.is_null())
    }

    /// How numbers of this field are written.
    pub fn unit(&self) -> Unit {
        let name = self.members.first().map_or("", |name| name);
        match name {
            "ts" | "recv" => Unit::Moment,
            _ if name.ends_with("_us") => Unit::Micros { bare: *self.written == *name },
            _ if name.ends_with("_b") => Unit::Bytes,
            _ if name.ends_with("_s") => Unit::Seconds,
            _ => Unit::Count,
        }
    }

    /// Whether values are addresses, so that a network can be asked for.
    pub(super) fn is_address(&self) -> bool {
        self.members.iter().any(|name| matches!(&**name, "client_ip" | "peer_ip"))
    }

    /// Whether requests have it: other entries are then not asked for.
    pub fn is_of_requests(&self) -> bool {
        let is_theirs = |name: &str| KNOWN.contains(&name) && !OF_LINES.contains(&name);
        self.members.iter().any(|name| is_theirs(name))
    }

    pub(super) fn is_known(&self) -> bool {
        let is_short = ALIASES.iter().any(|(short, _)| *short == &*self.written);
        let is_ours = |name: &str| KNOWN.contains(&name) || host::FACTS.contains(&name) || name.contains('.');
        is_short || self.members.iter().all(|name| is_ours(name))
    }

    /// The known name most like this one.
    pub fn nearest(&self) -> Option<&'static str> {
        let names = KNOWN.iter().chain(ALIASES.iter().map(|(short, _)| short));
        let scored = names.map(|name| (strsim::jaro_winkler(name, &self.written), *name));
        scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
    }
}

/// A member by its name; `x.key` also looks into an object.
pub(in crate::log_service) fn lookup<'v>(entry: &'v Value, name: &str) -> Option<&'v Value> {
    if let Some(value) = entry.get(name) {
        return Some(value);
    }
    name.split_once('.').and_then(|(outer, inner)| lookup(entry.get(outer)?, inner))
}
