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
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Hermes-Session-Id, X-Hermes-Session-Key, X-Request-Id",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Hermes-Session-Id, X-Hermes-Session-Key, X-Hermes-Completed, X-Hermes-Partial, X-Hermes-Error, Idempotency-Replayed, \
     X-Request-Id, Retry-After, X-Should-Retry",
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

    /// Completes an answer, a refusal too.
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

    /// What it is, the rule, and a request's method and origin; who may read the answer (empty: it is no page; none: 403), and its first `Vary`.
    type Case<'a> = (&'a str, &'a Cors, &'a str, Option<&'static str>, Option<&'a str>, &'a str);

    /// Every case of the contract, with every listed header that it has.
    #[test]
    fn each_case_has_its_headers() {
        const GOOD: &str = "https://good";
        let list = Cors::new(&[GOOD.to_owned(), "http://localhost:3000".to_owned()]);
        let (any, none) = (Cors::new(&["*".to_owned()]), Cors::new(&[]));
        let cases: [Case<'_>; 15] = [
            ("no page", &list, "GET", None, Some(""), "Origin"),
            ("no page, no list", &none, "GET", None, Some(""), ""),
            ("no page, any", &any, "DELETE", None, Some(""), ""),
            ("a listed page", &list, "GET", Some(GOOD), Some(GOOD), "Origin"),
            (
                "another one",
                &list,
                "PATCH",
                Some("http://localhost:3000"),
                Some("http://localhost:3000"),
                "Origin",
            ),
            ("another port", &list, "GET", Some("http://localhost:3001"), None, "Origin"),
            ("a part of it", &list, "GET", Some("https://good.evil"), None, "Origin"),
            ("another case", &list, "GET", Some("https://Good"), None, "Origin"),
            ("no origin of its own", &list, "GET", Some("null"), None, "Origin"),
            ("a page, no list", &none, "POST", Some(GOOD), None, ""),
            ("a page, any", &any, "POST", Some("https://whoever"), Some("*"), ""),
            ("preflight", &list, "OPTIONS", Some(GOOD), Some(GOOD), "Origin"),
            ("preflight, any", &any, "OPTIONS", Some(GOOD), Some("*"), ""),
            ("preflight of another", &list, "OPTIONS", Some("https://bad"), None, "Origin"),
            ("preflight of nobody", &list, "OPTIONS", None, None, "Origin"),
        ];
        for (what, cors, method, origin, granted, vary) in cases {
            let mut asked = HeaderMap::new();
            if let Some(origin) = origin {
                asked.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let (verdict, mut answer) = (cors.judge(&method.parse().unwrap(), &asked), HeaderMap::new());
            match verdict {
                Verdict::Free => cors.mark(&mut answer, None),
                Verdict::Granted(grant) => cors.mark(&mut answer, Some(grant)),
                Verdict::Preflight(headers) => answer = headers,
                Verdict::Refused => {
                    assert_eq!(granted, None, "{what}");
                    cors.mark(&mut answer, None);
                }
            }
            let said = |name: header::HeaderName| {
                answer.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default().to_owned()
            };
            assert_eq!(said(header::ACCESS_CONTROL_ALLOW_ORIGIN), granted.unwrap_or_default(), "{what}");
            assert_eq!(said(header::VARY), vary, "{what}");
            let exposed = said(header::ACCESS_CONTROL_EXPOSE_HEADERS);
            let is_granted = granted.is_some_and(|granted| !granted.is_empty());
            for name in
                ["X-Hermes-Session-Id", "X-Hermes-Session-Key", "X-Hermes-Error", "Idempotency-Replayed"]
            {
                assert_eq!(exposed.contains(name), is_granted, "{what}: {name}");
            }
            let (methods, headers) =
                (said(header::ACCESS_CONTROL_ALLOW_METHODS), said(header::ACCESS_CONTROL_ALLOW_HEADERS));
            let is_preflight = is_granted && method == "OPTIONS";
            assert_eq!(methods.contains("PATCH") && methods.contains("DELETE"), is_preflight, "{what}");
            for name in [
                "Authorization",
                "Idempotency-Key",
                "Last-Event-ID",
                "X-Hermes-Session-Id",
                "X-Hermes-Session-Key",
            ] {
                assert_eq!(headers.contains(name), is_preflight, "{what}: {name}");
            }
            assert_eq!(said(header::ACCESS_CONTROL_MAX_AGE) == "600", is_preflight, "{what}");
        }
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
