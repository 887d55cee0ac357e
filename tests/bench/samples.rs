//! What the benchmark works on: a plain proxied request as a notebook and as a record, and a record with nearly all
//! fields.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri, Version};
use tollgate::exchange::connection::Connection;
use tollgate::exchange::{End, Exchange, Marks, Traffic, Upstream};
use tollgate::record::{EndAt, EndBy, Proto, Record, Tls};

pub(crate) fn connection(sender: SocketAddr) -> Rc<Connection> {
    let now = Instant::now();
    Rc::new(Connection {
        serial: 4711,
        listener: "http".into(),
        sender,
        tls: None,
        is_h2: false,
        accepted: now,
        handshake_us: None,
        neighbours: 64,
        rx: Cell::new(0),
        tx: Cell::new(0),
        requests: Cell::new(12),
        in_flight: Cell::new(0),
        idle_since: Cell::new(now),
    })
}

/// The notebook of a plain proxied request, as it stands when the last byte of its answer has left.
pub(crate) fn exchange(
    connection: &Rc<Connection>,
    client_ip: IpAddr,
    [site, route, name, address]: &[Arc<str>; 4],
    traffic: &Rc<Traffic>,
) -> Box<Exchange> {
    let now = connection.accepted;
    let after = |us| now + Duration::from_micros(us);
    let marks = Marks {
        first_byte: now,
        head: after(3),
        policy: Some(after(9)),
        // The connection was there.
        picked: Some(after(9)),
        connected: Some(after(9)),
        sent: Some(after(31)),
        answered: Some(after(212)),
        failed: None,
    };
    Box::new(Exchange {
        id: [1; 16],
        connection: Rc::clone(connection),
        number: 12,
        ts_us: 1_795_252_443_512_804,
        marks,
        idle_us: Some(120),
        method: Method::GET,
        uri: Uri::from_static("/api/cart/items/118"),
        version: Version::HTTP_11,
        host: Some(HeaderValue::from_static("localhost:8080")),
        client_ip,
        client_port: Some(51_000),
        user_agent: Some(HeaderValue::from_static("h2load nghttp2/1.52.0")),
        referer: None,
        request_type: None,
        response_type: Some(HeaderValue::from_static("text/plain")),
        rid: None,
        rid_in: None,
        trace_id: None,
        span_id: None,
        parent_id: None,
        trace_flags: None,
        configuration: 0x9f31_c200_1234_5678,
        site: Some(Arc::clone(site)),
        route: Some(Arc::clone(route)),
        status: 200,
        is_own: false,
        encoding: None,
        head_bytes: 96,
        body_in: None,
        tx_before: 0,
        body_out: 612,
        limit: None,
        limit_rule: None,
        upstream: upstream(name, address, traffic),
        in_flight_before: 12,
        end: End::default(),
    })
}

fn upstream(name: &Arc<str>, address: &Arc<str>, traffic: &Rc<Traffic>) -> Upstream {
    Upstream {
        name: Some(Arc::clone(name)),
        address: Some(Arc::clone(address)),
        status: Some(200),
        is_reused: Some(true),
        pick: Some("least"),
        tries: 1,
        load: Some(3),
        traffic: Some((Rc::clone(traffic), 1024, 256)),
        ..Upstream::default()
    }
}

/// What that notebook becomes; the numbers differ from record to record as they do in life.
pub(crate) fn plain(at: u64) -> Record<'static> {
    let spread = at * 7919 % 1000;
    let mut id = [0x9c; 16];
    id[8..].copy_from_slice(&at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Record {
        ts_us: 1_795_252_443_512_804 + at as i64 * 23,
        id,
        cfg: 0x9f31_c200_1234_5678,
        conn: (1 << 48) + at % 64,
        conn_req: 400 + spread as u32,
        listener: "http",
        client_ip: Some([127, 0, 0, 1].into()),
        client_port: Some(51_000 + (at % 64) as u16),
        method: Some(b"GET"),
        scheme: Some("http"),
        host: Some(b"localhost:8080"),
        path: Some(b"/api/cart/items/118"),
        site: Some("*"),
        route: Some("/*"),
        proto: Some(Proto::Http11),
        ua: Some(b"h2load nghttp2/1.52.0"),
        status: 200,
        up_status: Some(200),
        resp_type: Some(b"text/plain"),
        rx_head_b: 96,
        tx_head_b: 233,
        tx_body_b: 612 + spread,
        up_tx_b: Some(256),
        up_rx_b: Some(800 + spread),
        dur_us: 150 + spread,
        t_idle_us: Some(spread * 3),
        t_head_us: Some(3),
        t_policy_us: Some(6),
        t_queue_us: Some(0),
        t_conn_us: Some(0),
        t_send_us: Some(20),
        t_wait_us: Some(100 + spread),
        t_resp_us: Some(18),
        t_self_us: Some(7),
        upstream: Some("app"),
        up_addr: Some("127.0.0.1:9001"),
        up_reused: Some(true),
        pick: Some("least"),
        tries: 1,
        end_by: EndBy::None,
        end_at: EndAt::Done,
        n_conn: Some(64),
        n_req: Some(12),
        up_req: Some(3),
        ..Record::default()
    }
}

/// With TLS and nearly everything else that a request may have.
pub(crate) fn typical() -> Record<'static> {
    Record {
        ts_us: 1_795_252_443_512_804,
        id: [1; 16],
        cfg: 0x9f31c2,
        conn: 4711,
        conn_req: 12,
        listener: "https",
        client_ip: Some([203, 0, 113, 9].into()),
        client_port: Some(51_000),
        method: Some(b"GET"),
        scheme: Some("https"),
        host: Some(b"shop.example"),
        path: Some(b"/api/cart/items/118"),
        query: Some(b"page=2&sort=asc"),
        site: Some("shop.example"),
        route: Some("/api/*"),
        proto: Some(Proto::Http2),
        h2_stream: Some(23),
        ua: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"),
        status: 200,
        up_status: Some(200),
        resp_type: Some(b"application/json"),
        enc: Some("zstd"),
        rx_head_b: 412,
        tx_head_b: 233,
        tx_body_b: 1830,
        up_tx_b: Some(640),
        up_rx_b: Some(6120),
        dur_us: 4112,
        t_head_us: Some(41),
        t_policy_us: Some(1),
        t_queue_us: Some(0),
        t_send_us: Some(12),
        t_wait_us: Some(3800),
        t_resp_us: Some(120),
        t_self_us: Some(55),
        upstream: Some("cart"),
        up_addr: Some("10.0.0.7:8080"),
        worker: Some("cart-0"),
        up_reused: Some(true),
        pick: Some("least"),
        tries: 1,
        end_by: EndBy::None,
        end_at: EndAt::Done,
        tls: Some(Tls {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: Some("X25519MLKEM768"),
            alpn: Some("h2"),
            sni: Some("shop.example"),
            resumed: true,
        }),
        n_conn: Some(64),
        n_req: Some(12),
        up_req: Some(3),
        ..Record::default()
    }
}
