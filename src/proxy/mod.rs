//! The walk of one request, on one core: [`Proxy`].
//!
//! Reading order: [`Proxy::handle`] is the frame that every exit passes, [`walk`] the way of a request that is
//! not refused. [`forward`] cleans both directions, [`upgrade`] opens tunnels, [`respond`] answers for ourselves.

pub mod begin;
pub mod core;
pub mod decide;
pub mod forward;
pub mod respond;
pub mod traceparent;
pub mod upgrade;
pub mod walk;

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use self::core::Core;
use crate::access_log::follow::{Followed, Live};
use crate::downstream::{Arrival, Handler, Refusal};
use crate::plan::{Plan, Plans};

/// The proxy on one core.
pub struct Proxy {
    pub plans: Arc<Plans>,
    pub core: Rc<Core>,
}

impl Proxy {
    /// The plan that runs now, as this core has it.
    pub fn plan(&self) -> Arc<Plan> {
        self.plans.of(self.core.index)
    }
}

impl Handler for Proxy {
    type Body = Followed;

    async fn handle(self: Rc<Self>, request: Request<Incoming>, arrival: Arrival) -> Response<Followed> {
        let plan = self.plan();
        let wire = Rc::clone(&arrival.wire);
        let exchange = begin::exchange(&self.core, &plan, &request, &arrival);
        let mut live = Live::new(exchange, Rc::clone(&self.core.log), Arc::clone(&plan.redactor), wire);
        let wants = respond::Wants::read(request.headers());
        let outcome = walk::walk(&self.core, &plan, request, arrival.raw, &mut live).await;
        let mut response = match outcome {
            Ok(response) => response,
            Err(refused) => respond::to_refused(refused, wants, &plan, &mut live),
        };
        forward::finish(&plan, &live.exchange.id, live.exchange.rid.as_ref(), response.headers_mut());
        live.follow(response)
    }

    fn refused(&self, refusal: Refusal) {
        begin::refused(&self.core, &self.plan(), &refusal);
    }
}
