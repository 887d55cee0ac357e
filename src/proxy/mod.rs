//! The walk of one request, on one core: [`Proxy`].
//!
//! Reading order: [`Proxy::handle`] is the frame that every exit passes, [`walk`] the way of a request that is
//! not refused: what needs no waiting first, then [`way::Way::wait`], then [`way::Way::answer`]. [`forward`] cleans both directions, [`upgrade`] opens tunnels, [`respond`] answers for ourselves.

pub mod begin;
pub mod core;
pub mod decide;
pub mod forward;
pub mod respond;
pub mod traceparent;
pub mod upgrade;
pub mod walk;
pub mod way;

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use self::core::Core;
use crate::access_log::follow::{Followed, Live};
use crate::downstream::{Arrival, Handler, Refusal};
use crate::plan::{Plan, Plans};
use way::Got;

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

    fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
        arrival: Arrival,
    ) -> impl Future<Output = Response<Followed>> {
        let plan = self.plan();
        let exchange = begin::exchange(&self.core, &plan, &request, &arrival);
        let Arrival { wire, raw, .. } = arrival;
        let mut live = Live::new(exchange, Rc::clone(&self.core.log), Arc::clone(&plan.redactor), wire);
        let wants = respond::Wants::read(request.headers());
        let own_id = forward::own_id(&live.exchange.id);
        let mut way = walk::walk(&self.core, &plan, request, raw.as_ref(), &own_id, &mut live);
        async move {
            let got = match &mut way {
                Ok(way) => way.wait(&self.core, &mut live).await,
                Err(_) => Ok(Got::Nothing),
            };
            let outcome = way.and_then(|way| way.answer(got?, &self.core, &mut live));
            let mut response =
                outcome.unwrap_or_else(|refused| respond::to_refused(refused, wants, &plan, &mut live));
            forward::finish(&plan, own_id, live.exchange.rid.as_ref(), response.headers_mut());
            live.follow(response)
        }
    }

    fn refused(&self, refusal: Refusal) {
        begin::refused(&self.core, &self.plan(), &refusal);
    }
}
