//! `tollgate status`, `reload` and `stop`: the other end of the admin socket.

pub(super) mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Exit;
use crate::app::admin::Reply;

const DEADLINE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How often a stopping instance is looked at.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Prints the state of the running instance, as a table or as it came.
pub(super) fn status(socket: &Path, json: bool) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::GET, "/status").await?;
        if json {
            Ok(pretty(&answer.body)?)
        } else {
            Ok(table::table(&serde_json::from_slice(&answer.body)?))
        }
    })
}

/// Prints what `render` makes of the answer of the running instance to a question at `path`.
pub(super) fn show(
    socket: &Path,
    path: &str,
    render: impl FnOnce(&[u8]) -> Result<String, serde_json::Error>,
) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::GET, path).await?;
        match answer.status.is_success() {
            true => Ok(render(&answer.body)?),
            false => Err(ControlError::Refused(
                "it does not know this; is it an older version?".to_owned(),
                Exit::Failed,
            )),
        }
    })
}

/// Asks the running instance to load its configuration again.
pub(super) fn reload(socket: &Path, json: bool) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::POST, "/reload").await?;
        tell(&answer, json, Exit::BadConfig)
    })
}

/// Asks the running instance to open its log files again.
pub(super) fn reopen_logs(socket: &Path, json: bool) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::POST, "/logs/reopen").await?;
        tell(&answer, json, Exit::Failed)
    })
}

/// Asks the running instance to stop, and waits until it has. The instance itself ends the drain at its deadline.
pub(super) fn stop(socket: &Path) -> Exit {
    run(socket, async |socket| {
        ask(socket, Method::POST, "/stop").await?;
        while UnixStream::connect(socket).await.is_ok() {
            tokio::time::sleep(STOP_CHECK).await;
        }
        Ok("stopped\n".to_owned())
    })
}

#[derive(Debug, thiserror::Error)]
enum ControlError {
    #[error("no tollgate is running here")]
    NoInstance,
    #[error("not permitted to talk to it; run as its user, or join its group")]
    NotPermitted,
    #[error("it does not answer")]
    Deadline,
    #[error("it answers what this version does not understand; is it another version?")]
    Unreadable(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(String, Exit),
    /// The whole answer, for a script: goes to the output.
    #[error("refused")]
    RefusedJson(String, Exit),
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ControlError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoInstance => Exit::NoInstance,
            Self::NotPermitted => Exit::NotPermitted,
            Self::Refused(_, exit) | Self::RefusedJson(_, exit) => *exit,
            _ => Exit::Failed,
        }
    }
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoInstance,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Broken(error.into()),
        }
    }
}

/// Runs a command and prints its text.
fn run(socket: &Path, command: impl AsyncFnOnce(&Path) -> Result<String, ControlError>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(command(socket)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(text) => super::written(io::stdout().write_all(text.as_bytes())),
        Err(ControlError::RefusedJson(text, exit)) => {
            match super::written(io::stdout().write_all(text.as_bytes())) {
                Exit::Done => exit,
                failed => failed,
            }
        }
        // It is about what was asked for, not about the socket.
        Err(ControlError::Refused(text, exit)) => {
            let _ = writeln!(io::stderr(), "{}", text.trim_end());
            exit
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "tollgate: {}: {error}", socket.display());
            error.exit()
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Bytes,
}

async fn ask(socket: &Path, method: Method, path: &str) -> Result<Answer, ControlError> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "tollgate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::default())
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(ControlError::Broken)?.to_bytes();
            Ok(Answer { status, body })
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or(Err(ControlError::Deadline))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ControlError {
    ControlError::Broken(error.into())
}

/// What the instance said; a refusal ends with `refused`.
fn tell(answer: &Answer, json: bool, refused: Exit) -> Result<String, ControlError> {
    if json {
        let text = pretty(&answer.body)?;
        return if answer.status.is_success() {
            Ok(text)
        } else {
            Err(ControlError::RefusedJson(text, refused))
        };
    }
    let reply: Reply = serde_json::from_slice(&answer.body)?;
    match reply.error {
        Some(error) => Err(ControlError::Refused(error, refused)),
        None => Ok(format!("{}\n", reply.message.unwrap_or_default())),
    }
}

pub(super) fn pretty(body: &[u8]) -> Result<String, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_slice(body)?;
    Ok(format!("{value:#}\n"))
}
