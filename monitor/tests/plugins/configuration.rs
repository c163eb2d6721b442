//! What is wrong with an entry is said before anything starts: file, key and expectation.

use serde_json::{Value, json};

use crate::support::{config, start};

fn refusal(plugin: Value) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    match start(dir.path(), json!([{ "name": "logger" }, plugin])) {
        Ok(_) => panic!("nothing is wrong"),
        Err(error) => {
            assert!(!dir.path().join("spool").exists(), "nothing was started");
            format!("{error:#}")
        }
    }
}

#[tokio::test]
async fn errors_name_file_key_and_expectation() {
    let email = |smtp: Value| json!({ "name": "email", "options": { "recipients": ["a@example.test"], "smtp": smtp } });
    for (plugin, expected) in [
        (
            json!({ "name": "nagios" }),
            "hm.yml: plugins[1] (nagios).name: Cannot find 'nagios' plugin; expected one of consul_event_forwarder, data_dog, email,",
        ),
        (
            json!({ "name": "logger", "options": { "foofoo": {} } }),
            "hm.yml: plugins[1] (logger).options.format: expected json",
        ),
        (
            email(json!({ "host": "x", "port": "many", "from": "hm@example.test" })),
            "hm.yml: plugins[1] (email).options.smtp.port: expected a port, a number from 1 to 65535",
        ),
        (
            email(json!({ "host": "x", "port": 25 })),
            "hm.yml: plugins[1] (email).options.smtp: missing field `from`",
        ),
        (
            json!({ "name": "graphite", "options": { "host": "x" } }),
            "hm.yml: plugins[1] (graphite).options: missing field `port`",
        ),
        (
            json!({ "name": "tsdb", "options": { "host": "x", "port": 1, "max_retries": -1337 } }),
            "hm.yml: plugins[1] (tsdb).options.max_retries: expected a number of at least -1, found -1337",
        ),
        (
            json!({ "name": "riemann", "options": [] }),
            "hm.yml: plugins[1] (riemann).options",
        ),
        (
            json!({ "name": "webhook", "options": { "url": "http://x/" }, "filter": { "severity": "grave" } }),
            "hm.yml: plugins[1] (webhook).filter: severity",
        ),
        (
            json!({ "name": "webhook", "options": { "url": "http://x/" }, "limit": { "alerts": 0 } }),
            "hm.yml: plugins[1] (webhook).limit.alerts",
        ),
        (
            json!({ "name": "webhook", "options": { "url": "http://x/" }, "group": { "by": "colour" } }),
            "hm.yml: plugins[1] (webhook).group.by: unknown variant `colour`",
        ),
        (
            json!({ "name": "pagerduty", "options": { "service_key": "x" }, "group": {} }),
            "hm.yml: plugins[1] (pagerduty).group: expected nothing",
        ),
        (
            json!({ "name": "pagerduty", "events": ["heartbeat"], "options": { "routing_key": "x" } }),
            "hm.yml: plugins[1] (pagerduty).events: expected alert alone",
        ),
        (
            json!({ "name": "json", "options": { "bin_glob": "/a/***" } }),
            "hm.yml: plugins[1] (json).options.bin_glob: expected a glob",
        ),
    ] {
        let error = refusal(plugin);
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
}

#[tokio::test]
async fn a_spool_that_is_asked_for_has_to_be_usable_and_another_need_not() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("spool"), "a file")?;
    let mut config = config(dir.path(), json!([]))?;
    assert_eq!(
        config.spool.dir.as_deref(),
        Some(dir.path().join("spool").as_path())
    );
    bosh_monitor::notify::Dispatcher::start(&config.plugins, &config.spool, None)?;
    config.spool.named = true;
    let error = bosh_monitor::notify::Dispatcher::start(&config.plugins, &config.spool, None).err();
    let error = error.expect("an error").to_string();
    assert_eq!(
        error,
        format!("spool.dir: using {}", dir.path().join("spool").display())
    );
    Ok(())
}

/// The names of upstream's classes, as upstream finds them.
#[tokio::test]
async fn a_names_capitals_do_not_matter() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let keys = json!({ "api_key": "a", "application_key": "b" });
    start(
        dir.path(),
        json!([{ "name": "Logger" }, { "name": "DATA_DOG", "options": keys }]),
    )?;
    Ok(())
}
