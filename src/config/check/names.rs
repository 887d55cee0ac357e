//! Names that lead nowhere, and names that nobody uses.

use super::super::codes::{self, Code};
use super::super::read::{OneOrMany, Sink};
use super::super::words::Name;
use super::super::{At, Config, Diagnostic, Place};
use super::Declared;

pub(super) fn check(config: &Config, declared: &Declared, sites_understood: bool, sink: &mut Sink) {
    let upstreams = used_upstreams(config);
    let limits = used_limits(config);
    dangling("upstream", codes::NO_UPSTREAM, &upstreams, &declared.upstreams, sink);
    dangling("limit", codes::NO_LIMIT, &limits, &declared.limits, sink);
    if sites_understood {
        unused("upstream", codes::UNUSED_UPSTREAM, &upstreams, &declared.upstreams, sink);
        unused("limit", codes::UNUSED_LIMIT, &limits, &declared.limits, sink);
    }
}

fn used_upstreams(config: &Config) -> Vec<&At<Name>> {
    let routes = config.sites.iter().flat_map(|site| site.body.routes.iter());
    routes.filter_map(|route| route.proxy.as_ref()).collect()
}

fn used_limits(config: &Config) -> Vec<&At<Name>> {
    let mut used = Vec::new();
    for site in &config.sites {
        used.extend(names(site.body.limit.as_ref()));
        for route in site.body.routes.iter() {
            used.extend(names(route.limit.as_ref()));
        }
    }
    used
}

fn names(limit: Option<&At<OneOrMany<Name>>>) -> impl Iterator<Item = &At<Name>> {
    limit.into_iter().flat_map(|names| names.value.iter())
}

pub(super) fn dangling(
    noun: &str,
    code: Code,
    used: &[&At<Name>],
    declared: &[(std::sync::Arc<str>, Place)],
    sink: &mut Sink,
) {
    for name in used {
        if declared.iter().any(|(known, _)| **known == *name.value) {
            continue;
        }
        let wrong =
            Diagnostic::error(code, format!("there is no {noun} `{}`", name.value)).at(&name.place, "");
        let wrong = wrong.nearest(&name.value, declared.iter().map(|(known, _)| &**known));
        sink.push(if declared.is_empty() {
            wrong.help(format!("define it in a table `[{noun}.{}]`", name.value))
        } else {
            wrong
        });
    }
}

fn unused(
    noun: &str,
    code: Code,
    used: &[&At<Name>],
    declared: &[(std::sync::Arc<str>, Place)],
    sink: &mut Sink,
) {
    for (name, place) in declared {
        if used.iter().all(|one| *one.value != **name) {
            let message = format!("{noun} `{}` is never used", name.escape_debug());
            sink.push(Diagnostic::warning(code, message).at(place, ""));
        }
    }
}
