//! [`Room`]: the part of the service's memory that a connection may fill.

use tokio::sync::OwnedSemaphorePermit;

/// A permit stands for a byte; given back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    pub(super) fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(room) => room.merge(more),
            None => self.0 = Some(more),
        }
    }

    /// Keeps so many bytes at most, and gives the others back.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if bytes < self.bytes() {
            self.0 = self.0.take().and_then(|mut room| room.split(bytes));
        }
    }
}
