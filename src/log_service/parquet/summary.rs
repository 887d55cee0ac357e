//! [`ExtentForm`]: an extent as JSON, in the metadata of a file and in the manifest.

use serde::{Deserialize, Serialize};

use crate::log_service::part::{Extent, StreamExtent, is_zero};
use crate::record::id;

/// The written form of an [`Extent`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExtentForm {
    rows: u64,
    ts: (i64, i64),
    end: (i64, i64),
    id: (String, String),
    #[serde(default, skip_serializing_if = "is_zero")]
    unnumbered: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    streams: Vec<StreamExtent>,
}

impl From<&Extent> for ExtentForm {
    fn from(extent: &Extent) -> Self {
        let text = |id: &[u8; 16]| String::from_utf8_lossy(&id::text(id)).into_owned();
        Self {
            rows: extent.rows,
            ts: (extent.min_ts, extent.max_ts),
            end: (extent.min_end, extent.max_end),
            id: (text(&extent.min_id), text(&extent.max_id)),
            unnumbered: extent.unnumbered,
            streams: extent.streams.clone(),
        }
    }
}

impl From<ExtentForm> for Extent {
    /// An id that cannot be read stands for the widest range: then nothing is left out wrongly.
    fn from(form: ExtentForm) -> Self {
        Self {
            rows: form.rows,
            min_ts: form.ts.0,
            max_ts: form.ts.1,
            min_end: form.end.0,
            max_end: form.end.1,
            min_id: id::parse(form.id.0.as_bytes()).unwrap_or([0; 16]),
            max_id: id::parse(form.id.1.as_bytes()).unwrap_or([0xff; 16]),
            streams: form.streams,
            unnumbered: form.unnumbered,
        }
    }
}
