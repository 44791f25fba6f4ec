//! What status says about services: how those of the gateway are, as their manager says, and what doctor finds of all. Where no unit is
//! installed, nobody is asked anything.

use std::fmt::Write as _;

use hermes_gateway::watch;
use hermes_wire::contract::gateway_status::GatewayStatus;
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::{ProfileName, RootHome};
use serde_json::{Value, json};

use crate::doctor::Grade;
use crate::doctor::services::{self, Place};
use crate::error::{HermesError, ServiceError};
use crate::home::{Selection, Surroundings};
use crate::service::{self, Owner, Scope, Service, State};

/// What there is, and what doctor says about it.
pub(super) struct Services {
    /// Those of the gateway that was asked about.
    own: Vec<(Service, Result<State, ServiceError>)>,
    /// What is wrong, and with whose.
    problems: Vec<(Option<ProfileName>, Problem)>,
}

impl Services {
    /// Looks; one of that `scope` has to be there.
    pub(super) fn look(
        selection: &Selection,
        (only, scope): (Option<&ProfileName>, Option<Scope>),
        status: &GatewayStatus,
        env: &Surroundings,
    ) -> Result<Self, HermesError> {
        let default = ProfileName::default_profile();
        let profile = only.unwrap_or(&default);
        let owner = Owner::new(&selection.root, profile);
        if scope.is_some() {
            service::required(&owner, scope, env)?;
        }
        let all = service::everybodys(env);
        if all.is_empty() {
            return Ok(Self { own: Vec::new(), problems: Vec::new() });
        }
        let is_own = |service: &&Service| {
            let fits = scope.is_none_or(|scope| scope == service.manager.scope());
            fits && service.unit.owner.as_ref() == Some(&owner)
        };
        let own = all.iter().filter(is_own).map(|service| (service.clone(), service.state())).collect();
        let is_one = !status.gateway.stale && status.gateway.mode.as_deref() == Some("multiplex");
        Ok(Self { own, problems: problems(&selection.root, &all, is_one, env) })
    }

    /// Puts what is wrong where whoever reads the status looks for it.
    pub(super) fn tell(&self, status: &mut GatewayStatus) {
        for (profile, problem) in &self.problems {
            let whose = profile.as_ref().map(ProfileName::as_str);
            let mine = status.profiles.iter_mut().find(|profile| Some(profile.name.as_str()) == whose);
            mine.map_or(&mut status.gateway.problems, |profile| &mut profile.problems).push(problem.clone());
        }
    }

    /// A line each.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for (service, state) in &self.own {
            let _ = match state {
                Ok(state) => writeln!(text, "{}: {}", service.shown(), line(state)),
                Err(_) => writeln!(text, "{}: its manager does not answer", service.shown()),
            };
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let one = |(service, state): &(Service, Result<State, ServiceError>)| {
            let mut one = service::described(service.manager, &service.name, &service.file);
            match state {
                Ok(state) => {
                    one["state"] = json!(state.phase.as_str());
                    one["pid"] = json!(state.pid);
                    one["enabled"] = json!(state.enabled);
                    one["restarts"] = json!(state.restarts);
                    one["result"] = json!(state.result);
                }
                Err(error) => one["error"] = json!(error.to_string()),
            }
            one
        };
        self.own.iter().map(one).collect()
    }
}

/// `active (PID 77), starts by itself, was started again 3 times`.
fn line(state: &State) -> String {
    let mut text = state.phase.as_str().to_owned();
    if let Some(pid) = state.pid {
        let _ = write!(text, " (PID {pid})");
    }
    if !state.runs() {
        text += &state.reason();
    }
    text += if state.enabled { ", starts by itself" } else { ", starts when asked to" };
    match state.restarts {
        0 => {}
        1 => text += ", was started again once",
        n => {
            let _ = write!(text, ", was started again {n} times");
        }
    }
    text
}

fn problems(
    root: &RootHome,
    all: &[Service],
    is_one: bool,
    env: &Surroundings,
) -> Vec<(Option<ProfileName>, Problem)> {
    let homes = watch::scan(root);
    let found = services::findings(&Place { root, homes: &homes, is_one, env }, all);
    let wrong = found.into_iter().filter(|finding| finding.grade != Grade::Good);
    let problem = |finding: crate::doctor::Finding| {
        let problem = Problem {
            severity: Severity::Warning,
            code: finding.code.to_owned(),
            platform: None,
            file: finding.place.unwrap_or_default(),
            line: None,
            column: None,
            key: None,
            message: finding.message,
            fix: finding.next,
        };
        (finding.profile, problem)
    };
    wrong.map(problem).collect()
}
