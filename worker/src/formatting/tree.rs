//! Markdown, parsed once.
//!
//! What the parser would swallow (definitions of links) stays as text; what it takes for HTML is text, because nobody asked for HTML. Depth
//! is bounded: what is nested deeper stands where its parent does.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Deepest nesting.
const DEPTH: usize = 24;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    Paragraph(Vec<Inline>),
    Heading(Vec<Inline>),
    Code { language: String, text: String },
    Quote(Vec<Block>),
    List { first: Option<u64>, items: Vec<Vec<Block>> },
    Table(Vec<Vec<Vec<Inline>>>),
    Rule,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inline {
    Text(String),
    Code(String),
    Styled(Face, Vec<Inline>),
    Link { url: String, text: Vec<Inline> },
    Break,
}

/// How letters look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Bold,
    Italic,
    Strike,
}

/// What is being read.
enum Open {
    Blocks(Vec<Block>),
    Quote(Vec<Block>),
    List(Option<u64>, Vec<Vec<Block>>),
    Item(Vec<Block>),
    Paragraph(Vec<Inline>),
    Heading(Vec<Inline>),
    Code(String, String),
    Styled(Face, Vec<Inline>),
    Link(String, Vec<Inline>),
    Table(Vec<Vec<Vec<Inline>>>),
    Row(Vec<Vec<Inline>>),
    Cell(Vec<Inline>),
    /// Too deep, or of no interest: what is in it belongs to what is around it.
    Through,
}

/// Parses a text.
pub(super) fn parse(markdown: &str) -> Vec<Block> {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
    let parser = Parser::new_ext(markdown, options);
    let mut hidden: Vec<_> =
        parser.reference_definitions().iter().map(|(_, definition)| definition.span.clone()).collect();
    hidden.sort_by_key(|span| span.start);
    let mut hidden = hidden.into_iter().peekable();
    let mut tree = Tree { stack: vec![Open::Blocks(Vec::new())] };
    let mut skipped = 0;
    for (event, range) in parser.into_offset_iter() {
        if range.start < skipped {
            continue;
        }
        if let Event::Start(Tag::Table(_)) = event
            && let Some(table) = markdown.get(range.clone()).filter(|table| is_ragged(table))
        {
            // The parser would leave out what has no column.
            skipped = range.end;
            tree.block(source(table));
            continue;
        }
        while tree.stack.len() == 1
            && let Some(span) = hidden.next_if(|span| span.start < range.start)
        {
            tree.block(source(markdown.get(span).unwrap_or_default()));
        }
        tree.take(event);
    }
    while tree.stack.len() > 1 {
        tree.close();
    }
    for span in hidden {
        tree.block(source(markdown.get(span).unwrap_or_default()));
    }
    match tree.stack.pop() {
        Some(Open::Blocks(blocks)) => blocks,
        _ => Vec::new(),
    }
}

/// Whether some row of a table has more cells than the first one.
fn is_ragged(table: &str) -> bool {
    let cells = |line: &str| {
        let line = line.trim().replace("\\|", "");
        line.trim_start_matches('|').trim_end_matches('|').matches('|').count()
    };
    let mut rows = table.lines().map(cells);
    let first = rows.next().unwrap_or(0);
    rows.any(|row| row > first)
}

/// A text as it stands.
fn source(text: &str) -> Block {
    let lines = text.trim_end().split('\n').map(|line| Inline::Text(line.to_owned()));
    let mut all = Vec::new();
    for line in lines {
        if !all.is_empty() {
            all.push(Inline::Break);
        }
        all.push(line);
    }
    Block::Paragraph(all)
}

/// The parser hands text out in pieces.
fn join(all: &mut Vec<Inline>, inline: Inline) {
    match (all.last_mut(), inline) {
        (Some(Inline::Text(text)), Inline::Text(more)) => text.push_str(&more),
        (_, inline) => all.push(inline),
    }
}

struct Tree {
    stack: Vec<Open>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.open(tag),
            Event::End(TagEnd::HtmlBlock) => {
                self.trim_break();
                self.close();
            }
            Event::End(_) => self.close(),
            Event::Text(text) | Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
            Event::Code(text) => self.inline(Inline::Code(text.into_string())),
            Event::Html(text) | Event::InlineHtml(text) => self.lines(&text),
            Event::FootnoteReference(name) => self.text(&format!("[^{name}]")),
            Event::SoftBreak | Event::HardBreak => self.inline(Inline::Break),
            Event::Rule => self.block(Block::Rule),
            Event::TaskListMarker(done) => self.text(if done { "☑ " } else { "☐ " }),
        }
    }

    fn open(&mut self, tag: Tag<'_>) {
        if self.stack.len() > DEPTH {
            self.stack.push(Open::Through);
            return;
        }
        let open = match tag {
            Tag::Paragraph | Tag::HtmlBlock => Open::Paragraph(Vec::new()),
            Tag::Heading { .. } => Open::Heading(Vec::new()),
            Tag::BlockQuote(_) => Open::Quote(Vec::new()),
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => {
                let language = info.split_whitespace().next().unwrap_or_default();
                Open::Code(language.to_owned(), String::new())
            }
            Tag::CodeBlock(CodeBlockKind::Indented) => Open::Code(String::new(), String::new()),
            Tag::List(first) => Open::List(first, Vec::new()),
            Tag::Item => Open::Item(Vec::new()),
            Tag::Table(_) => Open::Table(Vec::new()),
            Tag::TableHead | Tag::TableRow => Open::Row(Vec::new()),
            Tag::TableCell => Open::Cell(Vec::new()),
            Tag::Emphasis => Open::Styled(Face::Italic, Vec::new()),
            Tag::Strong => Open::Styled(Face::Bold, Vec::new()),
            Tag::Strikethrough => Open::Styled(Face::Strike, Vec::new()),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                Open::Link(dest_url.into_string(), Vec::new())
            }
            _ => Open::Through,
        };
        self.stack.push(open);
    }

    fn close(&mut self) {
        if self.stack.len() < 2 {
            return;
        }
        match self.stack.pop() {
            Some(Open::Quote(blocks)) => self.block(Block::Quote(blocks)),
            Some(Open::List(first, items)) => self.block(Block::List { first, items }),
            Some(Open::Item(blocks)) => match self.stack.last_mut() {
                Some(Open::List(_, items)) => items.push(blocks),
                _ => blocks.into_iter().for_each(|block| self.block(block)),
            },
            Some(Open::Paragraph(text)) => self.block(Block::Paragraph(text)),
            Some(Open::Heading(text)) => self.block(Block::Heading(text)),
            Some(Open::Code(language, text)) => self.block(Block::Code { language, text }),
            Some(Open::Styled(face, text)) => self.inline(Inline::Styled(face, text)),
            Some(Open::Link(url, text)) => self.inline(Inline::Link { url, text }),
            Some(Open::Table(rows)) => self.block(Block::Table(rows)),
            Some(Open::Row(cells)) => match self.stack.last_mut() {
                Some(Open::Table(rows)) => rows.push(cells),
                _ => cells.into_iter().flatten().for_each(|inline| self.inline(inline)),
            },
            Some(Open::Cell(text)) => match self.stack.last_mut() {
                Some(Open::Row(cells)) => cells.push(text),
                _ => text.into_iter().for_each(|inline| self.inline(inline)),
            },
            Some(Open::Blocks(_) | Open::Through) | None => {}
        }
    }

    /// Adds a block to the nearest thing that holds blocks.
    fn block(&mut self, block: Block) {
        for open in self.stack.iter_mut().rev() {
            match open {
                Open::Blocks(blocks) | Open::Quote(blocks) | Open::Item(blocks) => {
                    blocks.push(block);
                    return;
                }
                _ => {}
            }
        }
    }

    /// Adds to the nearest thing that holds text; where there is none, to a paragraph of its own.
    fn inline(&mut self, inline: Inline) {
        for open in self.stack.iter_mut().rev() {
            match open {
                Open::Paragraph(all)
                | Open::Heading(all)
                | Open::Styled(_, all)
                | Open::Link(_, all)
                | Open::Cell(all) => {
                    join(all, inline);
                    return;
                }
                Open::Code(_, text) => {
                    match inline {
                        Inline::Text(more) | Inline::Code(more) => text.push_str(&more),
                        Inline::Break => text.push('\n'),
                        Inline::Styled(..) | Inline::Link { .. } => {}
                    }
                    return;
                }
                Open::Blocks(blocks) | Open::Quote(blocks) | Open::Item(blocks) => {
                    // The items of a tight list hold their text so.
                    match blocks.last_mut() {
                        Some(Block::Paragraph(all)) => join(all, inline),
                        _ => blocks.push(Block::Paragraph(vec![inline])),
                    }
                    return;
                }
                Open::List(..) | Open::Table(_) | Open::Row(_) | Open::Through => {}
            }
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(Open::Code(_, all)) = self.stack.last_mut() {
            all.push_str(text);
        } else {
            self.inline(Inline::Text(text.to_owned()));
        }
    }

    /// Text with lines in it.
    fn lines(&mut self, text: &str) {
        for (n, line) in text.split('\n').enumerate() {
            if n > 0 {
                self.inline(Inline::Break);
            }
            if !line.is_empty() {
                self.inline(Inline::Text(line.trim_end_matches('\r').to_owned()));
            }
        }
    }

    fn trim_break(&mut self) {
        if let Some(Open::Paragraph(all)) = self.stack.last_mut() {
            while all.last() == Some(&Inline::Break) {
                all.pop();
            }
        }
    }
}
