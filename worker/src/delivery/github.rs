//! `github_comment`: the answer as a comment on a pull request, by the `gh` program.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::outbound::{Abilities, Format, Message, Outbound, OutboundFuture, Sent, Unsent};
use crate::children::Group;
use crate::inbound::DeliveryTarget;

/// Most that is read of what it says, in bytes.
const HEARD: u64 = 64 * 1024;
/// Time for the rest of what it says after it has ended.
const REST: Duration = Duration::from_secs(1);
/// Time for one comment.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Programs at once.
const AT_ONCE: usize = 4;

/// Characters that GitHub takes in one comment.
const LONGEST: usize = 65_536;

/// What of `gh`'s complaint is kept.
const SHOWN: usize = 300;

/// Comments by `gh pr comment`.
pub(super) struct Comments {
    /// The whole environment of the program.
    env: Vec<(String, String)>,
}

impl Comments {
    pub(super) fn new(env: Vec<(String, String)>) -> Self {
        Self { env }
    }

    async fn comment(&self, target: &DeliveryTarget, text: &str) -> Result<Sent, Unsent> {
        let (repo, number) = parameters(&target.extra)?;
        run(command(&self.env, &["pr", "comment", &number.to_string(), "--repo", repo, "--body", text])).await
    }
}

impl Outbound for Comments {
    fn kind(&self) -> &'static str {
        "github_comment"
    }

    fn abilities(&self) -> Abilities {
        Abilities { longest: LONGEST, format: Format::Markdown, at_once: AT_ONCE, ..Abilities::LEAST }
    }

    /// A pull request.
    fn chat(&self, target: &DeliveryTarget) -> Option<String> {
        let (repo, number) = parameters(&target.extra).ok()?;
        Some(format!("{repo}#{number}"))
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.comment(target, message.text))
    }
}

/// The repository and the pull request, checked as 0.19.0 does.
fn parameters(extra: &BTreeMap<String, String>) -> Result<(&str, u64), Unsent> {
    let wrong = |text: &str| Unsent::never(text);
    let given = |name: &str| extra.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let (Some(repo), Some(number)) = (given("repo"), given("pr_number")) else {
        return Err(wrong("Missing repo or pr_number"));
    };
    let number = number.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong("Invalid pr_number"))?;
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    // A leading `-` would be read as an option.
    let valid = repo.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name));
    if !valid || repo.starts_with('-') {
        return Err(wrong("Invalid repo format"));
    }
    Ok((repo, number))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where deliveries start a program; its environment is cleared"
)]
fn command(env: &[(String, String)], args: &[&str]) -> Command {
    let mut command = Command::new("gh");
    command
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn run(mut command: Command) -> Result<Sent, Unsent> {
    let child = command.spawn().map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Unsent::never("gh CLI not installed")
        } else {
            Unsent::later(format!("cannot run gh: {error}"))
        }
    })?;
    let mut gh = Group::new(child);
    let (pipe, mut said) = (gh.child.stderr.take(), Vec::new());
    let status = tokio::time::timeout(TIMEOUT, async {
        let listen = async {
            if let Some(pipe) = pipe {
                // What follows tells nobody more.
                let _ = pipe.take(HEARD).read_to_end(&mut said).await;
            }
        };
        tokio::pin!(listen);
        tokio::select! {
            status = gh.child.wait() => {
                // What it leaves running may hold the pipe open for ever.
                let _ = tokio::time::timeout(REST, listen).await;
                status
            }
            () = &mut listen => gh.child.wait().await,
        }
    })
    .await
    .map_err(|_| Unsent::unsure(format!("gh timed out after {} s", TIMEOUT.as_secs())))?
    .map_err(|error| Unsent::unsure(format!("cannot run gh: {error}")))?;
    if status.success() {
        return Ok(Sent::default());
    }
    let stderr = String::from_utf8_lossy(&said);
    let stderr: String = stderr.trim().chars().take(SHOWN).collect();
    let hopeless = ["HTTP 401", "HTTP 403", "HTTP 404", "HTTP 422", "Could not resolve to", "gh auth login"];
    let message = format!("gh failed: {stderr}");
    if hopeless.iter().any(|sign| stderr.contains(sign)) {
        Err(Unsent::never(message))
    } else {
        Err(Unsent::unsure(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn parameters_are_checked_in_the_words_of_0_19_0() {
        let good = extra(&[("repo", "owner/name.rs"), ("pr_number", "7")]);
        assert_eq!(parameters(&good), Ok(("owner/name.rs", 7)));
        for (bad, says) in [
            (extra(&[("repo", "o/n")]), "Missing repo or pr_number"),
            (extra(&[("repo", "o/n"), ("pr_number", "0")]), "Invalid pr_number"),
            (extra(&[("repo", "o/n"), ("pr_number", "{number}")]), "Invalid pr_number"),
            (extra(&[("repo", "o/n/x"), ("pr_number", "1")]), "Invalid repo format"),
            (extra(&[("repo", "--body/x"), ("pr_number", "1")]), "Invalid repo format"),
            (extra(&[("repo", "o n/x"), ("pr_number", "1")]), "Invalid repo format"),
        ] {
            assert_eq!(parameters(&bad), Err(Unsent::never(says)));
        }
    }
}
