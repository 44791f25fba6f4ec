//! Whether the server is there, and the account is what it takes, asked once. Nobody sees the bot by that: it has no nick.

use std::time::Duration;

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};
use tokio::time::timeout;

use super::NAME;
use super::pipe::Pipe;
use super::registration::{Ended, Registration, Step};
use super::settings::Settings;
use crate::outgoing::stream::Unconnected;
use crate::platform::{Outside, PlatformFuture};

/// Time for the server to say what it can.
const TIME: Duration = Duration::from_secs(15);

/// Asks, where a server is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Box::pin(async move { ask(&settings, &network).await }))
}

async fn ask(settings: &Settings, network: &Network) -> Trial {
    if let Some(fault) = &settings.fault {
        return Trial::not_asked(NAME, &fault.message);
    }
    let mut pipe = match Pipe::open(settings, network).await {
        Ok(pipe) => pipe,
        Err(Unconnected::Unusable(error)) => return Trial::not_asked(NAME, error.to_string()),
        Err(error) => return Trial::unreachable(NAME, error.to_string()),
    };
    let talked = timeout(TIME, talk(&mut pipe, settings)).await;
    pipe.close().await;
    match talked {
        Ok(Ok(said)) => Trial::answered(NAME, said, Vec::new()),
        Ok(Err(ended)) if ended.code == "irc_network_error" => Trial::unreachable(NAME, ended.why),
        Ok(Err(ended)) => {
            let fix = match ended.code {
                "irc_sasl_unavailable" => {
                    "take IRC_SASL_USERNAME and IRC_SASL_PASSWORD out, or choose a server that has accounts"
                }
                _ => "correct IRC_SASL_USERNAME and IRC_SASL_PASSWORD, or IRC_SERVER_PASSWORD",
            };
            Trial::answered(NAME, "the server answers", vec![Lack::needed(ended.why, fix)])
        }
        // A server from before capabilities says nothing to somebody without a nick.
        Err(_) if settings.sasl.is_none() => {
            Trial::answered(NAME, "the server takes connections", Vec::new())
        }
        Err(_) => Trial::unreachable(NAME, format!("the server says nothing within {} s", TIME.as_secs())),
    }
}

/// The beginning of a registration, up to the account.
async fn talk(pipe: &mut Pipe, settings: &Settings) -> Result<String, Ended> {
    let lost = |why: String| Ended::lost("irc_network_error", why);
    let mut registration = Registration::new(settings);
    let is_seen = |line: &String| line.starts_with("NICK") || line.starts_with("USER");
    for line in registration.begin().iter().filter(|line| !is_seen(line)) {
        pipe.say(line).await.map_err(lost)?;
    }
    loop {
        let line = pipe.next().await.map_err(lost)?;
        if line.command == "PING" {
            pipe.say(&format!("PONG :{}", line.last())).await.map_err(lost)?;
            continue;
        }
        let lines = match registration.hear(&line) {
            Step::Say(lines) => lines,
            Step::Welcome(_) => Vec::new(),
            Step::Ended(ended) => return Err(ended),
        };
        for line in lines {
            if line == "CAP END" {
                return Ok(match &settings.sasl {
                    Some((account, _)) => format!("the server answers, and takes the account {account}"),
                    None => "the server answers".to_owned(),
                });
            }
            pipe.say(&line).await.map_err(lost)?;
        }
    }
}
