//! The list of problems: each once, worst first, bounded.

use crate::latest::{Problem, Severity};

/// Most problems of one profile that are reported; the rest is counted.
const MAX_PROBLEMS: usize = 200;

/// Collects problems while the files are read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
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

    pub(super) fn push(&mut self, problem: Problem) {
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    pub(super) fn any(&self, severity: Severity) -> bool {
        self.list.iter().any(|p| p.severity == severity)
    }

    /// The list: worst first, then by place.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.list.sort_by(|a, b| {
            let key = |p: &Problem| (std::cmp::Reverse(p.severity), p.file.clone(), p.line, p.column);
            key(a).cmp(&key(b))
        });
        if let Some(first_left_out) = self.list.get(MAX_PROBLEMS) {
            let message = format!("{} more problems are not shown", self.list.len() - MAX_PROBLEMS);
            let file = first_left_out.file.clone();
            self.list.truncate(MAX_PROBLEMS);
            let place = Place { file, ..Place::default() };
            self.add(Severity::Warning, "more_problems", place, message, None);
        }
        self.list
    }
}
