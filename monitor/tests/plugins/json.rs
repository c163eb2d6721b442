//! `json` with real programs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bosh_monitor::event::Event;
use serde_json::{Value, json};

use crate::support::{alert, heartbeat, publish, start, until};

fn program(dir: &Path, name: &str, script: &str) -> anyhow::Result<()> {
    let jobs = dir.join("jobs").join(name).join("bin/bosh-monitor");
    std::fs::create_dir_all(&jobs)?;
    // Written beside and moved in: it is not found half written.
    let (draft, path) = (dir.join(format!("{name}.draft")), jobs.join(name));
    std::fs::write(&draft, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(draft, path)?;
    Ok(())
}

fn plugin(dir: &Path) -> Value {
    let glob = dir.join("jobs/*/bin/bosh-monitor/*");
    json!([{ "name": "json", "events": ["alert", "heartbeat"],
        "options": { "bin_glob": glob, "check_interval": 0.1, "restart_wait": 0.1 } }])
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_program_is_fed_and_new_ones_are_found() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let out = |name: &str| dir.path().join(format!("{name}.out"));
    let keep = |name: &str| {
        format!(
            "echo up > {0}.up; echo chatter; while read -r line; do echo \"$line\" >> {0}; done",
            out(name).display()
        )
    };
    let up = |name: &str| dir.path().join(format!("{name}.out.up")).exists();
    program(dir.path(), "one", &keep("one"))?;
    program(dir.path(), "two", &keep("two"))?;
    let dispatcher = start(dir.path(), plugin(dir.path()))?;
    until("both programs", || (up("one") && up("two")).then_some(())).await?;
    publish(&dispatcher, alert("a"));
    dispatcher.publish(&heartbeat("i-1"));
    let Event::Heartbeat(beat) = heartbeat("i-1") else {
        unreachable!()
    };
    for name in ["one", "two"] {
        let seen = until("both events", || {
            Some(lines(&out(name))).filter(|lines| lines.len() == 2)
        })
        .await?;
        assert!(seen.contains(&alert("a").to_hash().to_string()), "{seen:?}");
        assert!(seen.contains(&beat.to_json().to_string()), "{seen:?}");
    }
    program(dir.path(), "three", &keep("three"))?;
    until("the third program", || up("three").then_some(())).await?;
    publish(&dispatcher, alert("b"));
    until("an event for it", || {
        (lines(&out("three")).len() == 1).then_some(())
    })
    .await?;
    dispatcher.stop(Duration::from_secs(10)).await;
    Ok(())
}

#[tokio::test]
async fn a_program_that_fails_is_started_again_and_one_that_ends_well_is_not() -> anyhow::Result<()>
{
    let dir = tempfile::tempdir()?;
    let (starts, deaths, out) = (
        dir.path().join("starts"),
        dir.path().join("deaths"),
        dir.path().join("out"),
    );
    program(
        dir.path(),
        "content",
        &format!("echo x >> {}; exit 0", starts.display()),
    )?;
    program(
        dir.path(),
        "frail",
        &format!(
            "echo x >> {}; while read -r line; do case $line in *poison*) exit 3;; esac; echo \"$line\" >> {}; done",
            deaths.display(),
            out.display()
        ),
    )?;
    let dispatcher = start(dir.path(), plugin(dir.path()))?;
    until("both starts", || {
        (lines(&starts).len() == 1 && lines(&deaths).len() == 1).then_some(())
    })
    .await?;
    publish(&dispatcher, alert("poison"));
    until("another start", || {
        (lines(&deaths).len() == 2).then_some(())
    })
    .await?;
    publish(&dispatcher, alert("cure"));
    until("an event for the new one", || {
        (lines(&out).len() == 1).then_some(())
    })
    .await?;
    assert_eq!(
        lines(&starts).len(),
        1,
        "what ended well has said all it wanted to"
    );
    Ok(())
}

#[tokio::test]
async fn a_program_that_does_not_read_keeps_nothing_from_the_others() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (out, stuck) = (dir.path().join("out"), dir.path().join("stuck"));
    program(
        dir.path(),
        "deaf",
        &format!("echo up > {}; exec sleep 600", stuck.display()),
    )?;
    program(
        dir.path(),
        "well",
        &format!(
            "while read -r line; do echo \"$line\" >> {}; done",
            out.display()
        ),
    )?;
    let dispatcher = start(dir.path(), plugin(dir.path()))?;
    until("the deaf one", || stuck.exists().then_some(())).await?;
    // Far more than a pipe holds.
    for number in 0..500 {
        publish(&dispatcher, alert(&format!("{number} {}", "x".repeat(500))));
    }
    until("all events", || (lines(&out).len() >= 490).then_some(())).await?;
    dispatcher.stop(Duration::from_secs(10)).await;
    Ok(())
}
