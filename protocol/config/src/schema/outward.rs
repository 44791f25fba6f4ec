//! Keys of how answers go out to chats.

use super::Group;
use super::Kind::{Bool, Choice, Int, List, Seconds, Text};
use crate::row::{Value, key};

const YEAR: super::Kind = Seconds(31_536_000);

pub(super) const OUTWARD: Group = Group {
    title: "How answers go out to chats",
    intro: "See [chats](chats.md).",
    outro: "",
    keys: &[
        key("streaming.enabled", Bool, "chats are shown an answer while it is made, where their platform lets a message be changed")
            .no()
            .also(&["gateway.streaming.enabled"]),
        key(
            "streaming.transport",
            Choice(&["auto", "draft", "edit", "off"]),
            "`off`: not even so; all others are one: the message is changed",
        )
        .text("auto")
        .also(&["gateway.streaming.transport"]),
        key("display.platforms.*.streaming", Bool, "the same as `streaming.enabled` for the chats of one platform, before it"),
        key("display.platforms.*.show_reasoning", Bool, "of `api_server`: streams of chat completions have what the model thinks, in `reasoning_content`"),
        key("streaming.edit_interval", Seconds(86_400), "shortest time between two changes of a message, in seconds; longer where the service asks for it")
            .or(Value::Number(0.8))
            .also(&["gateway.streaming.edit_interval"]),
        key("streaming.buffer_threshold", Int(0, 1_000_000), "characters of an answer that are there before it is shown at all")
            .int(24)
            .also(&["gateway.streaming.buffer_threshold"]),
        key("streaming.cursor", Text, "what stands behind an answer that goes on; empty: nothing")
            .text(" ▉")
            .also(&["gateway.streaming.cursor"]),
        key(
            "streaming.fresh_final_after_seconds",
            YEAR,
            "an answer that was shown for longer comes as a new message in the end, so that it is noticed, and what was shown of it is taken \
             back, where its platform can do that; 0: never",
        )
        .int(0)
        .also(&["gateway.streaming.fresh_final_after_seconds"]),
        key(
            "gateway.media_delivery_allow_dirs",
            List,
            "directories whose files may be sent to chats, beside the workspace and the profile's `cache`",
        )
        .or(Value::NoItems),
        key("gateway.trust_recent_files", Bool, "files that were changed just now may be sent wherever they are, but for what tools may not touch")
            .yes(),
        key("gateway.trust_recent_files_seconds", YEAR, "how long ago that is at most").int(600),
        key(
            "platforms.*.gateway_restart_notification",
            Bool,
            "the home channel hears when the gateway has started, and a chat that it is back after `/restart`",
        )
        .yes(),
    ],
};
