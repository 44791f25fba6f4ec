//! The keys of what a model does beside a conversation, and of its length.

use super::Kind::{Any, Bool, Choice, Count, Int, Number, Seconds, Text};
use super::{Group, Value};
use crate::row::key;

pub(super) const LENGTH: Group = Group {
    title: "Long conversations",
    intro: "A conversation that comes near the end of the model's window is made shorter before the next call: its first and its latest \
            messages stay as they are, and a summary by a model stands in the place of what is between.",
    outro: "",
    keys: &[
        key("compression.enabled", Bool, "whether conversations are made shorter").yes(),
        key(
            "compression.threshold",
            Number,
            "share of the window from which on; at least 0.75 of a window below 512 000 tokens, and never below 64 000 tokens",
        )
        .or(Value::Number(0.5)),
        key(
            "compression.target_ratio",
            Number,
            "share of that which the latest messages may keep, 0.1 to 0.8",
        )
        .or(Value::Number(0.2)),
        key("compression.protect_last_n", Int(0, 1_000_000), "so many of the latest messages stay, where they are not too long").int(20),
        key("compression.protect_first_n", Int(0, 1_000_000), "so many of the first, until there is a summary").int(3),
        key(
            "compression.hygiene_hard_message_limit",
            Int(0, 100_000_000),
            "messages with which a turn still begins without that; 0: any number",
        )
        .int(5000),
        key(
            "compression.in_place",
            Bool,
            "the session stays the same one; else it ends and goes on in another, as its child",
        )
        .yes(),
        key(
            "compression.abort_on_summary_failure",
            Bool,
            "where there is no summary nothing is changed; else what can be said without a model stands in its place",
        )
        .no(),
    ],
};

pub(super) const BESIDE: Group = Group {
    title: "Work beside the conversation",
    intro: "`auxiliary.<task>`: who does what is no answer. Tasks here are `compression` (summaries of long conversations), \
            `title_generation` (titles) and `approval` (a look at a dangerous command, with `approvals.mode: smart`). Without anything the profile's own model does it.",
    outro: "",
    keys: &[
        key("auxiliary.*.provider", Text, "who does it, as in `model.provider`; `auto`: the profile's own"),
        key("auxiliary.*.model", Text, "the model's id"),
        key("auxiliary.*.base_url", Text, "an address of its own"),
        key("auxiliary.*.api_key", Text, "its key, better kept in `.env`").secret(),
        key(
            "auxiliary.*.timeout",
            Seconds(86_400),
            "time that it has, in seconds; without it 120 for `compression`, 30 for the others",
        ),
        key("auxiliary.*.extra_body", Any, "merged into its request"),
        key("auxiliary.*.reasoning_effort", Text, "how much the model is to think"),
        key("auxiliary.*.enabled", Bool, "whether it is done at all").yes(),
        key("auxiliary.*.language", Text, "language of titles; the user's without it"),
        key("auxiliary.transient_retries", Count(1000), "attempts after one that failed").int(2),
    ],
};

pub(super) const POOLS: Group = Group {
    title: "Several keys of one provider",
    intro: "Those that `auth.json` has, as the Python program writes it (its `auth add`); the file is only read. A key that is refused \
            (401, 402, 429) is left alone for a while, and the next one is used at once.",
    outro: "",
    keys: &[
        key(
            "credential_pool_strategies.*",
            Choice(&["fill_first", "round_robin", "random", "least_used"]),
            "by provider: which of its keys in `auth.json` is used next; one that is refused is left alone for a while in any case",
        )
        .text("fill_first"),
    ],
};
