//! Whether a command may run: what it is judged to be, what the owner said about that before, and what somebody says now.
//!
//! ```text
//!   approvals.deny fits ───────────────────────────────────────▶ refused
//!   nothing dangerous, or all of it allowed ───────────────────▶ runs
//!   approvals.mode off, and nothing grave ─────────────────────▶ runs
//!   smart, nothing grave, and the second model says approve ───▶ runs
//!   else somebody is asked: once, session, always ─────────────▶ runs;   denied, silence, nobody there ─▶ refused
//! ```
//!
//! A pattern of `command_allowlist` is held against the one simple command that is dangerous, never against the whole text: what is
//! allowed does not carry something else through. `approvals.deny` is held against both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_config::ApprovalMode;
use serde_json::{Value, json};

use super::allowed;
use crate::danger::{self, Danger, Finding, Setting};
use crate::tools::asking::{Answer, Choice, Kind, Question};
use crate::tools::{Caller, blocking};

/// Sessions whose approvals are remembered; beyond these the one that was first is forgotten, and asked again.
const SESSIONS: usize = 256;
/// Longest command that a question shows, in characters.
const SHOWN: usize = 1500;

/// What a second model says of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may run.
    Approve,
    /// It should not; somebody may allow it, this once.
    Deny,
    /// Somebody is to be asked. So it is where there was no clear word, no answer, or nobody to look.
    Ask,
}

/// A second model that looks at a command.
pub(crate) type Reviewing<'a> = std::pin::Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// A command, for whoever looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case<'a> {
    /// Whose turn wants it.
    pub(crate) session_id: &'a str,
    /// As it would be run.
    pub(crate) command: &'a str,
    /// Why it counts as dangerous.
    pub(crate) why: &'a str,
    /// Where it would run.
    pub(crate) dir: &'a str,
    /// Where the profile works.
    pub(crate) workspace: &'a str,
}

/// Asks a second model.
pub(crate) trait Reviewer: Send + Sync {
    /// What it says. Never for longer than such a job has.
    fn review<'a>(&'a self, case: Case<'a>) -> Reviewing<'a>;
}

/// See the module.
pub(super) struct Gate {
    pub(super) mode: ApprovalMode,
    pub(super) denied: Vec<String>,
    pub(super) allowed: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) home: Utf8PathBuf,
    pub(super) reviewer: Option<Box<dyn Reviewer>>,
    /// Allowed by somebody in a session, until its worker ends.
    pub(super) sessions: Mutex<BTreeMap<String, BTreeSet<Danger>>>,
}

/// Why a command does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// `blocked`, `denied`, `timeout`, `nobody`.
    pub(super) status: &'static str,
    /// For the model.
    pub(super) why: String,
}

/// What is to be done about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Weighed {
    Runs,
    /// By this pattern.
    Denied(String),
    /// These are not allowed.
    Asks(Vec<Finding>),
}

/// Weighs what was found against what was said before. Pure.
fn weigh(
    command: &str,
    findings: Vec<Finding>,
    (denied, allowed): (&[String], &[String]),
    known: &BTreeSet<Danger>,
    mode: ApprovalMode,
) -> Weighed {
    let parts = danger::parts(command).unwrap_or_default();
    let fits = |pattern: &&String| {
        danger::fits(pattern, command) || parts.iter().any(|part| danger::fits(pattern, part))
    };
    if let Some(pattern) = denied.iter().find(fits) {
        return Weighed::Denied(pattern.clone());
    }
    let is_allowed = |finding: &Finding| {
        known.contains(&finding.danger)
            || allowed.iter().any(|pattern| {
                pattern == finding.danger.name()
                    || alias(pattern) == Some(finding.danger)
                    || danger::fits(pattern, &finding.part)
            })
            || (mode == ApprovalMode::Off && !finding.danger.is_grave())
    };
    let left: Vec<Finding> = findings.into_iter().filter(|finding| !is_allowed(finding)).collect();
    if left.is_empty() { Weighed::Runs } else { Weighed::Asks(left) }
}

/// What 0.19.0 wrote into `command_allowlist` for one of ours.
fn alias(pattern: &str) -> Option<Danger> {
    let pattern = pattern.to_lowercase();
    let begins = |text: &str| pattern.starts_with(text);
    match () {
        () if begins("recursive delete") => Some(Danger::Delete),
        () if begins("script execution via") => Some(Danger::InlineCode),
        () if begins("git reset --hard") || begins("git force push") || begins("git clean") => {
            Some(Danger::Git)
        }
        () if begins("sql drop") || begins("sql delete") || begins("sql truncate") => Some(Danger::Database),
        () if begins("stop/restart system service") => Some(Danger::Services),
        () => None,
    }
}

impl Gate {
    /// Whether it may run, asking whoever is to be asked.
    pub(super) async fn permit(
        &self,
        command: &str,
        setting: Setting<'_>,
        caller: &Caller,
    ) -> Result<(), Refused> {
        let findings = danger::judge(command, setting);
        let mut known = self.known_in(&caller.conversation);
        if !findings.is_empty() {
            let home = self.home.clone();
            let always = blocking(move |_| Ok(allowed::read(&home))).await;
            match always {
                Ok(Ok(always)) => known.extend(always),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "`{}` of the profile allows nothing", hermes_wire::home::APPROVALS);
                }
                Err(error) => {
                    tracing::warn!(%error, "`{}` of the profile allows nothing", hermes_wire::home::APPROVALS);
                }
            }
        }
        let mode = if caller.unasked { ApprovalMode::Off } else { self.mode };
        match weigh(command, findings, (&self.denied[..], &self.allowed[..]), &known, mode) {
            Weighed::Runs => Ok(()),
            Weighed::Denied(pattern) => Err(Refused {
                status: "blocked",
                why: format!(
                    "`approvals.deny` of this profile refuses it (`{pattern}`). It did not run, and nobody here can allow it; do not \
                     try to do the same in another way"
                ),
            }),
            Weighed::Asks(findings) => self.ask(command, &findings, setting, caller).await,
        }
    }

    async fn ask(
        &self,
        command: &str,
        findings: &[Finding],
        setting: Setting<'_>,
        caller: &Caller,
    ) -> Result<(), Refused> {
        let dangers: BTreeSet<Danger> = findings.iter().map(|finding| finding.danger).collect();
        let is_grave = dangers.iter().any(|danger| danger.is_grave());
        let why = described(findings);
        let mut is_doubted = false;
        if self.mode == ApprovalMode::Smart
            && !is_grave
            && let Some(reviewer) = &self.reviewer
        {
            let case = Case {
                session_id: &caller.session_id,
                command,
                why: &why,
                dir: setting.dir.as_str(),
                workspace: setting.workspace.as_str(),
            };
            match reviewer.review(case).await {
                Verdict::Approve => return Ok(()),
                Verdict::Deny => is_doubted = true,
                Verdict::Ask => {}
            }
        }
        let Some(asker) = &caller.asker else {
            return Err(nobody(&why, "nobody can be asked in this conversation"));
        };
        let question = self.question(command, &why, &dangers, is_doubted);
        let said = match asker.ask(question).await {
            Answer::Said(text) => Choice::said(&text).unwrap_or(Choice::Deny(Some(text))),
            Answer::Silence => {
                let secs = self.timeout.as_secs();
                return Err(Refused {
                    status: "timeout",
                    why: format!(
                        "it needs an approval ({why}), and nobody answered within {secs} s. It did not run; go on without it, or say \
                         what you would need"
                    ),
                });
            }
            Answer::Nobody(reason) => return Err(nobody(&why, &reason)),
        };
        match said {
            Choice::Deny(reason) => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                return Err(Refused {
                    status: "denied",
                    why: format!(
                        "the user denied it{reason}. It did not run; do not try to do the same in another way, ask what to do instead"
                    ),
                });
            }
            Choice::Once => {}
            // What a second model doubts is allowed one at a time.
            Choice::Session | Choice::Always if is_doubted => {}
            Choice::Session => self.allow_in(&caller.conversation, &dangers),
            Choice::Always => {
                self.allow_in(&caller.conversation, &dangers);
                let (home, command) = (self.home.clone(), command.to_owned());
                let dangers: Vec<Danger> = dangers.into_iter().collect();
                if let Ok(Err(error)) = blocking(move |_| Ok(allowed::add(&home, &dangers, &command))).await {
                    tracing::error!(%error, "what was allowed for good is allowed until this worker ends");
                }
            }
        }
        Ok(())
    }

    fn question(&self, command: &str, why: &str, dangers: &BTreeSet<Danger>, is_doubted: bool) -> Question {
        let mut shown: String = command.chars().take(SHOWN).collect();
        if shown.len() < command.len() {
            shown.push_str("\n… (it is longer)");
        }
        let keys: Vec<&str> = dangers.iter().map(|danger| danger.name()).collect();
        let choices: &[&str] =
            if is_doubted { &["once", "deny"] } else { &["once", "session", "always", "deny"] };
        let more = if is_doubted { "" } else { ", /approve session, /approve always" };
        let secs = self.timeout.as_secs();
        let details: Value = json!({
            "command": shown,
            "description": why,
            "pattern_key": keys.first(),
            "pattern_keys": keys,
            "allow_permanent": !is_doubted,
            "choices": choices,
            "timeout": secs,
        });
        let text = format!(
            "⚠️ May this command run? It {why}.\n\n{shown}\n\nAnswer /approve{more} or /deny within {secs} s; without an answer it \
             does not run."
        );
        Question { kind: Kind::Approval, text, details, patience: self.timeout }
    }

    fn known_in(&self, conversation: &str) -> BTreeSet<Danger> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(conversation).cloned().unwrap_or_default()
    }

    fn allow_in(&self, conversation: &str, dangers: &BTreeSet<Danger>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS && !sessions.contains_key(conversation) {
            sessions.pop_first();
        }
        sessions.entry(conversation.to_owned()).or_default().extend(dangers);
    }
}

fn nobody(why: &str, reason: &str) -> Refused {
    Refused {
        status: "nobody",
        why: format!(
            "it needs an approval ({why}), and {reason}. It did not run; `command_allowlist` in the profile's config.yaml says what may \
             run without one"
        ),
    }
}

/// What was found, in words.
fn described(findings: &[Finding]) -> String {
    let dangers: BTreeSet<Danger> = findings.iter().map(|finding| finding.danger).collect();
    dangers.iter().map(|danger| danger.about()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use camino::Utf8Path;

    use super::*;
    use crate::tools::asking::{Asker, Asking};

    fn setting() -> Setting<'static> {
        Setting {
            dir: Utf8Path::new("/w"),
            workspace: Utf8Path::new("/w"),
            user: None,
            home: Utf8Path::new("/h/profiles/p"),
            root: Utf8Path::new("/h"),
        }
    }

    /// Says the same every time, and notes what it was asked.
    #[derive(Debug)]
    struct Says(Answer, Mutex<Vec<Question>>);

    impl Asker for Says {
        fn ask(&self, question: Question) -> Asking<'_> {
            self.1.lock().unwrap().push(question);
            Box::pin(std::future::ready(self.0.clone()))
        }
    }

    fn gate(home: &Utf8Path, mode: ApprovalMode) -> Gate {
        Gate {
            mode,
            denied: vec!["*prod*".to_owned()],
            allowed: vec!["git push --force origin topic*".to_owned()],
            timeout: Duration::from_secs(60),
            home: home.to_owned(),
            reviewer: None,
            sessions: Mutex::default(),
        }
    }

    fn asked(answer: Answer) -> (Arc<Says>, Caller) {
        let says = Arc::new(Says(answer, Mutex::default()));
        let asker: Arc<dyn Asker> = says.clone();
        (says, Caller { asker: Some(asker), conversation: "c".to_owned(), ..Caller::default() })
    }

    async fn status(gate: &Gate, command: &str, caller: &Caller) -> &'static str {
        gate.permit(command, setting(), caller).await.map_or_else(|refused| refused.status, |()| "runs")
    }

    #[tokio::test]
    async fn what_runs_is_refused_or_asked_about() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let (alone, manual, off) =
            (Caller::default(), gate(home, ApprovalMode::Manual), gate(home, ApprovalMode::Off));
        for (command, with_manual, with_off) in [
            ("ls", "runs", "runs"),
            ("git push --force origin topic-1", "runs", "runs"),
            ("git push --force origin topic-1; git push --force origin main", "nobody", "runs"),
            ("git reset --hard", "nobody", "runs"),
            ("rm -rf /", "nobody", "nobody"),
            ("ls prod", "blocked", "blocked"),
            ("true && ls prod", "blocked", "blocked"),
        ] {
            assert_eq!(status(&manual, command, &alone).await, with_manual, "{command}");
            assert_eq!(status(&off, command, &alone).await, with_off, "{command}");
        }
        for (answer, expected) in [
            (Answer::Said("/approve".to_owned()), "runs"),
            (Answer::Said("/deny".to_owned()), "denied"),
            (Answer::Said("what?".to_owned()), "denied"),
            (Answer::Silence, "timeout"),
            (Answer::Nobody("x".to_owned()), "nobody"),
        ] {
            let (says, caller) = asked(answer);
            assert_eq!(status(&manual, "git reset --hard", &caller).await, expected);
            let question = says.1.lock().unwrap().remove(0);
            assert!(
                question.text.contains("git reset --hard") && question.text.contains("/deny"),
                "{question:?}"
            );
            assert_eq!(question.details["pattern_keys"], json!(["git"]));
        }
    }

    #[tokio::test]
    async fn what_was_allowed_is_not_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let manual = gate(home, ApprovalMode::Manual);
        let (_, session) = asked(Answer::Said("/approve session".to_owned()));
        assert_eq!(status(&manual, "git reset --hard", &session).await, "runs");
        let (says, deny) = asked(Answer::Said("/deny".to_owned()));
        assert_eq!(status(&manual, "git push -f", &deny).await, "runs");
        assert!(says.1.lock().unwrap().is_empty());
        let (_, other) = asked(Answer::Said("/deny".to_owned()));
        let other = Caller { conversation: "other".to_owned(), ..other };
        assert_eq!(status(&manual, "git push -f", &other).await, "denied");
        assert_eq!(status(&manual, "pkill x", &deny).await, "denied");
        let (_, always) = asked(Answer::Said("always".to_owned()));
        assert_eq!(status(&manual, "pkill x", &always).await, "runs");
        let next = gate(home, ApprovalMode::Manual);
        assert_eq!(status(&next, "pkill y", &other).await, "runs");
        assert_eq!(status(&next, "git reset --hard", &other).await, "denied");
    }

    /// A second model lets what is harmless run, never what is grave, and what it doubts is allowed once only.
    #[tokio::test]
    async fn a_second_model_is_asked_first() {
        struct Fixed(Verdict);
        impl Reviewer for Fixed {
            fn review<'a>(&'a self, _: Case<'a>) -> Reviewing<'a> {
                Box::pin(std::future::ready(self.0))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let alone = Caller::default();
        for (said, git, all) in [
            (Verdict::Approve, "runs", "nobody"),
            (Verdict::Deny, "nobody", "nobody"),
            (Verdict::Ask, "nobody", "nobody"),
        ] {
            let mut smart = gate(home, ApprovalMode::Smart);
            smart.reviewer = Some(Box::new(Fixed(said)));
            assert_eq!(status(&smart, "git reset --hard", &alone).await, git);
            assert_eq!(status(&smart, "rm -rf /", &alone).await, all);
            let (says, caller) = asked(Answer::Said("/approve always".to_owned()));
            assert_eq!(status(&smart, "git reset --hard", &caller).await, "runs");
            if said == Verdict::Deny {
                assert_eq!(says.1.lock().unwrap()[0].details["choices"], json!(["once", "deny"]));
                assert_eq!(status(&smart, "git reset --hard", &alone).await, "nobody");
            }
        }
    }
}
