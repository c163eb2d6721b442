//! Keeps the users of a nats-server that somebody else runs: asks the director which VMs there are, writes the user
//! file, has nats-server reload it.
//!
//! Takes upstream's bosh_nats_sync_config.yml and does what upstream's bosh-nats-sync does. A director that runs
//! nats-server itself does not need it: see [`crate::nats::Users`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bosh_protocol::{AgentId, Secret};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::nats::{self, User};

/// How long one request to the director may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a director that is not there yet, unless told otherwise, and how often to try.
const WAIT: f64 = 60.0;
const TRY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Config {
    director: DirectorOptions,
    intervals: Intervals,
    nats: NatsOptions,
    #[serde(default)]
    logfile: Option<PathBuf>,
}

#[derive(Deserialize)]
struct DirectorOptions {
    url: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    client_secret: Option<Secret>,
    #[serde(default)]
    director_ca_cert: Option<PathBuf>,
    #[serde(default)]
    uaa_ca_cert: Option<PathBuf>,
    #[serde(default)]
    director_subject_file: Option<PathBuf>,
    #[serde(default)]
    hm_subject_file: Option<PathBuf>,
    /// Seconds.
    #[serde(default)]
    connection_wait_timeout: Option<f64>,
}

#[derive(Deserialize)]
struct Intervals {
    /// Seconds.
    poll_user_sync: f64,
}

#[derive(Deserialize)]
struct NatsOptions {
    config_file_path: PathBuf,
    nats_server_executable: PathBuf,
    nats_server_pid_file: PathBuf,
}

#[derive(Deserialize)]
struct Info {
    user_authentication: Authentication,
}

#[derive(Deserialize)]
struct Authentication {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    options: AuthenticationOptions,
}

#[derive(Default, Deserialize)]
struct AuthenticationOptions {
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: Secret,
}

#[derive(Deserialize)]
struct Deployment {
    name: String,
}

#[derive(Deserialize)]
struct Vm {
    #[serde(default)]
    agent_id: Option<String>,
    #[serde(default)]
    permanent_nats_credentials: Option<bool>,
}

/// The log file that the configuration names.
pub fn log_file(config: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(read(config)?.logfile)
}

fn read(config: &Path) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(config).with_context(|| format!("read {}", config.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("parse {}", config.display()))
}

/// Synchronizes every so often until `stop`. A director that does not answer leaves the users as they are.
pub async fn run(config: &Path, stop: CancellationToken) -> anyhow::Result<()> {
    let config = read(config)?;
    let http = client(&config.director)?;
    let interval = Duration::try_from_secs_f64(config.intervals.poll_user_sync)
        .context("key 'intervals.poll_user_sync': expected seconds")?;
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    reload(&config.nats).await?;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let done = tokio::select! {
            done = synchronize(&config, &http) => done,
            () = stop.cancelled() => return Ok(()),
        };
        if let Err(error) = done {
            tracing::error!(error = format!("{error:#}"), "users of the message bus");
        }
    }
}

async fn synchronize(config: &Config, http: &reqwest::Client) -> anyhow::Result<()> {
    let users = match query(&config.director, http).await {
        Ok(users) => users,
        Err(error) if has_users(&config.nats.config_file_path) => return Err(error),
        Err(error) => {
            // Without a file the director itself could not connect.
            tracing::warn!(error = format!("{error:#}"), "writing the basic users only");
            Vec::new()
        }
    };
    let director = subject(config.director.director_subject_file.as_deref());
    let monitor = subject(config.director.hm_subject_file.as_deref());
    let path = &config.nats.config_file_path;
    let changed = nats::write_users(path, director.as_deref(), monitor.as_deref(), users)?;
    if changed {
        reload(&config.nats).await?;
    }
    Ok(())
}

fn client(options: &DirectorOptions) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
    for path in [&options.director_ca_cert, &options.uaa_ca_cert]
        .into_iter()
        .flatten()
    {
        // Templates leave an empty file when there is no CA of one's own.
        let pem = match std::fs::read(path) {
            Ok(pem) if !pem.trim_ascii().is_empty() => pem,
            Ok(_) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .with_context(|| format!("parse {}", path.display()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().context("make an HTTP client")
}

async fn query(options: &DirectorOptions, http: &reqwest::Client) -> anyhow::Result<Vec<User>> {
    let url = options.url.trim_end_matches('/');
    reachable(options, http).await;
    let info: Info = get(http.get(format!("{url}/info"))).await?;
    let authentication = info.user_authentication;
    let authorize: Box<dyn Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder + Send + Sync> =
        if authentication.kind == "uaa" {
            let uaa = authentication
                .options
                .url
                .context("the director names no UAA")?;
            let token = token(options, http, &uaa).await?;
            Box::new(move |request| request.bearer_auth(token.expose()))
        } else {
            let user = options.user.clone().unwrap_or_default();
            let password = options.password.clone().unwrap_or_default();
            Box::new(move |request| request.basic_auth(&user, Some(password.expose())))
        };
    let deployments: Vec<Deployment> =
        get(authorize(http.get(format!("{url}/deployments")))).await?;
    let mut users = Vec::new();
    for deployment in deployments {
        let path = format!("{url}/deployments/{}/vms", deployment.name);
        let vms: Vec<Vm> = get(authorize(http.get(path))).await?;
        users.extend(vms.into_iter().filter_map(|vm| {
            Some(User {
                agent_id: AgentId::new(vm.agent_id.filter(|id| !id.is_empty())?),
                permanent: vm.permanent_nats_credentials.unwrap_or(false),
            })
        }));
    }
    Ok(users)
}

/// Waits for a director that refuses connections, for so long at most.
async fn reachable(options: &DirectorOptions, http: &reqwest::Client) {
    let wait = options.connection_wait_timeout.unwrap_or(WAIT);
    let wait = Duration::try_from_secs_f64(wait).unwrap_or_default();
    let deadline = tokio::time::Instant::now() + wait;
    let url = format!("{}/info", options.url.trim_end_matches('/'));
    loop {
        match http.get(&url).send().await {
            Err(error) if error.is_connect() || error.is_timeout() => {
                if tokio::time::Instant::now() + TRY >= deadline {
                    return;
                }
                tracing::info!(%error, "waiting for the director");
            }
            // Whatever it is, the real request tells.
            _ => return,
        }
        tokio::time::sleep(TRY).await;
    }
}

async fn token(
    options: &DirectorOptions,
    http: &reqwest::Client,
    uaa: &str,
) -> anyhow::Result<Secret> {
    let request = http
        .post(format!("{}/oauth/token", uaa.trim_end_matches('/')))
        .basic_auth(
            options.client_id.as_deref().unwrap_or_default(),
            options.client_secret.as_ref().map(Secret::expose),
        )
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials");
    let token: Token = get(request).await?;
    Ok(token.access_token)
}

async fn get<T: serde::de::DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> anyhow::Result<T> {
    let response = request.send().await.context("ask the director")?;
    let (url, status) = (response.url().path().to_string(), response.status());
    let body = response
        .bytes()
        .await
        .context("read the director's answer")?;
    if !status.is_success() {
        bail!(
            "cannot access {url}, status {status}, {}",
            String::from_utf8_lossy(&body)
        );
    }
    serde_json::from_slice(&body).with_context(|| format!("answer of {url}"))
}

fn subject(file: Option<&Path>) -> Option<String> {
    let text = std::fs::read_to_string(file?).ok()?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

fn has_users(file: &Path) -> bool {
    let parsed = std::fs::read(file)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    parsed.is_some_and(|value| value.as_object().is_some_and(|object| !object.is_empty()))
}

async fn reload(nats: &NatsOptions) -> anyhow::Result<()> {
    let output = tokio::process::Command::new(&nats.nats_server_executable)
        .arg("--signal")
        .arg(format!("reload={}", nats.nats_server_pid_file.display()))
        .output()
        .await
        .with_context(|| format!("run {}", nats.nats_server_executable.display()))?;
    if !output.status.success() {
        bail!(
            "cannot have nats-server reload its users: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn users_follow_the_directors_vms() {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let vms = json!([
            {"agent_id": "a", "cid": "1", "permanent_nats_credentials": false},
            {"agent_id": "b", "cid": "2", "permanent_nats_credentials": true},
            {"agent_id": null, "cid": null},
        ]);
        let app = Router::new()
            .route(
                "/info",
                get(|| async {
                    Json(json!({"user_authentication": {"type": "basic", "options": {}}}))
                }),
            )
            .route(
                "/deployments",
                get(|| async { Json(json!([{"name": "d"}])) }),
            )
            .route("/deployments/d/vms", get(|| async { Json(vms) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(crate::listen::serve(listener, None, app, stop.clone()));

        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let calls = path("calls");
        let script = format!("#!/bin/sh\necho \"$@\" >> '{}'\n", calls.display());
        std::fs::write(path("nats-server"), script).unwrap();
        std::fs::set_permissions(path("nats-server"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        std::fs::write(
            path("director-subject"),
            "C=USA, O=Cloud Foundry, CN=director\n",
        )
        .unwrap();
        let config = json!({
            "director": {
                "url": url, "user": "u", "password": "p", "director_ca_cert": path("none.pem"),
                "director_subject_file": path("director-subject"), "hm_subject_file": path("none"),
            },
            "intervals": {"poll_user_sync": 0.1},
            "nats": {
                "config_file_path": path("auth.json"),
                "nats_server_executable": path("nats-server"),
                "nats_server_pid_file": "/run/nats.pid",
            },
        });
        std::fs::write(
            path("config.yml"),
            serde_yaml_ng::to_string(&config).unwrap(),
        )
        .unwrap();
        let running = tokio::spawn({
            let (config, stop) = (path("config.yml"), stop.clone());
            async move { run(&config, stop).await }
        });

        // Reloaded once at the start and once for the change, not at every look.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let reload = "--signal reload=/run/nats.pid\n";
        while std::fs::read_to_string(&calls).unwrap_or_default() != reload.repeat(2) {
            assert!(tokio::time::Instant::now() < deadline, "not reloaded");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let written: Value =
            serde_json::from_slice(&std::fs::read(path("auth.json")).unwrap()).unwrap();
        let users: Vec<_> = written["authorization"]["users"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["user"].as_str().unwrap())
            .collect();
        assert_eq!(
            users,
            [
                "C=USA, O=Cloud Foundry, CN=director",
                "C=USA, O=Cloud Foundry, CN=a.bootstrap.agent.bosh-internal",
                "C=USA, O=Cloud Foundry, CN=a.agent.bosh-internal",
                "C=USA, O=Cloud Foundry, CN=b.agent.bosh-internal",
            ]
        );
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
