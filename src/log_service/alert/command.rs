//! A program that is told of an alarm: the document on its standard input, the main facts in its environment. Never a shell.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::message::Message;
use super::outbox::Outcome;

/// How much of what it says is told; the rest is read and forgotten.
const TOLD: usize = 200;
/// How long its last words may take after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What it has of our environment: our own may hold secrets.
const KEPT: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// Runs it; ends it with all that it has started when the caller does not wait any longer.
pub(super) async fn run(command: &[String], message: &Message) -> Outcome {
    let Some((program, arguments)) = command.split_first() else {
        return Outcome::Refused("the command is empty".to_owned());
    };
    let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept)
        .envs(variables(message))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    match child {
        Ok(child) => watch(child, message).await,
        Err(error) => Outcome::Failed(format!("cannot start {program}: {error}"), None),
    }
}

/// Without zero bytes, which no environment can hold.
fn variables(message: &Message) -> Vec<(&'static str, String)> {
    let about = message.about.as_ref().map(|(_, name)| name.as_str()).unwrap_or_default();
    let told = [
        ("TOLLGATE_ALERT", message.alert.as_str()),
        ("TOLLGATE_ALERT_STATE", message.state.word()),
        ("TOLLGATE_ALERT_ABOUT", about),
        ("TOLLGATE_ALERT_VALUE", message.value_text.as_deref().unwrap_or_default()),
        ("TOLLGATE_ALERT_WHEN", message.when.as_str()),
    ];
    let mut told: Vec<_> = told.into_iter().map(|(name, text)| (name, text.replace('\0', " "))).collect();
    told.push(("TOLLGATE_ALERT_SUMMARY", message.summary().replace('\0', " ")));
    told
}

async fn watch(mut child: Child, message: &Message) -> Outcome {
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let mut reading = JoinSet::new();
    reading.spawn(said(errors));
    let write = async {
        if let Some(mut input) = input {
            // A program that does not read it has its reasons.
            let _ = input.write_all(format!("{}\n", message.document()).as_bytes()).await;
        }
    };
    let ((), ended) = tokio::join!(write, child.wait());
    // What it left running ends with it, unless that has left its group: then it may hold the pipe open.
    drop(group);
    let said = timeout(LAST_WORDS, reading.join_next()).await;
    let said = said.ok().flatten().and_then(Result::ok).unwrap_or_default();
    match ended {
        Ok(status) => judge(status, &said),
        Err(error) => Outcome::Failed(format!("cannot wait for it: {error}"), None),
    }
}

/// Ends a group of processes when it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may be gone already.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The beginning of what it says.
async fn said(from: Option<ChildStderr>) -> String {
    let Some(mut from) = from else { return String::new() };
    let (mut kept, mut room) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut room).await {
        let left = TOLD - kept.len();
        kept.extend_from_slice(&room[..count.min(left)]);
    }
    String::from_utf8_lossy(&kept).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn judge(status: ExitStatus, said: &str) -> Outcome {
    if status.success() {
        return Outcome::Taken;
    }
    let said = said.trim();
    Outcome::Failed(if said.is_empty() { status.to_string() } else { format!("{status}: {said}") }, None)
}
