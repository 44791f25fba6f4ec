//! Matrix: HTML that is made here and nowhere else, so that nothing in it needs to be cleaned.

use super::tree::{Block, Face, Inline, parse};

/// `formatted_body` of a message, with the tags that the specification of Matrix allows.
pub fn matrix_html(markdown: &str) -> String {
    let mut out = String::new();
    let blocks = parse(markdown);
    match blocks.as_slice() {
        // One line needs no paragraph.
        [Block::Paragraph(text)] => inlines(&mut out, text),
        blocks => all(&mut out, blocks, false),
    }
    out
}

fn all(out: &mut String, blocks: &[Block], tight: bool) {
    for block in blocks {
        match block {
            Block::Paragraph(text) if tight => inlines(out, text),
            Block::Paragraph(text) => tag(out, "p", |out| inlines(out, text)),
            Block::Heading(text) => tag(out, "h3", |out| inlines(out, text)),
            Block::Code { language, text } => {
                out.push_str("<pre><code");
                let language: String = language
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "+-#_.".contains(*c))
                    .take(32)
                    .collect();
                if !language.is_empty() {
                    out.push_str(" class=\"language-");
                    out.push_str(&language);
                    out.push('"');
                }
                out.push('>');
                escape(out, text);
                out.push_str("</code></pre>");
            }
            Block::Quote(blocks) => tag(out, "blockquote", |out| all(out, blocks, false)),
            Block::List { first: None, items } => tag(out, "ul", |out| list(out, items)),
            Block::List { first: Some(first), items } => {
                out.push_str("<ol");
                if *first != 1 {
                    out.extend([" start=\"", &first.to_string(), "\""]);
                }
                out.push('>');
                list(out, items);
                out.push_str("</ol>");
            }
            Block::Table(rows) => tag(out, "table", |out| table(out, rows)),
            Block::Rule => out.push_str("<hr>"),
        }
    }
}

fn list(out: &mut String, items: &[Vec<Block>]) {
    for item in items {
        tag(out, "li", |out| all(out, item, true));
    }
}

fn table(out: &mut String, rows: &[Vec<Vec<Inline>>]) {
    for (n, row) in rows.iter().enumerate() {
        tag(out, "tr", |out| {
            for cell in row {
                tag(out, if n == 0 { "th" } else { "td" }, |out| inlines(out, cell));
            }
        });
    }
}

fn inlines(out: &mut String, text: &[Inline]) {
    for inline in text {
        match inline {
            Inline::Text(text) => escape(out, text),
            Inline::Code(text) => tag(out, "code", |out| escape(out, text)),
            Inline::Styled(face, text) => {
                let name = match face {
                    Face::Bold => "strong",
                    Face::Italic => "em",
                    Face::Strike => "del",
                };
                tag(out, name, |out| inlines(out, text));
            }
            Inline::Link { url, text } => link(out, url, text),
            Inline::Break => out.push_str("<br>"),
        }
    }
}

/// Only where the address is one that a client may open.
fn link(out: &mut String, url: &str, text: &[Inline]) {
    let label = super::paint::shown(text);
    let label = if label.trim().is_empty() { url } else { &label };
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let opens = scheme.is_some_and(|scheme| ["http", "https", "mailto", "matrix"].contains(&scheme.as_str()));
    if !opens {
        escape(out, label);
        if label != url && !url.is_empty() {
            escape(out, &format!(" ({url})"));
        }
        return;
    }
    out.push_str("<a href=\"");
    escape(out, url);
    out.push_str("\">");
    escape(out, label);
    out.push_str("</a>");
}

fn tag(out: &mut String, name: &str, inner: impl FnOnce(&mut String)) {
    out.extend(["<", name, ">"]);
    inner(out);
    out.extend(["</", name, ">"]);
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No letter of any text, and none that HTML may hold.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}
