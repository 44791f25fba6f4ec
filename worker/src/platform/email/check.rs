//! Whether the mailbox works as it is configured, asked once: a login at either server, and whether the own one says who its mails are from.
//! No mail is sent, and none is marked.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::address::is_within;
use super::postbox::{self, Postbox};
use super::settings::{NAME, Settings};
use super::{results, smtp, wire};
use crate::platform::{Outside, PlatformFuture};

/// Asks, where a mailbox is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Box::pin(async move { ask(&settings, &network).await }))
}

async fn ask(settings: &Settings, network: &Network) -> Trial {
    if let Some(fault) = &settings.fault {
        return Trial::not_asked(NAME, fault.message.clone());
    }
    let mut postbox = match Postbox::open(settings, network).await {
        Ok(postbox) => postbox,
        // The other server has the same password: it is not asked as well.
        Err(failure) => return unread(settings, &failure),
    };
    let latest = latest(&mut postbox).await;
    let idles = postbox.idles();
    postbox.close().await;
    let latest = match latest {
        Ok(latest) => latest,
        Err(failure) => return unread(settings, &failure),
    };
    let mut lacks = Vec::new();
    if let Err(failure) = smtp::try_login(settings, network).await {
        match failure {
            smtp::Failure::Login(_) => lacks.push(Lack::needed(failure.to_string(), PASSWORD)),
            smtp::Failure::Refused { .. } | smtp::Failure::Unusable(_) => {
                lacks.push(Lack::needed(failure.to_string(), SMTP));
            }
            smtp::Failure::Unsent(_) | smtp::Failure::Lost(_) => {
                return Trial::unreachable(
                    NAME,
                    format!("{failure}; the inbox is read, answers do not go out: {SMTP}"),
                );
            }
        }
    }
    lacks.extend(unsigned(settings, latest.as_deref()));
    let how = if idles { "says by itself when something comes" } else { "is asked again and again" };
    Trial::answered(NAME, format!("the inbox of {} is read; its server {how}", settings.address), lacks)
}

const PASSWORD: &str =
    "correct EMAIL_ADDRESS and EMAIL_PASSWORD; providers with a second factor make a password for apps";
const IMAP: &str = "correct EMAIL_IMAP_HOST, EMAIL_IMAP_PORT and EMAIL_TLS";
const SMTP: &str = "correct EMAIL_SMTP_HOST, EMAIL_SMTP_PORT and EMAIL_TLS";

/// The beginning of the last mail there is.
async fn latest(postbox: &mut Postbox) -> Result<Option<Vec<u8>>, postbox::Failure> {
    let opened = postbox.select().await?;
    if opened.last == 0 {
        return Ok(None);
    }
    Ok(postbox.fetch(opened.last).await?.map(|fetched| fetched.bytes))
}

/// What is missing where the own server does not say who a mail is from.
fn unsigned(settings: &Settings, mail: Option<&[u8]>) -> Option<Lack> {
    if settings.trusts_from {
        return None;
    }
    let mail = wire::mail(mail?, |_| String::new())?;
    let servers: Vec<String> =
        mail.results.iter().filter_map(|text| results::parse(text)).map(|results| results.server).collect();
    if servers.iter().any(|server| settings.authorities.iter().any(|one| is_within(server, one))) {
        return None;
    }
    let own = settings.authorities.join(" or ");
    let what = match servers.first() {
        Some(first) => {
            format!("the last mail has results of `{first}`, and none of {own}: mails like it are not taken")
        }
        None => format!("the last mail has no Authentication-Results of {own}: mails like it are not taken"),
    };
    let fix = "set EMAIL_AUTHSERV_ID to the name by which the own mail server signs them; where it signs none and lets nobody in who is not \
               who he says, EMAIL_TRUST_FROM_HEADER=true";
    Some(Lack::wanted(what, fix))
}

fn unread(settings: &Settings, failure: &postbox::Failure) -> Trial {
    match failure {
        postbox::Failure::Unusable(reason) => Trial::not_asked(NAME, reason),
        postbox::Failure::Login(_) => {
            let lack = Lack::needed(failure.to_string(), PASSWORD);
            Trial::answered(NAME, format!("`{}` answers", settings.imap.host), vec![lack])
        }
        postbox::Failure::Refused { .. } => Trial::answered(
            NAME,
            format!("`{}` answers", settings.imap.host),
            vec![Lack::needed(failure.to_string(), IMAP)],
        ),
        postbox::Failure::Lost(_) => Trial::unreachable(NAME, format!("{failure}; {IMAP}")),
    }
}
