//! RouteTable: request head in, decision out, with reasons.
