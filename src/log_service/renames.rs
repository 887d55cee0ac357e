//! [`Renames`]: members that say what a sender cannot know, or is not believed about, get `_in` behind their names.
//!
//! | member | whose | when |
//! |---|---|---|
//! | `c`, `recv`, `from` | anybody's | always: they are the service's own |
//! | `proxy`, `boot`, `core`, `seq` | a [stranger](Trust::Stranger)'s | the first three are there: together they claim a place in a proxy's stream |
//! | `kind` | a stranger's | it is `gap`: it would declare records lost, of anybody |
//! | `proxy` | a stranger's | `kind` is `host`: it would be what the machine of that proxy says |
//!
//! Other kinds have no power without such a place: `stop` ends the streams of its own, `start`, `reload` and `alert` are only
//! looked at.

use bytes::Bytes;

use crate::record::escape::member_name;
use crate::record::members::Members;

/// Whether a sender is believed about whose record an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A tollgate, who passes on what tollgates wrote, or the service itself.
    Believed,
    Stranger,
}

/// Which members of one object get another name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Renames {
    pub(super) reserved: bool,
    pub(super) place: bool,
    pub(super) kind: bool,
    pub(super) proxy: bool,
}

impl Renames {
    pub(super) fn is_any(self) -> bool {
        self.reserved || self.place || self.kind || self.proxy
    }

    fn has(self, name: &str) -> bool {
        match name {
            "c" | "recv" | "from" => self.reserved,
            "boot" | "core" | "seq" => self.place,
            "proxy" => self.place || self.proxy,
            "kind" => self.kind,
            _ => false,
        }
    }

    /// The object with the new names: every member stays, in its place and as it was written.
    pub(super) fn write(self, text: &[u8]) -> Result<Bytes, serde_json::Error> {
        let members = Members::of(text)?;
        let mut out = Vec::with_capacity(text.len() + 16);
        out.push(b'{');
        for (name, value) in &members.0 {
            let renamed = self.has(name).then(|| format!("{name}_in"));
            member_name(renamed.as_deref().unwrap_or(name), &mut out);
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
        Ok(out.into())
    }
}
