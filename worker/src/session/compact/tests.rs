//! What is kept and what becomes a summary, on made-up histories.

use serde_json::json;

use super::*;

/// `u` a question, `a` an answer, `c` a call of a tool, `r` its result; each so many tokens long.
fn conversation(kinds: &str, tokens: usize) -> Vec<Line> {
    let text = json!("x".repeat((tokens - 4) * 4));
    let lines = kinds.chars().enumerate().map(|(at, kind)| {
        let role = match kind {
            'u' => Role::User,
            'r' => Role::Tool,
            _ => Role::Assistant,
        };
        let mut message = Message::new(role, text.clone());
        if kind == 'c' {
            message.tool_calls = vec![json!({})];
        }
        Line { id: i64::try_from(at).unwrap(), message }
    });
    lines.collect()
}

fn aim(tail: u64) -> Aim {
    Aim { first: 3, last: 0, tail, round: 0, forced: false }
}

/// The letters of each part.
type Parts = [String; 3];

/// What of `kinds` stays at the beginning, what is summed up, and what stays behind the summary.
fn parts(kinds: &str, aim: Aim) -> Option<Parts> {
    let letters =
        |ids: &[i64]| ids.iter().map(|id| kinds.as_bytes()[usize::try_from(*id).unwrap()] as char).collect();
    let plan = plan(&conversation(kinds, 100), aim)?;
    Some([letters(&plan.head), letters(&plan.middle), letters(&plan.tail)])
}

fn three(head: &str, middle: &str, tail: &str) -> Parts {
    [head, middle, tail].map(str::to_owned)
}

#[test]
fn turns_stay_whole_and_the_question_to_the_letter() {
    for (kinds, tail, expected) in [
        ("uauauauau", 350, Some(three("ua", "uaua", "uau"))),
        ("uauauauau", 250, Some(three("ua", "uauaua", "u"))),
        // A turn with tools at the end, of which only steps stay.
        ("uauacrcrcrucrcrcr", 500, Some(three("ua", "uacrcrcrcr", "ucrcr"))),
        // Its question alone is asked again where even its last step is too long for what there is room for.
        ("ucrcrcr", 250, Some(three("", "crcr", "ucr"))),
        // The last turn is over: it stays whole where it is short.
        ("uauacra", 450, None),
        ("uauauauacra", 450, Some(three("ua", "uaua", "uacra"))),
        ("uauauacrcrcrcra", 300, Some(three("ua", "uauacrcrcrcra", ""))),
        // Nothing in between.
        ("uau", 1_000, None),
        ("uauau", 10_000, None),
        ("u", 1, None),
        ("", 1, None),
    ] {
        assert_eq!(parts(kinds, aim(tail)), expected, "{kinds} {tail}");
    }
}

#[test]
fn each_round_keeps_less_and_a_wish_keeps_no_beginning() {
    let kinds = "uauacrcrcrucrcrcr";
    let round = |round| parts(kinds, Aim { round, forced: true, ..aim(2_000) }).map(|[.., tail]| tail);
    assert_eq!(round(0).as_deref(), None, "all of it fits");
    assert_eq!(round(1).as_deref(), Some("ucrcr"));
    assert_eq!(round(2).as_deref(), Some("u"));
    let latest = Aim { last: 4, ..aim(300) };
    assert_eq!(parts("uauauauau", latest), Some(three("ua", "uaua", "uau")), "as far as they are short");
}

#[test]
fn there_is_no_beginning_once_there_is_a_summary() {
    let mut lines = conversation("uauauauau", 100);
    lines[0].message.content = json!(format!("{MARK} before"));
    let plan = plan(&lines, aim(150)).unwrap();
    assert_eq!((plan.head.len(), plan.middle.len(), plan.tail.len()), (0, 8, 1));
}

proptest::proptest! {
    /// Every row is in one part and only there, roles alternate around a summary, and no call is parted from its results.
    #[test]
    fn nothing_is_lost_and_nothing_is_parted(
        turns in proptest::collection::vec("u(cr{1,3}){0,3}a?", 1..12), tail in 0_u64..3_000, last in 0_usize..30, round in 0_u32..4, forced: bool,
    ) {
        let kinds = turns.concat();
        let aim = Aim { first: 3, last, tail, round, forced };
        if let Some(plan) = plan(&conversation(&kinds, 100), aim) {
            let mut all: Vec<i64> = [&plan.head[..], &plan.middle, &plan.tail].concat();
            all.sort_unstable();
            assert_eq!(all, (0..i64::try_from(kinds.len()).unwrap()).collect::<Vec<_>>());
            let kind = |id: &i64| kinds.as_bytes()[usize::try_from(*id).unwrap()];
            assert!(plan.head.last().is_none_or(|id| kind(id) != b'u' && kind(id) != b'c'), "{kinds} {plan:?}");
            assert!(plan.tail.first().is_none_or(|id| kind(id) == b'u'), "{kinds} {plan:?}");
            for part in [&plan.head, &plan.middle, &plan.tail] {
                for id in part.iter().filter(|id| kind(id) == b'r') {
                    assert!(part.contains(&(id - 1)), "{kinds} {plan:?}");
                }
            }
        }
    }
}
