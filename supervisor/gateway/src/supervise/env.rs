//! The environment of worker processes: empty, plus the allow-list, plus `gateway.shared_env`, plus what every worker is told.
//!
//! Values pass through; none is logged or kept under its name anywhere else.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use hermes_wire::{ProfileHome, ProfileName, env};

/// What workers inherit.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    passed: Vec<CString>,
    shared: Vec<(String, CString)>,
    examined: bool,
    open_files: Option<u64>,
}

impl Environment {
    /// Takes what is on the allow-list from `variables`.
    pub(crate) fn from_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let passed = variables
            .filter(|(name, _)| name.to_str().is_some_and(env::is_allowed))
            .filter_map(|(name, value)| assignment(name.as_bytes(), &value))
            .collect();
        Self { passed, shared: Vec::new(), examined: false, open_files: None }
    }

    /// Workers started from now on set this limit of open files; `None`: they have ours.
    pub(crate) fn limit_files(&mut self, limit: Option<u64>) {
        self.open_files = limit;
    }

    /// From now on workers are only examined: they report and write nothing.
    pub(crate) fn examine(&mut self) {
        self.examined = true;
    }

    /// Replaces the shared variables. `value` looks a name up. Returns whether workers started before lack something now.
    pub(crate) fn share(&mut self, names: &[String], value: impl Fn(&str) -> Option<OsString>) -> bool {
        let shared: Vec<(String, CString)> = names
            .iter()
            .filter(|name| env::may_be_shared(name))
            .filter_map(|name| Some((name.clone(), assignment(name.as_bytes(), &value(name)?)?)))
            .collect();
        let changed = shared != self.shared;
        self.shared = shared;
        changed
    }

    /// Names of the shared variables that are set.
    pub(crate) fn shared_names(&self) -> Vec<&str> {
        self.shared.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The whole environment of one worker.
    pub(crate) fn for_worker(&self, profile: &ProfileName, home: &ProfileHome) -> Vec<CString> {
        let own = [
            (env::HERMES_HOME, home.path().as_str()),
            (env::HERMES_PROFILE, profile.as_str()),
            (env::LISTEN_FDS, "3"),
            (env::LISTEN_FDNAMES, "data:control:road"),
        ];
        let own = own.into_iter().filter_map(|(name, value)| assignment(name.as_bytes(), OsStr::new(value)));
        let shared = self.shared.iter().map(|(_, assignment)| assignment.clone());
        let examined = self.examined.then(|| assignment(env::EXAMINED.as_bytes(), OsStr::new("1"))).flatten();
        let files = self.open_files.map(|limit| limit.to_string());
        let files = files.and_then(|limit| assignment(env::OPEN_FILES.as_bytes(), OsStr::new(&limit)));
        self.passed.iter().cloned().chain(shared).chain(own).chain(examined).chain(files).collect()
    }
}

fn assignment(name: &[u8], value: &OsStr) -> Option<CString> {
    let mut text = name.to_vec();
    text.push(b'=');
    text.extend_from_slice(&value.to_owned().into_vec());
    CString::new(text).ok()
}

/// `GATEWAY_MULTIPLEX_PROFILES` of the supervisor's own environment: an override, nothing, or the warning that it means nothing.
pub fn multiplex_override(value: Option<&OsStr>) -> Result<Option<bool>, String> {
    let Some(value) = value else { return Ok(None) };
    let text = value.to_string_lossy();
    match text.trim().to_lowercase().as_str() {
        "" => Ok(None),
        "1" | "true" | "yes" | "on" => Ok(Some(true)),
        "0" | "false" | "no" | "off" => Ok(Some(false)),
        _ => Err(format!(
            "Ignoring unrecognized {}='{text}' (expected one of ['1', 'on', 'true', 'yes'] or ['0', 'false', 'no', 'off']); falling back to config.yaml.",
            env::MULTIPLEX
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(environment: &[CString]) -> Vec<&str> {
        environment.iter().map(|text| text.to_str().unwrap()).collect()
    }

    #[test]
    fn a_worker_gets_the_allow_list_what_is_shared_and_its_own_and_nothing_else() {
        let variables =
            [("PATH", "/bin"), ("OPENAI_API_KEY", "s3cret"), ("LC_ALL", "C"), ("HERMES_HOME", "/other")];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut environment = Environment::from_variables(variables.clone().into_iter());
        let (name, home) = ("coder".parse().unwrap(), ProfileHome::new("/h/profiles/coder"));
        let own = [
            "HERMES_HOME=/h/profiles/coder",
            "HERMES_PROFILE=coder",
            "LISTEN_FDS=3",
            "LISTEN_FDNAMES=data:control:road",
        ];
        let expected = [&["PATH=/bin", "LC_ALL=C"][..], &own].concat();
        assert_eq!(strings(&environment.for_worker(&name, &home)), expected);

        let lookup =
            |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let names = ["OPENAI_API_KEY", "TELEGRAM_BOT_TOKEN", "UNSET", "HERMES_HOME"].map(str::to_owned);
        assert!(environment.share(&names, lookup));
        assert!(!environment.share(&names, lookup), "nothing new");
        assert_eq!(environment.shared_names(), ["OPENAI_API_KEY"]);
        let expected = [&["PATH=/bin", "LC_ALL=C", "OPENAI_API_KEY=s3cret"][..], &own].concat();
        assert_eq!(strings(&environment.for_worker(&name, &home)), expected);
    }

    #[test]
    fn the_override_of_the_flag_is_forgiving_but_says_when_it_means_nothing() {
        let parse = |text: &str| multiplex_override(Some(OsStr::new(text)));
        for on in ["1", "true", " YES ", "On"] {
            assert_eq!(parse(on), Ok(Some(true)));
        }
        for off in ["0", "false", "no", "OFF"] {
            assert_eq!(parse(off), Ok(Some(false)));
        }
        assert_eq!(parse("  "), Ok(None));
        assert_eq!(multiplex_override(None), Ok(None));
        assert_eq!(
            parse("maybe").unwrap_err(),
            "Ignoring unrecognized GATEWAY_MULTIPLEX_PROFILES='maybe' (expected one of ['1', 'on', 'true', 'yes'] or ['0', 'false', 'no', 'off']); falling back to config.yaml."
        );
    }
}
