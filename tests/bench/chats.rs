//! What a chat costs: from what somebody writes to the model, from the model back to the chat, and what bots that nobody writes to need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hermes_tests::gateway::run as command;
use hermes_tests::telegram::{TOKEN, Telegram};
use hermes_tests::{Gateway, Home, wait};

use crate::density::{IDLE, Usage, over_time};
use crate::load::home_of;
use crate::model::Model;
use crate::table::{Table, median, ms, p99};

/// Somebody who writes.
const ANN: i64 = 777;
const BOB: i64 = 778;
/// Messages of one measurement.
const MESSAGES: usize = 60;
/// The least quiet time after a message until it is taken for whole: people's programs cut long ones.
const QUIET: Duration = Duration::from_millis(80);
const SWAPS: usize = 50;
/// Pause between two people who write while a bot changes hands.
const WRITERS: Duration = Duration::from_millis(100);
/// Most of them.
const MOST: i64 = 2000;
/// Bots on one gateway.
const BOTS: usize = 100;

/// The way in and out, bots that wait, a bot that changes hands, and neighbours.
pub(crate) fn run(table: &mut Table) {
    way(table);
    swaps(table);
    neighbours(table);
    bots(table);
}

fn with_bot(model: &Model, bot: &Telegram, token: &str) -> (String, String) {
    bot.set_token(token);
    let config = format!(
        "model: {{default: m, provider: custom, base_url: '{}', api_key: '${{CUSTOM_API_KEY}}'}}\nauxiliary: {{title_generation: {{enabled: false}}}}\n",
        model.base_url()
    );
    let env = format!(
        "API_SERVER_KEY=chats-api-key-{token}\nCUSTOM_API_KEY=k\nHERMES_TELEGRAM_TEXT_BATCH_DELAY_SECONDS={}\n{}",
        QUIET.as_secs_f64(),
        bot.env().replace(TOKEN, token)
    );
    (config, env)
}

fn token(n: usize) -> String {
    format!("{}:AAbench-token_0123456789abcdefghij", 200_000_000 + n)
}

fn polled(bot: &Telegram) {
    wait::until_true("the bot to poll", || bot.is_polled());
}

/// Writes, and returns when that was and when the answer came.
fn talk(bot: &Telegram, from: i64, text: &str) -> (Instant, Instant) {
    let before = bot.calls("sendMessage").len();
    let said = wait::now();
    bot.say(from, text);
    loop {
        if let Some(call) = bot.calls("sendMessage").get(before) {
            return (said, call.at);
        }
        assert!(said.elapsed() < Duration::from_secs(20), "no answer to {text}");
        wait::pass(Duration::from_micros(500));
    }
}

fn way(table: &mut Table) {
    let (model, bot) = (Model::start(), Telegram::start());
    let (config, env) = with_bot(&model, &bot, &token(0));
    let home = Home::new();
    home.profile_with("coder", &config, &env);
    let gateway = Gateway::start(&home);
    polled(&bot);
    talk(&bot, ANN, "ping");
    let (mut inward, mut outward) = (Vec::new(), Vec::new());
    for _ in 0..MESSAGES {
        model.calls();
        let (said, came) = talk(&bot, ANN, "ping");
        if let Some(call) = model.calls().first() {
            inward.push(ms(call.asked - said) - ms(QUIET));
            outward.push(ms(came - call.done));
        }
    }
    let beside = "Telegram; without the quiet time that cut messages need (80 ms here)";
    table.row(
        "message to the model's request, median",
        "<= 5 ms",
        format!("{:.1} ms", median(inward)),
        beside,
    );
    table.row(
        "model's last byte to the chat's request, median",
        "<= 5 ms",
        format!("{:.1} ms", median(outward)),
        "-",
    );
    drop(gateway);
}

fn swaps(table: &mut Table) {
    let (model, bot) = (Model::start(), Telegram::start());
    let (config, env) = with_bot(&model, &bot, &token(0));
    let home = Home::new();
    home.profile_with("coder", &config, &env);
    let _gateway = Gateway::start(&home);
    polled(&bot);
    let (stop, mut gaps) = (AtomicBool::new(false), Vec::new());
    // Everybody writes once.
    let people = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut people = 10_000..10_000;
            while !stop.load(Ordering::SeqCst) && people.end < 10_000 + MOST {
                bot.say(people.end, "ping");
                people.end += 1;
                wait::pass(WRITERS);
            }
            people
        });
        for _ in 0..SWAPS {
            gaps.push(ms(swap(&home, &bot)));
        }
        stop.store(true, Ordering::SeqCst);
        writing.join().unwrap()
    });
    let answers = |person| bot.seen_in(person).len();
    let until = wait::now() + Duration::from_secs(30);
    while wait::now() < until && people.clone().any(|person| answers(person) == 0) {
        wait::pass(Duration::from_millis(100));
    }
    let lost = people.clone().filter(|person| answers(*person) == 0).count();
    let doubled = people.clone().filter(|person| answers(*person) > 1).count();
    let most = gaps.iter().copied().fold(0.0, f64::max);
    table.row(
        "swap of a polling bot: nobody polls for, median",
        "<= 1 s",
        format!("{:.0} ms", median(gaps)),
        format!("longest of {SWAPS}: {most:.0} ms; two at once: {} times", bot.overlaps()),
    );
    table.row(
        format!("messages lost, and doubled, of {} meanwhile", people.count()),
        "0, 0",
        format!("{lost}, {doubled}"),
        "-",
    );
}

/// For how long nobody polled while a bot changed hands.
fn swap(home: &Home, bot: &Telegram) -> Duration {
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            assert!(command(home, &["gateway", "restart", "-p", "coder"]).status.success());
            polled(bot);
        });
        let (mut longest, mut since) = (Duration::ZERO, None::<Instant>);
        while !swapping.is_finished() {
            if bot.is_polled() {
                since = None;
            } else {
                let since = *since.get_or_insert_with(wait::now);
                longest = longest.max(since.elapsed());
            }
            wait::pass(Duration::from_millis(1));
        }
        longest
    })
}

/// Twenty messages a second to one profile, and what another one's answers take meanwhile.
fn neighbours(table: &mut Table) {
    let model = Model::start();
    let bots = [Telegram::start(), Telegram::start()];
    let home = Home::new();
    for (n, (name, bot)) in ["busy", "calm"].iter().zip(&bots).enumerate() {
        let (config, env) = with_bot(&model, bot, &token(n));
        home.profile_with(name, &config, &env);
    }
    let _gateway = Gateway::start(&home);
    bots.iter().for_each(polled);
    let latency = || {
        let took: Vec<f64> = (0..200)
            .map(|_| {
                let (said, came) = talk(&bots[1], BOB, "ping");
                ms(came - said)
            })
            .collect();
        (median(took.clone()), p99(took))
    };
    talk(&bots[1], BOB, "ping");
    let quiet = latency();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if stop.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                // Each in a chat of its own: none waits for another.
                bots[0].say(10_000 + n, "ping");
                wait::pass(Duration::from_millis(50));
            }
        });
        let busy = latency();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        busy
    });
    table.row(
        "answers beside a profile with 20 messages a second, p99",
        "within 10 %",
        format!("{:+.1} %", (busy.1 / quiet.1 - 1.0) * 100.0),
        format!("p50 {:.0} -> {:.0} ms, p99 {:.0} -> {:.0} ms", quiet.0, busy.0, quiet.1, busy.1),
    );
}

fn bots(table: &mut Table) {
    let model = Model::start();
    let bare = {
        let home = home_of(2);
        let gateway = Gateway::start(&home);
        wait::pass(IDLE);
        let workers: Vec<u32> = gateway.status().profiles.iter().filter_map(|p| p.pid).collect();
        over_time(&workers)
    };
    let bots: Vec<Telegram> = (0..BOTS).map(|_| Telegram::start()).collect();
    let home = Home::new();
    for (n, bot) in bots.iter().enumerate() {
        let (config, env) = with_bot(&model, bot, &token(n));
        home.profile_with(&format!("p{n}"), &config, &env);
    }
    // A first start makes every database.
    drop(Gateway::start(&home));
    let started = wait::now();
    let gateway = Gateway::spawn(&home, &[], &[]);
    wait::until_true("all bots to poll", || bots.iter().all(Telegram::is_polled));
    let connected = started.elapsed().as_secs_f64();
    wait::pass(Duration::from_secs(15));
    let usage = Usage::during(&gateway, Duration::from_secs(30));
    let status = gateway.status();
    let workers: Vec<u32> =
        status.profiles.iter().filter(|p| p.name != "default").filter_map(|p| p.pid).collect();
    let rss = over_time(&workers);
    table.row(
        format!("{BOTS} workers with a Telegram bot each: from start to all connected"),
        "<= 5 s",
        format!("{connected:.2} s"),
        "-",
    );
    table.row(
        format!("{BOTS} workers with a Telegram bot each, idle"),
        "<= 3 % of a core",
        format!("{:.2} %", usage.scheduled),
        "polls of 30 s",
    );
    table.row(
        "idle worker with a connected bot, RSS beyond one without",
        "<= 1 MB",
        format!("{:+.1} MB", rss - bare),
        format!("{rss:.1} and {bare:.1} MB"),
    );
}
