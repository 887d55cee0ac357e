//! [`Distributor`]: somebody who knows where each service lives, and tells when it changes.
//!
//! A task of its own is connected to it: it registers, keeps the last list that it was sent, and connects again three
//! seconds after the connection has ended. The last list stays good meanwhile.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::dial::Dial;
use crate::access_log::shipping::{Remote, ShippingSettings};
use crate::wire::packet::{self, Frames, Node};

/// Between two connections.
const AGAIN: Duration = Duration::from_secs(3);
/// How long a send waits for the first list.
const FIRST: Duration = Duration::from_secs(2);
/// The longest list.
const LONGEST: usize = 1 << 20;
/// We send next to nothing.
const SEND_BUFFER: usize = 16 << 10;
/// What is looked for.
const SERVED: &str = "POST/logs";

#[derive(Debug)]
pub(super) struct Distributor {
    settings: ShippingSettings,
    /// Begins with the first question: settings are looked at without a runtime, too.
    following: Option<Following>,
    /// What was told last.
    known: Vec<Remote>,
}

#[derive(Debug)]
struct Following {
    services: watch::Receiver<Vec<Remote>>,
    task: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Distributor {
    pub(super) fn new(settings: &ShippingSettings) -> Self {
        Self { settings: settings.clone(), following: None, known: Vec::new() }
    }

    /// The addresses of the service, if they are others than at the last call.
    ///
    /// # Errors
    /// Nobody is known, in words that may be shown.
    pub(super) async fn moved(&mut self) -> Result<Option<Vec<Remote>>, String> {
        let following = match &mut self.following {
            Some(following) => following,
            None => self.following.insert(follow(&self.settings)?),
        };
        // The task lives as long as we do.
        let _ = timeout(FIRST, following.services.wait_for(|services| !services.is_empty())).await;
        let services = following.services.borrow_and_update().clone();
        if services.is_empty() {
            return Err(format!("the distributor knows nobody who serves {SERVED}"));
        }
        if services == self.known {
            return Ok(None);
        }
        self.known.clone_from(&services);
        Ok(Some(services))
    }
}

fn follow(settings: &ShippingSettings) -> Result<Following, String> {
    let dial = Dial::new(settings, &[]).map_err(|error| error.to_string())?;
    let (tell, services) = watch::channel(Vec::new());
    let (name, patience) = (settings.name.clone(), settings.timeout);
    let task = tokio::spawn(async move {
        let mut dial = dial;
        loop {
            match timeout(patience, dial.reach()).await {
                Ok(Ok(mut wire)) => {
                    // One that is gone without a word would never tell that `logs` has moved.
                    let _ = wire.guard(patience, SEND_BUFFER);
                    if let (Some(remote), Ok(())) = (dial.remote(), wire.write_all(&registration()).await) {
                        listen(&mut wire, remote, &tell).await;
                    }
                }
                _ => dial.turn(),
            }
            tracing::debug!(sink = name, "the distributor is not there");
            sleep(AGAIN).await;
        }
    });
    Ok(Following { services, task })
}

/// We serve nothing to the others: without a port and without addresses.
fn registration() -> Vec<u8> {
    let mut packet = Vec::new();
    packet::write("/distributes", "POST", 0, br#"{"port":0,"name":"tollgate","urls":[]}"#, &mut packet);
    packet
}

/// Reads lists until the connection ends.
async fn listen(
    wire: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &Remote,
    tell: &watch::Sender<Vec<Remote>>,
) {
    let mut frames = Frames::new(LONGEST);
    loop {
        frames.buffer.reserve(4096);
        let Ok(1..) = wire.read_buf(&mut frames.buffer).await else { return };
        let (packets, is_lost) = frames.take();
        for nodes in packets.iter().filter_map(|packet| packet::nodes(packet)) {
            tell.send_replace(serving(&nodes, to));
        }
        if is_lost {
            return;
        }
    }
}

/// Those that serve it. One that lives on the distributor's own machine is known there by a name that means ours here.
fn serving(nodes: &[Node], to: &Remote) -> Vec<Remote> {
    let serving = nodes.iter().filter(|node| node.port != 0 && node.urls.iter().any(|url| url == SERVED));
    let remote = |node: &Node| Remote {
        host: match node.host {
            Some(host) if !host.is_loopback() && !host.is_unspecified() => host.to_string(),
            _ => to.host.clone(),
        },
        port: node.port,
        is_tls: to.is_tls,
        path: String::new(),
    };
    serving.map(remote).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_serve_it_are_found_by_their_addresses() {
        let node = |host: &str, port, url: &str| Node {
            host: host.parse().ok(),
            port,
            name: "x".to_owned(),
            urls: vec!["GET/other".to_owned(), url.to_owned()],
        };
        let to = Remote { host: "far".into(), port: 9000, is_tls: false, path: String::new() };
        let nodes = [
            node("10.0.0.5", 9040, "POST/logs"),
            node("10.0.0.6", 9041, "POST/goods"),
            node("127.0.0.1", 9042, "POST/logs"),
            node("10.0.0.7", 0, "POST/logs"),
        ];
        let found: Vec<_> = serving(&nodes, &to).into_iter().map(|to| (to.host, to.port)).collect();
        assert_eq!(found, [("10.0.0.5".to_owned(), 9040), ("far".to_owned(), 9042)]);
    }
}
