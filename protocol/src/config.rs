//! Configuration schema (filled in next).
