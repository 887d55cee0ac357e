//! The way of `proxy::walk`, told aloud: the same functions in the same order, and a report instead of an answer.

use http::{Method, Response};

use super::ask::Ask;
use super::fields::{NO_ID, Shown};
use super::report::{Answer, Asked, Canonical as CanonicalView, Client as ClientView, Report, Site, VERSION};
use super::{candidates, rules};
use crate::config::Config;
use crate::config::headers::Via;
use crate::exchange::failure::{Failure, Kind};
use crate::files::{self, OpenFiles};
use crate::filter::compress::Wanted;
use crate::http::forwarded::{self, Chain, Client, Hop, Proto};
use crate::http::headers::{self, Framing};
use crate::http::target::Canonical;
use crate::plan::{Action, Plan, Proxying, Route};
use crate::proxy::decide::{Decision, decide};
use crate::proxy::forward::{self, Inbound};
use crate::proxy::{upgrade, walk, way};

/// What would happen to `ask`.
pub(super) fn explain(config: &Config, plan: &Plan, ask: &Ask) -> Report {
    let pseudonym = plan.via.as_ref().map(|via| &*via.pseudonym);
    let is_drawn = matches!(config.server.via.value, Via::Switch(true));
    let mut teller =
        Teller { config, plan, ask, shown: Shown::new(pseudonym.filter(|_| is_drawn)), report: begin(ask) };
    if let Err(failure) = teller.walk() {
        teller.report.answer = refused(&failure);
    }
    teller.report
}

fn begin(ask: &Ask) -> Report {
    let request = Asked {
        method: ask.method.to_string(),
        scheme: if ask.is_tls { "https" } else { "http" },
        authority: ask.authority.clone(),
        target: ask.target.clone(),
        from: ask.from.to_string(),
    };
    Report {
        v: VERSION,
        request,
        canonical: None,
        client: None,
        site: None,
        routes: Vec::new(),
        limits: Vec::new(),
        body: None,
        forward: None,
        answer: Answer::default(),
        notes: Vec::new(),
    }
}

fn refused(failure: &Failure) -> Answer {
    let row = failure.kind.row();
    Answer {
        from: "tollgate",
        status: Some(row.status.as_u16()),
        reason: Some(row.reason),
        detail: failure.detail.map(str::to_owned),
        cause: failure.cause.as_ref().map(ToString::to_string),
        ..Answer::default()
    }
}

struct Teller<'a> {
    config: &'a Config,
    plan: &'a Plan,
    ask: &'a Ask,
    shown: Shown,
    report: Report,
}

impl<'a> Teller<'a> {
    fn walk(&mut self) -> Result<(), Failure> {
        let (plan, ask) = (self.plan, self.ask);
        self.listeners();
        let parts = ask.parse()?;
        let framing = headers::check_request(&parts.headers, parts.version, &plan.head.settings)?;
        let uri = parts.uri.clone();
        let canonical =
            Canonical::of(&parts.method, &uri, parts.version, &parts.headers, plan.head.max_target)?;
        self.report.canonical = Some(canonical_view(&canonical));
        let client = forwarded::resolve(&parts.headers, ask.from, &plan.trust)?;
        self.report.client = Some(client_view(&client, ask));
        self.connection(&canonical)?;
        if canonical.is_asterisk() {
            self.report.answer = Answer { from: "respond", status: Some(204), ..Answer::default() };
            return Ok(());
        }
        let wanted = Wanted::parse(&parts.headers);
        let Some((route, rest)) = self.route(&canonical, &parts)? else { return Ok(()) };
        canonical.permit(route.encoded_slash)?;
        self.report.limits = rules::limits(route, client.ip, &parts.headers);
        let hop = Hop::new(ask.from, if ask.is_tls { Proto::Https } else { Proto::Http });
        let own_id = forward::own_id(&NO_ID);
        let inbound = Inbound {
            id: NO_ID,
            own_id: &own_id,
            sender: ask.from.to_canonical(),
            hop: &hop,
            uri: &uri,
            canonical: &canonical,
            client: &client,
            rest: &rest,
            route,
        };
        self.answer(parts, &inbound, framing, wanted)
    }

    /// Whether somebody listens for the scheme at all.
    fn listeners(&mut self) {
        let server = &self.config.server;
        let (name, is_there) = match self.ask.is_tls {
            true => ("https", server.https.is_some() && self.plan.tls.is_some()),
            false => ("http", server.http.is_some()),
        };
        if !is_there {
            self.report
                .notes
                .push(format!("nothing listens for {name}: this request would not reach tollgate"));
        }
    }

    /// A connection that was made for one site must not carry requests for another with its own certificate.
    fn connection(&self, canonical: &Canonical<'_>) -> Result<(), Failure> {
        match &self.plan.tls {
            Some(tls) if self.ask.is_tls && !tls.covers(self.ask.sni().as_deref(), canonical.host.name()) => {
                Err(Failure::refuse(
                    Kind::Misdirected,
                    "the certificate of this connection is another site's",
                ))
            }
            _ => Ok(()),
        }
    }

    fn route(
        &mut self,
        canonical: &Canonical<'_>,
        parts: &http::request::Parts,
    ) -> Result<Option<(&'a Route, String)>, Failure> {
        self.report.routes = candidates::routes(self.plan, canonical, parts);
        let decision = decide(self.plan, canonical, &parts.method, &parts.headers, self.ask.is_tls);
        let (site, found) = match decision {
            Decision::NoSite => return Err(Failure::refuse(Kind::NoRoute, "no site has this name")),
            Decision::ToHttps { site, location } => {
                self.report.answer = rules::to_https(&location);
                (site, Ok(None))
            }
            Decision::NoRoute { site, allowed } => {
                if !allowed.is_empty() {
                    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
                    self.report.notes.push(format!("the site serves this path for {}", names.join(", ")));
                }
                (site, Err(walk::no_route(&allowed)))
            }
            Decision::Route { route, rest } => (&route.site, Ok(Some((&**route, rest)))),
        };
        self.report.site =
            Some(Site { name: site.name.to_string(), place: site.place.to_string(), has_tls: site.has_tls });
        found
    }

    fn answer(
        &mut self,
        parts: http::request::Parts,
        inbound: &Inbound<'_>,
        framing: Framing,
        wanted: Wanted,
    ) -> Result<(), Failure> {
        let route = inbound.route;
        match &route.action {
            Action::Proxy(proxying) => self.proxy(proxying, parts, inbound, framing, wanted),
            Action::Files(files) => {
                let response = self.files(files, &parts, inbound, wanted)?;
                self.own("files", response, &parts.method, route, wanted);
                Ok(())
            }
            Action::Redirect { target, carries_rest, status } => {
                let response = forward::redirect(target, *carries_rest, *status, inbound)?;
                self.own("redirect", response, &parts.method, route, wanted);
                Ok(())
            }
            Action::Respond { status, content_type, text } => {
                let response = walk::respond(*status, Some(content_type), text);
                self.own("respond", response, &parts.method, route, wanted);
                Ok(())
            }
        }
    }

    fn proxy(
        &mut self,
        proxying: &Proxying,
        mut parts: http::request::Parts,
        inbound: &Inbound<'_>,
        framing: Framing,
        wanted: Wanted,
    ) -> Result<(), Failure> {
        let route = inbound.route;
        let wish = headers::upgrade_wanted(&parts.method, &parts.headers, parts.version)?;
        self.report.body = Some(rules::body(&route.body, framing));
        if matches!(framing, Framing::Length(length) if length > route.body.max) {
            return Err(Failure::new(Kind::BodyTooLarge).because(&route.body.max_cause));
        }
        let before = parts.headers.clone();
        let ids = forward::request(self.plan, &mut parts, inbound, proxying)?;
        let upgrade = wish.and_then(|_| upgrade::prepare(&mut parts.headers)).map(|_| "websocket");
        let fields = self.shown.changes(&before, &parts.headers);
        self.report.forward = Some(rules::forward(self.config, proxying, &parts.uri, upgrade, fields));
        if proxying.upstream.settings.host_is_endpoint {
            self.report.notes.push("the upstream gets the endpoint's own address as Host".to_owned());
        }
        self.report.answer = Answer {
            from: "upstream",
            changes: rules::changes(self.plan, route, &self.shown, ids.rid.as_ref()),
            compression: rules::compression(route, wanted),
            ..Answer::default()
        };
        Ok(())
    }

    /// The files are looked for in earnest; only nothing of them is sent.
    fn files(
        &self,
        files: &files::Files,
        parts: &http::request::Parts,
        inbound: &Inbound<'_>,
        wanted: Wanted,
    ) -> Result<Response<crate::http::Body>, Failure> {
        let path = forward::file_path(inbound);
        let open = OpenFiles::default();
        let ask = files::Ask {
            method: &parts.method,
            path: &path,
            public_path: &inbound.canonical.path,
            query: inbound.canonical.query,
            headers: &parts.headers,
            wanted,
            compress: inbound.route.compress.as_deref(),
            open: &open,
            queue: None,
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::refuse(Kind::Internal, "cannot look for the file").from_source(error)
            })?;
        runtime.block_on(files.serve(ask))
    }

    /// An answer that is made here, with all that happens to it on its way out.
    fn own(
        &mut self,
        from: &'static str,
        response: Response<crate::http::Body>,
        method: &Method,
        route: &Route,
        wanted: Wanted,
    ) {
        let (mut response, codec) = way::after(route, wanted, method, response);
        forward::finish(self.plan, forward::own_id(&NO_ID), None, response.headers_mut());
        let mut compression = rules::compression(route, wanted);
        if let (Some(compression), None) = (&mut compression, codec)
            && compression.codec.take().is_some()
        {
            compression.why = "this answer is not compressed: its status, size or type".to_owned();
        }
        self.report.answer = Answer {
            from,
            status: Some(response.status().as_u16()),
            fields: self.shown.fields(response.headers()),
            compression,
            ..Answer::default()
        };
    }
}

fn canonical_view(canonical: &Canonical<'_>) -> CanonicalView {
    CanonicalView {
        host: canonical.host.name().to_owned(),
        port: canonical.host.port(),
        path: canonical.path.to_string(),
        query: canonical.query.map(str::to_owned),
        path_changed: canonical.changed,
    }
}

fn client_view(client: &Client, ask: &Ask) -> ClientView {
    let sender = ask.from.to_canonical();
    let (known_by, why) = match (client.trusted, client.chain) {
        (false, _) => ("sender", "the sender is not in server.trusted_proxies, so its word does not count"),
        (true, Chain::Sender) => ("sender", "the sender is trusted and names nobody"),
        (true, Chain::XForwarded) if client.ip == sender => {
            ("sender", "the sender is trusted and names nobody else")
        }
        (true, Chain::XForwarded) => ("x-forwarded-for", "the nearest address that is not a trusted proxy"),
        (true, Chain::Forwarded) => ("forwarded", "the nearest address that is not a trusted proxy"),
    };
    ClientView {
        ip: client.ip.to_string(),
        sender: sender.to_string(),
        sender_is_trusted: client.trusted,
        known_by,
        why: why.to_owned(),
    }
}
