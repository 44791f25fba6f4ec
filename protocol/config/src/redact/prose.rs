//! Takes secrets out of text that somebody else wrote: an error of a provider, which may repeat the request's key, a part of it,
//! another one's, a header or a URL.
//!
//! There is no syntax to ask a parser about: such text is prose, JSON in prose, headers, half of each. What is masked: values that are
//! known; what begins as keys of services begin, also where most of it is starred out; JWTs, private keys, passwords and secret
//! parameters in URLs; what stands behind `Bearer` and in `Authorization`; what follows a name that ends in `key`, `token`,
//! `secret`, …; and long words of letters and digits near such a name. What is left alone: names of models and parameters,
//! numbers, UUIDs of requests.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use crate::secret::names::{BEGINNINGS, names_secret};

/// What stands for a secret.
const MASK: &str = "***";

/// Most of a text that is looked at, in bytes; the rest is cut off.
const MAX_TEXT: usize = 16 * 1024;

/// Shortest value that is searched for: a shorter one is part of words.
const KNOWN_FROM: usize = 4;

/// Shortest secret whose parts are searched for, and how long a part is; in bytes.
const PARTS_FROM: usize = 12;
const PART: usize = 8;

/// A long run of letters and digits is no word; UUIDs and names of models have shorter ones.
const RUN: usize = 16;

/// So many words after the name of a secret may pass before it.
const NEAR: u8 = 6;

/// More beginnings of keys, of services that answer prompts mostly.
const MORE: [&str; 18] = [
    "csk-",
    "fw_",
    "tgp_v1_",
    "AQ.",
    "dapi",
    "esecret_",
    "glsa_",
    "ATATT",
    "dckr_pat_",
    "bce-v3",
    "xoxc-",
    "xoxd-",
    "xoxr-",
    "eyrk_",
    "vck_",
    "sess-",
    "ABSK",
    "1//0",
];

struct Patterns {
    private_key: Regex,
    user_info: Regex,
    cookie: Regex,
    hook: Regex,
    authorization: Regex,
    named: Regex,
    scheme: Regex,
    beginning: Regex,
    jwt: Regex,
    bot: Regex,
    word: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex = |pattern: &str| Regex::new(pattern).expect("the pattern is valid; every test uses it");
    let beginnings: Vec<String> =
        BEGINNINGS.iter().chain(&MORE).map(|start| regex_lite::escape(start)).collect();
    Patterns {
        private_key: regex(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
        user_info: regex(r#"([A-Za-z][A-Za-z0-9+.-]*:\\?/\\?/)[^\s/'"<>\\]*@"#),
        cookie: regex(r#"(?i)\b((?:set-)?cookie\\?["']?\s*[:=]\s*\\?["']?)([^"'\\<>]+)"#),
        hook: regex(r#"(hooks\.slack\.com/(?:services|workflows|triggers)/|/api/webhooks/)[^\s"'<>]+"#),
        authorization: regex(
            r#"(?i)(authorization\\?["']?\s*[:=]\s*\\?["']?)((?:bearer|basic|token|apikey|api-key|digest|negotiate)\s+)?([^\s"'\\,;}]+)"#,
        ),
        named: regex(
            r#"(?i)(\\?["']?)([A-Za-z0-9_.-]*(?:key|token|secret|password|passwd|pwd|passphrase|signature|sig|credential|credentials|auth|jwt|session_?id))(\\?["']?\s*)([=:])(\s*\\?["'`]?)([^\s"'`\\,;&)\]}<>]+)(\\?["'`]?)"#,
        ),
        scheme: regex(r"(?i)\b(bearer|basic)(\s+)([A-Za-z0-9._~+/=*•…-]{6,})"),
        beginning: regex(&format!(
            r"(^|[^A-Za-z0-9_])((?:{})[A-Za-z0-9_.*•…+~-]{{3,}})",
            beginnings.join("|")
        )),
        jwt: regex(r"\beyJ[A-Za-z0-9_-]{10,}[A-Za-z0-9_.=*•…-]*"),
        bot: regex(r"(^|[^A-Za-z0-9])((?:bot)?[0-9]{6,12}:[A-Za-z0-9_-]{30,})"),
        word: regex(r"[A-Za-z0-9_.*•…+/=~-]+"),
    }
});

/// The text without secrets, each replaced by `***`, and of bounded length. `known`: values that must not be shown, whatever they
/// look like.
pub fn prose(text: &str, known: &[&str]) -> String {
    let mut text = bounded(text).to_owned();
    for secret in known.iter().filter(|secret| secret.len() >= KNOWN_FROM) {
        text = text.replace(secret, MASK);
    }
    let p = &*PATTERNS;
    let is_word = |value: &str| {
        ["none", "null", "nil", "true", "false", "undefined", "missing", "required", "invalid", MASK]
            .contains(&value.to_ascii_lowercase().as_str())
    };
    text = p.private_key.replace_all(&text, MASK).into_owned();
    text = p.user_info.replace_all(&text, "${1}***@").into_owned();
    text = p.cookie.replace_all(&text, "${1}***").into_owned();
    text = p.hook.replace_all(&text, "${1}***").into_owned();
    text = masked(&p.authorization, &text, |all| {
        let scheme = all.get(2).map_or("", |scheme| scheme.as_str());
        let secret = !is_word(&all[3]) && (!scheme.is_empty() || is_opaque(&all[3]));
        secret.then(|| format!("{}{scheme}{MASK}", &all[1]))
    });
    text = masked(&p.named, &text, |all| {
        let (quote, value) = (&all[1], &all[6]);
        // `"key": "value"` and `key=value` leave no doubt.
        let sure = &all[4] == "=" || (!quote.is_empty() && !all[7].is_empty());
        let secret = !is_word(value) && (sure || is_opaque(value));
        secret.then(|| format!("{quote}{}{}{}{}{MASK}{}", &all[2], &all[3], &all[4], &all[5], &all[7]))
    });
    text =
        masked(&p.scheme, &text, |all| is_opaque(&all[3]).then(|| format!("{}{}{MASK}", &all[1], &all[2])));
    text = masked(&p.beginning, &text, |all| is_key(&all[2]).then(|| format!("{}{MASK}", &all[1])));
    text = p.jwt.replace_all(&text, MASK).into_owned();
    text = p.bot.replace_all(&text, "${1}***").into_owned();
    words(&text, known)
}

/// The start of a text; a word that is cut is left out, because half a secret is not recognised as one.
fn bounded(text: &str) -> &str {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut end = MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].rfind(char::is_whitespace).map_or("", |end| &text[..end])
}

fn masked(pattern: &Regex, text: &str, mask: impl Fn(&Captures<'_>) -> Option<String>) -> String {
    pattern
        .replace_all(text, |all: &Captures<'_>| mask(all).unwrap_or_else(|| all[0].to_owned()))
        .into_owned()
}

/// Masks words by what stands before them, and those that hold a part of a known secret.
fn words(text: &str, known: &[&str]) -> String {
    let mut new = String::with_capacity(text.len());
    let (mut end, mut near, mut ending) = (0, 0_u8, false);
    for word in PATTERNS.word.find_iter(text) {
        let gap = &text[end..word.start()];
        new.push_str(gap);
        end = word.end();
        let plain = word.as_str().trim_matches(['.', '-', '=', '/']).to_ascii_lowercase();
        // Quoted, or right after a colon.
        let pointed = near >= NEAR - 1 && gap.contains([':', '"', '\'', '`', '(', '=', '[', '<']);
        let joins = matches!(plain.as_str(), "in" | "with" | "on" | "by");
        let part = (ending && !joins) || is_starred(word.as_str());
        let secret = (near > 0 && has_run(word.as_str()))
            || (pointed && is_opaque(word.as_str()))
            || (near > 0 && part && plain.contains(|c: char| c.is_ascii_alphanumeric()))
            || known.iter().any(|secret| holds_part(word.as_str(), secret));
        let names = !secret && is_name(&plain);
        ending = match plain.as_str() {
            "ending" | "ends" | "end" | "starting" | "starts" | "beginning" | "begins" | "prefix"
            | "suffix" => true,
            _ => ending && joins,
        };
        // "provided", "is", "was": they point at what follows.
        let points = matches!(
            plain.as_str(),
            "provided" | "given" | "is" | "was" | "received" | "got" | "value" | "header"
        );
        near = if names {
            NEAR
        } else if points && near >= NEAR - 1 {
            near
        } else {
            near.saturating_sub(1)
        };
        new.push_str(if secret { MASK } else { word.as_str() });
    }
    new.push_str(&text[end..]);
    new
}

/// Whether a word of prose says that a secret follows.
fn is_name(word: &str) -> bool {
    let said = [
        "key",
        "keys",
        "apikey",
        "token",
        "secret",
        "password",
        "credential",
        "credentials",
        "bearer",
        "authorization",
    ];
    said.contains(&word) || (names_secret(word) && !word.ends_with("tokens"))
}

/// Whether most of a word was starred out by whoever wrote it.
fn is_starred(word: &str) -> bool {
    word.contains("**")
        || word.contains(['•', '…'])
        || (word.trim_matches('.').contains("...") && word.len() > 6)
}

/// Whether a value is no word: letters and digits, or capitals amid small letters.
fn is_opaque(value: &str) -> bool {
    let any = |is: fn(&u8) -> bool| value.as_bytes().iter().any(is);
    let digits = any(u8::is_ascii_digit) && any(u8::is_ascii_alphabetic);
    let mixed = value.len() >= RUN
        && any(u8::is_ascii_lowercase)
        && value.bytes().skip(1).filter(u8::is_ascii_uppercase).count() >= 2;
    value != MASK && (is_starred(value) || (value.len() >= 6 && (digits || mixed)) || value.len() >= 2 * RUN)
}

/// Whether a word that begins as a key does is one: not `sk-learn`.
fn is_key(word: &str) -> bool {
    let tail = BEGINNINGS
        .iter()
        .chain(&MORE)
        .filter_map(|start| word.strip_prefix(start))
        .min_by_key(|tail| tail.len());
    tail.is_some_and(|tail| {
        let opaque = tail.bytes().any(|b| b.is_ascii_digit())
            || tail.bytes().filter(u8::is_ascii_uppercase).count() >= 2;
        tail.contains('*') || is_starred(word) || tail.starts_with("..") || (tail.len() >= 8 && opaque)
    })
}

/// Whether a word holds letters and digits in one long run.
fn has_run(word: &str) -> bool {
    word.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let (digit, letter) =
            (run.bytes().any(|b| b.is_ascii_digit()), run.bytes().any(|b| b.is_ascii_alphabetic()));
        let upper = run.bytes().filter(u8::is_ascii_uppercase).count();
        run.len() >= RUN && letter && (digit || (upper >= 2 && upper < run.len()))
    })
}

/// Whether a word repeats a part of a secret.
fn holds_part(word: &str, secret: &str) -> bool {
    let opaque =
        secret.len() >= PARTS_FROM && secret.is_ascii() && is_opaque(secret) && !secret.contains([' ', '/']);
    opaque
        && word.len() >= PART
        && secret.as_bytes().windows(PART).any(|part| word.as_bytes().windows(PART).any(|of| of == part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Wires 6: whatever a provider repeats, of this key or another one, is not shown.
    #[test]
    fn w6_what_looks_like_a_credential_is_masked() {
        let hex = "0123456789abcdef0123456789abcdef";
        for (text, shown) in [
            (
                "Incorrect API key provided: sk-proj-abcDEF123456. Find yours at x",
                "Incorrect API key provided: *** Find yours at x",
            ),
            ("Incorrect API key provided: sk-proj-****7f3a.", "Incorrect API key provided: ***"),
            ("bad key sk-ant-api03-AbC_d-9xyz, sorry", "bad key ***, sorry"),
            ("Authorization: Bearer abcdefghij", "Authorization: Bearer ***"),
            ("Bearer s3cr3tvalue is not valid", "Bearer *** is not valid"),
            (
                r#"{"authorization":"Basic dXNlcjpwdw==","x-api-key":"hunter"}"#,
                r#"{"authorization":"Basic ***","x-api-key":"***"}"#,
            ),
            (r#"{\"api_key\": \"abc\"}"#, r#"{\"api_key\": \"***\"}"#),
            ("ghp_abcdefghij0123456789 and xoxb-1234-abcd-5678efgh", "*** and ***"),
            ("API key AIzaSyA-0123456789abcdefghijklmnopqrstu not valid", "API key *** not valid"),
            ("AKIAIOSFODNN7EXAMPLE", "***"),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_def-123 expired", "token *** expired"),
            (
                "GET https://h/v1/models?key=abc&alt=sse failed",
                "GET https://h/v1/models?key=***&alt=sse failed",
            ),
            ("proxy http://user:p@ss@h:8080/x refused", "proxy http://***@h:8080/x refused"),
            ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/***"),
            (
                "post https://api.telegram.org/bot123456789:AAF0123456789012345678901234567890a/x",
                "post https://api.telegram.org/***/x",
            ),
            (&format!("invalid subscription key {hex}"), "invalid subscription key ***"),
            (&format!("the key '{hex}' is unknown"), "the key '***' is unknown"),
            ("password=hunter2;user=a", "password=***;user=a"),
            ("the access token is abc123def", "the access token is abc123def"),
            ("invalid api key: abc123def", "invalid api key: ***"),
            ("your key ending in 7f3a was revoked", "your key ending in *** was revoked"),
            ("key abcd••••••••wxyz", "key ***"),
            ("key sk-...7f3a", "key ***"),
            ("Cookie: session=abc; other=def", "Cookie: ***"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- tail", "*** tail"),
            ("-----BEGIN PRIVATE KEY----- MIIE never closed", "***"),
            ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key=***"),
        ] {
            assert_eq!(prose(text, &[]), shown, "{text}");
            assert_eq!(prose(shown, &[]), shown, "once is enough");
        }
    }

    /// Wires 6: what helps to find the cause stays.
    #[test]
    fn w6_what_is_no_credential_stays() {
        for text in [
            "HTTP 401: Missing bearer or basic authentication in header",
            "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
            "The model `gpt-4o-2024-08-06` does not exist or you do not have access to it.",
            "This API key has no access to model 'meta-llama/Llama-3.3-70B-Instruct-Turbo'",
            "max_tokens: 65536 is too large; this model supports at most 4096 completion tokens",
            "`max_tokens` must be <= 4096. Given: 20 `inputs` tokens and 65536 `max_new_tokens`",
            "Rate limit reached for gpt-4 in organization org-abc on tokens per min (TPM): Limit 10000, Used 9500",
            "request id: 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            r#"{"type":"invalid_request_error","code":"invalid_api_key","param":null}"#,
            "api_key=None",
            "no token was sent",
            "sk-learn and xai-org/grok-1 and hf_hub_download",
            "cannot connect to `http://127.0.0.1:8080/v1`: Connection refused (os error 111)",
            "key: required",
            "",
        ] {
            assert_eq!(prose(text, &[]), text);
        }
    }

    /// Wires 6: the key in use, whole or in part, whatever it looks like.
    #[test]
    fn w6_known_values_and_their_parts_are_masked() {
        let key = "sk-canary-7f3a";
        assert_eq!(prose("bad key sk-canary-7f3a xxx", &[key]), "bad key *** xxx");
        assert_eq!(prose("we got canary- from you", &[key]), "we got canary- from you");
        assert_eq!(prose("we got anary-7f3a from you", &[key]), "we got *** from you");
        assert_eq!(prose("plainword was sent", &["plainword"]), "*** was sent");
        assert_eq!(prose("an application", &["my-application-x"]), "an application");
        assert_eq!(prose("abc", &["abc"]), "abc");
    }

    #[test]
    fn w6_long_texts_are_cut_at_a_word() {
        let text = format!("{} sk-abcdefgh12345678{}", "x ".repeat(MAX_TEXT / 2 - 8), "9".repeat(40));
        assert!(!prose(&text, &[]).contains("sk-"));
        assert!(prose(&"x".repeat(2 * MAX_TEXT), &[]).is_empty());
    }

    proptest! {
        #[test]
        fn a_key_does_not_survive(
            before in "[ -~]{0,30}", after in "( [ -~]{0,30})?", sep in "[ \"'`:=(,\\n]",
            key in "sk-[A-Za-z0-9]{20,40}1|ghp_[A-Za-z0-9]{30}1|AKIA[A-Z0-9]{16}",
        ) {
            let text = format!("{before}{sep}{key}{after}");
            prop_assert!(!prose(&text, &[]).contains(&key), "{}", prose(&text, &[]));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}", known in "[a-z0-9]{0,20}") {
            let _ = prose(&text, &[&known]);
        }
    }
}
