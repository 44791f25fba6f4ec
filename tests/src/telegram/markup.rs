//! MarkdownV2 as the Bot API reads it: what people see of a text, or the words with which it is refused.

/// A part of a text that is marked up: what as, and what it says.
pub(super) type Marked = (String, String);

const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

/// What is open: its name, its end, and where it began in what people see and in the source.
struct Open {
    kind: &'static str,
    end: &'static str,
    from: usize,
    at: usize,
}

/// What people see, and what of it is marked up.
pub(super) fn parse(source: &str) -> Result<(String, Vec<Marked>), String> {
    let (mut seen, mut marked, mut open): (String, Vec<Marked>, Vec<Open>) = Default::default();
    let mut rest = source;
    let mut quote: Option<usize> = None;
    while let Some(c) = rest.chars().next() {
        let at = source.len() - rest.len();
        let is_literal = open.last().is_some_and(|top| top.kind == "code" || top.kind == "pre");
        if c == '\\'
            && let Some(next) = rest[1..].chars().next().filter(|next| (1..=126).contains(&u32::from(*next)))
        {
            seen.push(next);
            rest = &rest[1 + next.len_utf8()..];
            continue;
        }
        if c == '\n' && quote.is_some() && !rest[1..].starts_with('>') {
            marked.push(("blockquote".to_owned(), seen[quote.take().unwrap_or(0)..].to_owned()));
        }
        let is_start = seen.is_empty() || seen.ends_with('\n');
        if let Some(top) = open.last().filter(|top| rest.starts_with(top.end)) {
            let (kind, from, end) = (top.kind, top.from, top.end);
            open.pop();
            rest = &rest[end.len()..];
            let mut kind = kind.to_owned();
            if kind == "link" {
                let Some(behind) = rest.strip_prefix('(') else { continue };
                let (address, behind) = address(behind).ok_or_else(|| {
                    format!("Can't find end of a URL at byte offset {}", source.len() - rest.len())
                })?;
                kind = format!("link {address}");
                rest = behind;
            }
            if seen.len() > from {
                marked.push((kind, seen[from..].to_owned()));
            }
            continue;
        }
        if !RESERVED.contains(c) || (is_literal && c != '`') {
            seen.push(c);
            rest = &rest[c.len_utf8()..];
            if c == '\n' && quote.is_some() {
                rest = rest.strip_prefix('>').unwrap_or(rest);
            }
            continue;
        }
        let begins = [
            ("```", "pre", "```"),
            ("`", "code", "`"),
            ("__", "underline", "__"),
            ("_", "italic", "_"),
            ("*", "bold", "*"),
            ("~", "strikethrough", "~"),
            ("||", "spoiler", "||"),
            ("[", "link", "]"),
        ];
        let found = begins.into_iter().find(|(begin, ..)| !is_literal && rest.starts_with(begin));
        if c == '>' && is_start && quote.is_none() && !is_literal {
            quote = Some(seen.len());
            rest = &rest[1..];
        } else if let Some((begin, kind, end)) = found {
            rest = &rest[begin.len()..];
            if kind == "pre" {
                // The name of a language, up to the end of its line.
                let name = rest.split(['\n', '`', ' ']).next().unwrap_or_default();
                if rest[name.len()..].starts_with('\n') {
                    rest = &rest[name.len() + 1..];
                }
            }
            open.push(Open { kind, end, from: seen.len(), at });
        } else {
            return Err(format!("Character '{c}' is reserved and must be escaped with the preceding '\\'"));
        }
    }
    if let Some(Open { kind, at, .. }) = open.last() {
        let name = match *kind {
            "link" => "TextUrl".to_owned(),
            kind => kind[..1].to_uppercase() + &kind[1..],
        };
        return Err(format!("Can't find end of {name} entity at byte offset {at}"));
    }
    if let Some(from) = quote {
        marked.push(("blockquote".to_owned(), seen[from..].to_owned()));
    }
    Ok((seen, marked))
}

fn address(text: &str) -> Option<(String, &str)> {
    let mut address = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ')' => return Some((address, &text[at + 1..])),
            '\\' => address.push(chars.next()?.1),
            c => address.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_and_what_is_reserved_is_refused() {
        let marked = |source: &str| {
            let (seen, marked) = parse(source).unwrap();
            (seen, marked.into_iter().map(|(kind, text)| format!("{kind}: {text}")).collect::<Vec<_>>())
        };
        for (source, seen, marks) in [
            ("plain", "plain", &[][..]),
            ("*b _i_*", "b i", &["italic: i", "bold: b i"]),
            ("a\\.b \\*", "a.b *", &[]),
            ("`a.b*`", "a.b*", &["code: a.b*"]),
            ("```rust\nlet a = 1;\n```", "let a = 1;\n", &["pre: let a = 1;\n"]),
            ("[x\\.y](http://a.b/\\))", "x.y", &["link http://a.b/): x.y"]),
            (">q\n>r\nrest", "q\nr\nrest", &["blockquote: q\nr"]),
            ("~s~ ||p|| __u__", "s p u", &["strikethrough: s", "spoiler: p", "underline: u"]),
        ] {
            assert_eq!(
                marked(source),
                (seen.to_owned(), marks.iter().map(|m| (*m).to_owned()).collect()),
                "{source}"
            );
        }
        for (source, why) in [
            ("a.b", "Character '.' is reserved"),
            ("*b", "Can't find end of Bold entity at byte offset 0"),
            ("x `c", "Can't find end of Code entity at byte offset 2"),
            ("[x](http://a", "Can't find end of a URL"),
            ("a > b", "Character '>' is reserved"),
        ] {
            assert!(parse(source).unwrap_err().contains(why), "{source}: {:?}", parse(source));
        }
    }
}
