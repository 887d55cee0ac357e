//! Active health checks: a GET per endpoint on the control runtime. Defaults as HAProxy's: every 2 s, down after
//! 3 failures, up after 2 successes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Upstream;
use super::endpoint::{Address, Endpoint};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub path: String,
    pub every: Duration,
    pub timeout: Duration,
    pub fall: u32,
    pub rise: u32,
    pub ok: RangeInclusive<u16>,
}

/// Checks all endpoints of `upstream` until it is dropped by everybody else.
pub async fn run(upstream: Arc<Upstream>, settings: Settings) {
    let mut tick = tokio::time::interval(settings.every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut scores: Vec<(Arc<Endpoint>, i64)> = Vec::new();
    loop {
        tick.tick().await;
        if Arc::strong_count(&upstream) == 1 {
            return;
        }
        let endpoints = Arc::clone(&upstream.endpoints());
        scores.retain(|(e, _)| endpoints.iter().any(|n| Arc::ptr_eq(n, e)));
        let checks = endpoints.iter().map(|e| check(e, &settings));
        let results = futures_util::future::join_all(checks).await;
        for (endpoint, is_good) in endpoints.iter().zip(results) {
            let index = scores.iter().position(|(e, _)| Arc::ptr_eq(e, endpoint)).unwrap_or_else(|| {
                scores.push((Arc::clone(endpoint), 0));
                scores.len() - 1
            });
            judge(endpoint, &mut scores[index].1, is_good, &settings, &upstream);
        }
    }
}

/// `score` counts successes in a row above zero, failures in a row below.
fn judge(endpoint: &Endpoint, score: &mut i64, is_good: bool, settings: &Settings, upstream: &Upstream) {
    *score = match (is_good, *score > 0) {
        (true, true) => *score + 1,
        (true, false) => 1,
        (false, true) => -1,
        (false, false) => *score - 1,
    };
    let was = endpoint.healthy.load(Ordering::Relaxed);
    if was && *score <= -i64::from(settings.fall) {
        endpoint.healthy.store(false, Ordering::Relaxed);
        tracing::warn!(upstream = %upstream.settings.name, endpoint = %endpoint.name, "endpoint is down by its health check");
    } else if !was && *score >= i64::from(settings.rise) {
        endpoint.healthy.store(true, Ordering::Relaxed);
        endpoint.ejected_until_ms.store(0, Ordering::Relaxed);
        upstream.changed.notify_waiters();
        tracing::info!(upstream = %upstream.settings.name, endpoint = %endpoint.name, "endpoint is up again");
    }
}

async fn check(endpoint: &Endpoint, settings: &Settings) -> bool {
    let asked = async {
        match &endpoint.address {
            Address::Tcp(address) => ask(TcpStream::connect(address).await.ok()?, endpoint, settings).await,
            Address::Unix(path) => ask(UnixStream::connect(path).await.ok()?, endpoint, settings).await,
        }
    };
    let status = tokio::time::timeout(settings.timeout, asked).await.ok().flatten();
    status.is_some_and(|s| settings.ok.contains(&s.as_u16()))
}

async fn ask<S>(stream: S, endpoint: &Endpoint, settings: &Settings) -> Option<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(settings.path.as_str())
        .header(header::HOST, &*endpoint.name)
        .header(header::USER_AGENT, "tollgate-health")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .ok()?;
    let exchange = sender.send_request(request);
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer.ok().map(|r| r.status()),
        _ = &mut connection => exchange.await.ok().map(|r| r.status()),
    }
}
