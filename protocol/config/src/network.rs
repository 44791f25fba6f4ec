//! How a profile's requests leave this machine: through which proxy, and whom they trust. Pure.
//!
//! The variables are those that curl and Python know, in either case. What the profile's `.env` says wins over what the gateway was
//! started with, and a variable that is set and empty there is unset. A proxy that only came with the gateway's environment is
//! not used for this machine's own addresses; one that the profile names is, unless its `NO_PROXY` says otherwise.

use camino::Utf8PathBuf;
use url::Url;

use super::host::is_loopback;
use super::{Env, Secret};

/// Variables that name a file (or directory) of certificates, the first that is set counts. 0.19.0 reads the same.
const FILES: [&str; 4] = ["HERMES_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// Variable that lists directories of certificates.
const DIRS: &str = "SSL_CERT_DIR";
/// Variables of proxies, lower case first: it wins, as in curl and Python.
const HTTP: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const HTTPS: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const ALL: [&str; 2] = ["all_proxy", "ALL_PROXY"];
const NONE: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The variables in question. `Debug` prints names only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    own: Vec<(&'static str, Secret)>,
    inherited: Vec<(&'static str, Secret)>,
    /// The one proxy that counts, whatever the others say.
    named: Option<(&'static str, Secret)>,
}

/// A place that holds certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// The variable that names it.
    pub variable: &'static str,
    /// The profile's `.env` holds that variable, and not the gateway's environment.
    pub is_own: bool,
    /// A file or a directory.
    pub path: Utf8PathBuf,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The variable that names it.
    pub variable: &'static str,
    /// With user name and password, where it has them.
    address: Secret,
    /// For people: without them.
    pub shown: String,
    /// Hosts that are reached without it, as `NO_PROXY` lists them.
    pub except: String,
}

/// A variable that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names no proxy: {why}")]
pub struct NoSuchProxy {
    /// Which.
    pub variable: &'static str,
    /// The profile's `.env` holds it.
    pub is_own: bool,
    /// Without the value: it may hold a password.
    pub why: String,
}

impl Network {
    /// What a profile's `.env` says.
    pub fn of(env: &Env) -> Self {
        let own = variables().filter_map(|name| Some((name, Secret::new(env.raw(name)?)))).collect();
        Self { own, inherited: Vec::new(), named: None }
    }

    /// The same, over what the gateway was started with.
    #[must_use]
    pub fn over(mut self, inherited: &[(String, String)]) -> Self {
        let find = |name: &str| inherited.iter().find(|(other, _)| other == name);
        self.inherited =
            variables().filter_map(|name| Some((name, Secret::new(find(name)?.1.as_str())))).collect();
        self
    }

    /// The same, but by this proxy, which a variable of the profile's own names.
    #[must_use]
    pub fn by(self, variable: &'static str, address: Secret) -> Self {
        Self { named: Some((variable, address)), ..self }
    }

    /// Where the certificates are that are trusted instead of the system's; none: the system's are.
    pub fn trusted(&self) -> Vec<Trusted> {
        let file = first(&self.own, &FILES).map(|found| (found, true)).or_else(|| {
            let unset = |name: &&str| !has(&self.own, name);
            let names: Vec<&str> = FILES.into_iter().filter(unset).collect();
            first(&self.inherited, &names).map(|found| (found, false))
        });
        let dirs = if has(&self.own, DIRS) {
            first(&self.own, &[DIRS]).map(|found| (found, true))
        } else {
            first(&self.inherited, &[DIRS]).map(|found| (found, false))
        };
        let place = |variable, is_own, path: &str| Trusted { variable, is_own, path: path.into() };
        let file = file.map(|((variable, path), is_own)| place(variable, is_own, path));
        let dirs = dirs.into_iter().flat_map(|((variable, paths), is_own)| {
            let paths = paths.split(':').filter(|path| !path.is_empty());
            paths.map(move |path| place(variable, is_own, path))
        });
        file.into_iter().chain(dirs).collect()
    }

    /// What no text about requests to an address may hold.
    pub fn secrets(&self, to: &Url) -> Vec<Secret> {
        self.proxy(to).ok().flatten().map_or_else(Vec::new, |proxy| proxy.secrets())
    }

    /// The proxy for requests to an address, before [`Proxy::except`] is looked at.
    pub fn proxy(&self, to: &Url) -> Result<Option<Proxy>, NoSuchProxy> {
        let by_scheme = if to.scheme() == "http" { HTTP } else { HTTPS };
        let of = |vars: &'_ [(&'static str, Secret)]| {
            let is_set = |names: &&[&'static str; 2]| names.iter().any(|name| has(vars, name));
            [by_scheme, ALL]
                .iter()
                .find(is_set)
                .map(|names| first(vars, names).map(|(variable, value)| (variable, value.to_owned())))
        };
        let named = self.named.as_ref().map(|(variable, value)| (*variable, value.expose().to_owned()));
        let (found, is_own) = match of(&self.own) {
            _ if named.is_some() => (named, true),
            Some(found) => (found, true),
            None if is_loopback(to) => (None, false),
            None => (of(&self.inherited).flatten(), false),
        };
        let Some((variable, value)) = found else { return Ok(None) };
        let none = |vars| NONE.iter().any(|name| has(vars, name)).then(|| first(vars, &NONE));
        let except = none(&self.own).or_else(|| none(&self.inherited)).flatten().map_or("", |(_, list)| list);
        Proxy::parse(variable, &value, except).map(Some).map_err(|why| NoSuchProxy {
            variable,
            is_own,
            why: why.to_owned(),
        })
    }
}

impl Proxy {
    /// Reads `http://user:password@host:port`; without a scheme it is HTTP, as everywhere.
    fn parse(variable: &'static str, value: &str, except: &str) -> Result<Self, &'static str> {
        let value = value.trim();
        let whole = match value.split_once("://") {
            Some(("socks", rest)) => format!("socks5://{rest}"),
            Some(_) => value.to_owned(),
            None => format!("http://{value}"),
        };
        let mut url = Url::parse(&whole).map_err(|_| "it is no address like http://host:port")?;
        if !matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") {
            return Err("its scheme is none of http, https, socks4, socks4a, socks5, socks5h");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it has no host, like http://host:port");
        }
        let address = Secret::new(url.as_str());
        // Neither can fail for an address with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let shown = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { variable, address, shown, except: except.to_owned() })
    }

    /// Its address, with what it wants to know of who asks.
    pub fn address(&self) -> &Secret {
        &self.address
    }

    /// Its password in the forms in which it may be met: as written, and as sent.
    pub fn secrets(&self) -> Vec<Secret> {
        let Ok(url) = Url::parse(self.address.expose()) else { return Vec::new() };
        let Some(password) = url.password() else { return Vec::new() };
        let plain = |text: &str| decode(text);
        let (user, decoded) = (plain(url.username()), plain(password));
        let mut all = vec![Secret::new(password), Secret::new(decoded.as_str())];
        all.push(Secret::new(format!("{user}:{decoded}")));
        all
    }
}

fn decode(text: &str) -> String {
    // Form encoding differs in `+` alone.
    let text = format!("v={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(text.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Every variable that is read here.
pub fn variables() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().chain([DIRS]).chain(HTTP).chain(HTTPS).chain(ALL).chain(NONE)
}

fn has(vars: &[(&'static str, Secret)], name: &str) -> bool {
    vars.iter().any(|(other, _)| *other == name)
}

/// The first of these that has a value.
fn first<'v>(vars: &'v [(&'static str, Secret)], names: &[&str]) -> Option<(&'static str, &'v str)> {
    names.iter().find_map(|name| {
        let (name, value) = vars.iter().find(|(other, _)| other == name)?;
        Some((*name, value.expose().trim())).filter(|(_, value)| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(own: &[(&str, &str)], inherited: &[(&str, &str)]) -> Network {
        let env = own.iter().map(|(n, v)| ((*n).to_owned(), Secret::new(*v))).collect::<Env>();
        let inherited: Vec<_> = inherited.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Network::of(&env).over(&inherited)
    }

    fn proxy(own: &[(&str, &str)], inherited: &[(&str, &str)], to: &str) -> Option<String> {
        let found = network(own, inherited).proxy(&Url::parse(to).unwrap()).unwrap();
        found.map(|proxy| format!("{} {} [{}]", proxy.variable, proxy.shown, proxy.except))
    }

    /// Wires 4: the profile's own variables win, in either case; what is set and empty is off.
    #[test]
    fn w4_a_profiles_proxy_is_its_own() {
        let (far, near, plain) =
            ("https://api.example/v1", "https://127.0.0.1:8/v1", "http://api.example/v1");
        let is = |text: &str| Some(text.to_owned());
        let a = ("HTTPS_PROXY", "http://a:1");
        assert_eq!(proxy(&[a], &[("https_proxy", "http://b:2")], far), is("HTTPS_PROXY http://a:1 []"));
        assert_eq!(proxy(&[a, ("https_proxy", "c:3")], &[], far), is("https_proxy http://c:3 []"));
        assert_eq!(proxy(&[], &[a], far), is("HTTPS_PROXY http://a:1 []"));
        assert_eq!(proxy(&[("HTTPS_PROXY", "")], &[a], far), None);
        assert_eq!(proxy(&[("ALL_PROXY", "socks5://s:9")], &[a], far), is("ALL_PROXY socks5://s:9 []"));
        assert_eq!(proxy(&[a, ("ALL_PROXY", "http://d:4")], &[], plain), is("ALL_PROXY http://d:4 []"));
        assert_eq!(proxy(&[a], &[], plain), None);
        assert_eq!(proxy(&[("http_proxy", "socks://s")], &[], plain), is("http_proxy socks5://s []"));
        // This machine: only where the profile says so.
        assert_eq!(proxy(&[], &[a], near), None);
        assert_eq!(proxy(&[a], &[], near), is("HTTPS_PROXY http://a:1 []"));
        let list = ("NO_PROXY", "x,y");
        assert_eq!(proxy(&[a], &[list], far), is("HTTPS_PROXY http://a:1 [x,y]"));
        assert_eq!(proxy(&[a, ("no_proxy", "")], &[list], far), is("HTTPS_PROXY http://a:1 []"));
    }

    #[test]
    fn a_proxy_for_one_service_comes_before_all_others() {
        let to = Url::parse("https://api.example").unwrap();
        let own = [("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "x")];
        let found = network(&own, &[]).by("TELEGRAM_PROXY", Secret::new("socks5://b:2")).proxy(&to);
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.variable, found.shown.as_str(), found.except.as_str()),
            ("TELEGRAM_PROXY", "socks5://b:2", "x")
        );
        let error =
            network(&[], &[]).by("TELEGRAM_PROXY", Secret::new("ftp://secret")).proxy(&to).unwrap_err();
        assert!(error.to_string().starts_with("TELEGRAM_PROXY names no proxy") && error.is_own);
    }

    /// Wires 4: a proxy's password is in no text, and known in every form in which it may be met.
    #[test]
    fn w4_a_proxys_password_is_a_secret() {
        let own = [("HTTPS_PROXY", "http://me:p%40ss+word@proxy:3128/")];
        let found = network(&own, &[]).proxy(&Url::parse("https://x").unwrap()).unwrap().unwrap();
        assert_eq!(found.shown, "http://proxy:3128");
        assert_eq!(found.address().expose(), "http://me:p%40ss+word@proxy:3128/");
        let secrets: Vec<_> = found.secrets().iter().map(|s| s.expose().to_owned()).collect();
        assert_eq!(secrets, ["p%40ss+word", "p@ss+word", "me:p@ss+word"]);
        assert!(!format!("{found:?}").contains("word"));
        for bad in ["ftp://me:secret@h", "http://", "http://me:secret@", "://", "http://[", "a b"] {
            let own = [("https_proxy", bad)];
            let error = network(&own, &[]).proxy(&Url::parse("https://x").unwrap()).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("https_proxy names no proxy: it") && !text.contains("secret"), "{text}");
        }
    }

    /// Wires 4: whom a profile trusts is its own matter.
    #[test]
    fn w4_a_profile_trusts_whom_it_names() {
        let places = |own: &[(&str, &str)], inherited: &[(&str, &str)]| -> Vec<String> {
            let all = network(own, inherited).trusted();
            all.iter().map(|t| format!("{} {} {}", t.variable, t.is_own, t.path)).collect()
        };
        assert_eq!(places(&[], &[]), [] as [&str; 0]);
        assert_eq!(places(&[("SSL_CERT_FILE", "/a")], &[("SSL_CERT_FILE", "/b")]), ["SSL_CERT_FILE true /a"]);
        assert_eq!(
            places(&[("CURL_CA_BUNDLE", "/a")], &[("SSL_CERT_FILE", "/b")]),
            ["CURL_CA_BUNDLE true /a"]
        );
        assert_eq!(places(&[("SSL_CERT_FILE", "")], &[("SSL_CERT_FILE", "/b")]), [] as [&str; 0]);
        assert_eq!(
            places(&[("REQUESTS_CA_BUNDLE", "/r"), ("SSL_CERT_FILE", "/a"), ("SSL_CERT_DIR", "/d::/e")], &[]),
            ["SSL_CERT_FILE true /a", "SSL_CERT_DIR true /d", "SSL_CERT_DIR true /e"]
        );
        assert_eq!(places(&[], &[("SSL_CERT_DIR", "/d")]), ["SSL_CERT_DIR false /d"]);
    }
}
