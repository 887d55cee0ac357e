//! What the members of a record are called elsewhere: in Elastic's Common Schema 9 and in OpenTelemetry's semantic
//! conventions 1.3x. What neither knows stands under `tollgate`.

/// What a member of the native form is called elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    pub ecs: &'static str,
    pub otel: &'static str,
}

macro_rules! names {
    ($($native:literal, $ecs:literal, $otel:literal;)*) => {
        #[cfg(test)]
        const NATIVE: &[&str] = &[$($native,)*];

        /// The names of a member, if it has any elsewhere. Others are `tollgate.NAME` in both.
        pub fn of(native: &str) -> Option<Names> {
            match native {
                $($native => Some(Names { ecs: $ecs, otel: $otel }),)*
                _ => None,
            }
        }
    };
}

names! {
    "kind", "event.action", "event.name";
    "ts", "@timestamp", "time";
    "id", "event.id", "log.record.uid";
    "rid", "http.request.id", "tollgate.rid";
    "trace_id", "trace.id", "trace_id";
    "span_id", "span.id", "span_id";
    "parent_id", "parent.id", "tollgate.parent_id";
    "proxy", "observer.name", "service.instance.id";
    "boot", "service.ephemeral_id", "tollgate.boot";
    "seq", "event.sequence", "tollgate.seq";
    "listener", "observer.ingress.interface.name", "tollgate.listener";
    "client_ip", "client.ip", "client.address";
    "client_port", "client.port", "client.port";
    "peer_ip", "source.ip", "network.peer.address";
    "method", "http.request.method", "http.request.method";
    "scheme", "url.scheme", "url.scheme";
    "host", "url.domain", "server.address";
    "path", "url.path", "url.path";
    "query", "url.query", "url.query";
    "route", "tollgate.route", "http.route";
    "proto", "http.version", "network.protocol.version";
    "referer", "http.request.referrer", "http.request.header.referer";
    "ua", "user_agent.original", "user_agent.original";
    "req_type", "http.request.mime_type", "http.request.header.content-type";
    "status", "http.response.status_code", "http.response.status_code";
    "resp_type", "http.response.mime_type", "http.response.header.content-type";
    "rx_body_b", "http.request.body.bytes", "http.request.body.size";
    "tx_body_b", "http.response.body.bytes", "http.response.body.size";
    "up_addr", "destination.address", "tollgate.up_addr";
    "reason", "event.reason", "error.type";
    "cause", "rule.id", "tollgate.cause";
    "err", "error.message", "exception.message";
    "rl_rule", "rule.name", "tollgate.rl_rule";
    "tls_ver", "tls.version", "tls.protocol.version";
    "tls_cipher", "tls.cipher", "tls.cipher";
    "tls_group", "tls.curve", "tls.curve";
    "tls_alpn", "tls.next_protocol", "tls.next_protocol";
    "tls_sni", "tls.client.server_name", "tls.client.server_name";
    "tls_resumed", "tls.resumed", "tls.resumed";
    "level", "log.level", "severity_text";
    "msg", "message", "body";
    "line", "message", "body";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_members_of_a_request_get_the_same_name() {
        let natives = || NATIVE.iter().copied().filter(|native| *native != "line");
        let distinct = |name: fn(Names) -> &'static str| {
            natives().filter_map(of).map(name).collect::<BTreeSet<_>>().len()
        };
        let all = NATIVE.len() - 1;
        let native = natives().collect::<BTreeSet<_>>().len();
        assert_eq!((native, distinct(|n| n.ecs), distinct(|n| n.otel)), (all, all, all));
    }
}
