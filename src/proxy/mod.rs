//! The walk of one request.
