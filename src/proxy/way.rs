//! The rest of the way, after [`super::walk`]: waiting for the upstream or for files, then the filters of the way back.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Response, StatusCode, Version};

use super::core::Core;
use super::forward::{self, Inbound};
use super::upgrade;
use super::walk::Refused;
use crate::access_log::follow::Live;
use crate::exchange::failure::{Failure, Kind};
use crate::files::{Ask, Files};
use crate::filter::compress::{Codec, Wanted};
use crate::http::sendfile::SendQueue;
use crate::http::{Body, headers};
use crate::plan::{Action, Proxying, Route};
use crate::upstream::body::ResponseBody;
use crate::upstream::send::{Answer, Sending};

/// Where the walk has led: what is left to do for the answer.
pub struct Way {
    pub(super) route: Arc<Route>,
    pub(super) wanted: Wanted,
    pub(super) method: Method,
    pub(super) step: Step,
}

pub(super) enum Step {
    /// An answer of our own: there is nothing to wait for.
    Answered(Response<Body>),
    Files(Box<FileWalk>),
    Send(Box<Sending>, Option<upgrade::Expected>),
}

/// What came of the waiting.
pub enum Got {
    /// There was nothing to wait for.
    Nothing,
    Files(Response<Body>),
    Answer(Answer),
}

impl Way {
    /// Waits for what only others can give. By reference: a future that owned the way would hold it twice.
    ///
    /// # Errors
    /// As [`super::walk::walk`].
    pub async fn wait(&mut self, core: &Core, live: &mut Live) -> Result<Got, Refused> {
        if let Some(room) = core.log.log.delay() {
            Box::pin(room).await;
            // It counts as time of our own rules.
            live.exchange.marks.policy = Some(Instant::now());
        }
        match (&mut self.step, &self.route.action) {
            (Step::Send(sending, _), _) => Ok(Got::Answer(sending.run(&mut live.exchange).await?)),
            (Step::Files(walk), Action::Files(files)) => {
                let queue = live.wire().send_queue();
                let serving = walk.serve(core, files, &self.route, self.wanted, queue);
                Ok(Got::Files(Box::pin(serving).await?))
            }
            _ => Ok(Got::Nothing),
        }
    }

    /// Makes the answer, and lets the filters of the way back see it.
    ///
    /// # Errors
    /// As [`super::walk::walk`].
    pub fn answer(self, got: Got, core: &Core, live: &mut Live) -> Result<Response<Body>, Refused> {
        let response = match (got, self.step, &self.route.action) {
            (Got::Answer(answer), Step::Send(sending, expected), Action::Proxy(proxying)) => {
                received(sending.follow(answer), core, proxying, expected, live)?
            }
            (Got::Files(response), ..) | (Got::Nothing, Step::Answered(response), _) => response,
            // What is got is what the step asked for, and a step is made for the action of its own route.
            _ => return Err(Failure::refuse(Kind::Internal, "an answer to another step").into()),
        };
        let (response, codec) = after(&self.route, self.wanted, &self.method, response);
        live.exchange.encoding = codec.map(|c| c.token());
        Ok(response)
    }
}

/// The upstream's answer, without what belonged to its hop.
fn received(
    response: Response<ResponseBody>,
    core: &Core,
    proxying: &Proxying,
    expected: Option<upgrade::Expected>,
    live: &mut Live,
) -> Result<Response<Body>, Failure> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(expected) = expected else {
            return Err(Failure::refuse(Kind::UpgradeFailed, "101 without being asked"));
        };
        return upgrade::accept(core, response, proxying, &expected, live);
    }
    let (mut parts, body) = response.into_parts();
    headers::strip_response_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, Body::stream(body)))
}

/// A request for files, with all that outlives its walk.
pub(super) struct FileWalk {
    parts: http::request::Parts,
    path: String,
    public_path: String,
    query: Option<String>,
}

impl FileWalk {
    pub(super) fn new(inbound: &Inbound<'_>, parts: http::request::Parts) -> Self {
        let canonical = inbound.canonical;
        Self {
            parts,
            path: forward::file_path(inbound).into_owned(),
            public_path: canonical.path.to_string(),
            query: canonical.query.map(str::to_owned),
        }
    }

    async fn serve(
        &self,
        core: &Core,
        files: &Files,
        route: &Route,
        wanted: Wanted,
        queue: Option<&SendQueue>,
    ) -> Result<Response<Body>, Failure> {
        let ask = Ask {
            method: &self.parts.method,
            path: &self.path,
            public_path: &self.public_path,
            query: self.query.as_deref(),
            headers: &self.parts.headers,
            wanted,
            compress: route.compress.as_deref(),
            open: &core.files,
            queue,
        };
        files.serve(ask).await
    }
}

/// Filters of the way back; they also see our own answers. Says with which codec the answer was compressed.
pub fn after(
    route: &Route,
    wanted: Wanted,
    method: &Method,
    mut response: Response<Body>,
) -> (Response<Body>, Option<Codec>) {
    for changes in &route.response_headers {
        changes.apply(response.headers_mut());
    }
    match &route.compress {
        Some(compress) => compress.apply(wanted, method, response),
        None => (response, None),
    }
}
