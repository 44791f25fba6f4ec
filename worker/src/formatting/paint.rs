//! Writes a tree line by line, with the signs of one service. Structure is the same for all: paragraphs with an empty line between them,
//! headings in bold, items with a bullet or a number, tables with their columns in line.

use super::tree::{Block, Face, Inline};

/// The signs of a service.
pub(super) trait Signs {
    /// Text that is no sign.
    fn text(&mut self, out: &mut String, text: &str);
    /// A face begins or ends.
    fn face(&mut self, out: &mut String, face: Face, begins: bool);
    /// Code in a line.
    fn code(&mut self, out: &mut String, text: &str);
    /// Code that stands by itself; it ends without a line end.
    fn block(&mut self, out: &mut String, language: &str, text: &str);
    /// A link; `label` is written already, and `shown` is what it looks like.
    fn link(&mut self, out: &mut String, url: &str, label: &str, shown: &str);
    /// What a quoted line begins with.
    fn quote(&self) -> &'static str {
        "> "
    }
    /// Whether code may stand within a face.
    fn code_in_faces(&self) -> bool {
        true
    }
    /// Whether quotes hold nothing but lines: no blocks of code.
    fn plain_quotes(&self) -> bool {
        false
    }
}

/// Writes blocks.
pub(super) struct Painter<S> {
    pub(super) signs: S,
    pub(super) out: String,
    faces: Vec<Face>,
    /// What every line begins with.
    margin: String,
    quoted: bool,
}

impl<S: Signs> Painter<S> {
    pub(super) fn new(signs: S) -> Self {
        Self { signs, out: String::new(), faces: Vec::new(), margin: String::new(), quoted: false }
    }

    pub(super) fn blocks(&mut self, blocks: &[Block], tight: bool) {
        for (n, block) in blocks.iter().enumerate() {
            if n > 0 {
                self.line();
                if !tight {
                    self.line();
                }
            }
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Paragraph(text) => self.inlines(text),
            Block::Heading(text) => self.faced(Face::Bold, text),
            Block::Code { language, text } => self.code_block(language, text.trim_end_matches('\n')),
            Block::Quote(blocks) => self.quote(blocks),
            Block::List { first, items } => self.list(*first, items),
            Block::Table(rows) => self.table(rows),
            Block::Rule => self.signs.text(&mut self.out, "———"),
        }
    }

    /// A line ends, and the next one begins. No face crosses it: some services end it there, and lines of a quote have a sign of their own.
    fn line(&mut self) {
        self.pause(Self::begin_line);
    }

    fn begin_line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&self.margin);
    }

    /// Does something outside of all faces.
    fn pause(&mut self, work: impl FnOnce(&mut Self)) {
        let faces = std::mem::take(&mut self.faces);
        for face in faces.iter().rev() {
            self.signs.face(&mut self.out, *face, false);
        }
        work(self);
        for face in &faces {
            self.signs.face(&mut self.out, *face, true);
        }
        self.faces = faces;
    }

    fn inlines(&mut self, all: &[Inline]) {
        for inline in all {
            match inline {
                Inline::Text(text) => self.signs.text(&mut self.out, text),
                Inline::Code(text) if self.signs.code_in_faces() => self.signs.code(&mut self.out, text),
                Inline::Code(text) => self.pause(|painter| painter.signs.code(&mut painter.out, text)),
                Inline::Styled(face, text) => self.faced(*face, text),
                Inline::Link { url, text } => self.link(url, text),
                Inline::Break => self.line(),
            }
        }
    }

    /// Nothing is in a face twice, and no face is around nothing.
    fn faced(&mut self, face: Face, text: &[Inline]) {
        if self.faces.contains(&face) || shown(text).trim().is_empty() {
            self.inlines(text);
            return;
        }
        self.signs.face(&mut self.out, face, true);
        self.faces.push(face);
        self.inlines(text);
        self.faces.pop();
        self.signs.face(&mut self.out, face, false);
    }

    fn link(&mut self, url: &str, text: &[Inline]) {
        let shown = shown(text);
        let shown = if shown.trim().is_empty() { url.to_owned() } else { shown };
        let mut label = String::new();
        self.signs.text(&mut label, &shown);
        self.signs.link(&mut self.out, url, &label, &shown);
    }

    fn code_block(&mut self, language: &str, text: &str) {
        if self.margin.is_empty() {
            self.signs.block(&mut self.out, language, text);
            return;
        }
        if self.quoted && self.signs.plain_quotes() {
            for (n, line) in text.split('\n').enumerate() {
                if n > 0 {
                    self.begin_line();
                }
                if !line.is_empty() {
                    self.signs.code(&mut self.out, line);
                }
            }
            return;
        }
        let mut written = String::new();
        self.signs.block(&mut written, language, text);
        self.out.push_str(&written.replace('\n', &format!("\n{}", self.margin)));
    }

    fn quote(&mut self, blocks: &[Block]) {
        if self.quoted {
            self.blocks(blocks, false);
            return;
        }
        // A quote in an item stands at the margin: there it is one.
        let margin = std::mem::replace(&mut self.margin, self.signs.quote().to_owned());
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.push_str(&self.margin.clone());
        self.quoted = true;
        self.blocks(blocks, false);
        self.quoted = false;
        self.margin = margin;
    }

    fn list(&mut self, first: Option<u64>, items: &[Vec<Block>]) {
        let mut number = first;
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.line();
            }
            let head = number.map_or_else(|| "• ".to_owned(), |number| format!("{number}. "));
            number = number.map(|number| number.saturating_add(1));
            self.signs.text(&mut self.out, &head);
            let length = self.margin.len();
            self.margin.push_str(if first.is_some() { "   " } else { "  " });
            self.blocks(item, true);
            self.margin.truncate(length);
        }
    }

    fn table(&mut self, rows: &[Vec<Vec<Inline>>]) {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| told(cell)).collect()).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
        };
        let mut lines: Vec<String> = rows.iter().map(line).collect();
        if lines.len() > 1 {
            let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("-+-");
            lines.insert(1, rule);
        }
        self.code_block("", &lines.join("\n"));
    }
}

/// A text without signs, with the addresses of its links.
fn told(all: &[Inline]) -> String {
    let mut text = String::new();
    for inline in all {
        match inline {
            Inline::Styled(_, more) => text.push_str(&told(more)),
            Inline::Link { url, text: label } => {
                let label = shown(label);
                text.push_str(&label);
                if label != *url && !url.is_empty() {
                    text.extend([if label.is_empty() { "" } else { " " }, "(", url, ")"]);
                }
            }
            other => text.push_str(&shown(std::slice::from_ref(other))),
        }
    }
    text
}

/// What somebody sees of a text.
pub(super) fn shown(all: &[Inline]) -> String {
    let mut text = String::new();
    for inline in all {
        match inline {
            Inline::Text(more) | Inline::Code(more) => text.push_str(more),
            Inline::Styled(_, more) => text.push_str(&shown(more)),
            Inline::Link { url, text: label } => {
                let label = shown(label);
                text.push_str(if label.trim().is_empty() { url } else { &label });
            }
            Inline::Break => text.push(' '),
        }
    }
    text
}
