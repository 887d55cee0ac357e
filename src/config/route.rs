//! An entry of `routes`: which requests, and the one thing that is done with them.

use http::{HeaderName, Method};

use super::compress::Compress;
use super::headers::HeaderChanges;
use super::place::At;
use super::read::{Map, OneOrMany};
use super::shape::{choice, either, table};
use super::timeouts::RequestTimeouts;
use super::words::{Glob, MediaType, Name, PathPattern, Rewrite, Status, Target, Text, True, UrlPath};
use crate::units::{Count, Duration, Size};

table! {
    /// A route: a path, and exactly one of `proxy`, `redirect`, `respond`, `files`.
    pub struct Route {
        /// `/x` is that path, `/x/*` everything that begins with `/x/`, `~regex` everything that matches.
        path: required PathPattern;
        /// Conditions beside the path; all must hold.
        when: default When = ();
        /// Send to this upstream.
        proxy: optional Name;
        /// Answer with a redirect. A `*` at the end carries over what the `*` of `path` stands for.
        redirect: optional Target;
        /// Answer with this text.
        respond: optional Text;
        /// Serve the files below this directory: what the `*` of `path` stands for, or the whole path where there is none.
        files: optional Text;
        /// Status of `redirect` (307 when left out) or `respond` (200).
        status: optional Status;
        /// Media type of `respond`.
        content_type: default MediaType = "text/plain; charset=utf-8";
        /// With `files`: what stands for a directory.
        index: default Vec<At<Text>> = &["index.html"] as &[&str];
        /// With `files`: served instead of what is missing, in order, as paths below the directory: `/index.html`.
        try_files as "try": default Vec<At<UrlPath>> = &[] as &[&str];
        /// With `files`: how long clients may keep them (`Cache-Control: max-age`). They ask again when left out.
        cache: optional Duration;
        /// With `files`: send `.zst`, `.br` and `.gz` siblings to those who take them.
        precompressed: default bool = true;
        /// With `files`: show what is in a directory without index.
        listing: default bool = false;
        /// With `proxy`: take away the front of the path, `true` for what stands before the `*` of `path`, or the text itself.
        strip_prefix: optional StripPrefix;
        /// With `proxy` or `files`: replace the path. A `*` at the end carries over what the `*` of `path` stands for.
        rewrite: optional Rewrite;
        /// Limits that a request is charged to, beside the site's.
        limit: optional OneOrMany<Name>;
        /// Requests in flight on this route; more are answered 503. No bound when left out.
        max_in_flight: optional Count;
        /// Changes to the header fields of answers.
        headers: default HeaderChanges = ();
        /// Changes to the header fields of requests to upstreams.
        request_headers: default HeaderChanges = ();
        /// Largest request body.
        max_body: optional Size;
        /// Timeouts of requests on this route.
        timeouts: optional RequestTimeouts;
        /// Compression of answers; the site's when left out.
        compress: optional Compress;
        /// `%2F` in the path: `refuse` with 400, or `pass` as it is.
        encoded_slash: default EncodedSlash = "refuse";
    }
}

table! {
    /// Conditions beside the path.
    pub struct When {
        /// One of these methods.
        method: default Vec<At<Method>> = &[] as &[&str];
        /// Each field is there with that value; `*` stands for any text.
        header: default Map<HeaderName, Glob> = ();
        /// Each query parameter is there with that value; `*` stands for any text.
        query: default Map<Text, Glob> = ();
    }
}

either! {
    /// How much of the path is taken away.
    pub enum StripPrefix {
        Pattern(True),
        Text(UrlPath),
    }
}

choice! {
    /// What happens to `%2F` in a path.
    pub enum EncodedSlash ("rule for encoded slashes") {
        Refuse = "refuse",
        Pass = "pass",
    }
}

/// The one thing that a route does.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    Proxy { upstream: &'a At<Name> },
    Redirect { target: &'a At<Target>, status: u16 },
    Respond { text: &'a At<Text>, status: u16 },
    Files { directory: &'a At<Text> },
}

impl Route {
    /// The first action that is written; a loaded configuration has exactly one.
    pub fn action(&self) -> Option<Action<'_>> {
        let status = |default| self.status.as_ref().map_or(default, |status| status.get());
        if let Some(upstream) = &self.proxy {
            return Some(Action::Proxy { upstream });
        }
        if let Some(target) = &self.redirect {
            return Some(Action::Redirect { target, status: status(307) });
        }
        if let Some(text) = &self.respond {
            return Some(Action::Respond { text, status: status(200) });
        }
        self.files.as_ref().map(|directory| Action::Files { directory })
    }
}

impl When {
    /// How many conditions: the method counts once, every field and parameter counts.
    pub fn count(&self) -> usize {
        usize::from(!self.method.is_empty()) + self.header.len() + self.query.len()
    }
}
