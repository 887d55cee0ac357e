//! [`Place`]: where objects go, what they are called, and the signature of a request (AWS Signature Version 4, in the query:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).

use std::time::Duration;

use jiff::Timestamp;
use rusty_s3::actions::PutObject;
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use url::Url;

use super::settings::Settings;

/// How long a signature counts: for beginning the request. Servers let clocks differ by as much.
const VALID: Duration = Duration::from_secs(900);
/// Header field with the SHA-256 of the body, Base64. It is signed, and the server refuses a body that has another.
pub(super) const CHECKSUM: &str = "x-amz-checksum-sha256";
/// Hex digits of the hash in the name of an object.
const NAME_DIGITS: usize = 12;

/// The address cannot be one of a bucket.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot be the address of a bucket")]
pub(super) struct PlaceError(String);

pub(super) struct Place {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
}

impl Place {
    pub(super) fn new(settings: &Settings) -> Result<Self, PlaceError> {
        let endpoint = endpoint(settings);
        let failed = || PlaceError(endpoint.clone());
        let url: Url = endpoint.parse().map_err(|_| failed())?;
        let bucket = Bucket::new(url, UrlStyle::Path, settings.bucket.clone(), settings.region.clone());
        Ok(Self {
            bucket: bucket.map_err(|_| failed())?,
            credentials: Credentials::new(&*settings.access_key.0, &*settings.secret_key.0),
            prefix: settings.prefix.clone(),
        })
    }

    /// The object of a file: `PREFIX/d=2026-11-21/h=09/00000012.l1.5c1b8f0a3d77.parquet`.
    pub(super) fn object(&self, name: &str, sha256: &str) -> String {
        let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
        format!("{}{stem}.{}.{end}", self.prefix, sha256.get(..NAME_DIGITS).unwrap_or(sha256))
    }

    /// The signed address of a PUT of this object with this checksum. A secret as long as it counts.
    pub(super) fn signed(&self, object: &str, checksum: &str, now: &Timestamp) -> Url {
        let mut put = PutObject::new(&self.bucket, Some(&self.credentials), object);
        put.headers_mut().insert(CHECKSUM, checksum);
        put.sign_with_time(VALID, now)
    }
}

/// `https://HOST:PORT/path`, without the port that the scheme has anyway.
fn endpoint(settings: &Settings) -> String {
    let to = &settings.to;
    let scheme = if to.is_tls { "https" } else { "http" };
    format!("{scheme}://{}:{}{}/", to.host, to.port, to.path)
}

/// What the ledger is about, and people are told.
pub(super) fn told(settings: &Settings) -> String {
    let place = Place::new(settings).map(|place| place.bucket.base_url().to_string());
    format!("{}{}", place.unwrap_or_else(|_| endpoint(settings)), settings.prefix)
}
