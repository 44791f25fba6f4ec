//! The manifest of a migration, which may be torn, edited, or another program's: any bytes are one or none; one names profiles that can be and
//! few, and is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../supervisor/cli/src/migrate/manifest/format.rs"]
mod format;

use format::Manifest;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::parse(data) else { return };
    assert!(manifest.secondaries.len() <= 1000);
    assert!(manifest.secondaries.iter().all(|record| record.name().is_some_and(|name| !name.is_default())));
    let text = serde_json::to_vec_pretty(&manifest).expect("strings and integers always serialise");
    assert_eq!(Manifest::parse(&text).as_ref(), Ok(&manifest));
});
