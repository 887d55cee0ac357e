//! Serves one connection: h1/h2, limits, parking, drain.
