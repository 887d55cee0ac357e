//! The request of all rows, a browser's over HTTP/1.1, and the plan that it meets.

use std::error::Error;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use tollgate::config;
use tollgate::plan::Plan;
use tollgate::plan::compile::compile;
use tollgate::plan::ground::Ground;

const PLAN: &str = r#"
[server]
http = "127.0.0.1:8080"
[log]
service = "none"
stdout = true
[limit.per-client]
key = "client.ip"
rate = "1000000/s"
[upstream.app]
servers = ["127.0.0.1:9001"]
[site."www.example.com"]
routes = [
  { path = "/healthz", respond = "ok" },
  { path = "/static/*", proxy = "app" },
  { path = "/api/*", proxy = "app", limit = "per-client" },
  { path = "/*", proxy = "app" },
]
[site."other.example.com"]
routes = [{ path = "/*", proxy = "app" }]
"#;

const TARGET: &str = "/api/v1/users/42?fields=name";
const FIELDS: &str = "host: www.example.com\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0\n\
    accept: application/json\n\
    accept-language: en-GB,en;q=0.5\n\
    accept-encoding: gzip, deflate, br, zstd\n\
    referer: https://www.example.com/account\n\
    connection: keep-alive\n\
    cookie: sid=0123456789abcdef0123456789abcdef; theme=dark\n\
    sec-fetch-dest: empty\n\
    sec-fetch-mode: cors\n\
    sec-fetch-site: same-origin\n\
    priority: u=4";

/// What the configuration above makes of it.
pub(crate) fn plan() -> Result<Plan, Box<dyn Error>> {
    let config = config::from_text("budget.toml", PLAN, &|_| None).map_err(|found| found.to_string())?;
    let (plan, _) = compile(&config, &Ground::bare(0)).map_err(|found| found.to_string())?;
    Ok(plan)
}

/// The head as the parser leaves it.
pub(crate) struct Head {
    uri: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Head {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        // One shared buffer behind all values.
        let text = Bytes::copy_from_slice(FIELDS.as_bytes());
        let mut fields = Vec::new();
        for line in FIELDS.lines() {
            let (name, value) = line.split_once(": ").ok_or("a field has a colon")?;
            let at = value.as_ptr() as usize - FIELDS.as_ptr() as usize;
            let value = HeaderValue::from_maybe_shared(text.slice(at..at + value.len()))?;
            fields.push((name.parse()?, value));
        }
        Ok(Self { uri: Uri::from_maybe_shared(Bytes::copy_from_slice(TARGET.as_bytes()))?, fields })
    }

    /// A copy in a map with room for `room` fields. hyper makes room for those that came, unless it has a map from
    /// the last answer on the connection.
    pub(crate) fn parts(&self, room: usize) -> Parts {
        let mut parts = Request::new(()).into_parts().0;
        parts.uri = self.uri.clone();
        parts.headers = HeaderMap::with_capacity(room);
        for (name, value) in &self.fields {
            parts.headers.append(name, value.clone());
        }
        parts
    }

    /// How many fields it has.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }
}
