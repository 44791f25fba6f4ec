//! Mission control on a terminal: what it knows and what keys mean ([`model`]), how it looks ([`draw`]).

pub(crate) mod draw;
pub(crate) mod model;
