//! A client of the director's API, as thin as the `bosh` CLI's: it follows the redirect to a task and waits for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{Certificate, Method, StatusCode, header, redirect};
use serde_json::Value;

use crate::wait;

/// A director and the credentials of one of its users.
#[derive(Clone)]
pub struct Director {
    url: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

/// A finished task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its number.
    pub id: u64,
    /// `done`, `error`, `cancelled` or `timeout`.
    pub state: String,
    /// Its result column: a path, or what went wrong.
    pub result: String,
}

impl Task {
    /// Refuses a task that did not end well.
    pub fn done(self) -> anyhow::Result<Self> {
        ensure!(
            self.state == "done",
            "task {} ended as {}: {}",
            self.id,
            self.state,
            self.result
        );
        Ok(self)
    }
}

impl Director {
    /// A client for what the CLI's environment variables name; `None` while one of them is missing.
    pub fn from_env(env: &BTreeMap<String, String>) -> anyhow::Result<Option<Self>> {
        let get = |key| env.get(key).filter(|value| !value.is_empty());
        let (Some(url), Some(user), Some(password), Some(ca)) = (
            get("BOSH_ENVIRONMENT"),
            get("BOSH_CLIENT"),
            get("BOSH_CLIENT_SECRET"),
            get("BOSH_CA_CERT"),
        ) else {
            return Ok(None);
        };
        // As in the CLI, the CA is a file or the certificate itself.
        let ca = if ca.starts_with("-----BEGIN") {
            ca.clone()
        } else {
            std::fs::read_to_string(ca)?
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_certs_only([Certificate::from_pem(ca.as_bytes())?])
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(120))
            .build()?;
        let url = if url.contains("://") {
            url.clone()
        } else {
            format!("https://{url}")
        };
        let has_port = url
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let url = if has_port {
            url
        } else {
            format!("{url}:25555")
        };
        Ok(Some(Self {
            url,
            user: user.clone(),
            password: password.clone(),
            http,
        }))
    }

    /// Sends one request and gives its answer as it is.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> anyhow::Result<reqwest::Response> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request
            .basic_auth(&self.user, Some(&self.password))
            .header(header::CONTENT_TYPE, content_type);
        request
            .body(body)
            .send()
            .await
            .with_context(|| format!("asking the director for {path}"))
    }

    /// GET of a JSON document.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let response = self.send(Method::GET, path, "application/json", "").await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
    }

    /// `/info`.
    pub async fn info(&self) -> anyhow::Result<Value> {
        self.get("/info").await
    }

    /// Sends what makes a task, and waits for the task's end.
    pub async fn task(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
        limit: Duration,
    ) -> anyhow::Result<Task> {
        let response = self.send(method.clone(), path, content_type, body).await?;
        let status = response.status();
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let (StatusCode::FOUND, Some(location)) = (status, location) else {
            bail!("{method} {path}: {status}: {}", response.text().await?);
        };
        let id = location.rsplit('/').next().and_then(|id| id.parse().ok());
        let id =
            id.with_context(|| format!("{method} {path} redirects to {location}, not to a task"))?;
        self.finished(id, limit).await
    }

    /// Waits for the end of a task, well or not.
    pub async fn finished(&self, id: u64, limit: Duration) -> anyhow::Result<Task> {
        wait::until(&format!("the end of task {id}"), limit, || async move {
            let task = self.get(&format!("/tasks/{id}")).await?;
            let text = |key: &str| task[key].as_str().unwrap_or_default().to_owned();
            let state = text("state");
            let over = matches!(state.as_str(), "done" | "error" | "cancelled" | "timeout");
            Ok(over.then(|| Task {
                id,
                state,
                result: text("result"),
            }))
        })
        .await
    }

    /// One of a task's outputs: `event`, `result`, `debug` or `cpi`.
    pub async fn output(&self, id: u64, kind: &str) -> anyhow::Result<String> {
        let response = self
            .send(
                Method::GET,
                &format!("/tasks/{id}/output?type={kind}"),
                "text/plain",
                "",
            )
            .await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// The JSON lines of a task's result output.
    pub async fn result_lines(&self, id: u64) -> anyhow::Result<Vec<Value>> {
        self.output(id, "result")
            .await?
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    /// Uploads a release or a stemcell (`/releases`, `/stemcells`) as the CLI does, streaming the file.
    pub async fn upload(&self, path: &str, file: &Path) -> anyhow::Result<Task> {
        let file = tokio::fs::read(file)
            .await
            .with_context(|| format!("reading {}", file.display()))?;
        self.task(
            Method::POST,
            path,
            "application/x-compressed",
            file,
            Duration::from_secs(300),
        )
        .await?
        .done()
    }

    /// Deploys a manifest and waits for the end, well or not.
    pub async fn deploy(&self, manifest: &str, limit: Duration) -> anyhow::Result<Task> {
        self.task(
            Method::POST,
            "/deployments",
            "text/yaml",
            manifest.to_owned(),
            limit,
        )
        .await
    }

    /// The instances of a deployment in full, as `bosh instances --ps --details` and `bosh vms --vitals` ask for them.
    pub async fn instances(&self, deployment: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("/deployments/{deployment}/instances?format=full");
        let task = self
            .task(
                Method::GET,
                &path,
                "application/json",
                "",
                Duration::from_secs(60),
            )
            .await?
            .done()?;
        self.result_lines(task.id).await
    }
}
