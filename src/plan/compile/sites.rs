//! `[site."HOST"]` with its routes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::compress::CompressTable;
use crate::config::diagnostic::Diagnostic;
use crate::config::headers::HeaderChanges;
use crate::config::place::At;
use crate::config::read::OneOrMany;
use crate::config::route::{Action as ActionWords, EncodedSlash as Slash, Route as Words, StripPrefix, When};
use crate::config::server::Server;
use crate::config::site::Site as SiteWords;
use crate::config::timeouts::Timeouts as TimeoutWords;
use crate::config::upstream::HostPolicy;
use crate::config::words::{Host, Listen, Name, PathPattern as PathWords};
use crate::config::{Config, Diagnostics, Named, codes};
use crate::downstream::body;
use crate::filter::compress::{self, Codec, Levels, Types};
use crate::filter::headers::Settings as Changes;
use crate::filter::rate_limit::{Key, Limit, Settings as LimitSettings};
use crate::http::target::EncodedSlash;
use crate::plan::ground::Ground;
use crate::plan::{Action, PathChange, Proxying, Route, Site};
use crate::route::{Condition, HostPattern, PathPattern, RouteSpec, SiteSpec, ValuePattern};
use crate::units::Duration;
use crate::upstream::Upstream;
use crate::upstream::send::{Timeout, Timeouts};

type Specs = Vec<SiteSpec<Arc<Site>, Arc<Route>>>;

pub(super) fn compile(
    config: &Config,
    ground: &Ground,
    upstreams: &[Arc<Upstream>],
    limits: &[Arc<Limit>],
    found: &mut Diagnostics,
) -> (Specs, Vec<Arc<Limit>>) {
    let mut compiler = Compiler { config, ground, upstreams, limits, found, own_limits: Vec::new() };
    let specs = config.sites.iter().enumerate().map(|(index, site)| compiler.site(index, site)).collect();
    (specs, compiler.own_limits)
}

struct Compiler<'a> {
    config: &'a Config,
    ground: &'a Ground,
    upstreams: &'a [Arc<Upstream>],
    limits: &'a [Arc<Limit>],
    found: &'a mut Diagnostics,
    /// Limits that belong to a single route.
    own_limits: Vec<Arc<Limit>>,
}

impl Compiler<'_> {
    fn site(&mut self, index: usize, named: &Named<Host, SiteWords>) -> SiteSpec<Arc<Site>, Arc<Route>> {
        let words = &named.body;
        let name = named.name.to_string();
        let redirects = words.tls.is_some() && *words.redirect_http;
        let site = Arc::new(Site {
            name: name.as_str().into(),
            place: named.name.place.to_string().into(),
            has_tls: words.tls.is_some(),
            redirect_to: redirects
                .then(|| self.ground.https_port.or_else(|| https_port(&self.config.server)))
                .flatten(),
        });
        let aliases = words.aliases.iter().map(|alias| &alias.value);
        let hosts = std::iter::once(&named.name.value).chain(aliases);
        let routes = words.routes.iter().enumerate();
        SiteSpec {
            hosts: hosts.filter_map(|host| HostPattern::parse(&host.to_string())).collect(),
            routes: routes.filter_map(|(n, route)| self.route((index, n), words, &site, route)).collect(),
            value: site,
            name,
        }
    }

    fn route(
        &mut self,
        index: (usize, usize),
        site_words: &SiteWords,
        site: &Arc<Site>,
        route: &At<Words>,
    ) -> Option<RouteSpec<Arc<Route>>> {
        let words = &route.value;
        let name = words.path.to_string();
        let path = match PathPattern::parse(&name) {
            Ok(path) => path,
            Err(error) => {
                self.refuse(&words.path.place, &error);
                return None;
            }
        };
        let conditions = self.conditions(&words.when)?;
        let timeouts = self.config.timeouts(site_words, words);
        let value = Arc::new(Route {
            name: name.as_str().into(),
            place: route.place.to_string().into(),
            is_prefix: matches!(words.path.value, PathWords::Prefix(_)),
            site: Arc::clone(site),
            action: self.action(index, words, &timeouts)?,
            encoded_slash: match words.encoded_slash.value {
                Slash::Refuse => EncodedSlash::Refuse,
                Slash::Pass => EncodedSlash::Pass,
            },
            limits: self.limits_of(site_words, words, &name),
            body: Arc::new(self.body(site_words, words, &timeouts)),
            compress: self.config.compress(site_words, words).map(|table| Arc::new(compression(&table))),
            request_headers: self.changes([
                &self.config.server.request_headers.value,
                &site_words.request_headers.value,
                &words.request_headers.value,
            ]),
            response_headers: self.changes([
                &self.config.server.headers.value,
                &site_words.headers.value,
                &words.headers.value,
            ]),
            path: path_change(words),
        });
        Some(RouteSpec { name, path, conditions, value })
    }

    fn refuse(&mut self, place: &crate::config::Place, error: &dyn std::error::Error) {
        self.found.push(Diagnostic::error(codes::UNFIT, error.to_string()).at(place, "here"));
    }

    fn conditions(&mut self, when: &When) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        if !when.method.is_empty() {
            conditions.push(Condition::Method(when.method.iter().map(|m| m.value.clone()).collect()));
        }
        for (name, glob) in when.header.iter() {
            let pattern = self.pattern(&glob.place, glob)?;
            conditions.push(Condition::Header(name.value.clone(), pattern));
        }
        for (name, glob) in when.query.iter() {
            let pattern = self.pattern(&glob.place, glob)?;
            conditions.push(Condition::Query(name.to_string(), pattern));
        }
        Some(conditions)
    }

    fn pattern(&mut self, place: &crate::config::Place, glob: &str) -> Option<ValuePattern> {
        ValuePattern::parse(glob).map_err(|error| self.refuse(place, &error)).ok()
    }

    fn action(&mut self, index: (usize, usize), words: &Words, timeouts: &TimeoutWords) -> Option<Action> {
        let code = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        match words.action()? {
            ActionWords::Proxy { upstream } => self.proxying(upstream, timeouts),
            ActionWords::Redirect { target, status } => Some(Action::Redirect {
                target: target.carries().unwrap_or(target).into(),
                carries_rest: target.carries().is_some(),
                status: code(status),
            }),
            ActionWords::Respond { text, status } => Some(Action::Respond {
                status: code(status),
                content_type: HeaderValue::from_str(&words.content_type).ok()?,
                text: Bytes::copy_from_slice(text.as_bytes()),
            }),
            ActionWords::Files { directory } => match self.ground.roots.get(&index) {
                Some(Ok(files)) => Some(Action::Files(Arc::clone(files))),
                Some(Err(reason)) => {
                    let error = Diagnostic::error(codes::NO_ROOT, reason.clone());
                    self.found.push(error.at(&directory.place, "this directory"));
                    None
                }
                None => None,
            },
        }
    }

    fn proxying(&self, name: &Name, timeouts: &TimeoutWords) -> Option<Action> {
        let upstream = self.upstreams.iter().find(|u| *u.settings.name == **name)?;
        let host = match &self.config.upstream(name)?.body.host.value {
            HostPolicy::Pass | HostPolicy::Upstream => None,
            HostPolicy::Text(text) => Some(HeaderValue::from_str(text).ok()?),
        };
        let timeout = |key: &str, written: &At<Duration>| Timeout {
            after: written.to_std(),
            cause: written.cause(&format!("timeouts.{key}")),
        };
        Some(Action::Proxy(Box::new(Proxying {
            upstream: Arc::clone(upstream),
            timeouts: Arc::new(Timeouts {
                queue: timeout("queue", &timeouts.queue),
                connect: timeout("connect", &timeouts.connect),
                response: timeout("upstream", &timeouts.upstream),
                body: timeout("upstream_body", &timeouts.upstream_body),
            }),
            tunnel: (timeouts.tunnel.to_std(), timeouts.tunnel.cause("timeouts.tunnel")),
            host,
        })))
    }

    /// Limits of the site first, then those of the route, then the route's own bound on requests in flight.
    fn limits_of(&mut self, site: &SiteWords, route: &Words, name: &str) -> Vec<Arc<Limit>> {
        let named = |words: &Option<OneOrMany<Name>>| -> Vec<Arc<Limit>> {
            let names = words.iter().flat_map(|names| names.iter());
            names.filter_map(|n| self.limits.iter().find(|l| *l.settings().name == ***n).cloned()).collect()
        };
        let mut limits = named(&site.limit.as_ref().map(|l| l.value.clone()));
        limits.extend(named(&route.limit.as_ref().map(|l| l.value.clone())));
        if let Some(most) = &route.max_in_flight {
            let settings = LimitSettings {
                name: format!("max_in_flight {name} @{}", most.place).into(),
                key: Key::Route,
                rate: None,
                concurrency: std::num::NonZeroU32::new(most.get()),
                capacity: 8,
                dry_run: false,
                status: StatusCode::SERVICE_UNAVAILABLE,
                cause: most.cause("max_in_flight"),
            };
            let old = self.ground.old.as_ref().map_or(&[][..], |plan| &plan.limits);
            let replaces = old.iter().find(|limit| limit.settings().name == settings.name);
            let limit = Limit::new(settings, replaces.map(|limit| &**limit)).ok().map(Arc::new);
            self.own_limits.extend(limit.clone());
            limits.extend(limit);
        }
        limits
    }

    fn body(&self, site: &SiteWords, route: &Words, timeouts: &TimeoutWords) -> body::Settings {
        let max = self.config.max_body(site, route);
        body::Settings {
            max: max.as_bytes(),
            max_cause: max.cause("max_body"),
            idle: timeouts.body.to_std(),
            idle_cause: timeouts.body.cause("timeouts.body"),
            min_rate: timeouts.min_body_rate.bytes_per_second(),
            rate_cause: timeouts.min_body_rate.cause("timeouts.min_body_rate"),
        }
    }

    /// General changes first: the specific ones come later and win.
    fn changes(&self, levels: [&HeaderChanges; 3]) -> Vec<Arc<Changes>> {
        let all = levels.into_iter().map(|words| Changes {
            remove: words.remove.iter().map(|name| name.value.clone()).collect(),
            set: words.set.iter().map(|(n, v)| (n.value.clone(), v.value.clone())).collect(),
            add: words.add.iter().map(|(n, v)| (n.value.clone(), v.value.clone())).collect(),
        });
        all.filter(|changes| !changes.is_empty()).map(Arc::new).collect()
    }
}

/// The port to redirect to: that of the first https listener with one.
fn https_port(server: &Server) -> Option<u16> {
    let listeners = server.https.iter().flat_map(|list| list.iter());
    listeners.map(|listen| &listen.value).find_map(|listen| match listen {
        Listen::Any(port) => Some(*port),
        Listen::Tcp(address) => Some(address.port()),
        Listen::Unix(_) => None,
    })
}

fn path_change(words: &Words) -> PathChange {
    if let Some(rewrite) = &words.rewrite {
        return match rewrite.carries() {
            Some(front) => PathChange::Rewrite(front.into(), true),
            None => PathChange::Rewrite((***rewrite).into(), false),
        };
    }
    match words.strip_prefix.as_ref().map(|strip| &strip.value) {
        None => PathChange::Keep,
        Some(StripPrefix::Text(prefix)) => PathChange::Strip((**prefix).into()),
        Some(StripPrefix::Pattern(_)) => match &words.path.value {
            PathWords::Prefix(prefix) => PathChange::Strip(prefix.clone()),
            PathWords::Exact(path) => PathChange::Strip(path.clone()),
            PathWords::Regex(_) => PathChange::Keep,
        },
    }
}

fn compression(words: &CompressTable) -> compress::Settings {
    use crate::config::compress::Codec as Word;
    let codec = |word: &At<Word>| match word.value {
        Word::Zstd => Codec::Zstd,
        Word::Brotli => Codec::Brotli,
        Word::Gzip => Codec::Gzip,
    };
    let levels = match &words.level {
        Some(level) => {
            let level = i32::from(level.0);
            Levels { zstd: level.clamp(1, 19), brotli: level.clamp(0, 11), gzip: level.clamp(1, 9) }
        }
        None => Levels::default(),
    };
    compress::Settings {
        codecs: words.codecs.iter().map(codec).collect(),
        levels,
        min_size: words.min_size.as_bytes(),
        types: Types::new(words.types.iter().map(|t| &***t)),
        set_cookie: false,
    }
}
