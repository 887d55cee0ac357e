//! How a start declares what nobody can count: records of a dead process whose ring is gone or cannot be read. Each becomes
//! a `gap` record without an end, `ring_lost`, in the stream that it is missing from.

use super::metrics::Reason;
use super::recovery::Past;
use super::render::gap_object;
use super::span::{Origin, Span};
use super::spool::End;
use crate::record::frame::{Builder, Codec, Form};
use crate::record::id::IdSource;
use crate::record::json::{OPEN_END, Renderer};

/// The end of a core's stream that is lost.
struct Lost {
    origin: Origin,
    core: u16,
    /// The last number that is known of.
    last: u64,
}

/// The frames that declare it. `ends` are the streams as the spool knows them, `own` the process that tells.
pub(super) fn frames(past: &Past, ends: &[End], own: &Origin) -> Vec<u8> {
    let mut frames = Vec::new();
    // Without random bytes the `log` record has to do.
    let Ok(ids) = IdSource::new(u16::MAX) else { return frames };
    let mut renderer = Renderer::default();
    for Lost { origin, core, last } in all(past, ends, own) {
        let range = Some((last.saturating_add(1), OPEN_END));
        let span = Span { origin: origin.clone(), core, range, count: 0, reason: Reason::RingLost };
        let mut builder = Builder::default();
        builder.push(Form::Json, None, super::handle::now_us(), &gap_object(&span, &ids, &mut renderer));
        builder.finish(&origin.stream(core), Codec::Raw, &mut frames);
    }
    frames
}

fn all(past: &Past, ends: &[End], own: &Origin) -> Vec<Lost> {
    let rings = past.harms.iter().map(|harm| {
        let same = |end: &&End| (end.boot, end.core) == (harm.boot(), harm.core());
        let known = ends.iter().find(same);
        Lost {
            origin: Origin { proxy: proxy_of(past, ends, own, harm.boot()), boot: harm.boot() },
            core: harm.core(),
            last: known.map_or(0, |end| end.last),
        }
    });
    // A power cut has torn the newest pages.
    let torn = past.rings.iter().filter(|ring| ring.is_end_torn).map(|ring| Lost {
        origin: Origin { proxy: ring.proxy.as_str().into(), boot: ring.boot },
        core: ring.core,
        last: ring.last(),
    });
    rings.chain(torn).collect()
}

/// A ring that is gone does not say whose it was; nearly always it was one of this name.
fn proxy_of(past: &Past, ends: &[End], own: &Origin, boot: u64) -> std::sync::Arc<str> {
    let ring = past.rings.iter().find(|ring| ring.boot == boot).map(|ring| ring.proxy.as_str());
    let end = ends.iter().find(|end| end.boot == boot).map(|end| end.proxy.as_str());
    ring.or(end).map_or_else(|| own.proxy.clone(), Into::into)
}
