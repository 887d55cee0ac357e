//! [`Flight`]: the place of an open exchange in the table that shows what is under way.

use std::net::IpAddr;
use std::rc::Rc;

use crate::record::EndAt;

/// Shows how far each open exchange is; what the numbers of the places mean is its own matter.
pub trait Board {
    /// The exchange at `place` has come to another phase.
    fn reach(&self, place: u32, at: EndAt);
    /// Its client is another than who connected.
    fn client(&self, place: u32, ip: IpAddr);
    /// It is over.
    fn leave(&self, place: u32);
}

/// See the module. Gives the place back when it is dropped, however the exchange ends. By default nobody looks on.
#[derive(Default)]
pub struct Flight(Option<(Rc<dyn Board>, u32)>);

impl Flight {
    /// The exchange stands at `place` on `board`.
    pub fn new(board: Rc<dyn Board>, place: u32) -> Self {
        Self(Some((board, place)))
    }

    pub fn place(&self) -> Option<u32> {
        self.0.as_ref().map(|(_, place)| *place)
    }

    #[inline]
    pub fn reach(&self, at: EndAt) {
        if let Some((board, place)) = &self.0 {
            board.reach(*place, at);
        }
    }

    pub fn client(&self, ip: IpAddr) {
        if let Some((board, place)) = &self.0 {
            board.client(*place, ip);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some((board, place)) = &self.0 {
            board.leave(*place);
        }
    }
}
