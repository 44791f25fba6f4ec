//! The plan of a migration, over worlds that are made by hand: from whom it takes what, what stands against it, and what it goes on with.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use hermes_wire::RootHome;
use hermes_wire::latest::Severity;

use super::super::observe::FlagSeen;
use super::*;
use crate::home::Surroundings;
use crate::service::unit::Unit;
use crate::service::{Phase, Service, State};

const ROOT: &str = "/nowhere/ada/.hermes";

fn env() -> Surroundings {
    Surroundings { user_home: Some("/nowhere/ada".into()), ..Surroundings::bare() }
}

fn installed(name: &str, scope: Scope, user: Option<&str>, phase: Phase, pid: Option<u32>) -> Installed {
    let profile =
        name.strip_prefix("hermes-gateway-").map_or("default", |rest| rest.trim_end_matches(".service"));
    let user = user.map(|user| format!("User={user}\n")).unwrap_or_default();
    let text = format!(
        "[Service]\n{user}ExecStart=/v/bin/python -m hermes_cli.main --profile {profile} gateway run\nEnvironment=HERMES_HOME={ROOT}\n"
    );
    let state = State {
        phase,
        pid,
        enabled: true,
        result: None,
        exit: None,
        status: None,
        restarts: 0,
        stale: false,
        drop_ins: Vec::new(),
    };
    let service = Service {
        manager: Manager::Systemd(scope),
        name: name.to_owned(),
        file: Utf8PathBuf::from("/u").join(name),
        unit: Unit::read(text, &env()),
    };
    Installed { service, state, lost: Vec::new() }
}

fn user(name: &str, pid: u32) -> Installed {
    installed(name, Scope::User, None, Phase::Active, Some(pid))
}

fn live(pid: u32, by: By) -> Live {
    Live { pid: Some(pid), by, unit: None, user: None }
}

fn seen(name: &str, services: Vec<Installed>, live: Option<Live>) -> Seen {
    let name: ProfileName = name.parse().unwrap();
    let home = RootHome::new(ROOT).profile(&name);
    Seen { name, home, services, live, parked: false, alone: false }
}

fn world(profiles: Vec<Seen>) -> World {
    World {
        root: RootHome::new(ROOT),
        profiles,
        flag: FlagSeen { flag: Flag::Absent, key: "gateway.multiplex_profiles".to_owned(), obstacle: None },
        gateway: None,
        others: Vec::new(),
        unseen: Vec::new(),
        is_root: false,
    }
}

fn actions(plan: &Plan) -> Vec<Action> {
    plan.steps.iter().map(|step| step.action).collect()
}

/// A check that finds nothing wrong.
fn fine(plan: &Plan) -> CheckReport {
    CheckReport { served: plan.served(), ..CheckReport::default() }
}

fn codes(world: &World, plan: &Plan, check: &CheckReport, wishes: Wishes) -> Vec<&'static str> {
    obstacles(world, plan, check, wishes).into_iter().map(|obstacle| obstacle.code).collect()
}

fn plain(world: &World) -> Vec<&'static str> {
    let plan = plan(world, None, None);
    codes(world, &plan, &fine(&plan), Wishes::default())
}

/// N7.6: units of the Python program: default's is replaced, what runs is taken over, what is stopped stays so.
#[test]
fn n7_6_from_units_of_the_python_program() {
    let stopped = installed("hermes-gateway-ops.service", Scope::User, None, Phase::Inactive, None);
    let failed = installed("hermes-gateway-bad.service", Scope::User, None, Phase::Failed, None);
    let mut alone = seen("own", vec![user("hermes-gateway-own.service", 4)], Some(live(4, By::Python)));
    alone.alone = true;
    let world = world(vec![
        seen("default", vec![user("hermes-gateway.service", 1)], Some(live(1, By::Python))),
        seen("bad", vec![failed], None),
        seen("coder", vec![user("hermes-gateway-coder.service", 2)], Some(live(2, By::Python))),
        seen("new", Vec::new(), None),
        seen("ops", vec![stopped], None),
        alone,
    ]);
    let plan = plan(&world, None, None);
    assert_eq!(
        actions(&plan),
        [
            Action::Become(Become::Replace),
            Action::TakeOver,
            Action::TakeOver,
            Action::Serve,
            Action::Park,
            Action::Alone
        ]
    );
    assert!(plan.sets_flag && !plan.is_done());
    assert_eq!(plan.target, Some(Target { manager: Manager::Systemd(Scope::User), user: None }));
    assert_eq!(plan.parked(), BTreeSet::from(["ops".parse().unwrap()]));
    assert_eq!(codes(&world, &plan, &fine(&plan), Wishes::default()), [""; 0]);
    let (default, secondaries) = plan.records();
    assert!(default.ran() && default.unit.unwrap().active);
    let names: Vec<_> = secondaries.iter().map(|record| (record.profile.as_str(), record.ran())).collect();
    assert_eq!(names, [("bad", true), ("coder", true), ("ops", false)], "who wants to be alone is not in it");
}

/// N7.6: a gateway of this program goes on in its process; without a service it gets one where others had one.
#[test]
fn n7_6_from_gateways_of_this_program() {
    let own = |services: Vec<Installed>, unit: Option<&str>| {
        let live = Live { unit: unit.map(str::to_owned), ..live(1, By::Us) };
        seen("default", services, Some(live))
    };
    let coder = || seen("coder", vec![user("hermes-gateway-coder.service", 2)], Some(live(2, By::Us)));
    let become_of = |world: &World| actions(&plan(world, None, None))[0];
    let in_unit =
        world(vec![own(vec![user("hermes-gateway.service", 1)], Some("hermes-gateway.service")), coder()]);
    assert_eq!(become_of(&in_unit), Action::Become(Become::Stay));
    assert_eq!(become_of(&world(vec![own(Vec::new(), None), coder()])), Action::Become(Become::Enlist));
    let bare = world(vec![own(Vec::new(), None), seen("coder", Vec::new(), Some(live(2, By::Us)))]);
    assert_eq!((become_of(&bare), plan(&bare, None, None).target), (Action::Become(Become::Stay), None));
    let none = world(vec![seen("default", Vec::new(), None), coder()]);
    assert_eq!(become_of(&none), Action::Become(Become::Start));
    let stopped = installed("hermes-gateway.service", Scope::User, None, Phase::Inactive, None);
    let rests = plan(&world(vec![seen("default", vec![stopped], None), coder()]), None, None);
    assert!(rests.steps[0].rests && !rests.served().contains(&ProfileName::default_profile()));
}

/// N7.6: what would go wrong is said before anything is touched, all of it at once.
#[test]
fn n7_6_what_stands_against_it() {
    let default = || seen("default", vec![user("hermes-gateway.service", 1)], Some(live(1, By::Python)));
    let system = |name: &str, user, pid| installed(name, Scope::System, user, Phase::Active, Some(pid));
    let of =
        |name: &str, installed: Installed, pid: u32| seen(name, vec![installed], Some(live(pid, By::Python)));

    let mixed =
        world(vec![default(), of("coder", system("hermes-gateway-coder.service", Some("ada"), 2), 2)]);
    assert_eq!(plain(&mixed), ["both_scopes"]);
    let systems = |second| {
        world(vec![
            of("default", system("hermes-gateway.service", Some("ada"), 1), 1),
            of("coder", system("hermes-gateway-coder.service", second, 2), 2),
        ])
    };
    assert_eq!(plain(&systems(Some("ada"))), ["needs_root"]);
    let root = World { is_root: true, ..systems(Some("bob")) };
    assert_eq!(plain(&root), ["users"], "a `User=` is never lost");
    assert_eq!(
        plan(&World { is_root: true, ..systems(Some("ada")) }, None, None).target.unwrap().user.as_deref(),
        Some("ada")
    );

    let no_service = world(vec![default(), seen("coder", Vec::new(), Some(live(2, By::Python)))]);
    assert_eq!(plain(&no_service), ["python"]);
    let stranger = Live { user: Some(1001), ..live(2, By::Us) };
    assert_eq!(plain(&world(vec![default(), seen("coder", Vec::new(), Some(stranger))])), ["other_user"]);
    assert_eq!(
        plain(&world(vec![default(), seen("coder", Vec::new(), Some(live(2, By::Unknown)))])),
        ["unknown_holder"]
    );

    let mut lossy = user("hermes-gateway-coder.service", 2);
    lossy.lost = vec![Lost { file: "/d".into(), what: vec!["MemoryMax".to_owned()], only_variables: false }];
    let lossy = world(vec![default(), of("coder", lossy, 2)]);
    assert_eq!(plain(&lossy), ["lost"]);
    let plan_of = plan(&lossy, None, None);
    assert_eq!(
        codes(&lossy, &plan_of, &fine(&plan_of), Wishes { force: true, ..Wishes::default() }),
        [""; 0]
    );
}

/// N7.6: the judge is that of every start: what it refuses is an obstacle; what concerns one profile is none with `--keep-going`.
#[test]
fn n7_6_the_check_of_a_start_decides() {
    let world = world(vec![
        seen("default", vec![user("hermes-gateway.service", 1)], Some(live(1, By::Python))),
        seen("coder", vec![user("hermes-gateway-coder.service", 2)], Some(live(2, By::Python))),
        seen("new", Vec::new(), None),
    ]);
    let plan = plan(&world, None, None);
    let problem = |severity| {
        Problem::of_file(
            severity,
            "yaml",
            Utf8PathBuf::from("/c").as_path(),
            "it is broken".to_owned(),
            "mend it",
        )
    };
    let with = |profile: &str, severity, refused| CheckReport {
        problems: vec![(Some(profile.parse().unwrap()), problem(severity))],
        left_out: vec![profile.parse().unwrap()],
        served: plan.served().into_iter().filter(|name| name.as_str() != profile).collect(),
        refused,
        ..CheckReport::default()
    };
    let keep = Wishes { keep_going: true, ..Wishes::default() };
    let broken = with("coder", Severity::Profile, false);
    assert_eq!(codes(&world, &plan, &broken, Wishes::default()), ["refused"]);
    assert_eq!(codes(&world, &plan, &broken, keep), [""; 0]);
    let refused = with("coder", Severity::Gateway, true);
    assert_eq!(codes(&world, &plan, &refused, keep), ["refused"]);
    assert_eq!(
        codes(&world, &plan, &with("new", Severity::Profile, false), Wishes::default()),
        [""; 0],
        "it never ran"
    );
    let unlisted = CheckReport { served: vec![ProfileName::default_profile()], ..CheckReport::default() };
    assert_eq!(codes(&world, &plan, &unlisted, Wishes::default()), ["not_served"]);
}

/// N7.6: what an unfinished migration wrote down is right: what it stopped ran before, and is not taken for stopped.
#[test]
fn n7_6_an_unfinished_migration_knows_who_ran() {
    let default = || seen("default", vec![user("hermes-gateway.service", 1)], Some(live(1, By::Us)));
    let units = |phase, pid| vec![installed("hermes-gateway-coder.service", Scope::User, None, phase, pid)];
    let before =
        world(vec![default(), seen("coder", units(Phase::Active, Some(2)), Some(live(2, By::Python)))]);
    let (default_was, secondaries) = plan(&before, None, None).records();
    let manifest = Manifest::begin(Flag::Absent, default_was, secondaries, None);
    let now = world(vec![default(), seen("coder", units(Phase::Inactive, None), None)]);
    assert_eq!(actions(&plan(&now, None, None))[1], Action::Park);
    assert_eq!(actions(&plan(&now, None, Some(&manifest)))[1], Action::TakeOver);
    let gone = world(vec![default(), seen("coder", Vec::new(), None)]);
    assert_eq!(actions(&plan(&gone, None, Some(&manifest)))[1], Action::TakeOver);
}
