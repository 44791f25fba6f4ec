//! Session keys (filled in next).
