//! What a monitor that ended has not delivered, the next one does.

use bosh_tests::webhook::Listener;
use serde_json::{Value, json};

use crate::support::{Door, Way, alert, over, publish, start, stats, until};

fn hook(addr: std::net::SocketAddr) -> Value {
    json!([{ "name": "webhook", "id": "hook", "events": ["alert"], "options": { "url": format!("http://{addr}/"), "timeout": 1 } }])
}

#[tokio::test]
async fn a_monitor_that_ends_leaves_its_alerts_to_the_next() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let mut door = Door::new(server.addr, Way::Refuses).await?;
    let dispatcher = start(dir.path(), hook(door.addr))?;
    for title in ["one", "two"] {
        publish(&dispatcher, alert(title));
    }
    publish(&dispatcher, over("one"));
    // Nothing has been waited for: the end itself has everything written down.
    dispatcher.stop(std::time::Duration::from_secs(1)).await;
    assert!(server.calls().is_empty());
    door.set(Way::Open).await?;
    let dispatcher = start(dir.path(), hook(door.addr))?;
    until("what waited", || (server.calls().len() == 3).then_some(())).await?;
    let told: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.body["id"].clone())
        .collect();
    assert_eq!(told, ["id of one", "id of two", "end of one"]);
    until("the numbers", || {
        (stats(&dispatcher, "hook").delivered == 3).then_some(())
    })
    .await?;
    drop(dispatcher);
    Ok(())
}

#[tokio::test]
async fn two_monitors_do_not_share_a_spool() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let first = start(dir.path(), hook(server.addr))?;
    // The second one finds the default spool taken, and does without.
    let second = start(dir.path(), hook(server.addr))?;
    publish(&first, alert("one"));
    publish(&second, alert("two"));
    until("both", || (server.calls().len() == 2).then_some(())).await?;
    let journal = std::fs::read_to_string(dir.path().join("spool/hook.journal"))?;
    assert!(
        journal.contains("id of one") && !journal.contains("id of two"),
        "{journal}"
    );
    Ok(())
}

/// A journal that was damaged costs the damaged lines.
#[tokio::test]
async fn rubbish_in_a_spool_is_stepped_over() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let mut door = Door::new(server.addr, Way::Refuses).await?;
    let dispatcher = start(dir.path(), hook(door.addr))?;
    publish(&dispatcher, alert("one"));
    dispatcher.stop(std::time::Duration::from_secs(1)).await;
    let path = dir.path().join("spool/hook.journal");
    let mut journal = std::fs::read(&path)?;
    let whole = journal.clone();
    journal.extend_from_slice(b"{\"a\": [1, 2]}\n\xff\xfe\n");
    journal.extend_from_slice(&whole[..whole.len() / 2]);
    std::fs::write(&path, journal)?;
    door.set(Way::Open).await?;
    let _dispatcher = start(dir.path(), hook(door.addr))?;
    until("what was whole", || {
        (server.calls().len() == 1).then_some(())
    })
    .await?;
    assert_eq!(server.calls()[0].body["id"], "id of one");
    Ok(())
}
