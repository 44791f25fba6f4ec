//! Which web pages may call the API: those of the configured origins, on every path and with every outcome.
//!
//! The rule stands in front of routing, so that health, errors and unknown paths have the headers too: a browser shows a page
//! nothing of an answer without them. Requests without an `Origin` come from no page and are no business of this rule; preflights
//! are, and from any other origin than a listed one the answer is 403 and nothing else. Webhooks are not for pages: the rule does not
//! cover them.

use http::{HeaderMap, HeaderValue, Method, header};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, DELETE, OPTIONS");
/// What may be sent where a preflight does not ask.
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, X-Hermes-Session-Id, X-Hermes-Session-Key, X-Request-Id",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Hermes-Session-Id, X-Hermes-Session-Key, X-Hermes-Completed, X-Hermes-Partial, X-Hermes-Error, X-Request-Id, \
     Retry-After, X-Should-Retry",
);
/// Longest list of headers that a preflight is answered with, in bytes.
const MAX_ASKED: usize = 4096;

/// The configured origins.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    any: bool,
    origins: Vec<String>,
}

/// What the rule says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it goes on, and its answer with [`Cors::mark`].
    Free,
    /// A page that may call: the value of `Access-Control-Allow-Origin`.
    Granted(HeaderValue),
    /// 403.
    Refused,
    /// 200 with these headers.
    Preflight(HeaderMap),
}

impl Cors {
    /// Pages of `origins` may call; `*` for all.
    pub(crate) fn new(origins: &[String]) -> Self {
        Self { any: origins.iter().any(|o| o == "*"), origins: origins.to_vec() }
    }

    /// Judges a request.
    pub(super) fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let asks = *method == Method::OPTIONS;
        let Some(origin) = headers.get(header::ORIGIN) else {
            return if asks { Verdict::Refused } else { Verdict::Free };
        };
        let grant = if self.any {
            HeaderValue::from_static("*")
        } else if self.origins.iter().any(|o| o.as_bytes() == origin.as_bytes()) {
            origin.clone()
        } else {
            return Verdict::Refused;
        };
        if asks { Verdict::Preflight(self.preflight(grant, headers)) } else { Verdict::Granted(grant) }
    }

    fn preflight(&self, grant: HeaderValue, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.mark(&mut headers, Some(grant));
        let wanted =
            asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|names| is_list(names.as_bytes()));
        if wanted.is_some() {
            headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.cloned().unwrap_or(ALLOWED));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        headers
    }

    /// Completes an answer.
    pub(super) fn mark(&self, headers: &mut HeaderMap, grant: Option<HeaderValue>) {
        if let Some(grant) = grant {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, grant);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        // With a list, answers differ by origin, also those to requests without one.
        if !self.origins.is_empty() && !self.any {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Names of headers and what is between them.
fn is_list(names: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, \t".contains(byte);
    (1..=MAX_ASKED).contains(&names.len()) && names.iter().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(cors: &Cors, method: &str, headers: &[(header::HeaderName, &'static str)]) -> Verdict {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        cors.judge(&method.parse().unwrap(), &headers)
    }

    /// Wires 7: listed pages may call with the headers that they ask for, others may not, and who is no page is not asked.
    #[test]
    fn pages_of_listed_origins_may_call() {
        let cors = Cors::new(&["https://good".to_owned()]);
        let (good, bad) = ((header::ORIGIN, "https://good"), (header::ORIGIN, "https://bad"));
        assert_eq!(judge(&cors, "GET", &[]), Verdict::Free);
        assert_eq!(judge(&cors, "GET", std::slice::from_ref(&bad)), Verdict::Refused);
        assert_eq!(
            judge(&cors, "POST", std::slice::from_ref(&good)),
            Verdict::Granted(HeaderValue::from_static("https://good"))
        );
        assert_eq!(judge(&cors, "OPTIONS", &[]), Verdict::Refused);
        assert_eq!(judge(&cors, "OPTIONS", &[bad]), Verdict::Refused);
        let asked = (header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,x-stainless-os, x-my-own");
        let Verdict::Preflight(headers) = judge(&cors, "OPTIONS", &[good.clone(), asked]) else { panic!() };
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,x-stainless-os, x-my-own");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://good");
        assert_eq!(headers.get_all(header::VARY).iter().count(), 2);
        // What is no list is not echoed.
        let odd = (header::ACCESS_CONTROL_REQUEST_HEADERS, "x\"y: z");
        let Verdict::Preflight(headers) = judge(&cors, "OPTIONS", &[good, odd]) else { panic!() };
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], ALLOWED);
    }

    #[test]
    fn a_star_is_every_page_and_an_empty_list_none() {
        let any = Cors::new(&["*".to_owned()]);
        let page = [(header::ORIGIN, "null")];
        assert_eq!(judge(&any, "GET", &page), Verdict::Granted(HeaderValue::from_static("*")));
        let mut headers = HeaderMap::new();
        any.mark(&mut headers, None);
        assert!(headers.is_empty(), "answers do not differ by origin");
        let none = Cors::new(&[]);
        assert_eq!((judge(&none, "GET", &page), judge(&none, "GET", &[])), (Verdict::Refused, Verdict::Free));
    }
}
