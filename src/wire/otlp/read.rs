//! Reading what strangers send, record by record: a tree of the whole would take a hundred times the room of its bytes.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::or_default;
use super::message::{LogRecord, Resource, Scope};
use super::{Form, FormError};

/// Where a record comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    pub resource: Resource,
    pub scope: Scope,
}

/// What becomes of each record; one larger than asked for comes as its size.
pub type Each<'e> = dyn FnMut(&Origin, Result<LogRecord, usize>) + 'e;

impl Form {
    /// Hands on every record of a body, none of which is larger than `most` bytes.
    ///
    /// # Errors
    /// When the body is not of this form, or the description of a program or library in it is larger than `most` bytes. Some of
    /// its records may have been handed on before that is known.
    pub fn records(self, body: &[u8], most: usize, each: &mut Each<'_>) -> Result<(), FormError> {
        match self {
            Self::Protobuf => Protobuf { most, each }.logs(body),
            Self::Json => Json { most, each }.logs(body),
        }
    }
}

/// The field that is the description, and the field that has the parts, in each of the messages.
const ABOUT: u32 = 1;
const PARTS: u32 = 2;
/// In the outermost message.
const RESOURCE_LOGS: u32 = 1;

struct Protobuf<'a, 'e> {
    most: usize,
    each: &'a mut Each<'e>,
}

impl Protobuf<'_, '_> {
    fn logs(&mut self, body: &[u8]) -> Result<(), FormError> {
        fields(body, RESOURCE_LOGS, |one| {
            let mut origin = Origin::default();
            let most = self.most;
            fields(one, ABOUT, |about| Ok(origin.resource.merge(bounded(about, most)?)?))?;
            fields(one, PARTS, |scope| self.scope(scope, &mut origin))
        })
    }

    fn scope(&mut self, one: &[u8], origin: &mut Origin) -> Result<(), FormError> {
        let most = self.most;
        origin.scope = Scope::default();
        fields(one, ABOUT, |about| Ok(origin.scope.merge(bounded(about, most)?)?))?;
        fields(one, PARTS, |record| {
            let record = if record.len() > most { Err(record.len()) } else { Ok(LogRecord::decode(record)?) };
            (self.each)(origin, record);
            Ok(())
        })
    }
}

fn bounded(about: &[u8], most: usize) -> Result<&[u8], FormError> {
    if about.len() > most { Err(FormError::TooLarge(most)) } else { Ok(about) }
}

/// Calls `each` with every occurrence of a field that is a message.
fn fields(
    mut bytes: &[u8],
    wanted: u32,
    mut each: impl FnMut(&[u8]) -> Result<(), FormError>,
) -> Result<(), FormError> {
    while !bytes.is_empty() {
        let (field, wire) = decode_key(&mut bytes)?;
        if wire != WireType::LengthDelimited {
            skip_field(wire, field, &mut bytes, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut bytes)?).unwrap_or(usize::MAX);
        let (value, rest) = bytes.split_at_checked(length).ok_or(FormError::Cut)?;
        bytes = rest;
        if field == wanted {
            each(value)?;
        }
    }
    Ok(())
}

struct Json<'a, 'e> {
    most: usize,
    each: &'a mut Each<'e>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Logs<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    resource_logs: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceLogs<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    scope_logs: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeLogs<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    log_records: Vec<&'a RawValue>,
}

impl Json<'_, '_> {
    fn logs(&mut self, body: &[u8]) -> Result<(), FormError> {
        let logs: Logs<'_> = serde_json::from_slice(body)?;
        for one in logs.resource_logs {
            let one: ResourceLogs<'_> = serde_json::from_str(one.get())?;
            let mut origin = Origin { resource: self.about(one.resource)?, scope: Scope::default() };
            for scope in one.scope_logs {
                self.scope(scope, &mut origin)?;
            }
        }
        Ok(())
    }

    fn scope(&mut self, one: &RawValue, origin: &mut Origin) -> Result<(), FormError> {
        let one: ScopeLogs<'_> = serde_json::from_str(one.get())?;
        origin.scope = self.about(one.scope)?;
        for record in one.log_records {
            let text = record.get();
            let record =
                if text.len() > self.most { Err(text.len()) } else { Ok(serde_json::from_str(text)?) };
            (self.each)(origin, record);
        }
        Ok(())
    }

    fn about<'t, T: Default + Deserialize<'t>>(&self, text: Option<&'t RawValue>) -> Result<T, FormError> {
        let Some(text) = text.map(RawValue::get).filter(|text| *text != "null") else {
            return Ok(T::default());
        };
        bounded(text.as_bytes(), self.most)?;
        Ok(serde_json::from_str(text)?)
    }
}
