//! What of a mail its sender wrote this time: what he answers, which mail programs put below, is cut off. Pure.
//!
//! Only what is surely history goes: quoted lines behind a line that says whose they are and with nothing written behind them, and what follows
//! the head of an earlier mail. Who answers between the lines keeps them.

/// Words that the head of an earlier mail begins with, in several languages, with those that must follow soon.
const HEADS: [(&str, &[&str]); 5] = [
    ("from:", &["sent:", "date:", "to:", "subject:"]),
    ("von:", &["gesendet:", "datum:", "an:", "betreff:"]),
    ("de :", &["envoyé :", "date :", "à :", "objet :"]),
    ("de:", &["enviado:", "fecha:", "para:", "asunto:", "data:"]),
    ("da:", &["inviato:", "data:", "a:", "oggetto:"]),
];
/// Lines within which they follow.
const SOON: usize = 6;
/// What stands above an earlier mail.
const MARKS: [&str; 4] =
    ["original message", "ursprüngliche nachricht", "message d'origine", "mensaje original"];
/// What the subject of a mail begins with that somebody passes on, and what stands above it there.
const FORWARDS: [&str; 6] = ["fwd:", "fw:", "wg:", "tr:", "rv:", "i:"];
const FORWARDED: [&str; 4] =
    ["forwarded message", "begin forwarded message:", "weitergeleitete nachricht", "message transféré"];
/// Longest line that says whose the quoted lines are, in bytes.
const SAYS: usize = 400;

/// The text without history; all of it where nothing else would be left.
pub(crate) fn without_history(text: &str) -> &str {
    let kept = cut(text).trim_end();
    if kept.trim().is_empty() { text.trim_end() } else { kept }
}

/// Whether somebody passes on what others wrote: that is what he means.
pub(crate) fn is_forward(subject: &str, text: &str) -> bool {
    let subject = subject.trim_start().to_lowercase();
    let is_mark =
        |line: &str| FORWARDED.contains(&line.trim().trim_matches(['-', '_', ' ']).to_lowercase().as_str());
    FORWARDS.iter().any(|word| subject.starts_with(word)) || text.lines().any(is_mark)
}

fn cut(text: &str) -> &str {
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        lines.push((at, line.trim()));
        at += line.len();
    }
    // Behind here nothing is but quoted lines.
    let last = lines.iter().rposition(|(_, line)| !line.is_empty() && !line.starts_with('>'));
    for (n, &(at, line)) in lines.iter().enumerate() {
        if is_mark(line) || is_head(&lines[n..]) {
            return &text[..at];
        }
    }
    let Some(last) = last else { return text };
    let is_quoted_behind = lines[last + 1..].iter().any(|(_, line)| line.starts_with('>'));
    if !is_quoted_behind {
        return text;
    }
    let (at, line) = lines[last];
    if !says_whose(line) {
        return &text[..lines[last + 1].0];
    }
    // Programs break that line where it is long.
    let begins = |line: &str| {
        ["on ", "am ", "le ", "el ", "il "].iter().any(|word| line.to_lowercase().starts_with(word))
    };
    match lines[..last].last() {
        Some(&(above, before)) if !begins(line) && begins(before) => &text[..above],
        _ => &text[..at],
    }
}

/// `On Monday, Ann wrote:`
fn says_whose(line: &str) -> bool {
    line.len() <= SAYS && line.ends_with(':')
}

/// `-----Original Message-----`
fn is_mark(line: &str) -> bool {
    let bare = line.trim_matches(['-', '_', ' ']).to_lowercase();
    line.starts_with("--") && MARKS.contains(&bare.as_str())
}

/// `From: …`, and soon after it what else such a head says.
fn is_head(lines: &[(usize, &str)]) -> bool {
    let bare = |line: &str| line.trim_start_matches('*').replace('*', "").to_lowercase();
    let Some((_, first)) = lines.first() else { return false };
    let first = bare(first);
    let Some((_, rest)) = HEADS.iter().find(|(word, _)| first.starts_with(word)) else { return false };
    let behind = lines.iter().skip(1).take(SOON).map(|(_, line)| bare(line));
    behind.filter(|line| rest.iter().any(|word| line.starts_with(word))).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_cut_off() {
        for (text, kept) in [
            ("Yes.\n\nOn Mon, 1 Jan 2026, Bot <b@x.test> wrote:\n> Really?\n>\n> > And so on\n", "Yes."),
            ("Yes.\n\nOn Mon, 1 Jan 2026 at 10:00,\nBot <b@x.test> wrote:\n\n> Really?", "Yes."),
            ("Ja.\n\nAm 1.1.2026 schrieb Bot:\n> Wirklich?", "Ja."),
            ("Yes.\n-----Original Message-----\nFrom: Bot\nReally?", "Yes."),
            ("Yes.\n\nFrom: Bot <b@x.test>\nSent: Monday\nTo: Ann\nSubject: Re: x\n\nReally?", "Yes."),
            ("Yes.\n\n*Von:* Bot\n*Gesendet:* Montag\n*An:* Ann\n\nWirklich?", "Yes."),
            ("Yes.\n> Really?\n", "Yes."),
        ] {
            assert_eq!(without_history(text), kept, "{text}");
        }
    }

    #[test]
    fn what_is_passed_on_is_known() {
        assert!(is_forward("Fwd: x", "") && is_forward("WG: x", ""));
        assert!(is_forward("Re: x", "See below.\n---------- Forwarded message ---------\nFrom: a"));
        assert!(
            !is_forward("Re: x", "hi\n> ---------- Forwarded message ---------\n") && !is_forward("Fwdx", "")
        );
    }

    #[test]
    fn what_somebody_wrote_stays() {
        for text in [
            "He wrote:\n\nnothing",
            "> Really?\nYes.\n> And now?\nNo.",
            "On Monday Bot wrote:\n> Really?\n\nYes, really.",
            "From: here to there\nis a long way",
            "> only what was said before",
            "a list:\n- one\n- two",
            "",
        ] {
            assert_eq!(without_history(text), text, "{text}");
        }
    }
}
