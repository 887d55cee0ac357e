//! Authority and path: validate, normalise; refuses what is ambiguous.
