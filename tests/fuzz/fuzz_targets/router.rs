//! Paths: splitting never panics, never normalises, and never lets two spellings of the rest become one.
#![no_main]

use hermes_wire::http::{Split, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    match split(path) {
        Split::Unprefixed(rest) => assert_eq!(rest, path),
        Split::Prefixed(name, rest) => {
            assert!(
                path.starts_with("/p/") && path.ends_with(rest) && rest.starts_with('/') && rest.len() > 1
            );
            assert!(hermes_wire::profile::is_grammatical(name.as_str()));
            let canonical = format!("/p/{name}{rest}");
            assert_eq!(split(&canonical), Split::Prefixed(name, rest));
        }
        Split::Bare(_) | Split::UnknownProfile => assert!(path == "/p" || path.starts_with("/p/")),
    }
});
