//! Backend processes that tollgate starts and keeps alive.
