//! Editing `.env`: whatever the text is, what is set is read back, what is removed is gone, and no other variable changes.
#![no_main]

use hermes_config::dotenv_edit::{check_name, read, set, unset, written};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\u{1}');
    let (Some(name), Some(value), Some(text)) = (parts.next(), parts.next(), parts.next()) else { return };
    // What is edited was decoded before. A text with zeros, read as bytes once more, may pass for UTF-16.
    if text.contains('\0') || value.contains('\0') {
        return;
    }
    // As written: a value may refer to the one that changes.
    let others = |text: &str| {
        let mut all = written(text.as_bytes());
        all.retain(|(found, _)| found != name);
        all
    };
    if let Ok(edited) = set(text, name, value) {
        assert!(check_name(name).is_ok());
        let expected: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let env = read(edited.as_bytes());
        assert_eq!(
            env.iter().find(|(found, _)| *found == name).map(|(_, value)| value),
            Some(expected.as_str())
        );
        assert_eq!(others(&edited), others(text));
        // The same once more changes nothing.
        assert_eq!(set(&edited, name, value).as_ref(), Ok(&edited));
    }
    if let Some(edited) = unset(text, name) {
        assert!(read(edited.as_bytes()).iter().all(|(found, _)| found != name));
        assert_eq!(others(&edited), others(text));
    }
});
