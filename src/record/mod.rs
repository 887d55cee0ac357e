//! The contract between proxy and log service: one [`Record`] per exchange, its binary form
//! ([`binary`]), the frames in which it travels ([`frame`]), and its renderings ([`json`], [`ecs`], [`otel`],
//! [`combined`], [`haproxy`], [`mod@line`]).

pub mod binary;
pub mod combined;
mod copy;
pub mod ecs;
pub mod escape;
pub mod frame;
pub mod haproxy;
pub mod host;
pub mod id;
pub mod json;
pub mod line;
pub mod members;
pub mod names;
pub mod otel;
pub mod redact;
#[cfg(test)]
mod renderings_tests;

use std::net::IpAddr;

/// Version of the record schema, written as `v`.
pub const VERSION: u8 = 1;

/// A request id: the 16 bytes of a UUIDv7 (RFC 9562), also usable as a W3C trace id.
pub type Id = [u8; 16];

/// What a record tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Kind {
    #[default]
    Request,
    /// A long-lived exchange (tunnel) has begun.
    Open,
    /// A long-lived exchange has ended.
    Close,
    /// A connection that ended without any request, or with one that was refused before it had a head.
    Conn,
    /// Records were dropped; says how many and why.
    Gap,
    Start,
    Stop,
    Reload,
}

/// Who ended the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum EndBy {
    #[default]
    None,
    Client,
    Upstream,
    Proxy,
    Rule,
    Admin,
}

/// The phase in which the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum EndAt {
    Tls,
    Head,
    Body,
    Policy,
    Queue,
    Dns,
    Connect,
    Uptls,
    Send,
    Wait,
    Resp,
    Tunnel,
    #[default]
    Done,
}

/// Downstream protocol, written as `1.0`, `1.1`, `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Proto {
    Http10,
    Http11,
    Http2,
}

/// What the rate limits said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LimitVerdict {
    Ok,
    Limited,
    DryRun,
}

/// What was negotiated in the TLS handshake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tls<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    pub group: Option<&'a str>,
    pub alpn: Option<&'a str>,
    pub sni: Option<&'a str>,
    pub resumed: bool,
}

/// One failed attempt at an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Try<'a> {
    pub addr: &'a str,
    pub conn_us: Option<u32>,
    pub wait_us: Option<u32>,
    pub status: Option<u16>,
    pub reason: &'a str,
}

/// One record, borrowing from the exchange that it closes (or from the bytes it was decoded from).
///
/// `None` means not applicable, or phase not reached. Times are microseconds, sizes bytes. Client-controlled
/// text is bytes: it need not be UTF-8. What is the same for all records of a core (`proxy`, `boot`, `core`) is
/// not here; the log adds it together with `seq`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    pub kind: Kind,
    /// First byte of the request (accept time for `Conn`), microseconds since the Unix epoch.
    pub ts_us: i64,
    pub id: Id,
    pub rid: Option<&'a [u8]>,
    pub rid_in: Option<&'a [u8]>,
    pub trace_id: Option<[u8; 16]>,
    pub span_id: Option<[u8; 8]>,
    pub parent_id: Option<[u8; 8]>,
    pub trace_flags: Option<u8>,
    /// Hash of the active configuration.
    pub cfg: u64,
    pub conn: u64,
    pub conn_req: u32,
    pub h2_stream: Option<u32>,
    pub listener: &'a str,
    pub client_ip: Option<IpAddr>,
    pub client_port: Option<u16>,
    /// Only when it is not `client_ip`.
    pub peer_ip: Option<IpAddr>,
    pub method: Option<&'a [u8]>,
    pub scheme: Option<&'a str>,
    pub host: Option<&'a [u8]>,
    pub path: Option<&'a [u8]>,
    /// After redaction.
    pub query: Option<&'a [u8]>,
    pub site: Option<&'a str>,
    pub route: Option<&'a str>,
    pub proto: Option<Proto>,
    pub referer: Option<&'a [u8]>,
    pub ua: Option<&'a [u8]>,
    pub req_type: Option<&'a [u8]>,
    /// Status sent downstream; 0 when none was.
    pub status: u16,
    pub up_status: Option<u16>,
    pub resp_type: Option<&'a [u8]>,
    /// Encoding that we applied.
    pub enc: Option<&'a str>,
    pub rx_head_b: u64,
    pub rx_body_b: u64,
    pub tx_head_b: u64,
    pub tx_body_b: u64,
    pub up_tx_b: Option<u64>,
    pub up_rx_b: Option<u64>,
    pub dur_us: u64,
    pub t_tls_us: Option<u32>,
    pub t_idle_us: Option<u64>,
    pub t_head_us: Option<u32>,
    pub t_policy_us: Option<u32>,
    pub t_queue_us: Option<u64>,
    pub t_conn_us: Option<u32>,
    pub t_send_us: Option<u64>,
    pub t_wait_us: Option<u64>,
    pub t_resp_us: Option<u64>,
    pub t_self_us: Option<u64>,
    pub upstream: Option<&'a str>,
    pub up_addr: Option<&'a str>,
    /// Name of the worker process that answered, when tollgate runs it.
    pub worker: Option<&'a str>,
    pub up_reused: Option<bool>,
    pub pick: Option<&'a str>,
    pub tries: u8,
    pub try_log: &'a [Try<'a>],
    pub end_by: EndBy,
    pub end_at: EndAt,
    /// RFC 9209 token or one of our extensions; `None` is a normal end.
    pub reason: Option<&'a str>,
    /// The configuration key and place that decided: `timeouts.upstream=60s @tollgate.toml:12`.
    pub cause: Option<&'a str>,
    /// Detail text of the error.
    pub err: Option<&'a [u8]>,
    pub rl: Option<LimitVerdict>,
    pub rl_rule: Option<&'a str>,
    pub tls: Option<Tls<'a>>,
    pub n_conn: Option<u32>,
    pub n_req: Option<u32>,
    pub up_req: Option<u32>,
    /// `Gap`: how many records are missing.
    pub missing: Option<u64>,
    /// How many records this one stands for when others were left out by sampling; 0 as 1.
    pub sw: u16,
    /// What was left out when the log was under pressure: 0 nothing, 1 texts of the client, 2 nearly all.
    pub detail: u8,
}
