//! Editing `config.yaml`: whatever the text is, an edit is refused or does exactly what was asked: the value is read back, every
//! other value is as it was, and the text can be read again.
#![no_main]

use hermes_config::Env;
use hermes_config::document::Document;
use hermes_config::edit::{Value, set, unset};
use hermes_config::path::KeyPath;
use hermes_config::platform::Registry;
use libfuzzer_sys::fuzz_target;

#[path = "../../../worker/src/platform/api_server/settings.rs"]
mod api_server;
#[path = "../../../worker/src/platform/webhook/settings.rs"]
#[expect(dead_code, reason = "a module of another crate, of which a part is called")]
mod webhook;

static REGISTRY: Registry = Registry::new(&[&webhook::DECLARATION, &api_server::DECLARATION]);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\u{1}');
    let (Some(key), Some(value), Some(text)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(path) = KeyPath::parse(key) else { return };
    let env = Env::default();
    let before = Document::parse(text.as_bytes()).ok();
    let others = |document: &Document| {
        let leaves = document.leaves().into_iter().filter(|leaf| !leaf.meets(&path));
        leaves.map(|leaf| (leaf.to_string(), document.get(&REGISTRY, &leaf, &env))).collect::<Vec<_>>()
    };
    if let Ok(edited) = set(text, &path.texts(), &Value::from(value))
        && let Some(before) = &before
    {
        let after = Document::parse(edited.text.as_bytes()).expect("what was written can be read");
        assert_eq!(after.get(&REGISTRY, &path, &env), Some(value.into()), "{key}");
        assert_eq!(others(&after), others(before), "{key}");
    }
    if let Ok(Some(edited)) = unset(text, &path.texts())
        && let Some(before) = &before
    {
        let after = Document::parse(edited.as_bytes()).expect("what is left can be read");
        // Items of a list move up.
        if !path.segments().iter().any(hermes_config::path::Segment::is_index) {
            assert!(!after.holds(&path), "{key}");
            assert_eq!(others(&after), others(before), "{key}");
        }
    }
});
