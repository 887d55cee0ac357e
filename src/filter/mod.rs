//! Limits, headers, compression: what happens around the upstream.
