//! Keys of what tools reach beyond the profile's own files.

use super::Group;
use super::Kind::{Any, Bool, Choice, Int, Seconds, Text};
use crate::row::key;

pub(super) const REACH: Group = Group {
    title: "What tools reach",
    intro: "See [tools](tools.md).",
    outro: "",
    keys: &[
        key(
            "security.allow_private_urls",
            Bool,
            "tools may ask addresses of this machine and its networks too; what hands out a cloud's credentials they never may",
        )
        .no()
        .also(&["browser.allow_private_urls"]),
        key(
            "platforms.*.home_channel",
            Any,
            "the chat that is meant where only the platform is named: a mapping with `chat_id`, and `name` and `thread_id` where there are \
             any; or variables such as `TELEGRAM_HOME_CHANNEL`",
        ),
        key("delegation.max_iterations", Int(1, 100_000), "calls to the model of one sub-agent that may want tools called").int(50),
        key("delegation.max_concurrent_children", Int(1, 16), "sub-agents of one call that work at once").int(3),
        key("delegation.child_timeout_seconds", Seconds(31_536_000), "seconds for one sub-agent; 0: any time").int(0),
        key("delegation.max_summary_chars", Int(1, 100_000_000), "most characters of a sub-agent's report that the model is shown")
            .int(24_000),
        key("delegation.model", Text, "the model of sub-agents; without these five it is that of the turn"),
        key("delegation.provider", Text, "whom sub-agents ask, as in `model.provider`"),
        key("delegation.base_url", Text, "an address of its own"),
        key("delegation.api_key", Text, "its key, better kept in `.env`").secret(),
        key("delegation.api_mode", Choice(&super::WIRES), "the wire it speaks, as `model.api_mode`"),
        key("delegation.inherit_mcp_toolsets", Bool, "sub-agents may call the tools of servers").yes(),
        key("agent.clarify_timeout", Seconds(31_536_000), "seconds that whoever is asked something has to answer, a day at most; 0: a day")
            .int(3600),
        key("skills.write_approval", Bool, "the model writes no skill unless somebody approves of it, as of a command; where nobody can be asked, none")
            .no(),
    ],
};
