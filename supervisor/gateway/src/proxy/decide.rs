//! Whose request it is: a pure function of path, listener and route table.

use std::sync::Arc;

use hermes_wire::ProfileName;
use hermes_wire::http::{Split, split};
use hermes_wire::road::INNER;

use super::families::Served;
use super::rescue::ProxyError;
use super::route::Route;
use super::table::Table;

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Decision<'p> {
    /// Pass it on.
    Forward {
        /// To whom.
        route: Arc<Route>,
        /// The path the worker sees.
        rest: &'p str,
        /// Whether `/p/<profile>` was removed.
        prefixed: bool,
    },
    /// `/health` of the gateway.
    Health,
    /// `/ready` of the gateway.
    Ready,
    /// Refuse it.
    Refuse(ProxyError),
}

/// Decides by the raw path, without the query. `from_page`: a web page calls, and can read no answer but one of a worker, which knows
/// the pages that may; so on listeners of the API it also gets what is nobody's.
pub(super) fn decide<'p>(
    table: &Table,
    listener: Served<'_>,
    path: &'p str,
    from_page: bool,
) -> Decision<'p> {
    let from_page = from_page && listener.has_api();
    let served = |path: &str| {
        // What workers send each other comes by another way.
        let is_inner = path.starts_with(INNER);
        !is_inner && (listener.owns(path) || (from_page && listener.is_nobodys(path)))
    };
    match split(path) {
        Split::Unprefixed("/health") if !from_page => Decision::Health,
        Split::Unprefixed("/ready") => Decision::Ready,
        Split::Unprefixed(rest) if served(rest) => {
            Decision::Forward { route: Arc::clone(&table.primary), rest, prefixed: false }
        }
        Split::Unprefixed(_) => Decision::Refuse(ProxyError::NotFound),
        _ if !table.multiplex => Decision::Refuse(ProxyError::NotFound),
        Split::Prefixed(name, rest) => match known(table, &name) {
            Some(route) if served(rest) => {
                Decision::Forward { route: Arc::clone(route), rest, prefixed: true }
            }
            Some(_) => Decision::Refuse(ProxyError::NotFound),
            None => Decision::Refuse(ProxyError::UnknownProfile),
        },
        Split::Bare(Some(name)) if known(table, &name).is_none() => {
            Decision::Refuse(ProxyError::UnknownProfile)
        }
        Split::Bare(_) => Decision::Refuse(ProxyError::NotFound),
        Split::UnknownProfile => Decision::Refuse(ProxyError::UnknownProfile),
    }
}

fn known<'t>(table: &'t Table, name: &ProfileName) -> Option<&'t Arc<Route>> {
    table.routes.get(name)
}

#[cfg(test)]
mod tests {
    use super::super::families::tests::chosen;
    use super::*;

    fn table(multiplex: bool) -> Table {
        let mut table = Table::new(multiplex, Route::new("default".parse().unwrap(), "/d".into()));
        table.insert(Route::new("coder".parse().unwrap(), "/c".into()));
        table
    }

    fn says(table: &Table, families: &[&str], path: &str) -> String {
        match decide(table, chosen(families).now(), path, false) {
            Decision::Forward { route, rest, prefixed } => {
                format!("{}{rest}{}", route.name(), if prefixed { " +" } else { "" })
            }
            Decision::Health => "health".into(),
            Decision::Ready => "ready".into(),
            Decision::Refuse(error) => error.code().into(),
        }
    }

    /// Wires 7: what a page asks for is a worker's to answer, but no other platform's paths are.
    #[test]
    fn a_page_is_answered_by_a_worker() {
        let table = table(true);
        let says = |families: &[&str], path| match decide(&table, chosen(families).now(), path, true) {
            Decision::Forward { route, rest, .. } => format!("{}{rest}", route.name()),
            Decision::Health => "health".into(),
            Decision::Ready => "ready".into(),
            Decision::Refuse(error) => error.code().into(),
        };
        for (path, api, webhook) in [
            ("/health", "default/health", "health"),
            ("/nothing", "default/nothing", "not_found"),
            ("/p/coder/nothing", "coder/nothing", "not_found"),
            ("/webhooks/x", "not_found", "default/webhooks/x"),
            ("/p/ops/x", "unknown_profile", "unknown_profile"),
            ("/ready", "ready", "ready"),
            ("/road/hand-over/telegram", "not_found", "not_found"),
            ("/p/coder/road/deliver/telegram", "not_found", "not_found"),
        ] {
            assert_eq!(
                (says(&["api_server"], path), says(&["webhook"], path)),
                (api.into(), webhook.into()),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_lead_where_the_contract_says() {
        let both = ["webhook", "api_server"];
        for (path, expected) in [
            ("/webhooks/r", "default/webhooks/r"),
            ("/p/coder/webhooks/r", "coder/webhooks/r +"),
            ("/p/default/v1/models", "default/v1/models +"),
            ("/p/%63oder/v1/a%2Fb", "coder/v1/a%2Fb +"),
            ("/p/coder/health", "coder/health +"),
            ("/health/detailed", "default/health/detailed"),
            ("/health", "health"),
            ("/ready", "ready"),
            ("/", "not_found"),
            ("/p", "not_found"),
            ("/p/", "not_found"),
            ("/p/coder", "not_found"),
            ("/p/coder/", "not_found"),
            ("//p/coder/x", "not_found"),
            ("/p/coder//v1/models", "not_found"),
            ("/p/coder/./v1/models", "not_found"),
            ("/p/coder/p/ops/v1/models", "not_found"),
            ("/p/coder/ready", "not_found"),
            ("/P/coder/health", "not_found"),
            ("/%70/coder/health", "not_found"),
            ("/p/ops/nowhere", "unknown_profile"),
            ("/p/ops", "unknown_profile"),
            ("/p/Coder/health", "unknown_profile"),
            ("/p//health", "unknown_profile"),
            ("/p/./coder/health", "unknown_profile"),
            ("/p/%20coder/health", "unknown_profile"),
            ("/p/coder%2Fhealth", "unknown_profile"),
            ("/p/%2563oder/health", "unknown_profile"),
        ] {
            assert_eq!(says(&table(true), &both, path), expected, "{path}");
        }
    }

    #[test]
    fn a_listener_serves_only_what_was_configured_on_it() {
        let table = table(true);
        assert_eq!(says(&table, &["webhook"], "/v1/models"), "not_found");
        assert_eq!(says(&table, &["webhook"], "/p/coder/v1/models"), "not_found");
        assert_eq!(says(&table, &["webhook"], "/p/coder/health"), "coder/health +");
        assert_eq!(says(&table, &["api_server"], "/p/coder/webhooks/r"), "not_found");
        assert_eq!(says(&table, &[], "/p/coder/health"), "not_found");
    }

    #[test]
    fn without_multiplexing_no_prefix_leads_anywhere() {
        for path in ["/p/coder/health", "/p/default/health", "/p/ops/x", "/p/Coder/x", "/p", "/p/ops"] {
            assert_eq!(says(&table(false), &["webhook", "api_server"], path), "not_found", "{path}");
        }
        assert_eq!(says(&table(false), &["api_server"], "/v1/models"), "default/v1/models");
    }
}
