//! Mission control in a browser: the page on the admin address.

use hermes_tests::browser::Browser;
use hermes_tests::gateway::run;
use hermes_tests::{Gateway, Home, http, process, tools, wait};
use nix::sys::signal::Signal;

const TOKEN: &str = "a-token-that-nobody-guesses";

fn home(extra: &str) -> Home {
    let home = Home::with_config(&Home::config("true", &format!("  admin: 127.0.0.1:0\n{extra}")));
    home.profile("coder").profile("ops").profile("archivist");
    home
}

fn admin(gateway: &Gateway<'_>) -> String {
    gateway.status().gateway.admin.unwrap()
}

/// Whether every text can be read on what is behind it (WCAG AA: 4.5 to 1).
const CONTRAST: &str = r#"(() => {
  const parts = text => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim());
    if (!own || !node.offsetParent) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(`${node.tagName} ${node.className} ${node.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return bad.join("; ");
})()"#;

/// N3: who lives, and why not, at a glance: in light and dark, wide and at 360 pixels, and for a screen reader; brought up to date by itself,
/// through a gateway that goes and comes.
#[test]
fn n3_the_page_shows_who_lives_and_follows() {
    if !tools::have("chromium") {
        return;
    }
    let home = home("");
    let mut gateway = Gateway::start(&home);
    assert!(run(&home, &["gateway", "stop", "-p", "ops"]).status.success());
    // Something to be seen: a profile that dies again and again, and some requests.
    wait::until_true("a crash loop", || {
        let archivist = gateway.profile("archivist");
        if let Some(pid) = archivist.pid {
            process::signal(pid, Signal::SIGKILL);
        }
        archivist.state == "crash_loop"
    });
    for _ in 0..20 {
        gateway.chat("/p/coder", &Home::key("coder"), "hello");
    }
    let address = admin(&gateway);
    let mut browser = Browser::start();
    browser.screen(1280, 900, false);
    browser.open(&format!("http://{address}/"));
    browser.wait_for("document.querySelectorAll('#profiles tr').length === 4");
    let row = |name: &str| {
        format!(
            "[...document.querySelectorAll('#profiles tr')].find(r => r.textContent.startsWith('{name}')).textContent"
        )
    };
    browser.wait_for(&format!("{}.includes('crash_loop')", row("archivist")));
    browser.wait_for(&format!("{}.includes('parked')", row("ops")));
    browser.wait_for("document.querySelectorAll('#events li').length > 5");
    let reason = browser.value(&row("archivist"));
    assert!(reason.as_str().unwrap().contains("SIGKILL"), "{reason}");
    browser.keep("page-light");
    assert_eq!(browser.value(CONTRAST), "", "light");
    browser.screen(1280, 900, true);
    assert_eq!(browser.value(CONTRAST), "", "dark");
    browser.keep("page-dark");

    // A telephone: nothing has to be moved aside.
    browser.screen(360, 780, false);
    assert_eq!(browser.value("document.documentElement.scrollWidth"), 360);
    browser.keep("page-360-light");
    browser.screen(360, 780, true);
    browser.keep("page-360-dark");
    assert_eq!(browser.value(CONTRAST), "", "dark and narrow");
    let heard = browser.read_aloud();
    let count = |role: &str| heard.iter().filter(|(of, _)| of == role).count();
    assert_eq!((count("table"), count("columnheader"), count("rowheader")), (1, 9, 4), "{heard:?}");
    assert!(heard.iter().any(|(role, name)| role == "rowheader" && name == "coder"), "{heard:?}");
    assert!(count("status") >= 1 && count("heading") >= 3, "{heard:?}");

    // It follows, and says what has changed.
    gateway.kill_worker("coder");
    assert!(run(&home, &["gateway", "stop", "-p", "coder"]).status.success());
    browser.wait_for(&format!("{}.includes('parked')", row("coder")));
    browser.wait_for("document.getElementById('live').textContent.includes('coder is parked')");
    assert_eq!(gateway.stop(), Some(0));
    browser.wait_for("document.getElementById('state').textContent === 'no answer'");
    let foreign: Vec<&String> = browser
        .complaints
        .iter()
        .filter(|said| !said.contains("ERR_") && !said.contains("Failed to load"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// The page holds nothing; what it asks for needs the token where there is one, and so does everything but liveness. The supervisor
/// has it only when somebody sends it.
#[test]
fn n3_7_a_token_guards_everything_but_liveness() {
    let home = home("");
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nGATEWAY_ADMIN_TOKEN={TOKEN}\n", hermes_tests::home::DEFAULT_KEY),
    );
    let gateway = Gateway::start(&home);
    let address = admin(&gateway);
    // Until somebody sends it.
    if hermes_tests::tools::may_look_into_others() {
        assert_eq!(process::find_in_memory(gateway.pid(), &[TOKEN]), Vec::<String>::new());
    }
    let get =
        |path: &str, headers: &[(&str, &str)]| http::request(&address, "GET", path, headers, b"").unwrap();
    for path in ["/status", "/events", "/metrics", "/ready"] {
        assert_eq!(get(path, &[]).status, 401, "{path}");
        assert_eq!(
            get(path, &[("Authorization", "Bearer a-token-that-nobody-guesse")]).status,
            401,
            "{path}"
        );
    }
    for path in ["/status", "/metrics", "/ready"] {
        assert_eq!(get(path, &[("Authorization", &format!("Bearer {TOKEN}"))]).status, 200, "{path}");
    }
    assert_eq!(get("/health", &[]).status, 200);
    let page = get("/", &[]);
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("coder"), "the page itself tells nothing");
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'nonce-") && !policy.contains("unsafe"),
        "{policy}"
    );
    let wrong = http::request(&address, "POST", "/login", &[], b"wrong").unwrap();
    assert_eq!(wrong.status, 401);
    let right = http::request(&address, "POST", "/login", &[], TOKEN.as_bytes()).unwrap();
    assert_eq!(right.status, 204, "{}", right.text());
    let cookie = right.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(get("/status", &[("Cookie", &cookie)]).status, 200);

    // Another token, by the file that changes: the old one opens nothing any more, nor does who came in by it.
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nGATEWAY_ADMIN_TOKEN={TOKEN}-2\n", hermes_tests::home::DEFAULT_KEY),
    );
    wait::until_true("the other token", || {
        get("/status", &[("Authorization", &format!("Bearer {TOKEN}-2"))]).status == 200
    });
    assert_eq!(get("/status", &[("Authorization", &format!("Bearer {TOKEN}"))]).status, 401);
    assert_eq!(get("/status", &[("Cookie", &cookie)]).status, 401);
}

/// An address that others reach is refused without a token, and listened on with one.
#[test]
fn n3_7_an_address_that_others_reach_needs_a_token() {
    let config = Home::config("true", "  admin: 0.0.0.0:0\n");
    let home = Home::with_config(&config);
    let mut gateway = Gateway::spawn(&home, &[], &[]);
    assert_eq!(gateway.wait(), Some(78), "{}", gateway.output());
    assert!(
        gateway.output().contains("without gateway.admin_token use 127.0.0.1:PORT"),
        "{}",
        gateway.output()
    );
    home.write(
        "default",
        "config.yaml",
        &config.replace("admin: 0.0.0.0:0", "admin: 0.0.0.0:0\n  admin_token: short"),
    );
    let mut gateway = Gateway::spawn(&home, &[], &[]);
    assert_eq!(gateway.wait(), Some(78), "{}", gateway.output());
    home.write(
        "default",
        "config.yaml",
        &config.replace("admin: 0.0.0.0:0", &format!("admin: 0.0.0.0:0\n  admin_token: {TOKEN}")),
    );
    let gateway = Gateway::start(&home);
    let port = admin(&gateway).rsplit_once(':').unwrap().1.to_owned();
    let address = format!("127.0.0.1:{port}");
    let get =
        |headers: &[(&str, &str)]| http::request(&address, "GET", "/status", headers, b"").unwrap().status;
    assert_eq!((get(&[]), get(&[("Authorization", &format!("Bearer {TOKEN}"))])), (401, 200));
}

/// In a browser: the field for the token, and what it opens.
#[test]
fn n3_7_a_browser_gives_the_token_once() {
    if !tools::have("chromium") {
        return;
    }
    let home = home(&format!("  admin_token: {TOKEN}\n"));
    let gateway = Gateway::start(&home);
    let mut browser = Browser::start();
    browser.screen(360, 640, false);
    browser.open(&format!("http://{}/", admin(&gateway)));
    browser.wait_for("!document.getElementById('login').hidden");
    browser.keep("page-login");
    let give = |token: &str| {
        format!(
            "document.getElementById('token').value = '{token}', document.querySelector('#login button').click(), 1"
        )
    };
    browser.value(&give("wrong-wrong-wrong-wrong"));
    browser.wait_for("document.getElementById('wrong').textContent === 'That is not the token.'");
    browser.value(&give(TOKEN));
    browser.wait_for("document.querySelectorAll('#profiles tr').length === 4");
    assert_eq!(browser.value("document.cookie"), "", "no script sees it");
    browser.value("document.getElementById('logout').click(), 1");
    browser.wait_for("!document.getElementById('login').hidden && document.getElementById('all').hidden");
}
