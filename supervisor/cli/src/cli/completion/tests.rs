//! What is offered at which place of a command line.

use clap::CommandFactory as _;

use super::*;
use crate::cli::Cli;

struct Fixed;

impl Names for Fixed {
    fn profiles(&self) -> Vec<String> {
        ["default", "coder", "ops"].map(str::to_owned).to_vec()
    }

    fn aliases(&self) -> Vec<String> {
        vec!["c1".to_owned()]
    }
}

fn tree() -> Command {
    let mut tree = Cli::command();
    tree.build();
    tree
}

fn answer(line: &Line) -> Answer {
    complete(&tree(), line, &Fixed)
}

/// Candidates for a line whose last word is under the cursor.
fn at(line: &str) -> Vec<String> {
    let line = Line::new(line.split(' ').map(str::to_owned).collect(), None, false);
    match answer(&line) {
        Answer::These(all) => all.into_iter().map(|c| c.value).collect(),
        other => panic!("{other:?}"),
    }
}

const PROFILES: [&str; 3] = ["default", "coder", "ops"];

#[test]
fn commands_come_first_and_hidden_ones_never() {
    let all = at("hermes ");
    assert!(all.contains(&"gateway".to_owned()) && all.contains(&"profile".to_owned()));
    assert!(!all.iter().any(|c| c.starts_with("__") || c.starts_with('-')));
    assert_eq!(at("hermes gat"), ["gateway"]);
    assert_eq!(at("hermes -p coder gateway sta"), ["start", "status"]);
    assert_eq!(at("hermes profile sh"), ["show"]);
    assert_eq!(at("hermes nonsense x").len(), 0);
}

#[test]
fn profiles_are_offered_wherever_one_is_wanted() {
    for line in [
        "hermes -p ",
        "hermes --profile ",
        "hermes status -p ",
        "hermes profile show ",
        "hermes profile use ",
        "hermes profile alias ",
        "hermes profile rename ",
        "hermes profile delete -y ",
        "hermes profile export ",
        "hermes profile describe ",
        "hermes profile create new --clone-from ",
        "hermes -p ops profile show --json ",
    ] {
        assert_eq!(at(line), PROFILES, "{line}");
    }
    assert_eq!(at("hermes -p co"), ["coder"]);
    assert_eq!(at("hermes --profile=co"), ["--profile=coder"]);
    assert_eq!(at("hermes -pco"), ["-pcoder"]);
    assert_eq!(at("hermes -p=co"), ["-p=coder"]);
    assert_eq!(at("hermes profile alias coder --name "), ["c1"]);
    assert_eq!(at("hermes profile create "), at("hermes profile create --"), "a new name cannot be guessed");
    assert!(!at("hermes profile rename coder ").contains(&"ops".to_owned()));
}

#[test]
fn options_are_offered_once() {
    let all = at("hermes status --");
    assert!(all.contains(&"--json".to_owned()) && all.contains(&"--profile".to_owned()), "{all:?}");
    assert!(!at("hermes status --json --").contains(&"--json".to_owned()));
    assert!(!at("hermes -p coder status --").contains(&"--profile".to_owned()));
    assert!(at("hermes gateway run -v -").contains(&"-v".to_owned()), "counted");
    assert!(at("hermes profile show -- -").is_empty());
}

#[test]
fn an_alias_has_chosen_its_profile() {
    let mut line = Line::new(vec!["c1".to_owned(), "-".to_owned()], None, false);
    line.profile_is_chosen = true;
    let Answer::These(all) = answer(&line) else { panic!("options") };
    assert!(!all.iter().any(|c| c.value == "-p" || c.value == "--profile"), "{all:?}");
}

#[test]
fn paths_are_left_to_the_shell() {
    for line in ["hermes profile import ", "hermes profile export coder -o ", "hermes profile export coder "]
    {
        let line = Line::new(line.split(' ').map(str::to_owned).collect(), None, false);
        assert_eq!(answer(&line), Answer::Files);
    }
}

#[test]
fn values_that_are_listed_are_offered() {
    assert_eq!(at("hermes completion "), ["bash", "zsh", "fish"]);
}

#[test]
fn bash_splits_at_the_equals_sign() {
    for (words, offered) in [
        (&["hermes", "--profile", "=", "co"][..], "coder"),
        (&["hermes", "status", "-p", "=", "co"], "coder"),
        (&["hermes", "--profile", "=", "coder", "gatew"], "gateway"),
    ] {
        let line = Line::new(words.iter().map(ToString::to_string).collect(), Some(words.len() - 1), true);
        let Answer::These(all) = answer(&line) else { panic!("names") };
        assert_eq!(all.iter().map(|c| c.value.as_str()).collect::<Vec<_>>(), [offered], "{words:?}");
    }
    let words = ["hermes", "--profile", "="].map(str::to_owned).to_vec();
    let Answer::These(all) = answer(&Line::new(words, Some(2), true)) else { panic!("names") };
    assert_eq!(all.iter().map(|c| c.value.as_str()).collect::<Vec<_>>(), PROFILES);
}

#[test]
fn what_wants_names_exists_in_the_tree() {
    let tree = tree();
    for (commands, id, _) in WANTED {
        let command = commands.iter().fold(&tree, |at, name| at.find_subcommand(name).unwrap());
        assert!(command.get_arguments().any(|arg| arg.get_id() == id), "{commands:?} {id}");
    }
}

#[test]
fn the_profile_flag_is_told_from_values() {
    let tree = tree();
    for (words, values) in [
        (&["config", "set", "key", "-p", "x"][..], &["-p"][..]),
        (&["config", "set", "key", "value", "-p"], &[]),
        (&["profile", "describe", "coder", "--text", "-p"], &[]),
        (&["__complete", "bash", "2", "--", "hermes"], &[]),
        (&["-p", "status", "-p"], &[]),
    ] {
        let mut at = At::start(&tree);
        let found: Vec<_> =
            words.iter().filter(|word| at.read_value(word) && word.starts_with('-')).collect();
        assert_eq!(found, values.iter().collect::<Vec<_>>(), "{words:?}");
    }
}

#[test]
fn keys_of_the_configuration_come_from_their_table() {
    assert_eq!(at("hermes config set model.d"), ["model.default"]);
    assert_eq!(at("hermes -p coder config get gateway.multiplex_profiles"), ["gateway.multiplex_profiles"]);
    let all = at("hermes config unset ");
    assert!(all.len() > 30 && all.iter().all(|key| !key.contains('*')), "{all:?}");
    // The value is the user's.
    assert!(!at("hermes config set model.default ").iter().any(|c| c.starts_with("model.")));
}
