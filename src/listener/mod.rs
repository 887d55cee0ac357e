//! Bind with socket options, accept loop, connection limits.
