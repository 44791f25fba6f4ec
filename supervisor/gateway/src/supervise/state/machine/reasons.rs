//! What is said of a process that ended, or is about to.

use super::super::{Exit, Why};

pub(super) fn by_machine(reason: &str) -> String {
    format!("the machine does not let it run, tried again every few seconds: {reason}")
}

pub(super) fn leaves_unasked() -> Why {
    Why { reason: "the worker is leaving unasked".to_owned(), file: None }
}

pub(super) fn ended(exit: Exit, words: Option<&str>) -> Why {
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    Why { reason: format!("the worker ended unasked: {exit}{words}"), file: None }
}

pub(super) fn early(exit: Exit) -> Why {
    Why { reason: format!("the worker ended before it was ready: {exit}"), file: None }
}
