//! Small parts of serving a connection: its place in the counts, and the words for how it began.

use std::sync::Arc;

use crate::exchange::connection::TlsFacts;
use crate::listener::gate::Entered;
use crate::proxy::core::Counts;

/// One open connection, counted until dropped.
pub(super) struct Open {
    counts: Arc<Counts>,
    _entered: Entered,
}

impl Open {
    pub(super) fn new(counts: Arc<Counts>, entered: Entered) -> Self {
        Counts::step32(&counts.connections, 1);
        Counts::step64(&counts.accepted);
        Self { counts, _entered: entered }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        Counts::step32(&self.counts.connections, -1);
    }
}

/// The facts of a handshake as the notebook keeps them.
pub(super) fn tls_facts(facts: crate::tls::Facts) -> TlsFacts {
    TlsFacts {
        version: facts.version,
        cipher: facts.cipher,
        group: facts.group,
        alpn: facts.alpn,
        sni: facts.sni.clone(),
        resumed: facts.resumed,
        covers: Box::new(move |host| facts.covers(host)),
    }
}
