//! Answers as lines of IRC: each is a message of its own, with the signs that hold in it.

/// Most lines of one message: they go out one after the other, and its time is bounded.
const LINES: usize = 100;
/// Least room for a line, whatever stands around it.
const LEAST: usize = 64;

/// The signs that turn a face on and off.
const SIGNS: [char; 4] = ['\u{2}', '\u{1d}', '\u{1e}', '\u{11}'];

/// Cuts a text into lines of at most so many bytes, at words where that can be. A face that goes on is turned on again in the next line. Empty
/// lines are none.
pub(super) fn lines(text: &str, most: usize) -> Vec<String> {
    let most = most.max(LEAST);
    let mut open: Vec<char> = Vec::new();
    let mut lines = Vec::new();
    for line in text.split('\n') {
        cut(line, most, &mut open, &mut lines);
    }
    // A very long list of very short lines.
    while lines.len() > LINES {
        let before = lines.len();
        lines = joined(lines, most);
        if lines.len() == before {
            break;
        }
    }
    lines
}

/// Cuts one line.
fn cut(line: &str, most: usize, open: &mut Vec<char>, lines: &mut Vec<String>) {
    let mut rest = line;
    loop {
        let begins: String = open.iter().collect();
        let room = most - begins.len().min(SIGNS.len());
        let end = if rest.len() <= room { rest.len() } else { end_of(rest, room) };
        let (now, after) = rest.split_at(end);
        for c in now.chars().filter(|c| SIGNS.contains(c)) {
            match open.iter().position(|sign| *sign == c) {
                Some(at) => drop(open.remove(at)),
                None => open.push(c),
            }
        }
        let said = now.trim_end();
        if said.chars().any(|c| !c.is_whitespace() && !SIGNS.contains(&c)) {
            lines.push(format!("{begins}{said}"));
        }
        rest = after.strip_prefix(' ').unwrap_or(after);
        if rest.is_empty() {
            return;
        }
    }
}

/// Where a piece of at most so many bytes ends: before a word, where its first half has none, else between two characters.
fn end_of(text: &str, most: usize) -> usize {
    let hard = text.floor_char_boundary(most);
    let word = text[..hard].rfind(' ').filter(|at| *at > hard / 2);
    word.unwrap_or(hard).max(text.chars().next().map_or(1, char::len_utf8))
}

/// Neighbours in one line, as far as they fit.
fn joined(lines: Vec<String>, most: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in lines {
        match out.last_mut() {
            Some(last) if last.len() + 3 + line.len() <= most => {
                last.push_str(" / ");
                last.push_str(&line);
            }
            _ => out.push(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_words_and_between_characters() {
        assert_eq!(lines("a\n\n  \nb ", 450), ["a", "b"]);
        let long = "wörter und ".repeat(100);
        let cut = lines(&long, 450);
        assert!(
            cut.iter().all(|line| line.len() <= 450 && !line.ends_with(' ')) && cut.len() == 3,
            "{cut:?}"
        );
        assert_eq!(cut.join(" "), long.trim_end());
        let hard = "😀".repeat(300);
        let cut = lines(&hard, 450);
        assert!(cut.iter().all(|line| line.len() <= 450) && cut.concat() == hard);
    }

    #[test]
    fn a_face_goes_on_in_the_next_line() {
        let text = format!("\u{2}{}\u{2} end\nplain", "bold ".repeat(30));
        let cut = lines(&text, 100);
        assert!(cut[0].starts_with('\u{2}') && cut[1].starts_with('\u{2}'), "{cut:?}");
        assert_eq!(cut.last().unwrap(), "plain");
        assert!(cut.iter().all(|line| line.len() <= 100), "{cut:?}");
        assert_eq!(lines("\u{2}\u{2}\n\u{1d}x\u{1d}", 450), ["\u{1d}x\u{1d}"]);
    }

    #[test]
    fn a_message_has_not_more_lines_than_there_is_time_for() {
        let text = "a\n".repeat(600);
        let cut = lines(&text, 450);
        assert!(cut.len() <= LINES && cut.iter().all(|line| line.len() <= 450));
        assert_eq!(cut.iter().map(|line| line.matches('a').count()).sum::<usize>(), 600);
    }
}
