//! The director: how soon it answers, what it weighs, how many requests it serves, how fast it uploads and deploys.

use std::time::Duration;

use anyhow::Context;
use reqwest::Method;

use crate::cargo;
use crate::site::Site;
use crate::table::{Better, Row, Table, median};

const STARTS: usize = 5;
const ROUNDS: usize = 3;
/// Clients that ask at the same time, each on a connection it keeps.
const CLIENTS: usize = 4;
const SIZES: [(usize, f64, &str); 3] = [
    (1, 0.5, "upstream 4.2"),
    (10, 0.7, "upstream 7.2"),
    (50, 1.5, "upstream 20"),
];

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    println!("==> director");
    let dir = tempfile::tempdir()?;
    let mut site = Site::start(dir.path()).await?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(site.restart().await?);
    }
    table.add(Row {
        name: format!("director: start, with nats-server -> /info answers, median of {STARTS}"),
        value: median(starts),
        unit: "s",
        target: 0.2,
        better: Better::Lower,
        against: "upstream 1.0",
    });

    let mut uploads = Vec::new();
    for version in 1..=ROUNDS as u64 {
        let tarball = std::fs::read(cargo::release(dir.path(), version)?)?;
        uploads.push(upload(&site, "/releases", tarball).await?);
    }
    table.add(Row {
        name: format!(
            "director: upload of a release, 50 packages, 50 jobs, 5 MB, median of {ROUNDS}"
        ),
        value: median(uploads),
        unit: "s",
        target: 0.3,
        better: Better::Lower,
        against: "upstream 2.9",
    });

    let stemcell = std::fs::read(cargo::stemcell(dir.path())?)?;
    upload(&site, "/stemcells", stemcell).await?;
    deploys(table, &site).await?;
    memory(
        table,
        &site,
        "director: RSS of all but nats-server, right after deploys",
    )?;
    requests(table, &site).await?;
    // Ruby processes are ended when they were idle for 30 s.
    tokio::time::sleep(Duration::from_secs(35)).await;
    memory(
        table,
        &site,
        "director: idle RSS of all but nats-server, 61 agents",
    )
}

async fn upload(site: &Site, path: &str, tarball: Vec<u8>) -> anyhow::Result<Duration> {
    site.task(Method::POST, path, "application/x-compressed", tarball)
        .await
}

async fn deploy(site: &Site, name: &str, instances: usize) -> anyhow::Result<Duration> {
    let manifest = cargo::manifest(name, instances).into_bytes();
    let took = site
        .task(Method::POST, "/deployments", "text/yaml", manifest)
        .await;
    took.with_context(|| format!("deploying {name}"))
}

async fn delete(site: &Site, name: &str) -> anyhow::Result<Duration> {
    let path = format!("/deployments/{name}?force=true");
    site.task(Method::DELETE, &path, "text/yaml", Vec::new())
        .await
}

/// Leaves one deployment of each size.
async fn deploys(table: &mut Table, site: &Site) -> anyhow::Result<()> {
    // Compiles the package.
    deploy(site, "first", 1).await?;
    delete(site, "first").await?;
    let mut per_instance = Vec::new();
    for (size, target, against) in SIZES {
        let (name, mut times) = (format!("of-{size}"), Vec::new());
        for round in 0..ROUNDS {
            if round > 0 {
                delete(site, &name).await?;
            }
            let before = site.cpu()?;
            times.push(deploy(site, &name, size).await?);
            let after = site.cpu()?;
            let (own, rubies) = (after.0 - before.0, after.1.saturating_sub(before.1));
            println!("    first deploy of {size}: {own:?} of the director, {rubies:?} of Ruby");
            if size == 50 {
                per_instance.push((own + rubies) / 50);
            }
        }
        table.add(Row {
            name: format!(
                "director: first deploy of {size} instances, compiled, median of {ROUNDS}"
            ),
            value: median(times),
            unit: "s",
            target,
            better: Better::Lower,
            against,
        });
    }
    table.add(Row {
        name: "director: CPU with Ruby's per instance of a first deploy of 50".into(),
        value: median(per_instance) * 1e3,
        unit: "ms",
        target: 5.,
        better: Better::Lower,
        against: "upstream 300",
    });
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(deploy(site, "of-50", 50).await?);
    }
    table.add(Row {
        name: format!("director: no-op deploy of 50 instances, median of {ROUNDS}"),
        value: median(times),
        unit: "s",
        target: 0.2,
        better: Better::Lower,
        against: "upstream 3.4",
    });
    Ok(())
}

fn memory(table: &mut Table, site: &Site, name: &str) -> anyhow::Result<()> {
    let parts = site.memory()?;
    for (part, bytes) in &parts {
        println!("    {part}: {:.1} MB", *bytes as f64 / 1e6);
    }
    table.add(Row {
        name: name.into(),
        value: parts.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64 / 1e6,
        unit: "MB",
        target: 40.,
        better: Better::Lower,
        against: "upstream 775",
    });
    Ok(())
}

async fn requests(table: &mut Table, site: &Site) -> anyhow::Result<()> {
    // So that there are 30 tasks to list.
    for _ in 0..20 {
        deploy(site, "of-1", 1).await?;
    }
    for (what, path, count, target, against) in [
        (
            "GET /info",
            "/info",
            40_000,
            20_000.,
            "upstream 4,169, two cores",
        ),
        (
            "GET /deployments (3)",
            "/deployments",
            20_000,
            10_000.,
            "upstream 472, two cores",
        ),
        (
            "GET /tasks?limit=30",
            "/tasks?limit=30",
            20_000,
            10_000.,
            "upstream 360, two cores",
        ),
    ] {
        ask(site, path, 100).await?;
        let before = site.cpu()?.0;
        ask(site, path, count).await?;
        let spent = site.cpu()?.0 - before;
        table.add(Row {
            name: format!("director: {what}, requests per second of one core"),
            value: count as f64 / spent.as_secs_f64(),
            unit: "1/s",
            target,
            better: Better::Higher,
            against,
        });
    }
    Ok(())
}

/// Asks that many times, over TLS connections that are kept.
async fn ask(site: &Site, path: &'static str, count: usize) -> anyhow::Result<()> {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let director = site.director.clone();
        clients.spawn(async move {
            for _ in 0..count / CLIENTS {
                let response = director
                    .send(Method::GET, path, "application/json", "")
                    .await?;
                // The whole body, or else the connection is not used again.
                response.error_for_status()?.bytes().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}
