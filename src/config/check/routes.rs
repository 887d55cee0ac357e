//! One route by itself: exactly one action, and only keys that go with it.

use super::super::read::Sink;
use super::super::route::{Route, StripPrefix};
use super::super::words::PathPattern;
use super::super::{At, Config, Diagnostic, Place, codes};
use super::without_effect;

pub(super) fn check(config: &Config, sink: &mut Sink) {
    for route in config.sites.iter().flat_map(|site| site.body.routes.iter()) {
        // A key that was not understood may be the very one that is missed.
        if sink.is_broken(&route.place) {
            continue;
        }
        actions(route, sink);
        status(route, sink);
        company(route, sink);
        carried(route, sink);
    }
}

/// The actions that are written, with their names.
fn written_actions(route: &Route) -> Vec<(&'static str, &Place)> {
    let proxy = route.proxy.as_ref().map(|at| ("proxy", &at.place));
    let redirect = route.redirect.as_ref().map(|at| ("redirect", &at.place));
    let respond = route.respond.as_ref().map(|at| ("respond", &at.place));
    let files = route.files.as_ref().map(|at| ("files", &at.place));
    [proxy, redirect, respond, files].into_iter().flatten().collect()
}

fn actions(route: &At<Route>, sink: &mut Sink) {
    match written_actions(route).as_slice() {
        [] => sink.push(
            Diagnostic::error(codes::NO_ACTION, format!("route `{}` does nothing", route.path.value))
                .at(&route.place, "")
                .help("add one of `proxy`, `redirect`, `respond` and `files`"),
        ),
        [_] => {}
        [(first, place), others @ ..] => {
            let names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
            let message =
                format!("route `{}` has `{first}` and also `{}`", route.path.value, names.join("`, `"));
            let wrong = Diagnostic::error(codes::TWO_ACTIONS, message).at(place, "");
            let wrong = others.iter().fold(wrong, |wrong, (_, place)| wrong.also(place, ""));
            sink.push(wrong.help("keep one of them, or make two routes with different conditions"));
        }
    }
}

fn status(route: &Route, sink: &mut Sink) {
    let Some(status) = &route.status else { return };
    let number = status.get();
    if route.redirect.is_some() && ![301, 302, 303, 307, 308].contains(&number) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, format!("{number} is not the status of a redirect"));
        sink.push(wrong.at(&status.place, "").help("there are 301, 302, 303, 307 and 308"));
    }
    let has_text = route.respond.as_ref().is_some_and(|text| !text.is_empty());
    if has_text && [204, 205, 304].contains(&number) {
        let wrong =
            Diagnostic::error(codes::BAD_VALUE, format!("an answer with status {number} has no text"));
        sink.push(wrong.at(&status.place, "").help("write `respond = \"\"`"));
    }
}

/// Keys that go with some actions only.
fn company(route: &Route, sink: &mut Sink) {
    let (proxy, files) = (route.proxy.is_some(), route.files.is_some());
    let respond = route.respond.is_some();
    let answers = respond || route.redirect.is_some();
    let keys = [
        ("status", route.status.as_ref().map(|at| &at.place), answers, "`redirect` or `respond`"),
        ("content_type", Some(&route.content_type.place), respond, "`respond`"),
        ("index", Some(&route.index.place), files, "`files`"),
        ("try", Some(&route.try_files.place), files, "`files`"),
        ("cache", route.cache.as_ref().map(|at| &at.place), files, "`files`"),
        ("precompressed", Some(&route.precompressed.place), files, "`files`"),
        ("listing", Some(&route.listing.place), files, "`files`"),
        ("strip_prefix", route.strip_prefix.as_ref().map(|at| &at.place), proxy, "`proxy`"),
        ("rewrite", route.rewrite.as_ref().map(|at| &at.place), proxy || files, "`proxy` or `files`"),
        ("request_headers", Some(&route.request_headers.place), proxy, "`proxy`"),
    ];
    for (key, place, goes, with) in keys {
        if let Some(place) = place.filter(|place| !place.is_default() && !goes) {
            sink.push(without_effect(place, format!("`{key}` has no meaning without {with}")));
        }
    }
}

/// What stands for the `*` of the path can be carried over only where there is one.
fn carried(route: &Route, sink: &mut Sink) {
    let has_rest = matches!(route.path.value, PathPattern::Prefix(_));
    let redirect = route.redirect.as_ref().filter(|target| target.carries().is_some()).map(|at| &at.place);
    let rewrite = route.rewrite.as_ref().filter(|path| path.carries().is_some()).map(|at| &at.place);
    for place in [redirect, rewrite].into_iter().flatten().filter(|_| !has_rest) {
        let message = format!("the `*` at the end carries nothing: path `{}` has none", route.path.value);
        sink.push(Diagnostic::error(codes::NO_CARRY, message).at(place, "").also(&route.path.place, ""));
    }
    let Some(strip) = &route.strip_prefix else { return };
    match &strip.value {
        StripPrefix::Pattern(_) if !has_rest => {
            let message =
                format!("`strip_prefix = true` needs a path that ends in `/*`, not `{}`", route.path.value);
            let wrong =
                Diagnostic::error(codes::NO_CARRY, message).at(&strip.place, "").also(&route.path.place, "");
            sink.push(wrong.help("write what is taken away: `strip_prefix = \"/api\"`"));
        }
        StripPrefix::Text(text) if !begins_with(&route.path, text) => {
            let message = format!("no path of `{}` begins with `{}`", route.path.value, &**text);
            sink.push(
                Diagnostic::error(codes::NO_CARRY, message).at(&strip.place, "").also(&route.path.place, ""),
            );
        }
        _ => {}
    }
    if let Some(rewrite) = &route.rewrite {
        let wrong = without_effect(&strip.place, "`strip_prefix` and `rewrite` both change the path");
        sink.push(wrong.also(&rewrite.place, "").help("keep one of them"));
    }
}

fn begins_with(path: &PathPattern, text: &str) -> bool {
    match path {
        PathPattern::Exact(path) => path.starts_with(text),
        PathPattern::Prefix(prefix) => prefix.starts_with(text),
        PathPattern::Regex(_) => true,
    }
}
