//! D20: a command as a model writes it: any text is judged, within bounds and without a panic; what is judged grave alone is so behind other
//! commands, too.
#![no_main]
#![expect(dead_code, reason = "modules of another crate, of which a part is called")]

use camino::Utf8Path;
use libfuzzer_sys::fuzz_target;
use worker::danger;

// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../worker/src"]
mod worker {
    pub mod danger;
}

fuzz_target!(|text: &str| {
    let setting = danger::Setting {
        dir: Utf8Path::new("/home/u/work"),
        workspace: Utf8Path::new("/home/u/work"),
        user: Some(Utf8Path::new("/home/u")),
        home: Utf8Path::new("/home/u/.hermes/profiles/coder"),
        root: Utf8Path::new("/home/u/.hermes"),
    };
    let found = danger::judge(text, setting);
    for finding in &found {
        assert!(danger::Danger::named(finding.danger.name()) == Some(finding.danger));
    }
    if danger::parts(text).is_none() {
        assert!(found.iter().any(|finding| finding.danger == danger::Danger::Unreadable));
    }
    for end in ["; rm -rf /", "\nrm -rf /"] {
        let found = danger::judge(&format!("{text}{end}"), setting);
        // In a comment, a quotation or a here-document it is no command.
        let is_text = text.contains(['#', '\'', '"', '<', '\\', '`', '$', '(', '{', '['])
            || text.split_whitespace().any(|word| {
                [
                    "case", "for", "select", "if", "while", "until", "function", "do", "then", "alias",
                    "trap", "in", "else", "elif",
                ]
                .contains(&word)
            });
        if !is_text && !text.contains(['&', '|', ';']) {
            assert!(!found.is_empty(), "{text:?}{end:?}");
        }
    }
});
