//! `search_files`: what is in files, by regular expression, and files by name.
//!
//! Hidden files and what `.gitignore` names are passed over, links are not followed, and files that may not be read are left out and counted.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard::{Guard, Intent};
use super::place::{self, Place};
use super::{Caller, Stopped, Tool, ToolError, Work, arguments, blocking};

/// Results without a `limit`, as in 0.19.0.
const RESULTS: usize = 50;
/// Most results that one call gives.
const MAX_RESULTS: usize = 1000;
/// Results that are counted; whoever needs to know of more is told that there are.
const COUNTED: usize = 10_000;
/// Characters of a line that are shown, as in 0.19.0.
const LINE: usize = 500;
/// Most bytes of lines and their paths.
const MAX_TEXT: usize = 60_000;
/// Longest result: JSON takes more than the text in it.
const LONGEST: usize = 200_000;
/// Most lines of context.
const CONTEXT: usize = 20;
/// From here on matches are given as text, by file, as in 0.19.0.
const DENSE: usize = 5;
const TIME: Duration = Duration::from_secs(60);

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct SearchFiles(Arc<Place>);

impl SearchFiles {
    pub(super) fn new(place: &Arc<Place>) -> Self {
        Self(Arc::clone(place))
    }
}

#[derive(Debug, Deserialize)]
struct Arguments {
    pattern: String,
    target: Option<String>,
    path: Option<String>,
    file_glob: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
    output_mode: Option<String>,
    context: Option<i64>,
}

impl Tool for SearchFiles {
    fn name(&self) -> &'static str {
        "search_files"
    }

    fn about(&self) -> &'static str {
        "Looks for text in files by a regular expression (target `content`), or for files by a glob pattern, newest first (target `files`). \
         Prefer it to grep, find and ls. Hidden and ignored files are passed over."
    }

    fn toolset(&self) -> &'static str {
        "file"
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "A regular expression, or a glob such as *.py for files"},
                "target": {"type": "string", "enum": ["content", "files"], "default": "content"},
                "path": {"type": "string", "default": ".", "description": "A directory or a file"},
                "file_glob": {"type": "string", "description": "Only in files of this name, such as *.py"},
                "limit": {"type": "integer", "default": RESULTS, "description": "Most results"},
                "offset": {"type": "integer", "default": 0, "description": "Results to pass over"},
                "output_mode": {
                    "type": "string",
                    "enum": ["content", "files_only", "count"],
                    "default": "content",
                    "description": "Lines, only the files, or how many lines of each file",
                },
                "context": {"type": "integer", "default": 0, "description": "Lines before and after each match"},
            },
            "required": ["pattern"],
        })
    }

    fn longest(&self) -> usize {
        LONGEST
    }

    fn run<'a>(&'a self, given: Map<String, Value>, _: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let asked: Arguments = arguments(given, &["limit", "offset", "context"])?;
            let place = Arc::clone(&self.0);
            blocking(move |stopped| search(&place, &asked, stopped)).await
        })
    }
}

fn search(place: &Place, asked: &Arguments, stopped: &Stopped) -> Result<Value, ToolError> {
    let top = place.judge(asked.path.as_deref().unwrap_or("."), &[Intent::Read])?.path;
    if !top.exists() {
        return Err(ToolError(format!("Path not found: {top}")));
    }
    let number = |given: Option<i64>, default| given.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let mut hunt = Hunt {
        guard: place.guard(),
        workspace: place.workspace()?,
        stopped,
        deadline: hermes_host::clock::now() + TIME,
        skip: number(asked.offset, 0),
        most: number(asked.limit, RESULTS).clamp(1, MAX_RESULTS),
        omitted: 0,
        is_late: false,
    };
    let mut result = match asked.target.as_deref().unwrap_or("content") {
        "files" | "find" => hunt.files(&top, &asked.pattern)?,
        "content" | "grep" => {
            let matcher = RegexMatcherBuilder::new().build(&asked.pattern).map_err(|error| {
                ToolError(format!("`{}` is no regular expression: {error}", asked.pattern))
            })?;
            let context = number(asked.context, 0).min(CONTEXT);
            let globs = asked.file_glob.as_deref().map(|glob| globs(&top, glob)).transpose()?;
            hunt.content(&top, globs, &matcher, asked.output_mode.as_deref().unwrap_or("content"), context)?
        }
        other => return Err(ToolError(format!("there is no target `{other}`: `content` or `files`"))),
    };
    if hunt.is_late {
        result["truncated"] = true.into();
        result["limit_reason"] = "search_timeout".into();
    }
    if result["truncated"] == true {
        let next = hunt.skip + hunt.most;
        result["_hint"] =
            format!("Results truncated. Use offset={next} to see more, or a narrower pattern or file_glob.")
                .into();
    }
    if hunt.omitted > 0 {
        let omitted = hunt.omitted;
        result["_omitted"] =
            format!("{omitted} file(s) left out that may not be read: credentials or other profiles' files")
                .into();
    }
    Ok(result)
}

/// A pattern of names, in the form of the walk.
fn globs(top: &Utf8Path, glob: &str) -> Result<Override, ToolError> {
    let mut builder = OverrideBuilder::new(top);
    builder
        .add(glob)
        .and_then(|builder| builder.build())
        .map_err(|error| ToolError(format!("`{glob}` is no pattern of file names: {error}")))
}

/// One search.
struct Hunt<'a> {
    guard: Guard,
    workspace: Utf8PathBuf,
    stopped: &'a Stopped,
    deadline: std::time::Instant,
    skip: usize,
    most: usize,
    omitted: usize,
    is_late: bool,
}

impl Hunt<'_> {
    /// Calls `each` with every file that may be read, until it says that it has enough.
    fn walk(
        &mut self,
        top: &Utf8Path,
        globs: Option<Override>,
        mut each: impl FnMut(&Guard, &Utf8Path) -> bool,
    ) {
        let mut walk = WalkBuilder::new(top);
        walk.follow_links(false).require_git(false).sort_by_file_name(Ord::cmp);
        if let Some(globs) = globs {
            walk.overrides(globs);
        }
        // A directory that may not be read is not gone into.
        let guard = self.guard.clone();
        walk.filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let path = Utf8Path::from_path(entry.path());
            !is_dir || path.is_some_and(|path| guard.refuses(path, Intent::Read).is_none())
        });
        for entry in walk.build().flatten() {
            if self.stopped.is_so() || hermes_host::clock::now() >= self.deadline {
                self.is_late = true;
                return;
            }
            let Some(path) = Utf8Path::from_path(entry.path()) else { continue };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            if self.guard.refuses(path, Intent::Read).is_some() {
                self.omitted += 1;
            } else if !each(&self.guard, path) {
                return;
            }
        }
    }

    fn files(&mut self, top: &Utf8Path, pattern: &str) -> Result<Value, ToolError> {
        let inside = if pattern.contains('/') || pattern.starts_with('*') { "" } else { "*" };
        let globs = globs(top, &format!("{inside}{pattern}"))?;
        let mut found: Vec<(SystemTime, Utf8PathBuf)> = Vec::new();
        self.walk(top, Some(globs), |_, path| {
            let changed = fs_err::symlink_metadata(path).and_then(|found| found.modified());
            found.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), path.to_owned()));
            found.len() < COUNTED
        });
        found.sort_by(|a, b| b.cmp(a));
        let files = found.iter().skip(self.skip).take(self.most);
        let files: Vec<&str> = files.map(|(_, path)| self.shown(path)).collect();
        Ok(self.page(found.len(), "files", json!(files)))
    }

    fn content(
        &mut self,
        top: &Utf8Path,
        globs: Option<Override>,
        matcher: &RegexMatcher,
        mode: &str,
        context: usize,
    ) -> Result<Value, ToolError> {
        if !matches!(mode, "content" | "files_only" | "count") {
            return Err(ToolError(format!(
                "there is no output_mode `{mode}`: `content`, `files_only` or `count`"
            )));
        }
        let mut searcher = SearcherBuilder::new()
            .line_number(true)
            .before_context(context)
            .after_context(context)
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(8 << 20))
            .build();
        let mut found: Vec<Line> = Vec::new();
        // Lines behind those that are shown are only counted.
        let (mut total, end) = (0, self.skip + self.most);
        let (mut files, mut omitted): (Vec<(Utf8PathBuf, u64)>, usize) = (Vec::new(), 0);
        self.walk(top, globs, |guard, path| {
            let file = match place::open(guard, path) {
                Ok(file) if file.metadata().is_ok_and(|found| found.len() <= place::MAX_FILE) => file,
                Ok(_) => return true,
                Err(error) => {
                    omitted += usize::from(error.kind() == std::io::ErrorKind::PermissionDenied);
                    return true;
                }
            };
            let mut lines = Lines { path, matches: 0, total: &mut total, end, found: &mut found };
            // A file that cannot be read to its end has given what it could.
            let _ = searcher.search_file(matcher, &file, &mut lines);
            let count = lines.matches;
            if count > 0 {
                files.push((path.to_owned(), count));
            }
            if mode == "content" { total < COUNTED } else { files.len() < COUNTED }
        });
        self.omitted += omitted;
        let shown_files = files.iter().skip(self.skip).take(self.most);
        Ok(match mode {
            "files_only" => {
                let list: Vec<&str> = shown_files.map(|(path, _)| self.shown(path)).collect();
                self.page(files.len(), "files", json!(list))
            }
            "count" => {
                let counts: Map<String, Value> = shown_files
                    .map(|(path, matches)| (self.shown(path).to_owned(), (*matches).into()))
                    .collect();
                self.page(files.len(), "counts", counts.into())
            }
            _ => {
                let mut shown: Vec<Line> = found
                    .into_iter()
                    .filter(|line| (self.skip..end).contains(&line.number_of_match))
                    .collect();
                let mut size = 0;
                let fit = shown.iter().position(|line| {
                    size += line.text.len() + line.path.as_str().len();
                    size > MAX_TEXT
                });
                if let Some(first) = fit.and_then(|fit| shown.get(fit)) {
                    // The page is as long as there is room.
                    self.most = first.number_of_match.saturating_sub(self.skip).max(1);
                    shown.truncate(fit.unwrap_or_default());
                }
                self.lines(total, &shown)
            }
        })
    }

    fn lines(&self, total: usize, lines: &[Line]) -> Value {
        if lines.len() < DENSE {
            let matches: Vec<Value> = lines
                .iter()
                .map(
                    |line| json!({"path": self.shown(&line.path), "line": line.number, "content": line.text}),
                )
                .collect();
            return self.page(total, "matches", matches.into());
        }
        let mut text = String::new();
        let mut last = None;
        for line in lines {
            if last != Some(&line.path) {
                text.push_str(self.shown(&line.path));
                text.push('\n');
                last = Some(&line.path);
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}: {}", line.number, line.text.trim_end());
        }
        let mut result = self.page(total, "matches_text", text.trim_end().into());
        result["matches_format"] =
            "path-grouped: each file path on its own line, followed by indented '<line>: <content>' rows"
                .into();
        result
    }

    fn page(&self, total: usize, name: &str, found: Value) -> Value {
        let mut result =
            Value::from_iter([("total_count".to_owned(), total.into()), (name.to_owned(), found)]);
        if total > self.skip + self.most {
            result["truncated"] = true.into();
        }
        if total >= COUNTED {
            result["limit_reason"] = format!("counting ended at {COUNTED}").into();
        }
        result
    }

    fn shown<'b>(&self, path: &'b Utf8Path) -> &'b str {
        Place::shown(path, &self.workspace).as_str()
    }
}

/// A line that is shown.
struct Line {
    path: Utf8PathBuf,
    number: u64,
    text: String,
    /// Which match it is, or stands beside.
    number_of_match: usize,
}

/// What a file adds.
struct Lines<'a> {
    path: &'a Utf8Path,
    matches: u64,
    total: &'a mut usize,
    end: usize,
    found: &'a mut Vec<Line>,
}

impl Lines<'_> {
    fn keep(&mut self, line: Option<u64>, bytes: &[u8], number_of_match: usize) {
        if number_of_match < self.end {
            let text: String =
                String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']).chars().take(LINE).collect();
            self.found.push(Line {
                path: self.path.to_owned(),
                number: line.unwrap_or(0),
                text,
                number_of_match,
            });
        }
    }
}

impl Sink for Lines<'_> {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, std::io::Error> {
        self.keep(found.line_number(), found.bytes(), *self.total);
        self.matches += 1;
        *self.total += 1;
        Ok(*self.total < COUNTED)
    }

    fn context(&mut self, _: &Searcher, found: &SinkContext<'_>) -> Result<bool, std::io::Error> {
        // What stands before a match comes before it is counted.
        let after = matches!(found.kind(), grep_searcher::SinkContextKind::After);
        self.keep(found.line_number(), found.bytes(), self.total.saturating_sub(usize::from(after)));
        Ok(true)
    }
}
