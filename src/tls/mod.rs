//! Handshake, certificates, tickets, the local CA.
