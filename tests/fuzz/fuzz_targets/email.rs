//! A mail, and what its headers say of its sender: any bytes are a mail of a sane size or none; no text proves a sender that does not hold the
//! word of the own server; what is history is a part of what was written.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/email/address.rs"]
mod address;
#[allow(dead_code)]
#[path = "../../../worker/src/web/markdown.rs"]
mod markdown;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/email/quote.rs"]
mod quote;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/email/results.rs"]
mod results;
#[allow(dead_code)]
#[path = "../../../worker/src/platform/email/wire.rs"]
mod wire;

const OWN: &str = "mx.example.org";

fuzz_target!(|data: &[u8]| {
    if let Some(mail) = wire::mail(data, |html| markdown::read(html, None).text) {
        assert!(mail.text.len() <= 256 * 1024 && !mail.text.contains('\0'));
        assert!(mail.files.len() <= 32 && mail.references.len() <= 50 && mail.results.len() <= 20);
        assert!(mail.subject.chars().count() <= 300 && !mail.subject.contains(char::is_control));
        for id in mail.id.iter().chain(&mail.references) {
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'<' && byte != b'>'));
        }
        for file in &mail.files {
            assert!(
                !file.name.is_empty()
                    && !file.name.contains(char::is_control)
                    && file.media_type.contains('/')
            );
        }
        if let Some(from) = &mail.from {
            assert_eq!(address::of(&from.address).as_ref(), Some(&from.address));
        }
        let kept = quote::without_history(&mail.text);
        assert!(mail.text.starts_with(kept));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(text.starts_with(quote::without_history(text)));
    let _ = results::parse(text);
    if results::judge([text], &[OWN.to_owned()], "ann@good.test").is_ok() {
        assert!(text.to_ascii_lowercase().contains("pass"));
    }
});
