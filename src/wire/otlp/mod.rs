//! OTLP logs over HTTP: `POST /v1/logs`, as protobuf or as JSON.
//!
//! [`message`] has the messages, few enough to stand here. Source: opentelemetry-proto 1.9, `collector/logs/v1`, `logs/v1`, `resource/v1`,
//! `common/v1`; the OTLP specification 1.9, "OTLP/HTTP" and "JSON Protobuf Encoding".

mod json;
pub mod message;
pub mod read;
#[cfg(test)]
mod tests;

use prost::Message;

pub(crate) use self::json::bytes_of;
use self::message::Answer;

/// Where logs are sent.
pub const PATH: &str = "/v1/logs";
pub const PROTOBUF: &str = "application/x-protobuf";
pub const JSON: &str = "application/json";

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Protobuf,
    Json,
}

/// A body that is no such message.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("no OTLP logs in protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("no OTLP logs in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the message is cut")]
    Cut,
    #[error("a description of where records come from is larger than {0} bytes")]
    TooLarge(usize),
}

impl Form {
    /// By `Content-Type`; `None` for another.
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let media = content_type?.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case(PROTOBUF) {
            Some(Self::Protobuf)
        } else {
            media.eq_ignore_ascii_case(JSON).then_some(Self::Json)
        }
    }

    /// As `Content-Type` says it.
    pub fn media(self) -> &'static str {
        match self {
            Self::Protobuf => PROTOBUF,
            Self::Json => JSON,
        }
    }

    /// Reads what a receiver answered.
    ///
    /// # Errors
    /// A body that is not of this form.
    pub fn answer(self, body: &[u8]) -> Result<Answer, FormError> {
        match self {
            Self::Protobuf => Ok(Answer::decode(body)?),
            Self::Json => Ok(serde_json::from_slice(body)?),
        }
    }

    /// Writes any of the messages.
    pub fn write(self, message: &(impl Message + serde::Serialize)) -> Vec<u8> {
        match self {
            Self::Protobuf => message.encode_to_vec(),
            // These messages have text keys only, so writing them cannot fail.
            Self::Json => serde_json::to_vec(message).unwrap_or_default(),
        }
    }
}
