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
use crate::access_log::sink::service::plain;
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
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

/// What is known of the distributor.
#[derive(Debug, Default)]
struct Heard {
    services: Vec<Remote>,
    /// Why it cannot be asked now.
    trouble: Option<String>,
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
        let _ = timeout(FIRST, following.heard.wait_for(|heard| !heard.services.is_empty())).await;
        let heard = following.heard.borrow_and_update();
        if heard.services.is_empty() {
            let nobody = || format!("the distributor knows nobody who serves {SERVED}");
            return Err(heard.trouble.clone().unwrap_or_else(nobody));
        }
        let services = heard.services.clone();
        drop(heard);
        if services == self.known {
            return Ok(None);
        }
        self.known.clone_from(&services);
        Ok(Some(services))
    }
}

fn follow(settings: &ShippingSettings) -> Result<Following, String> {
    let dial = Dial::new(settings, &[]).map_err(|error| error.to_string())?;
    let (tell, heard) = watch::channel(Heard::default());
    let (name, patience) = (settings.name.clone(), settings.timeout);
    let task = tokio::spawn(async move {
        let mut dial = dial;
        loop {
            match timeout(patience, dial.connect()).await {
                Ok(Ok(mut wire)) => {
                    tell.send_modify(|heard| heard.trouble = None);
                    // One that is gone without a word would never tell that `logs` has moved.
                    let _ = wire.guard(patience, SEND_BUFFER);
                    if let (Some(remote), Ok(())) = (dial.remote(), wire.write_all(&registration()).await) {
                        listen(&mut wire, remote, &tell).await;
                    }
                }
                failed => {
                    let why = match failed {
                        Ok(Err(error)) => plain(&error),
                        _ => "it does not answer in time".to_owned(),
                    };
                    let at =
                        dial.remote().map(|at| format!(" at {}:{}", at.host, at.port)).unwrap_or_default();
                    let trouble = format!("cannot reach the distributor{at}: {why}");
                    tell.send_modify(|heard| heard.trouble = Some(trouble));
                    dial.turn();
                }
            }
            tracing::debug!(sink = name, "the distributor is not there");
            sleep(AGAIN).await;
        }
    });
    Ok(Following { heard, task })
}

/// We serve nothing to the others: without a port and without addresses.
fn registration() -> Vec<u8> {
    let mut packet = Vec::new();
    packet::write("/distributes", "POST", 0, br#"{"port":0,"name":"tollgate","urls":[]}"#, &mut packet);
    packet
}

/// Reads lists until the connection ends.
async fn listen(wire: &mut (impl tokio::io::AsyncRead + Unpin), to: &Remote, tell: &watch::Sender<Heard>) {
    let mut frames = Frames::new(LONGEST);
    loop {
        frames.buffer.reserve(4096);
        let Ok(1..) = wire.read_buf(&mut frames.buffer).await else { return };
        let (packets, is_lost) = frames.take();
        for nodes in packets.iter().filter_map(|packet| packet::nodes(packet)) {
            tell.send_modify(|heard| heard.services = serving(&nodes, to));
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
    use crate::access_log::shipping::Target;

    #[tokio::test]
    async fn a_distributor_that_is_not_there_is_not_said_to_know_nobody() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let to =
            Remote { host: free.ip().to_string(), port: free.port(), is_tls: false, path: String::new() };
        let target = Target::Packets { is_distributor: true };
        let settings = ShippingSettings { target, to: vec![to], ..super::super::tests::settings(0) };
        let told = Distributor::new(&settings).moved().await.unwrap_err();
        assert!(told.starts_with(&format!("cannot reach the distributor at {free}: ")), "{told}");
    }

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
