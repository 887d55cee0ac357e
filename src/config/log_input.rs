//! `[log.input.NAME]`: doors of the log service for what others send.

use super::place::At;
use super::shape::{choice, table};
use super::words::{Listen, Text};

table! {
    /// A door of the log service for the lines of applications and shippers. What is acknowledged is on the disk.
    pub struct LogInput {
        /// What is spoken there.
        kind as "type": required InputType;
        /// Where: `127.0.0.1:9200`, `:5044` or `unix:PATH`.
        listen: required Listen;
        /// A secret that senders show: `Authorization: Bearer`, `ApiKey` or the password of Basic over HTTP, the shared key of `forward`, the element `[TOKEN@41058]` of `syslog`, the first line `{"token":"…"}` of `lines`.
        token: optional Text;
        /// A PEM file with the certificate of this door, leaf first: it speaks TLS then; together with `key`.
        cert: optional Text;
        /// The private key of `cert`, PEM.
        key: optional Text;
        /// Take only senders that show a certificate of one of these authorities, PEM.
        client_ca: optional Text;
        /// The senders are tollgates, or pass on unchanged what tollgates wrote: a record is known by the `proxy`, `boot`, `core` and `seq` that it carries and stored once, by however many ways it comes. Otherwise these are a sender's own words, kept as `proxy_in`, `boot_in`, `core_in` and `seq_in`. Whoever may send there can pass for any proxy.
        trusted: default bool = false;
    }
}

choice! {
    /// What is spoken at a door.
    pub enum InputType ("kind of input") {
        /// `POST /logs`, Elasticsearch's `_bulk`, OTLP.
        Http = "http",
        Syslog = "syslog",
        Forward = "forward",
        Lumberjack = "lumberjack",
        Lines = "lines",
        Packets = "packets",
    }
}

impl LogInput {
    /// What it says, wherever it stands.
    pub fn words(&self) -> String {
        let text = |word: &Option<At<Text>>| word.as_ref().map(|word| word.value.clone());
        let texts = [&self.token, &self.cert, &self.key, &self.client_ca].map(text);
        format!("{:?} {} {texts:?} {}", self.kind.value, self.listen.value, self.trusted.value)
    }
}
