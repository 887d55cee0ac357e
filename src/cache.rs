//! Response cache (RFC 9111). Empty until its feature arrives; the name keeps its place in the path order.
