//! The agent from its flags to its end: boot, supervisor, message bus.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bosh_protocol::subject;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Parts};
use crate::config::{Config, Flags};
use crate::platform::dummy::Dummy;
use crate::platform::linux::Linux;
use crate::platform::{Dirs, Owner, Platform};
use crate::settings::{self, Sources};
use crate::supervisor::{self, MonitAlert};
use crate::{alerts, boot, heartbeat, mbus, once, rpc, spec};

/// Where monit's HTTP interface is.
const MONIT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2822);

/// Runs until `shutdown` returns, or something fails that the agent cannot do without. Supervised processes live on.
pub async fn run(flags: Flags, shutdown: impl Future<Output = ()>) -> Result<()> {
    let config = Config::load(flags.config.as_deref()).context("Loading config")?;
    let dirs = Dirs::new(&flags.base);
    let (platform, owner) = platform(&flags, &config, &dirs)?;
    let settings = settings::Service::new(
        Sources::new(config.sources, platform.clone()).context("Getting Settings Source")?,
        dirs.bosh(),
    );

    tokio::pin!(shutdown);
    tokio::select! {
        booted = boot::run(&*platform, &settings) => booted.context("Running bootstrap")?,
        // Nothing runs yet that would have to be told.
        () = &mut shutdown => return Ok(()),
    }

    if !once::may_start(&settings.get(), &dirs).context("Registering start")? {
        bail!("Refusing to boot");
    }

    let monit_dir = dirs.monit();
    std::fs::create_dir_all(&monit_dir)
        .with_context(|| format!("create {}", monit_dir.display()))?;
    let (service, handle, reports) =
        supervisor::Service::new(supervisor::Options::new(dirs.base()))
            .context("Getting job supervisor")?;
    let spec = spec::Store::open(dirs.bosh().join("spec.json"))
        .context("Cannot get v1spec from SpecService")?;
    let parts = Parts {
        platform,
        settings,
        spec,
        supervisor: handle,
        owner,
    };
    let agent = Arc::new(Agent::new(parts).context("Getting blobstore")?);
    let directories = agent
        .tools()
        .applier
        .create_job_directories(&agent.spec.get());
    directories.context("Cannot create directories for jobs")?;
    rpc::resume(&agent);

    let stop = CancellationToken::new();
    let mut supervising = tokio::spawn(service.run(stop.clone()));
    tokio::spawn(heartbeat::run(agent.clone()));
    tokio::spawn(send_alerts(agent.clone(), reports));
    let bus = mbus::serve(agent.clone());
    if flags.platform != "dummy" {
        // The port is one per machine.
        monit_interface(&agent.supervisor, &stop).await;
    }

    let ended = tokio::select! {
        () = &mut shutdown => Ok(()),
        result = bus => result.context("Message Bus Handler"),
        result = &mut supervising => match result {
            Ok(Ok(())) => bail!("the supervisor has ended"),
            Ok(Err(error)) => Err(error).context("the supervisor has failed"),
            Err(error) => Err(error).context("the supervisor broke down"),
        },
    };
    stop.cancel();
    if !supervising.is_finished() {
        // It writes down what it supervises, for the next agent to adopt.
        supervising
            .await
            .context("the supervisor broke down")?
            .context("the supervisor has failed")?;
    }
    ended
}

fn platform(flags: &Flags, config: &Config, dirs: &Dirs) -> Result<(Arc<dyn Platform>, Owner)> {
    if flags.platform == "dummy" {
        return Ok((Arc::new(Dummy::new(dirs.clone())), Owner::unchanged()));
    }
    if !["ubuntu", "centos"].contains(&flags.platform.as_str()) {
        bail!(
            "Getting platform: Platform {} could not be found",
            flags.platform
        );
    }
    let owner = Owner::root_vcap(dirs).context("Getting platform")?;
    let linux = Linux::new(dirs.clone(), config.platform.clone()).of_family(&flags.platform);
    Ok((Arc::new(linux), owner))
}

/// Releases and people speak to monit; an agent without its interface is still an agent.
async fn monit_interface(handle: &supervisor::Handle, stop: &CancellationToken) {
    let access = match supervisor::api::Access::from_options(handle.options()) {
        Ok(access) => access,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "no monit interface"
            );
            return;
        }
    };
    match TcpListener::bind(MONIT_ADDRESS).await {
        Ok(listener) => {
            tokio::spawn(supervisor::api::serve(
                listener,
                handle.clone(),
                access,
                stop.clone(),
                None,
            ));
        }
        Err(error) => tracing::error!(address = %MONIT_ADDRESS, %error, "no monit interface"),
    }
}

async fn send_alerts(agent: Arc<Agent>, mut reports: mpsc::Receiver<MonitAlert>) {
    while let Some(report) = reports.recv().await {
        tracing::info!(
            service = report.service,
            event = report.event,
            action = report.action,
            "supervisor"
        );
        let networks = agent.networks().await;
        if let Some(alert) = alerts::from_monit(&report, &networks, OffsetDateTime::now_utc()) {
            agent
                .bus
                .publish(subject::alert(&agent.settings.get().agent_id), &alert)
                .await;
        }
    }
}
