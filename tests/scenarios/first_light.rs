//! The demo as a scenario, in a network namespace of its own: what `make demo` shows a person is checked here on every run.

use std::time::Duration;

use bosh_tests::story::{DEPLOYMENT, Stage};
use bosh_tests::{netns, redis, stemcell, wait};

/// A runtime whose threads, and the processes they start, are in a network of their own.
fn in_own_network<F: Future<Output = anyhow::Result<()>>>(scenario: F) -> anyhow::Result<()> {
    netns::enter()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(scenario)
}

#[test]
fn deploys_supervises_watches_and_repairs() -> anyhow::Result<()> {
    // Both come over the network, which the scenario itself does not have.
    let baked = stemcell::baked()?;
    redis::source()?;
    let dir = tempfile::Builder::new()
        .prefix("bosh-scenario-")
        .tempdir_in("/var/tmp")?;
    in_own_network(async {
        let stage = Stage::open(&dir.path().join("micro")).await?;
        stage.upload(&baked.tarball).await?;

        let manifest = stage.manifest()?;
        stage.deploy(&manifest).await?;
        let instances = stage.instances().await?;
        assert_eq!(instances.len(), 2);
        for instance in &instances {
            assert_eq!(instance.job_state(), "running", "{}", instance.line());
            assert!(
                instance.0["vitals"]["mem"]["percent"].is_string(),
                "no vitals: {}",
                instance.0
            );
            assert_eq!(
                instance.0["processes"][0]["name"], "redis",
                "{}",
                instance.0
            );
        }

        let first = &instances[0];
        first
            .redis()
            .await?
            .command(&["SET", "promise", "kept"])
            .await?;
        let second = &instances[1];
        wait::until(
            "the follower to have the key",
            Duration::from_secs(30),
            || async move {
                Ok(second
                    .redis()
                    .await?
                    .command(&["GET", "promise"])
                    .await?
                    .filter(|value| value == "kept"))
            },
        )
        .await?;

        stage.kill_redis(first).await?;

        // The same manifest again changes nothing: the VMs are those of before.
        stage.deploy(&manifest).await?;
        let cids = |instances: &[bosh_tests::story::Instance]| -> Vec<String> {
            instances
                .iter()
                .map(|instance| instance.vm_cid().to_owned())
                .collect()
        };
        assert_eq!(cids(&stage.instances().await?), cids(&instances));

        let destroyed = stage.destroy_vm(first, "promise", "kept").await?;
        assert_ne!(destroyed.vms.0, destroyed.vms.1);

        let path = format!("/deployments/{DEPLOYMENT}");
        let limit = Duration::from_secs(120);
        let task = stage
            .director()
            .task(
                reqwest::Method::DELETE,
                &path,
                "application/json",
                "",
                limit,
            )
            .await?;
        task.done()?;
        assert_eq!(
            stage.director().get("/deployments").await?,
            serde_json::json!([])
        );
        stage.micro.down()
    })
}
