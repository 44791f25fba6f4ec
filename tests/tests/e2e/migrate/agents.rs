//! The same with launch agents, and a scripted `launchctl`.

use hermes_tests::launchd::Launchd;

use super::*;

const LABEL: &str = "ai.hermes.gateway";

/// A machine with launchd, and a root home whose agents have the usual names.
fn machine(home: &Home) -> Launchd<'_> {
    home.furnish(&Home::config("false", ""));
    home.profile_with("coder", "agent: {engine: echo}\n", "");
    std::os::unix::fs::symlink("../root", home.user().join(".hermes")).unwrap();
    fs_err::write(home.user().join(MODULE), STAND_IN).unwrap();
    Launchd::new(home)
}

fn label(profile: &str) -> String {
    if profile == "default" { LABEL.to_owned() } else { format!("{LABEL}-{profile}") }
}

/// The older program's agent of a profile.
fn text(home: &Home, profile: &str) -> String {
    let (place, script) = (home.of(profile), home.user().join(MODULE));
    let flag = if profile == "default" { "" } else { "<string>--profile</string>\n<string>coder</string>\n" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n<key>Label</key>\n<string>{}</string>\n\
         <key>ProgramArguments</key>\n<array>\n<string>/bin/sh</string>\n<string>{script}</string>\n{flag}\
         <string>gateway</string>\n<string>run</string>\n<string>--replace</string>\n</array>\n\
         <key>EnvironmentVariables</key>\n<dict>\n<key>PATH</key>\n<string>/usr/bin:/bin</string>\n\
         <key>HERMES_HOME</key>\n<string>{place}</string>\n</dict>\n<key>RunAtLoad</key>\n<true/>\n\
         <key>KeepAlive</key>\n<true/>\n</dict>\n</plist>\n",
        label(profile)
    )
}

fn is_one(home: &Home) -> bool {
    let status = status(home);
    !status.gateway.stale && status.gateway.mode.as_deref() == Some("multiplex")
}

fn is_ready(home: &Home, profile: &str) -> bool {
    status(home).profiles.iter().any(|p| p.name == profile && p.ready)
}

/// N7.6: agents of the older program become one of this one's; a rollback brings them back as they were.
#[test]
fn n7_6_agents_of_the_older_program_become_one_and_come_back() {
    let home = Home::lasting();
    let launchd = machine(&home);
    let file = |profile: &str| launchd.agents().join(format!("{}.plist", label(profile)));
    fs_err::create_dir_all(launchd.agents()).unwrap();
    let runs_alone = |profile: &str| {
        let pid = launchd.pid(&label(profile));
        pid.is_some_and(|pid| {
            home.read(profile, "gateway.pid").is_some_and(|text| text.contains(&pid.to_string()))
        })
    };
    for profile in ["default", "coder"] {
        fs_err::write(file(profile), text(&home, profile)).unwrap();
        launchd.load(&label(profile));
        wait::until_true("the older gateway", || runs_alone(profile));
    }
    launchd.asked();
    launchd.run(&["gateway", "migrate", "--dry-run"]).ok();
    assert_eq!(launchd.asked(), Vec::<String>::new(), "nothing is changed");

    launchd.run(&["gateway", "migrate", "--yes"]).ok();
    assert!(is_one(&home) && is_ready(&home, "coder") && is_ready(&home, "default"));
    assert_eq!(status(&home).gateway.pid, launchd.pid(LABEL));
    assert!(fs_err::read_to_string(file("default")).unwrap().contains("hermes-plist"));
    assert!(!file("coder").exists() && !launchd.is_loaded(&label("coder")));
    let again = launchd.run(&["gateway", "migrate", "--yes"]).ok();
    assert!(again.to_lowercase().contains("nothing to do"), "{again}");

    launchd.run(&["gateway", "migrate", "--rollback", "--yes"]).ok();
    for profile in ["default", "coder"] {
        assert_eq!(fs_err::read_to_string(file(profile)).unwrap(), text(&home, profile));
        wait::until_true("the older gateway", || runs_alone(profile));
    }
    assert!(!is_one(&home));
    // Nothing of it keeps an agent from being loaded.
    assert!(fs_err::read_dir(launchd.place().join("disabled")).is_ok_and(|mut left| left.next().is_none()));
}

/// Agents of this program: the process of the root home's gateway stays. What an agent of somebody's own says is not lost unasked.
#[test]
fn n7_6_own_agents_become_one_and_come_back() {
    let home = Home::lasting();
    let launchd = machine(&home);
    launchd.run(&["gateway", "install"]).ok();
    launchd.run(&["-p", "coder", "gateway", "install"]).ok();
    let (first, own) = (launchd.pid(LABEL).unwrap(), launchd.pid(&label("coder")).unwrap());
    let file = launchd.agents().join(format!("{}.plist", label("coder")));
    let written = fs_err::read_to_string(&file).unwrap();
    let edited =
        written.replace("<key>Umask</key>", "<key>Nice</key>\n\t<integer>5</integer>\n\t<key>Umask</key>");
    assert_ne!(edited, written);
    fs_err::write(&file, &edited).unwrap();
    let lost = launchd.run(&["gateway", "migrate", "--yes"]);
    assert_eq!(lost.code, Some(78), "{lost:#?}");
    assert!(
        format!("{}{}", lost.out, lost.err).contains("sets Nice, which the one gateway would not"),
        "{lost:#?}"
    );
    fs_err::write(&file, &written).unwrap();

    launchd.run(&["gateway", "migrate", "--yes"]).ok();
    assert!(is_one(&home) && is_ready(&home, "coder"));
    assert_eq!(launchd.pid(LABEL), Some(first), "its process stays");
    assert!(!process::is_alive(own) && !file.exists());
    launchd.run(&["gateway", "migrate", "--rollback", "--yes"]).ok();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), written);
    assert!(launchd.pid(&label("coder")).is_some_and(|pid| pid != own) && !is_one(&home));
    assert_eq!(launchd.pid(LABEL), Some(first));
}
