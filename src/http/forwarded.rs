//! Forwarded and X-Forwarded-*: parse, trust, append.
