//! What the gateway answers about itself: `/health`, `/ready`, `OPTIONS *`.

use hermes_wire::ProfileName;
use hermes_wire::http::JSON;

use super::answer::{Answer, TEXT};
use super::families::Served;
use super::rescue::ProxyError;
use super::table::Table;
use super::wire::request::Method;

/// `/health`: the process answers. Bodies are those of 0.19.0, by what the listener serves.
pub(super) fn health(method: Method, listener: Served<'_>) -> Answer {
    if !matches!(method, Method::Get | Method::Head) {
        return ProxyError::MethodNotAllowed("GET, HEAD").into();
    }
    Answer::new(200, JSON, listener.health())
}

/// `/ready`: every profile that should serve does.
pub(super) fn ready(method: Method, table: &Table, draining: bool) -> Answer {
    if !matches!(method, Method::Get | Method::Head) {
        return ProxyError::MethodNotAllowed("GET, HEAD").into();
    }
    let missing = table.not_ready();
    if missing.is_empty() && !draining {
        return Answer::new(
            200,
            JSON,
            format!(r#"{{"status": "ready", "profiles": {}}}"#, table.routes.len()),
        );
    }
    let status = if draining { "draining" } else { "not_ready" };
    let body = not_ready(status, &missing);
    Answer { error: Some(status), retry_after: Some(1), close: draining, ..Answer::new(503, JSON, body) }
}

/// What is said where profiles are missing, on the admin listener too.
pub(crate) fn not_ready(status: &str, missing: &[&ProfileName]) -> String {
    let names: Vec<_> = missing.iter().map(|name| format!("\"{name}\"")).collect();
    format!(r#"{{"status": "{status}", "not_ready": [{}]}}"#, names.join(", "))
}

/// `OPTIONS *`: about the server as a whole.
pub(super) fn options() -> Answer {
    Answer { allow: Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"), ..Answer::new(204, TEXT, "") }
}

#[cfg(test)]
mod tests {
    use super::super::families::tests::chosen;
    use super::*;
    use crate::proxy::{Availability, Route};

    #[test]
    fn health_tells_what_the_listener_serves() {
        let body = |names: &[&str]| health(Method::Get, chosen(names).now()).body;
        assert_eq!(body(&["webhook"]), r#"{"status": "ok", "platform": "webhook"}"#);
        assert_eq!(
            body(&["api_server"]),
            r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0"}"#
        );
        assert_eq!(
            body(&["webhook", "api_server"]),
            r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0", "platforms": ["webhook", "api_server"]}"#
        );
        assert_eq!(health(Method::Other, chosen(&["webhook"]).now()).status, 405);
    }

    #[test]
    fn ready_names_who_is_missing() {
        let primary = Route::new("default".parse().unwrap(), "/d".into());
        let table = Table::new(true, primary.clone());
        let answer = ready(Method::Get, &table, false);
        assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
        assert_eq!(answer.body, r#"{"status": "not_ready", "not_ready": ["default"]}"#);
        primary.set(Availability::Open { ready: true });
        assert_eq!(ready(Method::Get, &table, false).body, r#"{"status": "ready", "profiles": 1}"#);
        assert_eq!(ready(Method::Get, &table, true).status, 503);
    }
}
