//! `[log.sink.NAME]`: further places for the records, each with its own position in the log.

use super::log::Rotate;
use http::Uri;

use super::place::At;
use super::read::{Map, OneOrMany, Problem};
use super::shape::{choice, table};
use super::words::Text;
use crate::units::{Count, Duration, Size};

table! {
    /// One more place that takes every record, at its own pace: what it has not taken waits in the spool. What it will never take is kept in its `dead_letter` file, with the reason.
    pub struct LogSink {
        /// What takes the records, and in which form they are sent.
        kind as "type": required SinkType;
        /// Where it is: `https://HOST:PORT` with a path if it has one (`elasticsearch`, `loki`, `otlp`, `clickhouse`, `http`, `s3`), `tcp://HOST:PORT` or `tls://HOST:PORT` (`kafka`, `forward`, `lumberjack`, `syslog`, `packets`), a path (`file`). Of several the first that answers is used.
        to: default OneOrMany<Text> = &[] as &[&str];
        /// How a record is written.
        form: default SinkForm = "native";
        /// `elasticsearch`: the index or data stream.
        index: default Text = "tollgate";
        /// `clickhouse`: the table.
        table: default Text = "tollgate";
        /// `kafka`: the topic.
        topic: default Text = "tollgate";
        /// `forward`: the tag. `syslog`: the APP-NAME.
        tag: default Text = "tollgate";
        /// `syslog`: the facility.
        facility: default Facility = "local0";
        /// `loki`: labels of the stream, beside `proxy`. Few, and never of what a client says.
        labels: default Map<Text, Text> = ();
        /// `s3`: the bucket. The log service puts its files of closed hours there, each once.
        bucket: optional Text;
        /// `s3`: the region.
        region: default Text = "us-east-1";
        /// `s3`: in front of the names of objects.
        prefix: default Text = "";
        /// `packets`: `to` is a Distributor, which says where `logs` lives.
        distributor: default bool = false;
        /// A secret: `Authorization: Bearer` over HTTP, the shared key of `forward`, the name of an element of `syslog` (`TOKEN@41058`).
        token: optional Text;
        /// Name of a user (HTTP Basic; SASL of `kafka`; access key of `s3`), together with `password`.
        user: optional Text;
        /// The user's secret.
        password: optional Text;
        /// Further header fields of each request over HTTP: `{ "X-Scope-OrgID" = "shop" }`.
        headers: default Map<http::HeaderName, http::HeaderValue> = ();
        /// A PEM file of the authorities that vouch for the other side over TLS; the public ones when it is left out.
        ca: optional Text;
        /// A PEM file with the certificate that is shown over TLS, leaf first; together with `key`.
        cert: optional Text;
        /// The private key of `cert`, PEM.
        key: optional Text;
        /// Compress what is sent, where the form has a way to say so.
        compress: default bool = true;
        /// Most bytes that are sent at once, before compression. Depends on the type when left out.
        batch: optional Size;
        /// Most records that are sent at once.
        batch_records: default Count = 10_000;
        /// How long records may wait for company. Depends on the type when left out.
        linger: optional Duration;
        /// How long sending and the answer may take; `s3`: how long nothing may move.
        timeout: default Duration = "10s";
        /// Longest pause between two tries. The first is 100 ms, each twice the one before, cut by chance down to half.
        retry_max: default Duration = "30s";
        /// JSON lines of what was refused for ever, with the reason; beside the spool, in `dead/NAME.jsonl`, when left out. Rotated by `rotate`.
        dead_letter: optional Text;
        /// `file`, and the dead letters: when the file is put aside.
        rotate: default Rotate = ();
    }
}

choice! {
    /// What takes records.
    pub enum SinkType ("kind of sink") {
        Elasticsearch = "elasticsearch",
        Loki = "loki",
        Otlp = "otlp",
        ClickHouse = "clickhouse",
        Kafka = "kafka",
        Forward = "forward",
        Lumberjack = "lumberjack",
        Syslog = "syslog",
        Packets = "packets",
        Http = "http",
        File = "file",
        Stdout = "stdout",
        S3 = "s3",
    }
}

choice! {
    /// How a record is written.
    pub enum SinkForm ("form") {
        Native = "native",
        Ecs = "ecs",
        Otel = "otel",
        Combined = "combined",
        Haproxy = "haproxy",
    }
}

choice! {
    /// A facility of syslog (RFC 5424 section 6.2.1).
    pub enum Facility ("facility") {
        User = "user",
        Daemon = "daemon",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

impl Facility {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

impl LogSink {
    /// What one of type `s3` says, wherever it stands.
    pub fn words(&self) -> String {
        let text = |word: &Option<At<Text>>| word.as_ref().map(|word| word.value.clone());
        let texts = [&self.bucket, &self.user, &self.password, &self.ca, &self.cert, &self.key].map(text);
        let to: Vec<&str> = self.to.iter().map(|to| &*to.value).collect();
        let (timeout, retry_max) = (self.timeout.value, self.retry_max.value);
        format!("{to:?} {:?} {:?} {texts:?} {timeout} {retry_max}", self.region.value, self.prefix.value)
    }
}

/// An address of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub host: String,
    pub port: u16,
    pub is_tls: bool,
    /// Path and query in front of that of the form; as they are where it has none.
    pub path: String,
}

impl Remote {
    /// Reads an address as sinks of this type want it.
    ///
    /// # Errors
    /// What is wrong with it, for a diagnostic.
    pub fn parse(text: &str, kind: SinkType, is_distributor: bool) -> Result<Self, Problem> {
        let wrong = |why: &str| {
            Problem::new(format!("`{}` {why}", text.escape_debug()))
                .help(format!("write it as `{}`", Self::example(kind)))
        };
        let uri: Uri = text.parse().map_err(|_| wrong("is not an address"))?;
        let schemes = Self::schemes(kind);
        let scheme = uri.scheme_str().filter(|scheme| schemes.contains(scheme));
        let scheme = scheme.ok_or_else(|| wrong("does not say how it is reached"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let is_tls = matches!(scheme, "https" | "tls");
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let path = if path == "/" { "" } else { path };
        if !scheme.starts_with("http") && !path.is_empty() {
            return Err(wrong("has a path, which nobody would see"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // Not quoted, and shown without its line: it may be a secret.
            return Err(Problem::new("an address has no user and password"));
        }
        let port = uri.port_u16().unwrap_or_else(|| Self::port(kind, is_tls, is_distributor));
        Ok(Self { host: host.to_owned(), port, is_tls, path: path.to_owned() })
    }

    fn schemes(kind: SinkType) -> &'static [&'static str] {
        match kind {
            SinkType::Kafka
            | SinkType::Forward
            | SinkType::Lumberjack
            | SinkType::Syslog
            | SinkType::Packets => &["tcp", "tls"],
            _ => &["http", "https"],
        }
    }

    fn port(kind: SinkType, is_tls: bool, is_distributor: bool) -> u16 {
        match kind {
            SinkType::Elasticsearch => 9200,
            SinkType::Loki => 3100,
            SinkType::Otlp => 4318,
            SinkType::ClickHouse if is_tls => 8443,
            SinkType::ClickHouse => 8123,
            SinkType::Kafka => 9092,
            SinkType::Forward => 24224,
            SinkType::Lumberjack => 5044,
            SinkType::Syslog if is_tls => 6514,
            SinkType::Syslog => 514,
            SinkType::Packets if is_distributor => 9000,
            SinkType::Packets => 9040,
            _ if is_tls => 443,
            _ => 80,
        }
    }

    /// How such an address looks.
    pub fn example(kind: SinkType) -> &'static str {
        match kind {
            SinkType::Elasticsearch => "https://search.example.com:9200",
            SinkType::Loki => "http://loki.example.com:3100",
            SinkType::Otlp => "http://collector.example.com:4318",
            SinkType::ClickHouse => "http://clickhouse.example.com:8123",
            SinkType::Kafka => "tcp://kafka.example.com:9092",
            SinkType::Forward => "tcp://fluentd.example.com:24224",
            SinkType::Lumberjack => "tcp://logstash.example.com:5044",
            SinkType::Syslog => "tls://syslog.example.com:6514",
            SinkType::Packets => "tcp://logs.example.com:9040",
            _ => "https://logs.example.com",
        }
    }
}
