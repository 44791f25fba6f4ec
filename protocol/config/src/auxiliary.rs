//! Work of a model beside the conversation, and when a conversation is made shorter: `auxiliary.<task>` and `compression`.
//!
//! Percentages are thousandths here: what is compared and kept are whole numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::secret::Secret;

/// A job of a model that is no answer in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Sums up the older part of a conversation that has become too long.
    Compression,
    /// Gives a conversation its title.
    TitleGeneration,
    /// Looks at a dangerous command before somebody is asked about it (`approvals.mode: smart`).
    Approval,
}

impl Task {
    /// All that are done here.
    pub const ALL: [Self; 3] = [Self::Compression, Self::TitleGeneration, Self::Approval];

    /// Its key below `auxiliary`, and its name in accounts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compression => "compression",
            Self::TitleGeneration => "title_generation",
            Self::Approval => "approval",
        }
    }

    /// Time that it has where nothing is configured, as in 0.19.0.
    fn timeout(self) -> Duration {
        match self {
            Self::Compression => Duration::from_secs(120),
            Self::TitleGeneration | Self::Approval => Duration::from_secs(30),
        }
    }
}

/// `auxiliary.<task>`: who does a job, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Auxiliary {
    /// `provider`; `None`: the profile's own.
    pub provider: Option<String>,
    /// `model`; `None`: that of the provider, or the profile's own.
    pub model: Option<String>,
    /// `base_url`: an address without a provider.
    pub base_url: Option<String>,
    /// `api_key`
    pub api_key: Option<Secret>,
    /// `api_mode`: the wire, where the address does not tell; only sub-agents have one.
    pub api_mode: Option<String>,
    /// `timeout`; `None`: as long as such a job has.
    pub timeout: Option<Duration>,
    /// `extra_body`: merged into the request.
    pub extra_body: Map<String, Value>,
    /// `reasoning_effort`
    pub reasoning_effort: Option<String>,
    /// `enabled`. Default true.
    pub enabled: bool,
    /// `language`: of what is written; `None`: the user's.
    pub language: Option<String>,
}

impl Default for Auxiliary {
    fn default() -> Self {
        Self {
            provider: None,
            model: None,
            base_url: None,
            api_key: None,
            api_mode: None,
            timeout: None,
            extra_body: Map::new(),
            reasoning_effort: None,
            enabled: true,
            language: None,
        }
    }
}

impl Auxiliary {
    /// Whether somebody else than the profile's own model does it.
    pub fn is_elsewhere(&self) -> bool {
        self.provider.is_some() || self.model.is_some() || self.base_url.is_some()
    }
}

/// `auxiliary`
#[derive(Debug, Clone, PartialEq)]
pub struct Auxiliaries {
    /// By their names, those of jobs that nobody does here included.
    pub tasks: BTreeMap<String, Auxiliary>,
    /// `transient_retries`: attempts after the first one. Default 2.
    pub transient_retries: u32,
}

impl Default for Auxiliaries {
    fn default() -> Self {
        Self { tasks: BTreeMap::new(), transient_retries: 2 }
    }
}

impl Auxiliaries {
    /// What is configured for a job.
    pub fn of(&self, task: Task) -> Option<&Auxiliary> {
        self.tasks.get(task.name())
    }

    /// Whether a job is done at all.
    pub fn does(&self, task: Task) -> bool {
        self.of(task).is_none_or(|auxiliary| auxiliary.enabled)
    }

    /// Time that a job has in all.
    pub fn timeout(&self, task: Task) -> Duration {
        let configured = self.of(task).and_then(|auxiliary| auxiliary.timeout);
        configured.filter(|timeout| !timeout.is_zero()).unwrap_or_else(|| task.timeout())
    }
}

/// `compression`: when a conversation is made shorter, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// `enabled`. Default true.
    pub enabled: bool,
    /// `threshold`, in thousandths of the model's window. Default 500.
    pub threshold: u64,
    /// `target_ratio`: what of the threshold the messages may fill that stay as they are, in thousandths, 100 to 800. Default 200.
    pub target: u64,
    /// `protect_last_n`: so many of the latest messages stay as they are, where they are not too long. Default 20.
    pub protect_last: usize,
    /// `protect_first_n`: so many of the first, until a conversation was made shorter once. Default 3.
    pub protect_first: usize,
    /// `hygiene_hard_message_limit`: a turn does not begin with more messages; 0: any number. Default 5000.
    pub most_messages: usize,
    /// `in_place`: the session stays the same; else it ends and goes on in another. Default true.
    pub in_place: bool,
    /// `abort_on_summary_failure`: without a summary nothing is changed; else what can be said without a model stands in its place.
    /// Default false.
    pub abort_on_failure: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 500,
            target: 200,
            protect_last: 20,
            protect_first: 3,
            most_messages: 5000,
            in_place: true,
            abort_on_failure: false,
        }
    }
}

/// A window below which a conversation is not made shorter before three quarters of it are used, in tokens.
const SMALL_WINDOW: u64 = 512_000;
/// The least threshold of such a window, in thousandths.
const SMALL_THRESHOLD: u64 = 750;
/// No conversation is made shorter before it has so many tokens.
const FLOOR: u64 = 64_000;
/// Where that would be all of the window, so much of it, in thousandths.
const NEARLY_ALL: u64 = 850;

impl Compression {
    /// The number of tokens from which on a conversation is made shorter for a model with a window of so many, of which an answer may
    /// have `answer`.
    pub fn threshold(&self, window: u64, answer: Option<u64>) -> u64 {
        let room = window.saturating_sub(answer.unwrap_or(0));
        let room = if room == 0 { window } else { room };
        let share = if window < SMALL_WINDOW { self.threshold.max(SMALL_THRESHOLD) } else { self.threshold };
        let wanted = permille(room, share).max(FLOOR);
        if wanted >= room { permille(room, NEARLY_ALL).max(1) } else { wanted }
    }

    /// Tokens of the latest messages that stay as they are.
    pub fn tail(&self, threshold: u64) -> u64 {
        permille(threshold, self.target)
    }
}

fn permille(number: u64, share: u64) -> u64 {
    number / 1000 * share + number % 1000 * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thresholds of 0.19.0: half of a large window, three quarters of a smaller one, never below 64 000, and below that nearly all.
    #[test]
    fn a_threshold_leaves_room_in_every_window() {
        let default = Compression::default();
        for (window, answer, threshold) in [
            (1_000_000, None, 500_000),
            (512_000, None, 256_000),
            (200_000, None, 150_000),
            (200_000, Some(100_000), 75_000),
            (128_000, None, 96_000),
            (80_000, None, 64_000),
            (64_000, None, 54_400),
            (32_768, None, 27_852),
            (8_192, Some(8_192), 6_963),
            (1, None, 1),
        ] {
            assert_eq!(default.threshold(window, answer), threshold, "{window} {answer:?}");
        }
        let late = Compression { threshold: 900, ..default };
        assert_eq!(late.threshold(200_000, None), 180_000);
        assert_eq!(default.tail(96_000), 19_200);
        assert_eq!(default.tail(u64::MAX), u64::MAX / 1000 * 200 + 123);
    }

    #[test]
    fn a_job_has_its_own_time_unless_somebody_says_otherwise() {
        let mut all = Auxiliaries::default();
        assert_eq!(Task::ALL.map(|task| all.timeout(task).as_secs()), [120, 30, 30]);
        let own = Auxiliary { timeout: Some(Duration::from_secs(5)), enabled: false, ..Auxiliary::default() };
        all.tasks.insert("compression".to_owned(), own);
        assert_eq!(all.timeout(Task::Compression).as_secs(), 5);
        assert!(!all.does(Task::Compression) && all.does(Task::TitleGeneration));
    }
}
