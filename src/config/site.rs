//! `[site."HOST"]`: a host name, its certificates and its routes.

use super::compress::Compress;
use super::headers::HeaderChanges;
use super::place::At;
use super::read::OneOrMany;
use super::route::Route;
use super::shape::{choice, either, table};
use super::timeouts::RequestTimeouts;
use super::words::{Host, Name, Text};
use crate::units::Size;

table! {
    /// A site. Its name is a host, `*.example.com` for all names below it, or `*` for what no other site takes.
    pub struct Site {
        /// Further names of the site.
        aliases: default Vec<At<Host>> = &[] as &[&str];
        /// Where the certificate comes from: `local` (a local CA, made on first start), `{ cert, key }`, or a list of these.
        tls: optional Tls;
        /// Answer plain http with a redirect to https (308), when the site has `tls`.
        redirect_http: default bool = true;
        /// Compression of answers: codecs in order of preference, a table, or `false`. Off when left out.
        compress: optional Compress;
        /// Changes to the header fields of answers.
        headers: default HeaderChanges = ();
        /// Changes to the header fields of requests to upstreams.
        request_headers: default HeaderChanges = ();
        /// Limits that every request of the site is charged to.
        limit: optional OneOrMany<Name>;
        /// Largest request body.
        max_body: optional Size;
        /// Timeouts of requests to this site.
        timeouts: optional RequestTimeouts;
        /// What is done with which requests.
        routes: default Vec<At<Route>> = &[] as &[&str];
    }
}

either! {
    /// Where the certificates come from.
    pub enum Tls {
        Source(TlsSource),
        Pair(CertPair),
        Pairs(Vec<At<CertPair>>),
    }
}

choice! {
    /// Certificates that tollgate gets by itself.
    pub enum TlsSource ("certificate source") {
        /// From a local CA in `certs/local`.
        Local = "local",
        /// From an ACME authority.
        Acme = "acme",
    }
}

table! {
    /// A certificate with its key, in PEM files.
    pub struct CertPair {
        /// The certificate and the chain above it.
        cert: required Text;
        /// Its private key.
        key: required Text;
    }
}

impl Tls {
    /// The pairs that stand in files.
    pub fn pairs(&self) -> Vec<&CertPair> {
        match self {
            Self::Source(_) => Vec::new(),
            Self::Pair(pair) => vec![pair],
            Self::Pairs(pairs) => pairs.iter().map(|pair| &pair.value).collect(),
        }
    }

    pub fn is_local(&self) -> bool {
        matches!(self, Self::Source(TlsSource::Local))
    }
}
