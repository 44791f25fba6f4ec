//! What the own mail server says of a sender (RFC 8601, `Authentication-Results`). Pure.
//!
//! Anybody can write any address into `From:`, and any header below those that his mail gets on its way. What counts is the topmost header
//! that bears the name of a server whose word counts; what stands below it under the same name came with the mail. It is read as its grammar
//! says, with comments and quoted texts, of which a stranger may choose some: what stands inside them says nothing.

use super::address::{self, is_within};

/// Longest header that is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// Deepest comment.
const DEEPEST: usize = 16;

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Results {
    /// Who says so.
    pub(crate) server: String,
    pub(crate) all: Vec<Finding>,
}

/// What one method has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `dmarc`, `dkim`, `spf`, …
    pub(crate) method: String,
    /// `pass`, `fail`, `none`, …
    pub(crate) result: String,
    /// `header.d` and the like, with what they are.
    pub(crate) properties: Vec<(String, String)>,
}

/// Why a sender is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    /// Nobody whose word counts says anything.
    #[error("no Authentication-Results of the own mail server")]
    Unsaid,
    /// He says that it is not so.
    #[error("the own mail server says that the sender is not who he says (DMARC failed)")]
    Failed,
    /// Nothing that passed is the sender's own.
    #[error("neither DMARC nor DKIM nor SPF has passed for the sender's domain")]
    Unproven,
}

/// Whether a sender is who he says, as those headers tell that a mail has, from the top. `authorities`: whose word counts.
pub(crate) fn judge<'h>(
    headers: impl IntoIterator<Item = &'h str>,
    authorities: &[String],
    from: &str,
) -> Result<(), Doubt> {
    let counts = |results: &Results| authorities.iter().any(|one| is_within(&results.server, one));
    let results = headers.into_iter().filter_map(parse).find(counts).ok_or(Doubt::Unsaid)?;
    let domain = address::domain(from);
    let of = |method: &'static str| results.all.iter().filter(move |finding| finding.method == method);
    if of("dmarc").any(|finding| finding.result == "fail") {
        return Err(Doubt::Failed);
    }
    // DMARC has compared the domains; a server that says which one it has looked at says it of this one.
    let of_sender = |finding: &Finding| match finding.property("header.from") {
        Some(named) => address::domain(named).eq_ignore_ascii_case(domain),
        None => true,
    };
    let signed = |finding: &Finding| {
        let by = finding.property("header.d").or_else(|| finding.property("header.i").map(address::domain));
        by.is_some_and(|by| is_within(domain, by))
    };
    let sent = |finding: &Finding| {
        let by = finding.property("smtp.mailfrom").or_else(|| finding.property("smtp.from"));
        by.is_some_and(|by| is_within(domain, address::domain(by)))
    };
    let passed = |method, is_own: &dyn Fn(&Finding) -> bool| {
        of(method).any(|finding| finding.result == "pass" && is_own(finding))
    };
    let is_proven = passed("dmarc", &of_sender) || passed("dkim", &signed) || passed("spf", &sent);
    if is_proven { Ok(()) } else { Err(Doubt::Unproven) }
}

impl Finding {
    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads one; none: it is not understood, and says nothing.
pub(crate) fn parse(header: &str) -> Option<Results> {
    if header.len() > LONGEST {
        return None;
    }
    let parts = split(header)?;
    let mut parts = parts.into_iter();
    // A version may stand behind the name.
    let server = parts.next()?.into_iter().next()?;
    let server = match server {
        Piece::Word(word) | Piece::Quoted(word) => word.to_ascii_lowercase(),
        Piece::Equals => return None,
    };
    let all = parts.filter_map(|pieces| finding(&pieces)).collect();
    Some(Results { server, all })
}

/// A word, a text in quotes, or the sign between them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Word(String),
    Quoted(String),
    Equals,
}

/// The pieces of each part between semicolons, without comments. None: a text or a comment does not end.
fn split(header: &str) -> Option<Vec<Vec<Piece>>> {
    let (mut all, mut part, mut word) = (Vec::new(), Vec::new(), String::new());
    let mut chars = header.chars();
    let flush = |word: &mut String, part: &mut Vec<Piece>| {
        if !word.is_empty() {
            part.push(Piece::Word(std::mem::take(word)));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                flush(&mut word, &mut part);
                let mut depth = 1;
                while depth > 0 {
                    match chars.next()? {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        '\\' => drop(chars.next()?),
                        _ => {}
                    }
                    if depth > DEEPEST {
                        return None;
                    }
                }
            }
            '"' => {
                flush(&mut word, &mut part);
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => text.push(chars.next()?),
                        c => text.push(c),
                    }
                }
                part.push(Piece::Quoted(text));
            }
            ';' => {
                flush(&mut word, &mut part);
                all.push(std::mem::take(&mut part));
            }
            // A value may hold others.
            '=' if matches!(part.last(), Some(Piece::Equals)) && !word.is_empty() => word.push('='),
            '=' => {
                flush(&mut word, &mut part);
                part.push(Piece::Equals);
            }
            c if c.is_whitespace() => flush(&mut word, &mut part),
            c => word.push(c),
        }
    }
    flush(&mut word, &mut part);
    all.push(part);
    Some(all)
}

/// `method[/version]=result`, and properties behind it: `name=value`.
fn finding(pieces: &[Piece]) -> Option<Finding> {
    // What was found is a bare word.
    let [Piece::Word(method), Piece::Equals, Piece::Word(result), rest @ ..] = pieces else { return None };
    let method = method.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let mut properties = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        match pair(rest) {
            Some(((name, value), behind)) => {
                properties.push((name.to_ascii_lowercase(), value.to_owned()));
                rest = behind;
            }
            // A word that says nothing of itself.
            None => rest = &rest[1..],
        }
    }
    Some(Finding { method, result: result.to_ascii_lowercase(), properties })
}

type Pair<'p> = (&'p str, &'p str);

/// The pair at the beginning, and what follows it. Its name is no text in quotes.
fn pair(pieces: &[Piece]) -> Option<(Pair<'_>, &[Piece])> {
    match pieces {
        [Piece::Word(name), Piece::Equals, Piece::Word(value) | Piece::Quoted(value), rest @ ..] => {
            Some(((name, value), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "mx.example.org";

    fn of(headers: &[&str], from: &str) -> Result<(), Doubt> {
        judge(headers.iter().copied(), &[OWN.to_owned()], from)
    }

    #[test]
    fn what_passes_for_the_senders_own_domain_proves_him() {
        for header in [
            "mx.example.org; dmarc=pass (p=NONE) header.from=good.test",
            "MX.example.org 1; spf=fail smtp.mailfrom=x@bad.test; dkim=pass header.d=good.test header.s=s1",
            "mx.example.org;\r\n dkim=pass (2048-bit key) header.i=@good.test",
            "mx.example.org; spf=pass (sender IP is 1.2.3.4) smtp.mailfrom=bounce@good.test",
            "mx.example.org; dkim/1=pass header.d=\"good.test\"",
            "inner.mx.example.org; dmarc=pass",
        ] {
            assert_eq!(of(&[header], "ann@good.test"), Ok(()), "{header}");
        }
        assert_eq!(of(&["mx.example.org; dkim=pass header.d=good.test"], "a@mail.good.test"), Ok(()));
    }

    #[test]
    fn what_passes_for_somebody_else_proves_nothing() {
        for header in [
            "mx.example.org; dkim=pass header.d=evil.test; spf=pass smtp.mailfrom=x@evil.test",
            "mx.example.org; dkim=pass header.d=evilgood.test",
            "mx.example.org; dkim=pass header.d=sub.good.test",
            "mx.example.org; dmarc=pass header.from=evil.test",
            "mx.example.org; spf=pass smtp.mailfrom=good.test@evil.test",
            "mx.example.org; dmarc=none; dkim=none; spf=softfail smtp.mailfrom=ann@good.test",
            "mx.example.org; none",
            "mx.example.org; spf=fail smtp.mailfrom=\"a; dmarc=pass\"@evil.test",
            "mx.example.org; spf=fail (dmarc=pass; dkim=pass header.d=good.test) smtp.mailfrom=x@evil.test",
            "mx.example.org; \"dmarc\"=pass",
            "mx.example.org; x-note=\"\\\"; dmarc=pass\"",
            "mx.example.org; dkim=pass header.i=a=header.d=good.test",
            "mx.example.org; spf=pass smtp.mailfrom=x=good.test@evil.test",
        ] {
            assert_eq!(of(&[header], "ann@good.test"), Err(Doubt::Unproven), "{header}");
        }
        let failed = "mx.example.org; dmarc=fail header.from=good.test; dkim=pass header.d=good.test";
        assert_eq!(of(&[failed], "ann@good.test"), Err(Doubt::Failed));
    }

    #[test]
    fn only_the_topmost_word_of_the_own_server_counts() {
        let (good, bad) = ("mx.example.org; dmarc=pass", "mx.example.org; dmarc=fail");
        assert_eq!(of(&["relay.test; dmarc=fail", good, bad], "ann@good.test"), Ok(()));
        assert_eq!(of(&[bad, good], "ann@good.test"), Err(Doubt::Failed));
        for header in [
            "evil.test; dmarc=pass",
            "mx.example.org.evil.test; dmarc=pass",
            "xmx.example.org; dmarc=pass",
            "",
            "(",
            ";",
            "mx.example.org (; dmarc=pass",
        ] {
            assert_eq!(of(&[header], "ann@good.test"), Err(Doubt::Unsaid), "{header}");
        }
        assert_eq!(of(&[], "ann@good.test"), Err(Doubt::Unsaid));
    }
}
