//! The list of problems: each once, worst first, bounded.

use camino::Utf8Path;

use super::dotenv::Flaw;
use hermes_wire::latest::{Problem, Severity};

/// Most problems of one severity that are reported; the rest is counted. What stops more never gives way to what stops less.
const MAX_EACH: usize = 100;

/// Collects problems while the files are read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    left_out: usize,
}

/// Where a problem is.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
    pub(super) key: Option<String>,
}

impl Place {
    /// `platforms.webhook.enabled in /h/config.yaml`
    pub(super) fn source(&self) -> String {
        match &self.key {
            Some(key) => format!("{key} in {}", self.file),
            None => self.file.clone(),
        }
    }
}

impl Problems {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        code: &str,
        place: Place,
        message: String,
        fix: Option<String>,
    ) {
        let Place { file, line, column, key } = place;
        let problem = Problem {
            severity,
            code: code.to_owned(),
            platform: None,
            file,
            line,
            column,
            key,
            message,
            fix,
        };
        self.push(problem);
    }

    /// What was found in a `.env`.
    pub(super) fn add_flaw(&mut self, file: &str, flaw: Flaw) {
        let severity = if flaw.fatal { Severity::Profile } else { Severity::Warning };
        let place =
            Place { file: file.to_owned(), line: Some(flaw.line), column: None, key: flaw.name.clone() };
        self.add(severity, flaw.code, place, flaw.message, Some(flaw.fix.to_owned()));
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.is_full(problem.severity) {
            self.left_out += 1;
        } else if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Where the list ends now, for [`Self::soften_since`].
    pub(super) fn mark(&self) -> usize {
        self.list.len()
    }

    /// Whether something that stops a profile was found since then.
    pub(super) fn has_fatal_since(&self, mark: usize) -> bool {
        self.list[mark..].iter().any(|problem| problem.severity >= Severity::Profile)
    }

    /// Makes warnings of what was found since then.
    pub(super) fn soften_since(&mut self, mark: usize) {
        self.list[mark..].iter_mut().for_each(|problem| problem.severity = Severity::Warning);
    }

    /// Whether further problems of this severity are only counted.
    pub(super) fn is_full(&self, severity: Severity) -> bool {
        self.list.iter().filter(|p| p.severity == severity).count() >= MAX_EACH
    }

    pub(super) fn any(&self, severity: Severity) -> bool {
        self.list.iter().any(|p| p.severity == severity)
    }

    /// The list: worst first, then by place.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.list.sort_by(|a, b| {
            let place = |p: &Problem| (p.line, p.column);
            b.severity
                .cmp(&a.severity)
                .then_with(|| a.file.cmp(&b.file))
                .then_with(|| place(a).cmp(&place(b)))
        });
        if self.left_out > 0
            && let Some(last) = self.list.last()
        {
            let problem = Problem {
                severity: Severity::Warning,
                code: "more_problems".to_owned(),
                platform: None,
                file: last.file.clone(),
                line: None,
                column: None,
                key: None,
                message: format!("{} more problems are not shown", self.left_out),
                fix: None,
            };
            self.list.push(problem);
        }
        self.list
    }
}

/// A problem of a file as a whole.
pub fn problem(severity: Severity, code: &str, file: &Utf8Path, message: String, fix: &str) -> Problem {
    Problem::of_file(severity, code, file, message, fix)
}
