//! What the model is told behind its system prompt.

use super::Group;
use super::Kind::{Any, Text};
use crate::row::key;

pub(super) const PERSONALITIES: Group = Group {
    title: "Personalities",
    intro: "What the model is told in every chat and at the terminal, behind its system prompt; never stored. `/personality` in a chat \
            chooses one and writes the choice here, in the shape that the program has which wrote the file.",
    outro: "",
    keys: &[
        key(
            "agent.system_prompt",
            Text,
            "what the model is told; `/personality` writes it where 0.19.0 or nobody wrote the file",
        )
        .env("HERMES_EPHEMERAL_SYSTEM_PROMPT"),
        key(
            "agent.personalities.*",
            Any,
            "what `/personality` can choose under that name: a text, or a mapping. Some names are there without it",
        )
        .also(&["personalities.*"]),
        key("agent.personalities.*.system_prompt", Text, "the text").also(&["personalities.*.system_prompt"]),
        key("agent.personalities.*.tone", Text, "a line more: the tone").also(&["personalities.*.tone"]),
        key("agent.personalities.*.style", Text, "another: the style").also(&["personalities.*.style"]),
        key("agent.personalities.*.description", Text, "what people are shown of it")
            .also(&["personalities.*.description"]),
        key(
            "display.personality",
            Text,
            "the name of the one that is told, where a program newer than 0.19.0 wrote the file; such files are told it before \
             `agent.system_prompt`",
        ),
    ],
};
