//! Signals of the operating system, as what they ask for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Finish what is open, then end: the first TERM, INT or QUIT.
    Stop,
    /// End at once: any further one of them.
    StopNow,
    /// HUP.
    Reload,
    /// USR1.
    ReopenLogs,
}

/// Receives the signals of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    stopping: bool,
}

impl Signals {
    /// From here on the signals no longer end the process by themselves. Needs a tokio runtime.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            stopping: false,
        })
    }

    /// The next request. May be cancelled and called again without losing one.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.quit.recv() => self.stop(),
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::ReopenLogs,
        }
    }

    fn stop(&mut self) -> Request {
        if std::mem::replace(&mut self.stopping, true) { Request::StopNow } else { Request::Stop }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn the_second_stop_is_at_once_and_the_others_keep_their_meaning() {
        let mut signals = Signals::listen().unwrap();
        let mut after = async |signal| {
            kill_process(getpid(), signal).unwrap();
            signals.next().await
        };
        assert_eq!(after(Signal::HUP).await, Request::Reload);
        assert_eq!(after(Signal::USR1).await, Request::ReopenLogs);
        assert_eq!(after(Signal::QUIT).await, Request::Stop);
        assert_eq!(after(Signal::HUP).await, Request::Reload);
        assert_eq!(after(Signal::INT).await, Request::StopNow);
        assert_eq!(after(Signal::TERM).await, Request::StopNow);
    }
}
