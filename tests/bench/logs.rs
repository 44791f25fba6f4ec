//! Reading a log of a gigabyte, and a worker that prints without end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use hermes_tests::gateway::hermes;
use hermes_tests::{Gateway, Home, process, tools, wait};

use crate::table::{Table, mb, median};

/// Bytes of the log that is read.
const GIGABYTE: usize = 1 << 30;
/// Every so many lines one is an error.
const ERRORS: usize = 1000;
const ROUNDS: usize = 21;
/// Whole scans take longer.
const FEW: usize = 3;

/// Of one process, in milliseconds.
fn time(mut command: Command) -> f64 {
    let started = wait::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let ms = started.elapsed().as_secs_f64() * 1e3;
    assert!(status.code().is_some_and(|code| code <= 1), "{status}");
    ms
}

/// `hermes logs` beside what else reads the end of a file.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts the tools it compares with")]
pub(crate) fn read(table: &mut Table) {
    let home = Home::new();
    let path = home.root().join("logs/gateway.log");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::io::BufWriter::new(fs_err::File::create(&path).unwrap());
    let (mut written, mut n, mut last) = (0, 0_usize, String::new());
    while written < GIGABYTE {
        // One every 8 ms: a day and a bit in a gigabyte.
        let ms = n * 8;
        let level = if n % ERRORS == 7 { "ERROR" } else { "INFO" };
        last = format!(
            "2026-11-{:02} {:02}:{:02}:{:02},{:03}",
            10 + ms / 86_400_000,
            ms / 3_600_000 % 24,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        );
        let line = format!(
            "{last} {level} gateway.turn.dispatch: a turn of some length ended session=s{n} ms={} profile=default generation=1\n",
            n % 977
        );
        file.write_all(line.as_bytes()).unwrap();
        written += line.len();
        n += 1;
    }
    file.into_inner().unwrap();
    let ours = |args: &[&str]| hermes(&home, &[&["logs", "gateway"], args].concat());
    let theirs = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("LC_ALL", "C");
        command
    };
    let tail = format!("tail -n 50 {path}");
    let mut row = |what: &str, must: &str, args: &[&str], other: &str, rounds: usize| {
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            mine.push(time(ours(args)));
            others.push(time(theirs(other)));
        }
        let shown = other.replace(path.as_str(), "FILE");
        table.row(
            what,
            must,
            format!("{:.1} ms", median(mine)),
            format!("`{shown}`: {:.1} ms", median(others)),
        );
    };
    row("logs -n 50 of 1 GB", "<= 30 ms", &["-n", "50"], &tail, ROUNDS);
    row(
        "logs -n 50 --level ERROR of 1 GB, one in 1000",
        "-",
        &["-n", "50", "--level", "ERROR"],
        &format!("tac {path} | grep -m 50 ' ERROR '"),
        ROUNDS,
    );
    let minute = last[..16].to_owned();
    row(
        "logs --since its last minute of 1 GB",
        "-",
        &["--since", &minute],
        &format!("awk -v t='{minute}' '$0 >= t' {path}"),
        FEW,
    );
    row(
        "logs --until its first hour -n 50 of 1 GB",
        "-",
        &["--until", "2026-11-10 01:00", "-n", "50"],
        &format!("awk '$0 <= \"2026-11-10 01:00\"' {path} | tail -n 50"),
        FEW,
    );
    row(
        "logs --grep of what is nowhere in 1 GB",
        "-",
        &["-n", "50", "--grep", "no such thing"],
        &format!("grep 'no such thing' {path}"),
        FEW,
    );
}

/// What the flood is to reach, in bytes a second, and for how long.
const FLOOD: u64 = 50_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A worker writes 50 MB a second to its standard error for a minute.
#[expect(clippy::cast_precision_loss, reason = "shown")]
pub(crate) fn flood(table: &mut Table) {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let worker = gateway.worker("coder");
    let Some(stderr) = tools::permitted("descriptors of other processes", process::descriptor(worker, 2))
    else {
        return;
    };
    let mut stderr = std::fs::File::from(stderr);
    let chat = || {
        let started = wait::now();
        assert_eq!(gateway.chat("/p/ops", &Home::key("ops"), "hello").status, 200);
        started.elapsed().as_secs_f64() * 1e3
    };
    for _ in 0..50 {
        chat();
    }
    let quiet = median((0..200).map(|_| chat()).collect());
    let before = (process::rss(gateway.pid()), process::rss(worker));
    let started = wait::now();
    let writer = std::thread::spawn(move || {
        let (mut written, mut n) = (0_u64, 0_u64);
        while started.elapsed() < MINUTE {
            // In step with the clock, where the reader allows it.
            if written as f64 > started.elapsed().as_secs_f64() * FLOOD as f64 {
                wait::pass(Duration::from_millis(1));
                continue;
            }
            let mut piece = String::with_capacity(70_000);
            while piece.len() < 60_000 {
                let text =
                    "a line that nobody needs, and of which there are far too many, all of them different";
                let _ = writeln!(piece, "{n:012} {text}");
                n += 1;
            }
            stderr.write_all(piece.as_bytes()).unwrap();
            written += piece.len() as u64;
        }
        written
    });
    let (mut times, mut supervisor, mut of_worker) = (Vec::new(), Vec::new(), Vec::new());
    while !writer.is_finished() {
        times.push(chat());
        supervisor.push(process::rss(gateway.pid()));
        of_worker.push(process::rss(worker));
        wait::pass(Duration::from_millis(20));
    }
    let written = writer.join().unwrap();
    let range = |values: &[u64], before: u64| {
        let (least, most) = (values.iter().min().copied(), values.iter().max().copied());
        let change = |value: Option<u64>| mb(value.unwrap_or(before)) - mb(before);
        format!("{:+.2} to {:+.2} MB", change(least), change(most))
    };
    let kept: u64 = home
        .of("coder")
        .join("logs")
        .read_dir_utf8()
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    table.row(
        "supervisor RSS while a worker prints 50 MB/s for a minute",
        "+- 1 MB",
        range(&supervisor, before.0),
        format!("its worker: {}", range(&of_worker, before.1)),
    );
    table.row(
        "what was printed and what is kept of it",
        "-",
        format!("{:.1} MB/s", mb(written) / MINUTE.as_secs_f64()),
        format!("{:.1} MB in all logs of the profile", mb(kept)),
    );
    table.row(
        "a turn of another profile meanwhile, median",
        "-",
        format!("{:.2} ms", median(times)),
        format!("{quiet:.2} ms before"),
    );
}
