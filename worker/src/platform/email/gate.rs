//! Which mails are for the bot: those that somebody wrote, who is who he says, and not too often.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::results::{self, Doubt};
use super::settings::Settings;
use super::wire::{Mail, Person};

/// Seconds of an hour.
const HOUR: f64 = 3600.0;
/// Most senders that are counted.
const SENDERS: usize = 4096;

/// Why a mail is not for the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Passed {
    /// It does not say who wrote it, or names several.
    #[error("it names no sender, or several")]
    Nobodys,
    /// The bot wrote it.
    #[error("the bot wrote it")]
    Own,
    /// A program did.
    #[error("{0}")]
    Automatic(&'static str),
    /// Who wrote it is not known.
    #[error("{0}")]
    Doubtful(#[from] Doubt),
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    own: String,
    authorities: Option<Vec<String>>,
    per_hour: usize,
    /// When mails of a sender were let in, the latest last.
    counted: Mutex<HashMap<String, VecDeque<f64>>>,
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            own: settings.address.clone(),
            authorities: (!settings.trusts_from).then(|| settings.authorities.clone()),
            per_hour: usize::try_from(settings.per_hour).unwrap_or(usize::MAX),
            counted: Mutex::default(),
        }
    }

    /// Whoever wrote a mail, if it is for the bot.
    pub(super) fn judge<'m>(&self, mail: &'m Mail) -> Result<&'m Person, Passed> {
        let from = mail.from.as_ref().ok_or(Passed::Nobodys)?;
        if from.address == self.own {
            return Err(Passed::Own);
        }
        if let Some(why) = mail.automatic {
            return Err(Passed::Automatic(why));
        }
        if let Some(authorities) = &self.authorities {
            results::judge(mail.results.iter().map(String::as_str), authorities, &from.address)?;
        }
        Ok(from)
    }

    /// Counts a mail of a sender. False: he has written too many in an hour.
    pub(super) fn counts(&self, sender: &str, now: f64) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= SENDERS && !counted.contains_key(sender) {
            counted.retain(|_, times| times.back().is_some_and(|last| now - last < HOUR));
            if counted.len() >= SENDERS {
                counted.clear();
            }
        }
        let times = counted.entry(sender.to_owned()).or_default();
        while times.front().is_some_and(|first| now - first >= HOUR) {
            times.pop_front();
        }
        if times.len() >= self.per_hour {
            return false;
        }
        times.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::email::wire;

    fn gate(authorities: Option<&str>) -> Gate {
        Gate {
            own: "bot@example.org".to_owned(),
            authorities: authorities.map(|one| vec![one.to_owned()]),
            per_hour: 2,
            counted: Mutex::default(),
        }
    }

    fn judged(gate: &Gate, headers: &str) -> Result<String, Passed> {
        let mail =
            wire::mail(format!("{headers}\r\nSubject: x\r\n\r\nhi\r\n").as_bytes(), str::to_owned).unwrap();
        gate.judge(&mail).map(|from| from.address.clone())
    }

    #[test]
    fn who_wrote_it_is_asked_before_who_may() {
        let gate = gate(Some("mx.example.org"));
        let pass = "Authentication-Results: mx.example.org; dmarc=pass\r\n";
        assert_eq!(judged(&gate, &format!("{pass}From: Ann@x.test")), Ok("ann@x.test".to_owned()));
        assert_eq!(judged(&gate, "From: ann@x.test"), Err(Passed::Doubtful(Doubt::Unsaid)));
        assert_eq!(judged(&gate, &format!("{pass}From: BOT@example.org")), Err(Passed::Own));
        assert_eq!(judged(&gate, pass.trim_end()), Err(Passed::Nobodys));
        let auto = judged(&gate, &format!("{pass}From: a@x.test\r\nAuto-Submitted: auto-generated"));
        assert!(matches!(auto, Err(Passed::Automatic(_))));
        assert_eq!(judged(&super::tests::gate(None), "From: ann@x.test"), Ok("ann@x.test".to_owned()));
    }

    #[test]
    fn a_sender_has_so_many_in_an_hour() {
        let gate = gate(None);
        let counts = |sender, now| gate.counts(sender, now);
        assert!(counts("a", 0.0) && counts("a", 10.0) && !counts("a", 20.0) && counts("b", 20.0));
        assert!(!counts("a", HOUR - 1.0) && counts("a", HOUR) && !counts("a", HOUR + 1.0));
    }
}
