//! `/model`: which model answers, and another one for this conversation, or for the whole profile.

use hermes_config::platform::ModelRoute;
use hermes_config::{EngineKind, MAX_FILE_LEN, ProfileConfig, edit};
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use serde_json::{Value, json};

use super::home_channel;
use crate::provider;

/// What somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Another model; none: to be told.
    pub(super) model: Option<String>,
    /// Who serves it.
    pub(super) provider: Option<String>,
    /// For the whole profile.
    pub(super) global: bool,
    /// The profile's own again.
    pub(super) resets: bool,
}

/// What stands behind the command: `NAME [--provider NAME] [--global]`, or `reset`.
pub(super) fn parse(rest: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let plain = rest.replace("——", "--").replace(['—', '–'], "--");
    let mut words = plain.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--global" => wanted.global = true,
            "--session" => wanted.global = false,
            "--provider" => match words.next().filter(|name| !name.starts_with('-')) {
                Some(name) => wanted.provider = Some(name.to_owned()),
                None => return Err("Write the provider's name behind --provider.".to_owned()),
            },
            option if option.starts_with("--") => return Err(format!("`{option}` is no option of /model.")),
            name if wanted.model.is_none() => wanted.model = Some(name.to_owned()),
            _ => return Err("Write one model: /model NAME [--provider NAME] [--global].".to_owned()),
        }
    }
    if wanted.provider.is_none()
        && !wanted.global
        && matches!(wanted.model.as_deref(), Some("reset" | "default"))
    {
        return Ok(Wanted { resets: true, ..Wanted::default() });
    }
    if wanted.model.is_none() && (wanted.provider.is_some() || wanted.global) {
        return Err("Write the model's name: /model NAME [--provider NAME] [--global].".to_owned());
    }
    Ok(wanted)
}

/// As whom the model answers that is wanted, where the profile can reach it; else why not. Reads what a provider's key needs.
pub(super) fn reached(
    config: &ProfileConfig,
    home: &ProfileHome,
    wanted: &Wanted,
) -> Result<(String, String), String> {
    if config.agent.engine != EngineKind::Native {
        return Err("This profile's answers come from no model that could be chosen here.".to_owned());
    }
    let route = ModelRoute {
        model: wanted.model.clone().unwrap_or_default(),
        provider: wanted.provider.clone(),
        ..ModelRoute::default()
    };
    let found = provider::routed(config, &route, home)
        .map_err(|error| format!("The model stays as it is: {error}."))?;
    Ok((found.model, found.provider))
}

/// What a conversation notes of a model, as 0.19.0 notes it.
pub(super) fn noted(wanted: &Wanted) -> Value {
    json!({"model": wanted.model, "provider": wanted.provider})
}

/// Writes the model into `config.yaml`, as the command of the terminal does. The worker is replaced then. The error is for people.
pub(super) fn write(home: &ProfileHome, wanted: &Wanted) -> Result<(), String> {
    let file = home.config();
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("`{file}` cannot be {what}: {error}");
    let _lock = home_channel::lock(home).map_err(|error| failed("locked", &error))?;
    let bytes =
        disk::read_bounded(&file, MAX_FILE_LEN).or_absent().map_err(|error| failed("read", &error))?;
    let mut text = String::from_utf8(bytes.unwrap_or_default()).map_err(|error| failed("read", &error))?;
    for (key, value) in [("default", &wanted.model), ("provider", &wanted.provider)] {
        if let Some(value) = value {
            let edited = edit::set(&text, &["model", key], &edit::Value::from(value.as_str()));
            text = edited.map_err(|error| failed("changed", &error))?.text;
        }
    }
    disk::replace(&file, text.as_bytes()).map_err(|error| failed("written", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_wanted_as_people_write_it() {
        let wanted = |rest| parse(rest).unwrap();
        assert_eq!(wanted(""), Wanted::default());
        assert_eq!(wanted("m"), Wanted { model: Some("m".into()), ..Wanted::default() });
        assert_eq!(
            wanted("vendor/m —provider p —global"),
            Wanted {
                model: Some("vendor/m".into()),
                provider: Some("p".into()),
                global: true,
                resets: false
            }
        );
        assert!(wanted("reset").resets);
        for odd in ["a b", "--global", "--provider", "m --provider --global", "m --what", "--provider p"] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_model_for_the_profile_stands_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        fs_err::write(home.config(), "# mine\nmodel: {default: a, provider: p} # here\n").unwrap();
        write(&home, &parse("b --global").unwrap()).unwrap();
        let text = fs_err::read_to_string(home.config()).unwrap();
        assert!(
            text.starts_with("# mine\n") && text.contains("default: b") && text.contains("provider: p"),
            "{text}"
        );
        write(&home, &parse("c --provider q --global").unwrap()).unwrap();
        let text = fs_err::read_to_string(home.config()).unwrap();
        assert!(text.contains("default: c") && text.contains("provider: q"), "{text}");
    }
}
