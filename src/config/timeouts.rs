//! `timeouts`: every one its own, and which of them a site, route or upstream may change.

use super::place::At;
use super::shape::table;
use crate::units::{ByteRate, Duration};

table! {
    /// How long things may take. None of them bounds a whole body: only its pauses and its least rate.
    pub struct Timeouts {
        /// TLS handshake, from the first byte.
        handshake: default Duration = "10s";
        /// Request head, from its first byte.
        header: default Duration = "10s";
        /// A connection without a request.
        idle: default Duration = "75s";
        /// Pause between two parts of a request body.
        body: default Duration = "30s";
        /// Pause while the client takes nothing of an answer.
        write: default Duration = "30s";
        /// Least rate of a request body, after its first 10 seconds.
        min_body_rate: default ByteRate = "240B/s";
        /// Connect to an endpoint.
        connect: default Duration = "5s";
        /// From the last byte of the request to the head of the answer.
        upstream: default Duration = "60s";
        /// Pause between two parts of an answer from upstream.
        upstream_body: default Duration = "60s";
        /// A tunnel (WebSocket) in which nothing moves.
        tunnel: default Duration = "1h";
        /// Wait for a free slot of an upstream.
        queue: default Duration = "5s";
        /// From the stop signal to the end of requests that are still open.
        drain: default Duration = "30s";
    }
}

table! {
    /// The timeouts of one request: the most specific place that names a key wins (route, upstream, site, server).
    pub struct RequestTimeouts {
        /// Pause between two parts of a request body.
        body: optional Duration;
        /// Pause while the client takes nothing of an answer.
        write: optional Duration;
        /// Least rate of a request body, after its first 10 seconds.
        min_body_rate: optional ByteRate;
        /// Connect to an endpoint.
        connect: optional Duration;
        /// From the last byte of the request to the head of the answer.
        upstream: optional Duration;
        /// Pause between two parts of an answer from upstream.
        upstream_body: optional Duration;
        /// A tunnel (WebSocket) in which nothing moves.
        tunnel: optional Duration;
        /// Wait for a free slot of an upstream.
        queue: optional Duration;
    }
}

impl Timeouts {
    /// These, with every key that one of `specific` names; later ones win.
    #[must_use]
    pub fn with<'a>(&self, specific: impl IntoIterator<Item = &'a RequestTimeouts>) -> Self {
        let mut all = self.clone();
        for some in specific {
            take(&mut all.body, some.body.as_ref());
            take(&mut all.write, some.write.as_ref());
            take(&mut all.min_body_rate, some.min_body_rate.as_ref());
            take(&mut all.connect, some.connect.as_ref());
            take(&mut all.upstream, some.upstream.as_ref());
            take(&mut all.upstream_body, some.upstream_body.as_ref());
            take(&mut all.tunnel, some.tunnel.as_ref());
            take(&mut all.queue, some.queue.as_ref());
        }
        all
    }
}

fn take<T: Clone>(general: &mut At<T>, specific: Option<&At<T>>) {
    if let Some(specific) = specific {
        *general = specific.clone();
    }
}
