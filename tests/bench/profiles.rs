//! Profiles: how fast they are listed, copied, packed and unpacked, beside the tools that do nothing else.
//!
//! Ours and the tool alternate in every round, on the same home, and each starts without what it makes. Ours is on disk when it
//! ends; the tool's is not, so the tool followed by a sync is shown too.

use std::process::{Command, Stdio};

use camino::Utf8Path;
use hermes_tests::{Home, gateway};

use crate::table::{Table, median};

/// Rounds; the first one of each warms the cache and does not count.
const ROUNDS: usize = 6;
/// Bytes of the home that is copied.
const SIZE: usize = 100_000_000;

/// The section.
pub(crate) fn run(table: &mut Table) {
    lists(table);
    copies(table);
}

fn lists(table: &mut Table) {
    for (n, must) in [(50, "<= 20 ms"), (1000, "<= 150 ms")] {
        let home = Home::empty();
        home.write("default", "config.yaml", "model: a/b\n");
        for i in 0..n {
            home.write(
                &format!("p{i}"),
                "config.yaml",
                "model: {default: some/model, provider: openrouter}\n",
            );
            home.write(&format!("p{i}"), ".env", "OPENROUTER_API_KEY=x\n");
            home.write(&format!("p{i}"), "skills/one/SKILL.md", "x");
        }
        let took = repeat(21, || {
            assert!(gateway::run(&home, &["profile", "list"]).status.success());
        });
        table.row(
            format!("profile list, {n} profiles"),
            must,
            format!("{:.1} ms", took * 1e3),
            "Python: 900 ms",
        );
    }
    let home = Home::empty();
    let took = repeat(41, || {
        assert!(gateway::run(&home, &["--help"]).status.success());
    });
    table.row("hermes --help", "<= 5 ms", format!("{:.1} ms", took * 1e3), "Python: 500 ms");
}

fn copies(table: &mut Table) {
    let home = Home::empty();
    realistic(&home);
    let user = home.user();
    let (big, archive) = (home.of("big"), user.join("big.tar.gz"));
    let ours = |args: &[&str]| {
        let ran = gateway::run(&home, args);
        assert!(ran.status.success(), "{}", gateway::both(&ran));
    };
    let tools = |script: &str| {
        let done = shell(script, &user, &big);
        assert!(done, "{script}");
    };
    let gone = |path: &Utf8Path| {
        let _ = fs_err::remove_dir_all(path);
        let _ = fs_err::remove_file(path);
    };
    ours(&["profile", "export", "big", "-o", archive.as_str()]);
    let (new, copy) = (home.of("new"), user.join("copy"));
    let pairs: [(&str, &[&str], [&str; 2]); 3] = [
        (
            "clone of a 100 MB home",
            &["profile", "create", "new", "--clone-all", "--clone-from", "big", "--no-alias"],
            ["cp -a \"$HOME_OF_BIG\" copy", "cp -a \"$HOME_OF_BIG\" copy && sync -f copy"],
        ),
        (
            "export of a 100 MB home",
            &["profile", "export", "big", "-o", "copy"],
            [
                "tar cf - -C \"$HOME_OF_BIG/..\" big | taskset -c 0 gzip -6 > copy.tar.gz",
                "tar cf - -C \"$HOME_OF_BIG/..\" big | taskset -c 0 gzip -6 > copy.tar.gz && sync copy.tar.gz",
            ],
        ),
        (
            "import of a 100 MB home",
            &["profile", "import", archive.as_str(), "--name", "new"],
            [
                "mkdir copy && tar xzf big.tar.gz -C copy",
                "mkdir copy && tar xzf big.tar.gz -C copy && sync -f copy",
            ],
        ),
    ];
    for (what, args, [plain, synced]) in pairs {
        let args: Vec<String> =
            args.iter().map(|a| if *a == "copy" { copy.to_string() } else { (*a).to_owned() }).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let clear = || {
            for path in [&new, &copy, &user.join("copy.tar.gz"), &user.join(".local")] {
                gone(path);
            }
            // Nobody pays for what the one before left unwritten.
            shell("sync -f .", &user, &big);
        };
        let (mut us, mut them, mut durable) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let timed =
                [time(&clear, || ours(&args)), time(&clear, || tools(plain)), time(&clear, || tools(synced))];
            if round > 0 {
                us.push(timed[0]);
                them.push(timed[1]);
                durable.push(timed[2]);
            }
        }
        clear();
        let (us, them, durable) = (median(us), median(them), median(durable));
        table.row(
            what,
            ">= 0.8 x",
            format!("{us:.2} s = {:.2} x", them / us),
            format!("{}: {them:.2} s; with sync {durable:.2} s = {:.2} x", tool(plain), durable / us),
        );
    }
}

fn tool(script: &str) -> &'static str {
    if script.contains("gzip") {
        "tar | gzip -6"
    } else if script.contains("cp -a") {
        "cp -a"
    } else {
        "tar xz"
    }
}

fn time(before: &impl Fn(), run: impl FnOnce()) -> f64 {
    before();
    let started = hermes_tests::wait::now();
    run();
    started.elapsed().as_secs_f64()
}

fn repeat(times: usize, mut run: impl FnMut()) -> f64 {
    run();
    let one = |()| {
        let started = hermes_tests::wait::now();
        run();
        started.elapsed().as_secs_f64()
    };
    median(std::iter::repeat_n((), times).map(one).collect())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts the tools it compares with")]
fn shell(script: &str, dir: &Utf8Path, big: &Utf8Path) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(dir).env("HOME_OF_BIG", big).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Thousands of small texts and some large files, half of whose bytes are text and half noise.
fn realistic(home: &Home) {
    let mut random = Random(7);
    let words: Vec<String> = (0..5000)
        .map(|_| (0..random.below(9) + 2).map(|_| char::from(b'a' + random.byte() % 26)).collect())
        .collect();
    let mut text = String::new();
    while text.len() < 4_000_000 {
        text.push_str(&words[random.below(words.len())]);
        text.push(' ');
    }
    home.write("big", "config.yaml", "model: a/b\n").write("big", ".env", "OPENROUTER_API_KEY=x\n");
    let mut total = 0;
    for i in 0..4000 {
        let length = 500 + random.below(20_000);
        let from = random.below(text.len() - length);
        home.write("big", &format!("skills/s{}/part{}/f{i}.md", i / 40, i % 7), &text[from..from + length]);
        total += length;
    }
    let mut i = 0;
    while total < SIZE {
        let length = [1_000_000, 3_000_000, 8_000_000][random.below(3)];
        let bytes: Vec<u8> = if i % 2 == 0 {
            (0..length).map(|_| random.byte()).collect()
        } else {
            let from = random.below(2_000_000);
            text.as_bytes()[from..].iter().cycle().take(length).copied().collect()
        };
        fs_err::create_dir_all(home.of("big").join("workspace")).unwrap();
        fs_err::write(home.of("big").join(format!("workspace/b{i}.bin")), bytes).unwrap();
        (total, i) = (total + length, i + 1);
    }
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}
