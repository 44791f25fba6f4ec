//! Files that an answer names to be sent: `MEDIA:<path>`, images of Markdown whose address is a path, and `[[as_document]]`.
//!
//! What stands in code is code. A tag is taken out of the text whatever becomes of its file; who sends it says so where it does not.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag};

/// What a tag begins with.
const TAG: &str = "MEDIA:";
/// Files are documents, whatever they hold.
const AS_DOCUMENT: &str = "[[as_document]]";
/// Said of recordings by 0.19.0; how one is shown follows from what it is.
const AS_VOICE: &str = "[[audio_as_voice]]";
/// Most words of a path without quotation marks.
const WORDS: usize = 12;

/// Where a path is named, and which.
type Named = (Range<usize>, String);

/// What an answer says, and what is to go with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// The text without its tags.
    pub text: String,
    /// Paths as they are written, each once, in order.
    pub paths: Vec<String>,
    /// They are documents, and not shown as what they are.
    pub as_document: bool,
}

/// Takes an answer apart.
pub fn media(markdown: &str) -> Media {
    if !markdown.contains(TAG) && !markdown.contains("![") && !markdown.contains("[[") {
        return Media { text: markdown.to_owned(), ..Media::default() };
    }
    let (code, mut found) = parsed(markdown);
    let is_code = |at: usize| code.iter().any(|range| range.contains(&at));
    for (at, _) in markdown.match_indices(TAG).filter(|(at, _)| !is_code(*at)) {
        if markdown[..at].chars().next_back().is_some_and(char::is_alphanumeric) {
            continue;
        }
        if let Some((length, path)) = path(&markdown[at + TAG.len()..]) {
            found.push((at..at + TAG.len() + length, path));
        }
    }
    let mut removed: Vec<Range<usize>> = found.iter().map(|(range, _)| range.clone()).collect();
    let mut as_document = false;
    for mark in [AS_DOCUMENT, AS_VOICE] {
        for (at, _) in markdown.match_indices(mark).filter(|(at, _)| !is_code(*at)) {
            as_document |= mark == AS_DOCUMENT;
            removed.push(at..at + mark.len());
        }
    }
    if removed.is_empty() {
        return Media { text: markdown.to_owned(), ..Media::default() };
    }
    found.sort_by_key(|(range, _)| range.start);
    let mut paths: Vec<String> = Vec::new();
    for (_, path) in found {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Media { text: without(markdown, removed), paths, as_document }
}

/// What is shown of an answer that is still being made: a tag that has begun is none of it.
pub fn visible(markdown: &str) -> String {
    let media = media(markdown);
    let line = media.text.rfind('\n').map_or(0, |at| at + 1);
    let last = &media.text[line..];
    let begun = last.rfind(TAG).or_else(|| last.rfind("![")).or_else(|| {
        // The beginning of a tag, at the very end.
        let begins = |mark: &str| (1..mark.len()).rev().find(|n| last.ends_with(&mark[..*n]));
        let longest = [TAG, AS_DOCUMENT, AS_VOICE].into_iter().filter_map(begins).max()?;
        (longest > 1).then(|| last.len() - longest)
    });
    match begun {
        Some(at) => media.text[..line + at].to_owned(),
        None => media.text,
    }
}

/// Where code stands, and the images whose address is a path.
fn parsed(markdown: &str) -> (Vec<Range<usize>>, Vec<Named>) {
    let (mut code, mut images) = (Vec::new(), Vec::new());
    let mut quoted: Vec<usize> = markdown.match_indices(TAG).map(|(at, _)| at + TAG.len()).collect();
    quoted.sort_unstable();
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_STRIKETHROUGH).into_offset_iter() {
        match event {
            // ``MEDIA:`a path` `` is a tag with quotation marks, and not code.
            Event::Code(_) if !quoted.contains(&range.start) => code.push(range),
            Event::Start(Tag::CodeBlock(_)) => code.push(range),
            Event::Start(Tag::Image { dest_url, .. }) => {
                if let Some(path) = local(&dest_url) {
                    images.push((range, path));
                }
            }
            _ => {}
        }
    }
    (code, images)
}

/// The path that an image's address is; none: it is somewhere else.
fn local(address: &str) -> Option<String> {
    let path = address.strip_prefix("file://").unwrap_or(address);
    let has_scheme = path.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    (!has_scheme && !path.is_empty() && !path.starts_with(['#', '?']) && !path.starts_with("//"))
        .then(|| path.to_owned())
}

/// The path behind a tag, and how many bytes it takes.
fn path(rest: &str) -> Option<(usize, String)> {
    let line = rest.split('\n').next().unwrap_or_default();
    let begins = line.len() - line.trim_start_matches([' ', '\t']).len();
    let written = &line[begins..];
    let first = written.chars().next()?;
    if matches!(first, '`' | '"' | '\'') {
        let inner = &written[1..];
        let end = inner.find(first)?;
        let path = inner[..end].trim();
        return (!path.is_empty()).then(|| (begins + end + 2, path.to_owned()));
    }
    let is_rooted = written.starts_with(['/', '~']) || written.starts_with("./");
    let mut end = 0;
    for (words, piece) in written.split_inclusive([' ', '\t']).enumerate() {
        if words == WORDS || (words > 0 && (!is_rooted || piece.starts_with(TAG))) {
            break;
        }
        end += piece.len();
        let candidate = trimmed(&written[..end]);
        if has_extension(candidate) {
            return Some((begins + candidate.len(), candidate.to_owned()));
        }
    }
    // No extension anywhere: the first word, if it is a path at all.
    let word = trimmed(written.split([' ', '\t']).next().unwrap_or_default());
    (is_rooted && word.len() > 1).then(|| (begins + word.len(), word.to_owned()))
}

/// Without what ends a sentence or a bracket around it.
fn trimmed(path: &str) -> &str {
    path.trim_end().trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '>', '"', '\'', '*', '_'])
}

fn has_extension(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(stem, end)| {
        !stem.is_empty()
            && (1..=8).contains(&end.len())
            && end.bytes().all(|b| b.is_ascii_alphanumeric())
            && end.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

/// What follows where something was taken out: no space is left that stood around it alone.
fn joined<'t>(before: &mut String, rest: &'t str) -> &'t str {
    if before.is_empty() || before.ends_with(' ') && rest.starts_with(' ') {
        return rest.strip_prefix(' ').unwrap_or(rest);
    }
    if before.ends_with(' ') && rest.starts_with([',', '.', ';', ':', '!', '?', ')']) {
        before.pop();
    }
    rest
}

/// The text without these parts, and without the lines that held nothing else.
fn without(text: &str, mut removed: Vec<Range<usize>>) -> String {
    removed.sort_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        let mut kept = String::new();
        let (mut from, mut is_cut) = (start, false);
        for range in removed.iter().filter(|range| range.start < end && range.end > start) {
            let before = text.get(from..range.start.max(from)).unwrap_or_default();
            let before = if is_cut { joined(&mut kept, before) } else { before };
            kept.push_str(before);
            is_cut = true;
            from = from.max(range.end.min(end));
        }
        let rest = text.get(from..end).unwrap_or_default();
        let rest = if is_cut { joined(&mut kept, rest) } else { rest };
        kept.push_str(rest);
        if !is_cut {
            out.push_str(line);
        } else if !kept.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '*' | '•')).is_empty()
        {
            let (body, end) = kept.strip_suffix('\n').map_or((kept.as_str(), ""), |body| (body, "\n"));
            out.push_str(body.trim_end());
            out.push_str(end);
        }
    }
    let mut text = out.trim_end().to_owned();
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    if text.trim().is_empty() { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(markdown: &str) -> (String, Vec<String>) {
        let media = media(markdown);
        (media.text, media.paths)
    }

    fn of(text: &str, paths: &[&str]) -> (String, Vec<String>) {
        (text.to_owned(), paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn tags_and_local_images_are_files_and_no_text() {
        for (markdown, text, paths) in [
            ("Here:\nMEDIA:/w/a.png\nDone.", "Here:\nDone.", &["/w/a.png"][..]),
            ("MEDIA:/w/a.png", "", &["/w/a.png"]),
            ("See MEDIA:/w/a b.pdf, please", "See, please", &["/w/a b.pdf"]),
            ("MEDIA:`/w/a b` and MEDIA:\"c d.txt\"", "and", &["/w/a b", "c d.txt"]),
            ("MEDIA: ~/x.ogg", "", &["~/x.ogg"]),
            ("MEDIA:out.png and so on", "and so on", &["out.png"]),
            ("![chart](plots/c.png) shows it", "shows it", &["plots/c.png"]),
            ("![c](file:///w/c.png)", "", &["/w/c.png"]),
            ("a\n\n- MEDIA:/w/a.png\n- MEDIA:/w/b.png\n\nb", "a\n\nb", &["/w/a.png", "/w/b.png"]),
            ("MEDIA:/w/a.png MEDIA:/w/a.png", "", &["/w/a.png"]),
            ("MEDIA:/w/noend then text", "then text", &["/w/noend"]),
        ] {
            assert_eq!(taken(markdown), of(text, paths), "{markdown}");
        }
    }

    #[test]
    fn code_prose_and_addresses_elsewhere_stay_as_they_are() {
        for text in [
            "`MEDIA:/w/a.png` is how a file is named",
            "```\nMEDIA:/w/a.png\n[[as_document]]\n```",
            "MEDIA: the press was there",
            "MULTIMEDIA:/w/a.png",
            "![logo](https://example.com/a.png)",
            "![dot](data:image/png;base64,AAAA)",
            "[a link](notes.md)",
            "nothing",
            "MEDIA:",
            "MEDIA:`/w/open",
        ] {
            assert_eq!(taken(text), of(text, &[]), "{text}");
        }
    }

    #[test]
    fn files_may_be_documents() {
        let found = media("Look [[as_document]]\nMEDIA:/w/a.png");
        assert_eq!((found.text.as_str(), found.as_document), ("Look", true));
        let found = media("[[audio_as_voice]]\nMEDIA:/w/a.ogg");
        assert_eq!((found.text.as_str(), found.as_document), ("", false));
    }

    #[test]
    fn a_tag_that_has_begun_is_not_shown() {
        for (markdown, shown) in [
            ("Here it is: MED", "Here it is: "),
            ("Here it is: MEDIA:/w/a", "Here it is:"),
            ("Here:\nMEDIA:/w/a.png\nand", "Here:\nand"),
            ("Look ![chart](plo", "Look "),
            ("Look [[as_doc", "Look "),
            ("He is a M", "He is a M"),
            ("plain", "plain"),
        ] {
            assert_eq!(visible(markdown), shown, "{markdown}");
        }
    }
}
