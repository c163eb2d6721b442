//! `email` against a mail server.

use bosh_tests::smtp::{Rules, Sink};
use serde_json::{Value, json};

use crate::support::{alert, heartbeat, over, publish, start, stats, tls, until};

fn email(sink: &Sink, smtp: Value) -> Value {
    let mut all = json!({ "from": "hm@example.test", "host": "127.0.0.1", "port": sink.addr.port(), "domain": "hm.example.test" });
    for (key, value) in smtp.as_object().expect("options") {
        all[key] = value.clone();
    }
    json!([{ "name": "email", "events": ["alert", "heartbeat"],
        "options": { "interval": 0.3, "recipients": ["a@example.test", "b@example.test"], "smtp": all } }])
}

#[tokio::test]
async fn what_comes_within_an_interval_is_one_mail_per_kind() -> anyhow::Result<()> {
    let (dir, sink) = (tempfile::tempdir()?, Sink::start().await?);
    let dispatcher = start(dir.path(), email(&sink, json!({})))?;
    for title in ["one", "two", "three"] {
        publish(&dispatcher, alert(title));
    }
    dispatcher.publish(&heartbeat("i-1"));
    let mails = until("both mails", || {
        Some(sink.mails()).filter(|mails| mails.len() == 2)
    })
    .await?;
    let with = |subject: &str| {
        let mut found = mails.iter().filter(|mail| {
            mail.text
                .contains(&format!("\nSubject: {subject} from BOSH Health Monitor\n"))
        });
        found
            .next()
            .unwrap_or_else(|| panic!("{subject}: {mails:?}"))
    };
    let mail = with("3 alerts");
    assert_eq!(
        (mail.from.as_str(), &mail.to),
        (
            "hm@example.test",
            &vec!["a@example.test".to_owned(), "b@example.test".to_owned()]
        )
    );
    assert_eq!(mail.hello, "hm.example.test");
    let (head, body) = mail.text.split_once("\n\n").expect("a body");
    let names: Vec<_> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["From", "To", "Subject", "Date", "Content-Type"]);
    assert!(
        head.contains("\nTo: a@example.test, b@example.test\n"),
        "{head}"
    );
    let paragraph = |title: &str| {
        format!(
            "dep: web(i-1) [id=a-1, index=0, cid=vm-1]\n{title}\nSeverity: 2\nSummary: {title}, and that is all\nTime: 2011-11-02 01:08:19 UTC\n\n"
        )
    };
    assert_eq!(body, ["one", "two", "three"].map(paragraph).concat());
    let beat = with("1 heartbeat");
    assert!(
        beat.text.ends_with(
            "\n\nHeartbeat from web/i-1 (agent_id=a-1 index=0) @ 2011-11-02 01:08:19 UTC\n"
        ),
        "{}",
        beat.text
    );

    publish(&dispatcher, over("two"));
    let mails = until("the recovery", || {
        Some(sink.mails()).filter(|mails| mails.len() == 3)
    })
    .await?;
    assert!(
        mails[2]
            .text
            .contains("\nSubject: 1 recovery from BOSH Health Monitor\n"),
        "{}",
        mails[2].text
    );
    Ok(())
}

#[tokio::test]
async fn starttls_and_both_ways_of_auth() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (config, ca) = tls(dir.path())?;
    let rules = Rules {
        tls: Some(config),
        login: Some(("usr".into(), "päss word".into())),
        implicit_tls: false,
    };
    for mechanism in ["plain", "login"] {
        let sink = Sink::start_with(rules.clone()).await?;
        let spool = dir.path().join(mechanism);
        let smtp = json!({ "tls": true, "ca_cert": ca, "auth": mechanism, "user": "usr", "password": "päss word" });
        let dispatcher = start(&spool, email(&sink, smtp))?;
        publish(&dispatcher, alert("one"));
        let mails = until("the mail", || {
            Some(sink.mails()).filter(|mails| !mails.is_empty())
        })
        .await?;
        assert!(mails[0].tls);
        assert_eq!(
            mails[0].auth.as_deref(),
            Some(mechanism.to_uppercase().as_str())
        );
    }
    Ok(())
}

#[tokio::test]
async fn tls_from_the_first_byte() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (config, ca) = tls(dir.path())?;
    let rules = Rules {
        tls: Some(config),
        implicit_tls: true,
        login: None,
    };
    let sink = Sink::start_with(rules).await?;
    let dispatcher = start(
        dir.path(),
        email(&sink, json!({ "implicit_tls": true, "ca_cert": ca })),
    )?;
    publish(&dispatcher, alert("one"));
    until("the mail", || {
        sink.mails().first().filter(|mail| mail.tls).cloned()
    })
    .await?;
    Ok(())
}

/// A server that nobody vouches for, one that wants TLS, and one that wants another password: no mail, and none is lost.
#[tokio::test]
async fn a_server_that_is_not_satisfied_is_tried_again() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (config, ca) = tls(dir.path())?;
    let strict = Rules {
        tls: Some(config),
        login: Some(("usr".into(), "pwd".into())),
        implicit_tls: false,
    };
    let login = |password: &str| json!({ "tls": true, "ca_cert": ca, "auth": "plain", "user": "usr", "password": password });
    for (name, smtp) in [
        ("untrusted", json!({ "tls": true })),
        ("plain", json!({})),
        ("password", login("wrong")),
    ] {
        let sink = Sink::start_with(strict.clone()).await?;
        let spool = dir.path().join(name);
        let dispatcher = start(&spool, email(&sink, smtp))?;
        publish(&dispatcher, alert("one"));
        until("a failure", || {
            (stats(&dispatcher, "email-0").failed > 0).then_some(())
        })
        .await?;
        assert!(sink.mails().is_empty(), "{name}");
        assert_eq!(stats(&dispatcher, "email-0").spooled, 1, "{name}");
        dispatcher.stop(std::time::Duration::from_secs(5)).await;
        // Somebody mends the configuration.
        let dispatcher = start(&spool, email(&sink, login("pwd")))?;
        until("the mail", || (sink.mails().len() == 1).then_some(())).await?;
        until("the spool's end", || {
            (stats(&dispatcher, "email-0").spooled == 0).then_some(())
        })
        .await?;
    }
    Ok(())
}
