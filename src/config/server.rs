//! `[server]`: listeners, cores, limits of a connection, and what holds for every site.

use http::HeaderName;

use super::headers::{HeaderChanges, ServerHeader, Via};
use super::read::{Map, OneOrMany};
use super::shape::{choice, either, table};
use super::timeouts::Timeouts;
use super::words::{Auto, ErrorStatus, Listen, Net, Text};
use crate::config::place::At;
use crate::units::{Count, Size};

table! {
    /// The proxy itself.
    pub struct Server {
        /// Where plain HTTP/1.1 is accepted. Redirects to https where the site has `tls`.
        http: optional OneOrMany<Listen>;
        /// Where TLS is accepted: HTTP/1.1 and HTTP/2.
        https: optional OneOrMany<Listen>;
        /// Accept HTTP/2 with prior knowledge on the `http` listeners.
        h2c: default bool = false;
        /// The control socket of `reload`, `stop` and `status`.
        admin: default Listen = "unix:run/control.sock";
        /// Event-loop threads; `auto` is one for each processor.
        cores: default Cores = "auto";
        /// Whose `X-Forwarded-*` and `Forwarded` are believed: networks, or `private`, `loopback`. Nobody by default.
        trusted_proxies: default Vec<At<Net>> = &[] as &[&str];
        /// Open connections in all; more wait in the kernel's queue.
        max_connections: default Count = 20_000;
        /// Open connections of one address (IPv6: of one /64); more are closed.
        max_connections_per_ip: default Count = 1_000;
        /// How long things may take, and how slow.
        timeouts: default Timeouts = ();
        /// Largest request body. More is answered 413.
        max_body: default Size = "16MiB";
        /// Header fields of a request. More is answered 431.
        max_headers: default Count = 100;
        /// Request line and header fields together. More is answered 431.
        max_header_size: default Size = "32KiB";
        /// Limits of HTTP/2.
        h2: default Http2 = ();
        /// The `Server` field of answers: `remove` drops the upstream's, `pass` keeps it, any other text replaces it.
        server_header: default ServerHeader = "remove";
        /// Send `Via` (RFC 9110 section 7.6.3) and refuse loops by it: true, false, or the name to use. An nginx behind compresses answers to
        /// such requests only with `gzip_proxied any`.
        via: default Via = true;
        /// The request id.
        request_id: default RequestId = ();
        /// W3C trace context: `off` removes it, `pass` sends it on, `join` also makes one where there is none.
        trace: default Trace = "pass";
        /// Send `Forwarded` (RFC 7239) to upstreams beside `X-Forwarded-*`.
        forwarded: default bool = true;
        /// Changes to the header fields of answers.
        headers: default HeaderChanges = ();
        /// Changes to the header fields of requests to upstreams.
        request_headers: default HeaderChanges = ();
        /// Answers of our own for a status: a text, or a file.
        error_pages: default Map<ErrorStatus, ErrorPage> = ();
    }
}

either! {
    /// How many event-loop threads.
    pub enum Cores {
        Auto(Auto),
        Number(Count),
    }
}

table! {
    /// Limits of HTTP/2 connections. Each one closes the connection (GOAWAY) when it is passed.
    pub struct Http2 {
        /// Open streams of one connection.
        max_streams: default Count = 128;
        /// Streams that the client may reset in 10 seconds.
        max_resets: default Count = 200;
        /// PING frames in 10 seconds, and as many SETTINGS frames; PINGs while a body moves are not counted.
        max_pings: default Count = 100;
        /// CONTINUATION frames of one header block.
        max_continuations: default Count = 20;
        /// Flow-control window of a stream: what one upload may hold in memory; a connection has four of them.
        window: default Size = "256KiB";
        /// Largest frame that is accepted.
        max_frame: default Size = "16KiB";
    }
}

table! {
    /// The id that goes to the upstream, to the client and into the record.
    pub struct RequestId {
        /// Whose id is kept: networks, or `private`, `loopback`. Nobody by default.
        trust: default Vec<At<Net>> = &[] as &[&str];
        /// The header field.
        header: default HeaderName = "x-request-id";
    }
}

choice! {
    /// What happens to W3C trace context (`traceparent`, `tracestate`).
    pub enum Trace ("trace mode") {
        Off = "off",
        Pass = "pass",
        Join = "join",
    }
}

either! {
    /// An answer of our own.
    pub enum ErrorPage {
        Text(Text),
        File(PageFile),
    }
}

table! {
    /// A page kept in a file; read when the configuration is loaded.
    pub struct PageFile {
        /// The file.
        file: required Text;
        /// Its media type; guessed from the file's name when left out.
        content_type: optional Text;
    }
}
