//! Closes a connection in stages (RFC 9112 section 9.6), so that our last words arrive.
//!
//! A socket that is closed while bytes of the client lie unread in it, or that gets more of them later, answers with a
//! reset; many clients then drop what they had not read yet: an answer, or the GOAWAY that says why.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadBuf};

use super::tap::Socket;
use crate::process::deadline::Deadline;

/// How long each of the two stages may take.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read at once into nowhere.
const ROOM: usize = 8 * 1024;

/// Closes for writing (over TLS with close_notify, RFC 8446 section 6.1), then reads up to `allowance` bytes until the
/// client closes too. Each stage ends after two seconds, whatever the client does: `deadline` must be one that an
/// exchange that ends late does not move.
pub(super) async fn close<S: Socket>(mut socket: S, allowance: usize, deadline: &Deadline) {
    let Some(Ok(())) = deadline.within(LINGER, socket.shutdown()).await else { return };
    deadline.set(LINGER);
    let mut left = allowance;
    while left > 0
        && let Some(Ok(count @ 1..)) = deadline.race(discard(&mut socket)).await
    {
        left = left.saturating_sub(count);
    }
}

/// Reads once into nowhere. There is room only while it reads, so that waiting costs the socket and no more.
async fn discard<S: Socket>(socket: &mut S) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut room = [0; ROOM];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}
