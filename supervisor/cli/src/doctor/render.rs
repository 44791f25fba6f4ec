//! The report, for people and for programs.

use std::fmt::Write as _;

use super::{Finding, Grade, Section};

/// For people. `colors` paints the marks.
pub(crate) fn text(findings: &[Finding], colors: bool) -> String {
    let mut text = String::new();
    let mut section = None;
    for finding in findings {
        if section != Some(finding.section) {
            section = Some(finding.section);
            let _ = writeln!(text, "\n◆ {}", title(finding.section));
        }
        let fixed = matches!(finding.repaired, Some(Ok(())));
        let grade = if fixed { Grade::Good } else { finding.grade };
        let who = finding.profile.as_ref().map(|name| format!("  {name}: ")).unwrap_or_default();
        let note = if fixed { " — repaired" } else { "" };
        let _ = writeln!(text, "  {} {who}{}{note}", mark(grade, colors), finding.message);
        if grade == Grade::Good {
            continue;
        }
        if let Some(place) = &finding.place {
            let _ = writeln!(text, "      at {place}");
        }
        if let Some(Err(why)) = &finding.repaired {
            let _ = writeln!(text, "      not repaired: {why}");
        }
        if let Some(next) = &finding.next {
            let _ = writeln!(text, "      fix: {next}");
        }
    }
    text.push('\n');
    text.push_str(&verdict(findings));
    text
}

fn verdict(findings: &[Finding]) -> String {
    let standing = |grade| findings.iter().filter(|f| f.stands() && f.grade == grade).count();
    let (failures, warnings) = (standing(Grade::Failure), standing(Grade::Warning));
    let repairable =
        findings.iter().filter(|f| f.stands() && f.repair.is_some() && f.repaired.is_none()).count();
    let mut text = match (failures, warnings) {
        (0, 0) => "✓ All is well\n".to_owned(),
        (0, n) => format!("✓ Nothing fails; {}\n", count(n, "warning")),
        (n, 0) => format!("✗ {}\n", count(n, "failure")),
        (n, m) => format!("✗ {}, {}\n", count(n, "failure"), count(m, "warning")),
    };
    if repairable > 0 {
        let _ = writeln!(text, "  `hermes doctor --fix` repairs {repairable} of them and loses nothing");
    }
    text
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn title(section: Section) -> &'static str {
    match section {
        Section::Machine => "Machine",
        Section::Gateway => "Gateway",
        Section::Profiles => "Profiles",
        Section::Services => "Gateway Service",
    }
}

fn mark(grade: Grade, colors: bool) -> &'static str {
    match (grade, colors) {
        (Grade::Good, false) => "✓",
        (Grade::Warning, false) => "⚠",
        (Grade::Failure, false) => "✗",
        (Grade::Good, true) => "\x1b[32m✓\x1b[0m",
        (Grade::Warning, true) => "\x1b[33m⚠\x1b[0m",
        (Grade::Failure, true) => "\x1b[31m✗\x1b[0m",
    }
}

/// For programs; fields are only ever added.
pub(crate) fn json(findings: &[Finding]) -> String {
    let grade = |grade| match grade {
        Grade::Good => "ok",
        Grade::Warning => "warning",
        Grade::Failure => "failure",
    };
    let all: Vec<serde_json::Value> = findings
        .iter()
        .map(|f| {
            serde_json::json!({
                "section": title(f.section),
                "grade": grade(f.grade),
                "code": f.code,
                "profile": f.profile.as_ref().map(hermes_wire::ProfileName::as_str),
                "message": f.message,
                "place": f.place,
                "fix": f.next,
                "repairable": f.repair.is_some(),
                "repaired": f.repaired.as_ref().map(Result::is_ok),
            })
        })
        .collect();
    let ok = !findings.iter().any(|f| f.stands() && f.grade == Grade::Failure);
    format!("{:#}\n", serde_json::json!({ "schema": 1, "ok": ok, "findings": all }))
}
