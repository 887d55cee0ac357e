//! Asks a starting worker whether it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::Ready;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// For one question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Completes when the worker at `address` is ready; asks again and again until then.
pub(super) async fn until_ready(address: SocketAddr, ready: &Ready) {
    let mut pause = FIRST_PAUSE;
    while !matches!(tokio::time::timeout(PATIENCE, is_ready(address, ready)).await, Ok(Some(()))) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn is_ready(address: SocketAddr, ready: &Ready) -> Option<()> {
    if let Ready::Socket { path } = ready {
        return UnixStream::connect(path).await.ok().map(drop);
    }
    let stream = TcpStream::connect(address).await.ok()?;
    match ready {
        Ready::Http { path } => answers_well(stream, address, path).await.then_some(()),
        Ready::Connect | Ready::Socket { .. } => Some(()),
    }
}

async fn answers_well(stream: TcpStream, address: SocketAddr, path: &str) -> bool {
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::USER_AGENT, "tollgate-ready")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let (Ok(request), Ok((mut sender, connection))) =
        (request, hyper::client::conn::http1::handshake(TokioIo::new(stream)).await)
    else {
        return false;
    };
    let answer = async {
        let outcome = sender.send_request(request).await;
        outcome.is_ok_and(|response| response.status().is_success())
    };
    // The connection is only driven here: it may end in the moment in which it delivers the answer, and when it
    // ends without one the sender fails.
    tokio::select! {
        biased;
        good = answer => good,
        () = async { let _ = connection.await; std::future::pending::<()>().await } => false,
    }
}
