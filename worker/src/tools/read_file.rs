//! `read_file`: lines of a text file, with their numbers.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _};
use std::sync::Arc;

use camino::Utf8Path;
use hermes_config::ToolSettings;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard::Intent;
use super::place::{Judged, Place};
use super::{Caller, Stopped, Tool, ToolError, Work, arguments, blocking};

/// Lines without a `limit`, as in 0.19.0.
const LINES: usize = 500;
/// Bytes that are looked at to tell text from other things.
const SAMPLE: usize = 1000;
/// Files that are named in place of one that is not there.
const SIMILAR: usize = 5;
/// Entries of a directory that are compared for that.
const COMPARED: usize = 1000;

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct ReadFile(Arc<Place>);

impl ReadFile {
    pub(super) fn new(place: &Arc<Place>) -> Self {
        Self(Arc::clone(place))
    }
}

#[derive(Debug, Deserialize)]
struct Arguments {
    path: String,
    offset: Option<i64>,
    limit: Option<i64>,
}

impl Tool for ReadFile {
    fn name(&self) -> &'static str {
        "read_file"
    }

    fn about(&self) -> &'static str {
        "Reads a text file, each line as NUMBER|TEXT. Prefer it to cat, head and tail. Of a long file it gives a part and the offset at \
         which to go on. Files of credentials, other profiles' files and binary files are refused."
    }

    fn toolset(&self) -> &'static str {
        "file"
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The file: absolute, relative to the workspace, or ~/…"},
                "offset": {"type": "integer", "minimum": 1, "default": 1, "description": "First line, from 1"},
                "limit": {"type": "integer", "minimum": 1, "default": LINES, "description": "Most lines"},
            },
            "required": ["path"],
        })
    }

    fn longest(&self) -> usize {
        // Its own limit counts characters; this only holds what JSON makes of them.
        self.0.limits.max_read_chars.saturating_mul(6).saturating_add(10_000)
    }

    fn run<'a>(&'a self, given: Map<String, Value>, _: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let asked: Arguments = arguments(given, &["offset", "limit"])?;
            let place = Arc::clone(&self.0);
            blocking(move |stopped| read(&place, &asked, stopped)).await
        })
    }
}

fn read(place: &Place, asked: &Arguments, stopped: &Stopped) -> Result<Value, ToolError> {
    let judged = place.judge(&asked.path, &[Intent::Read])?;
    if !Place::exists(&judged)? {
        let similar = similar(place, &judged);
        let error = format!("File not found: {}", judged.path);
        return Ok(json!({"error": error, "similar_files": similar}));
    }
    let broken = |error: std::io::Error| ToolError(format!("`{}` cannot be read: {error}", judged.path));
    let mut file = place.open(&judged)?;
    let size = file.metadata().map_err(broken)?.len();
    let mut sample = Vec::new();
    file.by_ref().take(SAMPLE as u64).read_to_end(&mut sample).map_err(broken)?;
    if is_binary(&sample) {
        return Err(ToolError(format!("`{}` is no text ({size} bytes)", judged.path)));
    }
    let lines = BufReader::with_capacity(64 << 10, std::io::Cursor::new(sample).chain(file));
    let first = asked.offset.and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
    let count = asked.limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(LINES);
    let page = Page::new(first, count.clamp(1, place.limits.max_lines), &place.limits);
    Ok(page.fill(lines, stopped).map_err(broken)?.result(size))
}

/// Whether the beginning of a file is that of something else than text.
fn is_binary(sample: &[u8]) -> bool {
    let odd = sample.iter().filter(|b| b.is_ascii_control() && !b.is_ascii_whitespace() && **b != 0x1b);
    sample.contains(&0) || odd.count() * 10 > sample.len() * 3
}

/// The lines that are shown, within all limits.
struct Page {
    first: usize,
    count: usize,
    chars: usize,
    line_chars: usize,
    text: String,
    used: usize,
    shown: usize,
    total: usize,
    /// No further line has room.
    is_full: bool,
}

impl Page {
    fn new(first: usize, count: usize, limits: &ToolSettings) -> Self {
        let (chars, line_chars) = (limits.max_read_chars, limits.max_line_length);
        let (text, used, shown, total, is_full) = (String::new(), 0, 0, 0, false);
        Self { first, count, chars, line_chars, text, used, shown, total, is_full }
    }

    fn fill(mut self, mut lines: impl BufRead, stopped: &Stopped) -> std::io::Result<Self> {
        // Four bytes a character, and what follows in the line is passed over.
        let most = self.line_chars.saturating_add(1).saturating_mul(4);
        let mut line = Vec::new();
        while !stopped.is_so() {
            line.clear();
            let wanted = (self.first..self.first.saturating_add(self.count)).contains(&(self.total + 1));
            let room = if wanted && !self.is_full { most } else { 0 };
            if !next_line(&mut lines, &mut line, room)? {
                break;
            }
            self.total += 1;
            if room > 0 {
                self.add(&String::from_utf8_lossy(&line));
            }
        }
        Ok(self)
    }

    fn add(&mut self, line: &str) {
        let line = if self.total == 1 { line.trim_start_matches('\u{feff}') } else { line };
        let mut shown = format!("{}|", self.total);
        match line.char_indices().nth(self.line_chars) {
            Some((end, _)) => {
                // Writing to a string cannot fail.
                let _ = write!(shown, "{}... [truncated]", &line[..end]);
            }
            None => shown.push_str(line),
        }
        let chars = shown.chars().count() + 1;
        if self.used + chars > self.chars && self.shown > 0 {
            self.is_full = true;
            return;
        }
        if self.used + chars > self.chars {
            // The first line alone is too long.
            shown = shown.chars().take(self.chars).collect();
        }
        if self.shown > 0 {
            self.text.push('\n');
        }
        self.text.push_str(&shown);
        (self.used, self.shown) = (self.used + chars, self.shown + 1);
    }

    fn result(self, size: u64) -> Value {
        let next = self.first + self.shown;
        let truncated = self.total >= next && self.shown > 0;
        let mut result = json!({
            "content": self.text,
            "total_lines": self.total,
            "file_size": size,
            "truncated": truncated,
        });
        if self.is_full {
            result["truncated_by"] = "bytes".into();
            result["next_offset"] = next.into();
        }
        if truncated {
            let (first, last, total) = (self.first, next - 1, self.total);
            result["hint"] =
                format!("Use offset={next} to continue reading (showing {first}-{last} of {total} lines)")
                    .into();
        } else if self.shown == 0 && self.total > 0 {
            result["hint"] =
                format!("the file has {} lines, none at offset {}", self.total, self.first).into();
        }
        result
    }
}

/// Reads a line without its end, `room` bytes of it at most; the rest of it is passed over. Whether there was one.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>, room: usize) -> std::io::Result<bool> {
    let mut any = false;
    loop {
        let piece = lines.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        any = true;
        let end = memchr::memchr(b'\n', piece);
        let part = &piece[..end.unwrap_or(piece.len())];
        line.extend_from_slice(&part[..part.len().min(room.saturating_sub(line.len()))]);
        let used = end.map_or(piece.len(), |end| end + 1);
        lines.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(any)
}

/// Files beside the one that is not there, whose names are like its.
fn similar(place: &Place, missing: &Judged) -> Vec<String> {
    let wanted = missing.path.file_name().unwrap_or_default().to_lowercase();
    let stem = |name: &str| Utf8Path::new(name).file_stem().unwrap_or_default().to_owned();
    let guard = place.guard();
    let entries = missing.path.parent().and_then(|dir| dir.read_dir_utf8().ok()).into_iter().flatten();
    let mut found: Vec<(u8, String)> = entries
        .flatten()
        .take(COMPARED)
        .filter(|entry| guard.refuses(entry.path(), Intent::Read).is_none())
        .filter_map(|entry| {
            let name = entry.file_name().to_lowercase();
            let likeness = if name == wanted {
                0
            } else if stem(&name) == stem(&wanted) {
                1
            } else if name.starts_with(&wanted) || wanted.starts_with(&name) {
                2
            } else if name.contains(&stem(&wanted)) {
                3
            } else {
                return None;
            };
            Some((likeness, entry.path().to_string()))
        })
        .collect();
    found.sort();
    found.into_iter().take(SIMILAR).map(|(_, path)| path).collect()
}
