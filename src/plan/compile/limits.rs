//! `[limit.NAME]`.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::StatusCode;

use crate::config::diagnostic::Diagnostic;
use crate::config::limit::{Limit as Words, LimitKey};
use crate::config::words::Name;
use crate::config::{Config, Diagnostics, Named, codes};
use crate::filter::rate_limit::{Key, Limit, Rate, Settings};
use crate::plan::ground::Ground;

/// A limit of the old plan keeps its state when it still means the same.
pub(super) fn compile(config: &Config, ground: &Ground, found: &mut Diagnostics) -> Vec<Arc<Limit>> {
    let old = ground.old.as_ref().map_or(&[][..], |plan| &plan.limits);
    let mut limits = Vec::new();
    for named in &config.limits {
        let settings = settings(named);
        let replaces = old.iter().find(|limit| limit.settings().name == settings.name);
        match Limit::new(settings, replaces.map(|limit| &**limit)) {
            Ok(limit) => limits.push(Arc::new(limit)),
            Err(error) => {
                let message = format!("the limit `{}` cannot be: {error}", &*named.name.value);
                found.push(Diagnostic::error(codes::UNFIT, message).at(&named.name.place, "this limit"));
            }
        }
    }
    limits
}

fn settings(named: &Named<Name, Words>) -> Settings {
    let words = &named.body;
    let name = &*named.name.value;
    let count = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    let rate = words.rate.as_ref().map(|rate| Rate {
        count: count(rate.count()),
        per: rate.period().to_std(),
        burst: count(words.burst.as_ref().map_or(rate.count(), |burst| burst.get())),
    });
    let key = format!("limit.{name}");
    let cause = match (&words.rate, &words.concurrency) {
        (Some(rate), _) => rate.cause(&key),
        (None, Some(concurrency)) => concurrency.cause(&key),
        (None, None) => key.into(),
    };
    Settings {
        name: name.into(),
        key: match &words.key.value {
            LimitKey::ClientIp => Key::ClientIp,
            LimitKey::Header(header) => Key::Header(header.clone()),
            LimitKey::Cookie(cookie) => Key::Cookie(cookie.as_str().into()),
            LimitKey::Site => Key::Site,
            LimitKey::Route => Key::Route,
        },
        rate,
        concurrency: words.concurrency.as_ref().map(|n| count(n.get())),
        capacity: words.keys.get(),
        dry_run: *words.dry_run,
        status: StatusCode::from_u16(words.status.get()).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        cause,
    }
}
