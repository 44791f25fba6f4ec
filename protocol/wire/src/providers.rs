//! The providers 0.19.0 knows by name: what each calls its key and address, and which wire it speaks. A worker chooses from this
//! table where its turns go; the set-up wizard offers it.

/// One built-in provider.
#[derive(Debug)]
pub struct Row {
    /// Its name in `model.provider`.
    pub id: &'static str,
    /// Variables that may hold its key, in order.
    pub keys: &'static [&'static str],
    /// Variable that may hold its address.
    pub url_env: Option<&'static str>,
    /// Its address; empty where the user has to give one.
    pub base_url: &'static str,
    /// What it speaks.
    pub wire: Wire,
    /// Chosen only where it is named.
    pub explicit_only: bool,
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Chat completions.
    Chat,
    /// Anthropic's Messages API.
    Messages,
    /// OpenAI's Responses API.
    Responses,
    /// Something this build does not speak yet, named for people.
    Other(&'static str),
}

const PER_MODEL: Wire = Wire::Other("a different one for each model");
const LOGIN: Wire = Wire::Other("an OAuth login kept in auth.json");

const fn row(
    id: &'static str,
    keys: &'static [&'static str],
    url_env: Option<&'static str>,
    base_url: &'static str,
    wire: Wire,
) -> Row {
    Row { id, keys, url_env, base_url, wire, explicit_only: false }
}

const fn named_only(mut row: Row) -> Row {
    row.explicit_only = true;
    row
}

impl Row {
    /// What it speaks with a model, where it speaks another wire with another one.
    pub fn wire_of(&self, model: &str) -> Wire {
        if self.wire != PER_MODEL {
            return self.wire;
        }
        let model = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let is = |family: &str| model.starts_with(family);
        match self.id {
            // Where OpenAI's models from the fifth generation on are served by Responses alone.
            "copilot" => {
                let generation = model.strip_prefix("gpt-").map(|rest| {
                    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
                });
                let newer = generation.is_some_and(|generation: u32| generation >= 5);
                if newer && !is("gpt-5-mini") { Wire::Responses } else { Wire::Chat }
            }
            // As the page of each of its services lists them.
            "opencode-zen" if is("claude-") || is("qwen") => Wire::Messages,
            "opencode-zen" if is("gpt-") => Wire::Responses,
            "opencode-go" if is("minimax-") || is("qwen") => Wire::Messages,
            _ => Wire::Chat,
        }
    }

    /// Whether the wire is another one for each model.
    pub fn is_per_model(&self) -> bool {
        self.wire == PER_MODEL
    }

    /// Whether it is reached by a sign-in that is kept in `auth.json`, and by no key.
    pub fn signs_in(&self) -> bool {
        self.wire == LOGIN
    }
}

/// In the order in which `auto` looks for a key. `openrouter` and `openai-api` come before all others.
pub const TABLE: &[Row] = &[
    row(
        "openrouter",
        &["OPENROUTER_API_KEY"],
        Some("OPENROUTER_BASE_URL"),
        "https://openrouter.ai/api/v1",
        Wire::Chat,
    ),
    // Responses at its own address and at xai's; whoever stands in their place mostly serves chat completions.
    row("openai-api", &["OPENAI_API_KEY"], Some("OPENAI_BASE_URL"), "https://api.openai.com/v1", Wire::Chat),
    row(
        "anthropic",
        &["ANTHROPIC_API_KEY", "ANTHROPIC_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"],
        Some("ANTHROPIC_BASE_URL"),
        "https://api.anthropic.com",
        Wire::Messages,
    ),
    named_only(row("lmstudio", &["LM_API_KEY"], Some("LM_BASE_URL"), "http://127.0.0.1:1234/v1", Wire::Chat)),
    named_only(row(
        "copilot",
        &["COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"],
        Some("COPILOT_API_BASE_URL"),
        "https://api.githubcopilot.com",
        PER_MODEL,
    )),
    row(
        "gemini",
        &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
        Some("GEMINI_BASE_URL"),
        "https://generativelanguage.googleapis.com/v1beta",
        Wire::Other("gemini native"),
    ),
    row(
        "zai",
        &["GLM_API_KEY", "ZAI_API_KEY", "Z_AI_API_KEY"],
        Some("GLM_BASE_URL"),
        "https://api.z.ai/api/paas/v4",
        Wire::Chat,
    ),
    row(
        "kimi-coding",
        &["KIMI_API_KEY", "KIMI_CODING_API_KEY"],
        Some("KIMI_BASE_URL"),
        "https://api.moonshot.ai/v1",
        Wire::Chat,
    ),
    row("kimi-coding-cn", &["KIMI_CN_API_KEY"], None, "https://api.moonshot.cn/v1", Wire::Chat),
    row(
        "stepfun",
        &["STEPFUN_API_KEY"],
        Some("STEPFUN_BASE_URL"),
        "https://api.stepfun.ai/step_plan/v1",
        Wire::Chat,
    ),
    row("arcee", &["ARCEEAI_API_KEY"], Some("ARCEE_BASE_URL"), "https://api.arcee.ai/api/v1", Wire::Chat),
    row("gmi", &["GMI_API_KEY"], Some("GMI_BASE_URL"), "https://api.gmi-serving.com/v1", Wire::Chat),
    row(
        "minimax",
        &["MINIMAX_API_KEY"],
        Some("MINIMAX_BASE_URL"),
        "https://api.minimax.io/anthropic",
        Wire::Messages,
    ),
    row(
        "minimax-cn",
        &["MINIMAX_CN_API_KEY"],
        Some("MINIMAX_CN_BASE_URL"),
        "https://api.minimaxi.com/anthropic",
        Wire::Messages,
    ),
    row(
        "alibaba",
        &["DASHSCOPE_API_KEY"],
        Some("DASHSCOPE_BASE_URL"),
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        Wire::Chat,
    ),
    row(
        "alibaba-coding-plan",
        &["ALIBABA_CODING_PLAN_API_KEY", "DASHSCOPE_API_KEY"],
        Some("ALIBABA_CODING_PLAN_BASE_URL"),
        "https://coding-intl.dashscope.aliyuncs.com/v1",
        Wire::Chat,
    ),
    row(
        "deepseek",
        &["DEEPSEEK_API_KEY"],
        Some("DEEPSEEK_BASE_URL"),
        "https://api.deepseek.com/v1",
        Wire::Chat,
    ),
    row("xai", &["XAI_API_KEY"], Some("XAI_BASE_URL"), "https://api.x.ai/v1", Wire::Chat),
    row(
        "nvidia",
        &["NVIDIA_API_KEY"],
        Some("NVIDIA_BASE_URL"),
        "https://integrate.api.nvidia.com/v1",
        Wire::Chat,
    ),
    row(
        "opencode-zen",
        &["OPENCODE_ZEN_API_KEY"],
        Some("OPENCODE_ZEN_BASE_URL"),
        "https://opencode.ai/zen/v1",
        PER_MODEL,
    ),
    row(
        "opencode-go",
        &["OPENCODE_GO_API_KEY"],
        Some("OPENCODE_GO_BASE_URL"),
        "https://opencode.ai/zen/go/v1",
        PER_MODEL,
    ),
    row(
        "kilocode",
        &["KILOCODE_API_KEY"],
        Some("KILOCODE_BASE_URL"),
        "https://api.kilo.ai/api/gateway",
        Wire::Chat,
    ),
    row("huggingface", &["HF_TOKEN"], Some("HF_BASE_URL"), "https://router.huggingface.co/v1", Wire::Chat),
    row("xiaomi", &["XIAOMI_API_KEY"], Some("XIAOMI_BASE_URL"), "https://api.xiaomimimo.com/v1", Wire::Chat),
    row(
        "tencent-tokenhub",
        &["TOKENHUB_API_KEY"],
        Some("TOKENHUB_BASE_URL"),
        "https://tokenhub.tencentmaas.com/v1",
        Wire::Chat,
    ),
    row("ollama-cloud", &["OLLAMA_API_KEY"], Some("OLLAMA_BASE_URL"), "https://ollama.com/v1", Wire::Chat),
    row("azure-foundry", &["AZURE_FOUNDRY_API_KEY"], Some("AZURE_FOUNDRY_BASE_URL"), "", Wire::Chat),
    row(
        "deepinfra",
        &["DEEPINFRA_API_KEY"],
        Some("DEEPINFRA_BASE_URL"),
        "https://api.deepinfra.com/v1/openai",
        Wire::Chat,
    ),
    row("fireworks", &["FIREWORKS_API_KEY"], None, "https://api.fireworks.ai/inference/v1", Wire::Chat),
    row(
        "novita",
        &["NOVITA_API_KEY"],
        Some("NOVITA_BASE_URL"),
        "https://api.novita.ai/openai/v1",
        Wire::Chat,
    ),
    row("upstage", &["UPSTAGE_API_KEY"], Some("UPSTAGE_BASE_URL"), "https://api.upstage.ai/v1", Wire::Chat),
    row(
        "bedrock",
        &["AWS_BEARER_TOKEN_BEDROCK"],
        Some("BEDROCK_BASE_URL"),
        "",
        Wire::Other("bedrock_converse"),
    ),
    named_only(row("vertex", &[], None, "", Wire::Other("Google OAuth credentials"))),
    named_only(row("nous", &[], None, "", LOGIN)),
    named_only(row("openai-codex", &[], None, "", LOGIN)),
    named_only(row("xai-oauth", &[], None, "", LOGIN)),
    named_only(row("qwen-oauth", &[], None, "", LOGIN)),
    named_only(row("minimax-oauth", &[], None, "", LOGIN)),
    named_only(row("copilot-acp", &[], Some("COPILOT_ACP_BASE_URL"), "", Wire::Other("an ACP subprocess"))),
];

/// Other names, and what they stand for. `custom` is not in the table: it is an address alone.
const ALIASES: &[(&str, &str)] = &[
    ("ollama", "custom"),
    ("local", "custom"),
    ("vllm", "custom"),
    ("llamacpp", "custom"),
    ("llama.cpp", "custom"),
    ("llama-cpp", "custom"),
    ("openai", "openai-api"),
    ("glm", "zai"),
    ("z-ai", "zai"),
    ("google", "gemini"),
    ("grok", "xai"),
    ("x-ai", "xai"),
    ("kimi", "kimi-coding"),
    ("moonshot", "kimi-coding"),
    ("claude", "anthropic"),
    ("claude-code", "anthropic"),
    ("github", "copilot"),
    ("hf", "huggingface"),
    ("aws", "bedrock"),
    ("dashscope", "alibaba"),
    ("or", "openrouter"),
    ("azure", "azure-foundry"),
    ("solar", "upstage"),
];

/// The built-in provider of this id.
pub fn by_id(id: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.id == id)
}

/// Every name that `model.provider` may have, declared ones and `custom` aside.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.id).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// What `name` is another name for.
pub fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_every_alias_leads_somewhere() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE[at + 1..].iter().all(|other| other.id != row.id), "{}", row.id);
            assert!(alias(row.id).is_none(), "{}", row.id);
            assert!(!row.base_url.ends_with('/'), "{}", row.id);
        }
        for (name, id) in ALIASES {
            assert!(*id == "custom" || by_id(id).is_some(), "{name}");
        }
    }
}
