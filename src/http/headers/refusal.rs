//! [`Refusal`]: why a head is not served. The exchange room turns it into its `Failure`.

/// Which answer a refused head gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 400
    BadRequest,
    /// 405: the method is never served here (CONNECT, TRACE).
    MethodRefused,
    /// 414
    TargetTooLong,
    /// 417
    ExpectationUnknown,
    /// 426: a WebSocket version other than 13.
    UpgradeVersion,
    /// 431
    HeadersTooLarge,
    /// 501: a transfer coding other than `chunked`.
    CodingUnknown,
}

/// A refused head: the kind of answer, and a detail for the record that never holds request text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub fault: Fault,
    pub detail: &'static str,
}

impl Refusal {
    pub(in crate::http) const fn bad(detail: &'static str) -> Self {
        Self { fault: Fault::BadRequest, detail }
    }

    pub(in crate::http) const fn new(fault: Fault, detail: &'static str) -> Self {
        Self { fault, detail }
    }
}
