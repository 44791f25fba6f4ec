//! What tools keep to sign in with, and private keys: by the names they give them, and by what is in the files.
//!
//! Below `home/`, the home directory of the tools that an agent runs, a hidden entry stays out unless it is known to hold none:
//! every year has new tools, and nobody finds out in time where they keep their keys. Anywhere else the names that mean a login
//! on every machine count, and the content.

use camino::Utf8Path;
use hermes_config::redact;
use hermes_worker::REGISTRY;

/// Directories and files that are logins wherever they stand.
const ANYWHERE: [&str; 34] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".password-store",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".pgpass",
    ".pypirc",
    ".my.cnf",
    ".s3cfg",
    ".boto",
    ".vault-token",
    ".databrickscfg",
    ".terraformrc",
    "auth.json",
    "credentials",
    "credentials.json",
    "credentials.toml",
    "credentials.yaml",
    "credentials.yml",
    "credentials.ini",
    "credentials.db",
    "application_default_credentials.json",
    "client_secret.json",
    "service_account.json",
    "service-account.json",
    "oauth_creds.json",
    "terraform.tfstate",
    "terraform.tfstate.backup",
    "login.keychain-db",
];

/// Ends of names of stores of keys.
const STORES: [&str; 7] = ["p12", "pfx", "jks", "keystore", "kdbx", "ppk", "keychain"];

/// Entries of `home/` that are not hidden and hold what browsers and desktop programs signed in with.
const VISIBLE: [&str; 4] = ["Library", "AppData", "snap", "keys"];

/// Hidden entries of `home/` that come along: settings of shells and editors. They are read before they do.
const SETTINGS: [&str; 30] = [
    ".bashrc",
    ".bash_profile",
    ".bash_aliases",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".zshenv",
    ".zlogin",
    ".inputrc",
    ".vimrc",
    ".vim",
    ".nanorc",
    ".emacs",
    ".emacs.d",
    ".tmux.conf",
    ".screenrc",
    ".editorconfig",
    ".gitconfig",
    ".gitignore",
    ".gitignore_global",
    ".gitattributes",
    ".dircolors",
    ".Xresources",
    ".selected_editor",
    ".hushlogin",
    ".prettierrc",
    ".eslintrc",
    ".pylintrc",
    ".config",
];

/// The same for `home/.config/`.
const CONFIGS: [&str; 18] = [
    "nvim",
    "vim",
    "helix",
    "micro",
    "nano",
    "emacs",
    "git",
    "htop",
    "btop",
    "bat",
    "fish",
    "zsh",
    "tmux",
    "zellij",
    "starship.toml",
    "ripgrep",
    "fd",
    "user-dirs.dirs",
];

/// Whether the entry at `path`, relative to a home, is one that tools sign in with.
pub(crate) fn is_login(path: &Utf8Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    ANYWHERE.contains(&name)
        || path.extension().is_some_and(|end| STORES.contains(&end))
        || name.starts_with("client_secret_")
        || path.strip_prefix("home").is_ok_and(is_kept_below_home)
}

fn is_kept_below_home(below: &Utf8Path) -> bool {
    let mut names = below.components().map(|c| c.as_str());
    let Some(top) = names.next() else { return false };
    let name = below.file_name().unwrap_or_default().to_ascii_lowercase();
    if VISIBLE.contains(&top)
        || name.trim_start_matches('.').starts_with("credentials")
        || name.starts_with(".env")
    {
        return true;
    }
    if !top.starts_with('.') {
        return false;
    }
    let known = SETTINGS.contains(&top);
    match names.next() {
        Some(config) if top == ".config" => !CONFIGS.contains(&config),
        _ => !known,
    }
}

/// Whether a file named so may hold variables with secrets: `.env`, `.env.local`, `prod.env`; not `.env.example`.
pub(crate) fn is_dotenv(path: &Utf8Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    !is_template(name)
        && (name == ".env"
            || name.starts_with(".env.")
            || path.extension() == Some("env")
            || name == ".envrc")
}

/// What is in it shows how it is filled in.
fn is_template(name: &str) -> bool {
    ["example", "sample", "template", "dist", "defaults"].iter().any(|end| name.ends_with(end))
}

/// Why a file stays out because of what is in it, of which `start` is all or the first part.
pub(crate) fn holds_login(path: &Utf8Path, start: &[u8]) -> Option<&'static str> {
    if holds_private_key(start) {
        return Some("it holds a private key");
    }
    if is_dotenv(path) {
        return redact::values::holds_values(&REGISTRY, start).then_some("it is a .env with keys in it");
    }
    let name = path.file_name().unwrap_or_default();
    let of_git = path.as_str().ends_with(".git/config") || name == ".gitmodules";
    let settings = of_git || (name.starts_with('.') && !is_template(name));
    (settings && std::str::from_utf8(start).is_ok_and(redact::holds_key))
        .then_some("it holds what looks like a key or a password")
}

/// `-----BEGIN … PRIVATE KEY-----` with a key behind it; a text about such files has none.
fn holds_private_key(bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY";
    const KEY: usize = 40;
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if bytes.starts_with(b"PuTTY-User-Key-File") {
        return true;
    }
    let mut rest = bytes;
    while let Some(at) = find(rest, MARK) {
        let begun = rest[..at].ends_with(b"BEGIN ")
            || find(&rest[at.saturating_sub(32)..at], b"-----BEGIN ").is_some();
        rest = &rest[at + MARK.len()..];
        if !begun {
            continue;
        }
        // Line ends, also as escapes of JSON, and headers of old keys.
        let behind = &rest[..rest.len().min(400)];
        let text = String::from_utf8_lossy(behind).replace("\\n", "\n").replace("\\r", "");
        if text.lines().skip(1).any(|line| {
            let line = line.trim().trim_matches(['"', '\'', ',']);
            line.len() >= KEY && line.bytes().all(|byte| is_of_key(&byte))
        }) {
            return true;
        }
    }
    false
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wires 12: logins of AI tools, clouds, package managers, browsers; settings stay.
    #[test]
    fn names_of_logins() {
        for path in [
            ".aider.conf.yml",
            ".anthropic/api_key",
            ".aws/credentials",
            ".azure/msal_token_cache.json",
            ".bash_history",
            ".cargo/credentials.toml",
            ".claude.json",
            ".claude/.credentials.json",
            ".codex/auth.json",
            ".composer/auth.json",
            ".config/chromium/Default/Cookies",
            ".config/configstore/firebase-tools.json",
            ".config/gcloud/application_default_credentials.json",
            ".config/gh/hosts.yml",
            ".config/github-copilot/apps.json",
            ".config/glab-cli/config.yml",
            ".config/google-chrome/Default/Login Data",
            ".config/op/config",
            ".config/opencode/opencode.json",
            ".config/rclone/rclone.conf",
            ".config/sops/age/keys.txt",
            ".docker/config.json",
            ".gem/credentials",
            ".gemini/oauth_creds.json",
            ".git-credentials",
            ".gnupg/private-keys-v1.d/x.key",
            ".huggingface/token",
            ".kube/config",
            ".local/share/keyrings/login.keyring",
            ".local/share/opencode/auth.json",
            ".m2/settings.xml",
            ".mozilla/firefox/x/logins.json",
            ".netrc",
            ".npmrc",
            ".ollama/id_ed25519",
            ".password-store/x.gpg",
            ".pypirc",
            ".ssh/id_ed25519",
            ".terraform.d/credentials.tfrc.json",
            "Library/Keychains/login.keychain-db",
            "projects/app/.env",
            "projects/app/credentials.yml.enc",
            "work/auth.json",
            "snap/x",
        ] {
            let path = Utf8Path::new("home").join(path);
            let out = path.ancestors().any(|above| !above.as_str().is_empty() && is_login(above));
            assert!(out, "{path}");
        }
        for path in [
            "notes",
            ".bashrc",
            ".config/nvim/init.lua",
            ".config",
            ".gitconfig",
            "projects/app/main.py",
            "bin/x",
        ] {
            assert!(!is_login(&Utf8Path::new("home").join(path)), "{path}");
        }
        for path in ["workspace/auth.json", "workspace/.ssh", "skills/x/auth.json", "workspace/store.kdbx"] {
            assert!(is_login(Utf8Path::new(path)), "{path}");
        }
        for path in
            ["skills/x/credentials.md", "workspace/.github", "skills/x/.env", "home", "workspace/author.json"]
        {
            assert!(!is_login(Utf8Path::new(path)), "{path}");
        }
    }

    #[test]
    fn contents_of_logins() {
        let holds = |path: &str, text: &str| holds_login(Utf8Path::new(path), text.as_bytes()).is_some();
        let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDF";
        for (path, text) in [
            ("workspace/x.pem", format!("-----BEGIN RSA PRIVATE KEY-----\n{key}\n")),
            ("workspace/x", format!("Bag\n-----BEGIN OPENSSH PRIVATE KEY-----\r\n{key}\r\n")),
            ("workspace/x.json", format!("{{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{key}\\n\"}}")),
            ("workspace/x.asc", format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{key}\n")),
            ("workspace/app/.env", "DB_PASSWORD=hunter22\n".to_owned()),
            ("workspace/app/.env.local", "A=sk-abcdef0123456789\n".to_owned()),
            ("workspace/app/.npmrc", "//r.example/:_authToken=abcdef012345\n".to_owned()),
            ("workspace/app/.git/config", "[remote]\n\turl = https://me:pass1234@host/x\n".to_owned()),
            ("home/.bashrc", "export OPENAI_API_KEY=abcdef\n".to_owned()),
            ("home/.gitconfig", "[github]\n\ttoken = abcdef0123\n".to_owned()),
        ] {
            assert!(holds(path, &text), "{path}");
        }
        for (path, text) in [
            ("skills/x.md", "-----BEGIN PRIVATE KEY-----\n…\n"),
            ("workspace/app/.env.example", "DB_PASSWORD=hunter22\n"),
            ("skills/deep/.env", "TEMPLATE=fill me in\nAPI_KEY=\n"),
            ("home/.bashrc", "export PATH=$PATH:/x\nexport TOKEN=$(pass show x)\n"),
            ("workspace/app/.npmrc", "registry=https://r.example\n"),
            ("workspace/.gitignore", "*.key\n"),
        ] {
            assert!(!holds(path, text), "{path}");
        }
    }
}
