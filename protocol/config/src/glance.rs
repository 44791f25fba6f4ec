//! The few things about a `config.yaml` that a list of profiles, a copy or an alias needs, without judging the rest.

use super::dotenv;
use super::platform::{Declaration, Registry};
use super::scalar::boolean;
use super::yaml::{self, Node, Value};

/// What one look shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// The file is not YAML, or not a mapping.
    pub invalid: bool,
    /// `model` as text, or `model.default`, `model.model`, `model.name`.
    pub model: Option<String>,
    /// `model.provider` or `provider`.
    pub provider: Option<String>,
    /// `profiles.alias_prefix`.
    pub alias_prefix: Option<String>,
    /// Whether multiplexing is asked for.
    pub multiplex: bool,
    /// Where blocks of platforms stand: paths of keys.
    pub platform_blocks: Vec<Vec<String>>,
    /// The platforms named in those.
    pub platforms: Vec<String>,
}

/// Looks at a file's bytes.
pub fn glance(registry: &Registry, bytes: &[u8]) -> Glance {
    let (node, flaws) = yaml::parse(bytes);
    if flaws.iter().any(|flaw| flaw.fatal) {
        return Glance { invalid: true, ..Glance::default() };
    }
    let Some(root) = node else { return Glance::default() };
    if !matches!(root.value, Value::Map(_)) {
        return Glance { invalid: true, ..Glance::default() };
    }
    let mut seen = Glance::default();
    match root.get("model").map(|e| &e.value) {
        Some(model) if matches!(model.value, Value::Map(_)) => {
            seen.model = ["default", "model", "name"].iter().find_map(|key| text(model, key));
            seen.provider = text(model, "provider");
        }
        Some(_) => seen.model = text(&root, "model"),
        None => {}
    }
    seen.provider = seen.provider.or_else(|| text(&root, "provider"));
    let below = |key: &str| root.get(key).map(|e| &e.value);
    seen.alias_prefix = below("profiles").and_then(|node| text(node, "alias_prefix"));
    let flag = |node: &Node| text(node, "multiplex_profiles").and_then(|text| boolean(&text));
    let gateway = below("gateway");
    seen.multiplex = flag(&root).or_else(|| gateway.and_then(|node| flag(node))).unwrap_or(false);
    for (node, above) in [(Some(&root), None), (gateway, Some("gateway"))] {
        let Some(Value::Map(entries)) = node.map(|node| &node.value) else { continue };
        for entry in entries {
            let path = || above.into_iter().chain([entry.key.as_str()]).map(str::to_owned).collect();
            if entry.key == "platforms" {
                seen.platform_blocks.push(path());
                if let Value::Map(blocks) = &entry.value.value {
                    seen.platforms.extend(blocks.iter().map(|block| block.key.clone()));
                }
            } else if registry.find(&entry.key).is_some() {
                seen.platform_blocks.push(path());
                seen.platforms.push(entry.key.clone());
            }
        }
    }
    seen.platforms.sort();
    seen.platforms.dedup();
    seen
}

fn text(node: &Node, key: &str) -> Option<String> {
    scalar(&node.get(key)?.value)
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => {
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// The text at a path of keys, for small files with a few of them; `None` where there is none or the file is not YAML.
pub fn text_at(bytes: &[u8], path: &[&str]) -> Option<String> {
    let (node, flaws) = yaml::parse(bytes);
    if flaws.iter().any(|flaw| flaw.fatal) {
        return None;
    }
    let (last, above) = path.split_last()?;
    let mut node = node?;
    for key in above {
        let next = std::rc::Rc::clone(&node.get(key)?.value);
        node = next;
    }
    text(&node, last)
}

/// The texts of a list at a path of keys; one text alone is a list of one. What is no text is left out.
pub fn list_at(bytes: &[u8], path: &[&str]) -> Vec<String> {
    items_at(bytes, path, scalar)
}

/// The same, where an item may also be a mapping with a `name`.
pub fn names_at(bytes: &[u8], path: &[&str]) -> Vec<String> {
    items_at(bytes, path, |item| scalar(item).or_else(|| text(item, "name")))
}

fn items_at(bytes: &[u8], path: &[&str], of: impl Fn(&Node) -> Option<String>) -> Vec<String> {
    let (node, flaws) = yaml::parse(bytes);
    if flaws.iter().any(|flaw| flaw.fatal) {
        return Vec::new();
    }
    let Some(mut node) = node else { return Vec::new() };
    for key in path {
        let Some(entry) = node.get(key) else { return Vec::new() };
        let next = std::rc::Rc::clone(&entry.value);
        node = next;
    }
    match &node.value {
        Value::Seq(items) => items.iter().filter_map(|item| of(item)).collect(),
        _ => scalar(&node).into_iter().collect(),
    }
}

/// Whether an entry of `mcp_servers`, `hooks` and the like is turned off: `enabled: false`, or `disabled: true` as files before version
/// 46 have it. Where the two contradict each other it is off: what somebody turned off is not started.
pub(super) fn is_off(entry: &Node) -> bool {
    let flag = |key| text(entry, key).and_then(|text| boolean(&text));
    flag("enabled") == Some(false) || flag("disabled") == Some(true)
}

/// The names of the tool servers that are commands and not turned off: what a profile starts by itself.
pub fn mcp_commands(bytes: &[u8]) -> Vec<String> {
    let (node, flaws) = yaml::parse(bytes);
    let servers = node.filter(|_| flaws.iter().all(|flaw| !flaw.fatal));
    let servers = servers.as_ref().and_then(|root| root.get("mcp_servers"));
    let Some(Value::Map(servers)) = servers.map(|entry| &entry.value.value) else { return Vec::new() };
    let starts = |server: &Node| server.get("command").is_some() && !is_off(server);
    servers.iter().filter(|s| starts(&s.value)).map(|s| s.key.clone()).collect()
}

/// The platform that a variable of `.env` belongs to, by its name.
pub fn platform_of_variable(registry: &Registry, name: &str) -> Option<&'static str> {
    declaration_of_variable(registry, name).map(|platform| platform.name)
}

/// The same, with all that is declared of it.
pub(super) fn declaration_of_variable(registry: &Registry, name: &str) -> Option<&'static Declaration> {
    let prefixed = |platform: &'static Declaration| {
        let starts = |prefix: &&&str| {
            !prefix.is_empty() && name.strip_prefix(**prefix).is_some_and(|rest| rest.starts_with('_'))
        };
        let all = std::iter::once(&platform.prefix).chain(platform.prefixes);
        all.filter(starts).map(|prefix| (prefix.len(), platform)).max_by_key(|(len, _)| *len)
    };
    let by_name = registry.variables().find(|(variable, _)| *variable == name).map(|(_, platform)| platform);
    // The longest prefix: `WHATSAPP_CLOUD_` is not `WHATSAPP_`.
    let by_prefix =
        || registry.all().filter_map(prefixed).max_by_key(|(len, _)| *len).map(|(_, found)| found);
    by_name.or_else(by_prefix)
}

/// The variables of a `.env` that belong to platforms, with their platforms.
pub fn channel_variables(registry: &Registry, env: &[u8]) -> Vec<(String, &'static str)> {
    let variables = dotenv::parse(env).env;
    let names = variables.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.to_owned());
    names.filter_map(|name| platform_of_variable(registry, &name).map(|platform| (name, platform))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::REGISTRY;

    #[test]
    fn what_a_list_needs() {
        let seen = glance(&REGISTRY, b"model: {default: a/b, provider: openrouter}\nprofiles: {alias_prefix: hermes-}\ngateway: {multiplex_profiles: yes, platforms: {slack: {}}}\ntelegram: {token: x}\n");
        assert_eq!((seen.model.as_deref(), seen.provider.as_deref()), (Some("a/b"), Some("openrouter")));
        assert_eq!(seen.alias_prefix.as_deref(), Some("hermes-"));
        assert!(seen.multiplex && !seen.invalid);
        assert_eq!(seen.platforms, ["slack", "telegram"]);
        assert_eq!(
            seen.platform_blocks,
            [vec!["telegram".to_owned()], vec!["gateway".to_owned(), "platforms".to_owned()]]
        );
        assert_eq!(glance(&REGISTRY, b"model: a/b\n").model.as_deref(), Some("a/b"));
        assert!(glance(&REGISTRY, b"model: [\n").invalid && glance(&REGISTRY, b"- 1\n").invalid);
        assert_eq!(glance(&REGISTRY, b""), Glance::default());
        let servers =
            b"mcp_servers: {a: {command: npx}, b: {url: 'https://x'}, c: {command: x, enabled: no}, \
            d: {command: x, disabled: true}, e: {command: x, enabled: true, disabled: yes}}\n";
        assert_eq!(mcp_commands(servers), ["a"]);
        assert_eq!(mcp_commands(b"mcp_servers: [\n"), Vec::<String>::new());
    }

    #[test]
    fn lists_of_texts() {
        let file = b"skills: {disabled: [a, 'b c', 1, ~, [x]], one: z, none: }\n";
        assert_eq!(list_at(file, &["skills", "disabled"]), ["a", "b c", "1"]);
        assert_eq!(list_at(file, &["skills", "one"]), ["z"]);
        assert_eq!(names_at(b"v: [A, {name: B, help: x}, {help: y}]", &["v"]), ["A", "B"]);
        for path in [&["skills", "none"][..], &["skills"], &["nothing", "at"], &["skills", "one", "x"]] {
            assert!(list_at(file, path).is_empty(), "{path:?}");
        }
        assert!(list_at(b"skills: [", &["skills"]).is_empty());
    }

    #[test]
    fn variables_of_channels() {
        let of = |name| platform_of_variable(&REGISTRY, name);
        assert_eq!(
            (of("TELEGRAM_BOT_TOKEN"), of("TELEGRAM_ALLOWED_USERS")),
            (Some("telegram"), Some("telegram"))
        );
        assert_eq!((of("API_SERVER_KEY"), of("WEBHOOK_SECRET")), (Some("api_server"), Some("webhook")));
        assert_eq!(
            (of("OPENROUTER_API_KEY"), of("ANTHROPIC_API_KEY"), of("GITHUB_TOKEN")),
            (None, None, None)
        );
        assert_eq!(
            (of("TWILIO_AUTH_TOKEN"), of("QQBOT_X"), of("TWILIOS_X")),
            (Some("sms"), Some("qqbot"), None)
        );
        assert_eq!((of("WHATSAPP_CLOUD_X"), of("WHATSAPP_X")), (Some("whatsapp_cloud"), Some("whatsapp")));
    }
}
