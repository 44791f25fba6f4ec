//! The next step: a command that works in the state that is shown. Pure.

use hermes_wire::contract::gateway_status::{GatewayStatus, Profile, state};

use crate::status::render;

/// What can be done, the most useful first; nothing where nothing is wrong.
pub(super) fn of(status: &GatewayStatus, profile: &Profile) -> Vec<String> {
    // What status says to the same state, this says too.
    let mut steps = render::hints(status);
    let name = &profile.name;
    let answers = !status.gateway.stale;
    match profile.state.as_str() {
        state::DEGRADED if answers => {
            steps.push(if profile.last_error.is_some() {
                format!("`hermes doctor -p {name} --online` asks its provider once and says what is wrong")
            } else {
                format!("`hermes doctor -p {name}` says what is wrong and how to mend it")
            });
        }
        state::BACKOFF if answers => {
            steps.push(format!(
                "it is tried again by itself; `hermes gateway restart -p {name}` tries at once"
            ));
        }
        state::READY if answers && profile.refused_at.is_some() => steps.push(render::mending(profile)),
        state::UNKNOWN => steps.push("`hermes doctor` says why nobody answers".to_owned()),
        _ => {}
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::render::tests::{gateway, profile};

    #[test]
    fn there_is_a_step_wherever_something_is_wrong_and_none_elsewhere() {
        let of = |word: &str| {
            let status = gateway(vec![profile("coder", word)]);
            super::of(&status, &status.profiles[0])
        };
        for well in [state::READY, state::STARTING, state::DRAINING] {
            assert!(of(well).is_empty(), "{well}: {:?}", of(well));
        }
        for wrong in [
            state::DEGRADED,
            state::FAILED,
            state::BACKOFF,
            state::CRASH_LOOP,
            state::CONFLICT,
            state::UNKNOWN,
        ] {
            assert!(of(wrong).iter().any(|step| step.contains("hermes ")), "{wrong}: {:?}", of(wrong));
        }
    }
}
