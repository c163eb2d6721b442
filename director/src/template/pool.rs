//! A few Ruby processes, started when needed and ended when idle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::archive;
use super::error::Error;
use super::process::Process;
use super::request::{Group, Job, Rendered};
use crate::deploy::plan::names::Index;

/// How workers are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Ruby interpreter.
    pub ruby: PathBuf,
    /// How many at most at a time.
    pub workers: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long a worker stays without work.
    pub idle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            ruby: "ruby".into(),
            workers: cores.clamp(1, 8),
            timeout: Duration::from_secs(300),
            idle: Duration::from_secs(30),
        }
    }
}

/// Renders templates. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    options: Options,
    permits: Semaphore,
    idle: Mutex<Vec<(Instant, Process)>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool. Nothing is started yet.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            permits: Semaphore::new(options.workers.max(1)),
            idle: Mutex::new(Vec::new()),
            options,
        }))
    }

    /// Starts a worker if none is waiting, so that the next request finds one that is ready.
    pub fn warm(&self) -> Result<(), Error> {
        let has_one = !self.idle().is_empty();
        if !has_one {
            let process = Process::start(&self.0.options.ruby)?;
            self.put_back(process);
        }
        Ok(())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Process)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, process: Process) {
        self.idle().push((Instant::now(), process));
        let (inner, idle) = (Arc::downgrade(&self.0), self.0.options.idle);
        tokio::spawn(async move {
            tokio::time::sleep(idle).await;
            if let Some(inner) = inner.upgrade() {
                let mut waiting = inner.idle.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.retain(|(since, _)| since.elapsed() < idle);
            }
        });
    }

    /// Renders the templates of all instances of the groups. Groups without jobs yield nothing.
    ///
    /// # Errors
    /// [`Error::Templates`] with what upstream says when a template of any group raises an error; otherwise what
    /// happened to the workers.
    pub async fn render(&self, groups: &[Group], index: &Index) -> Result<Vec<Rendered>, Error> {
        let dns = dns(index);
        let mut parts = Vec::new();
        for (position, group) in groups.iter().enumerate() {
            if group.jobs.is_empty() {
                continue;
            }
            let chunk = self.chunk(group.instances.len());
            for start in (0..group.instances.len()).step_by(chunk) {
                let end = (start + chunk).min(group.instances.len());
                parts.push((position, start..end));
            }
        }
        let done = try_join_all(parts.into_iter().map(|(position, range)| {
            let dns = &dns;
            async move {
                let reply = self.part(&groups[position], range, dns).await?;
                Ok::<_, Error>((position, reply))
            }
        }))
        .await?;
        let mut rendered = Vec::new();
        let mut errors: BTreeMap<usize, String> = BTreeMap::new();
        for (position, reply) in done {
            match reply {
                Ok(instances) => rendered.extend(instances),
                // One complaint per group, as upstream, which stops at the first instance.
                Err(error) => {
                    errors.entry(position).or_insert(error);
                }
            }
        }
        if errors.is_empty() {
            return Ok(rendered);
        }
        let all: Vec<String> = errors.into_values().collect();
        Err(Error::Templates(combined(&all)))
    }

    /// Instances per request: enough to share the work, not so few that starting costs more than rendering.
    fn chunk(&self, instances: usize) -> usize {
        instances
            .div_ceil(self.0.options.workers.max(1))
            .clamp(4, 64)
    }

    async fn part(
        &self,
        group: &Group,
        range: std::ops::Range<usize>,
        dns: &Value,
    ) -> Result<Result<Vec<Rendered>, String>, Error> {
        let instances = &group.instances[range];
        let id = uuid::Uuid::new_v4().to_string();
        let request = json!({
            "id": id,
            "dns": dns,
            "groups": [{
                "name": group.name,
                "shared": group.shared,
                "jobs": group.jobs.iter().map(job).collect::<Vec<_>>(),
                "instances": instances.iter().map(|instance| &instance.spec).collect::<Vec<_>>(),
            }],
        });
        let request =
            serde_json::to_vec(&request).map_err(|error| Error::Worker(error.to_string()))?;
        let line = self.call(&request).await?;
        let reply: Value =
            serde_json::from_str(&line).map_err(|error| Error::Worker(error.to_string()))?;
        if reply.get("id").and_then(Value::as_str) != Some(&id) {
            return Err(Error::Worker("its reply is to another request".into()));
        }
        if let Some(failure) = reply.get("failure").and_then(Value::as_str) {
            return Err(Error::Worker(failure.to_owned()));
        }
        let answer = reply
            .get("groups")
            .and_then(|groups| groups.get(0))
            .ok_or_else(|| Error::Worker("its reply lacks the group".into()))?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            return Ok(Err(error.to_owned()));
        }
        let texts: Vec<Vec<Vec<Packed>>> =
            serde_json::from_value(answer.get("instances").cloned().unwrap_or_default())
                .map_err(|error| Error::Worker(error.to_string()))?;
        if texts.len() != instances.len() {
            return Err(Error::Worker("its reply lacks instances".into()));
        }
        let packed = instances.iter().zip(texts).map(|(instance, jobs)| {
            let jobs = jobs
                .into_iter()
                .map(|texts| texts.into_iter().map(Packed::into_bytes).collect())
                .collect::<Result<Vec<Vec<Bytes>>, Error>>()?;
            let complete = jobs.len() == group.jobs.len()
                && jobs
                    .iter()
                    .zip(&group.jobs)
                    .all(|(texts, job)| texts.len() == job.templates.len() + 1);
            if !complete {
                return Err(Error::Worker("its reply lacks files".into()));
            }
            archive::pack(&instance.uuid, &group.jobs, &jobs)
        });
        packed.collect::<Result<Vec<_>, Error>>().map(Ok)
    }

    async fn call(&self, request: &[u8]) -> Result<String, Error> {
        let _permit = self
            .0
            .permits
            .acquire()
            .await
            .map_err(|error| Error::Worker(error.to_string()))?;
        let waiting = self.idle().pop();
        let was_waiting = waiting.is_some();
        let mut process = match waiting {
            Some((_, process)) => process,
            None => Process::start(&self.0.options.ruby)?,
        };
        let mut result = process.call(request, self.0.options.timeout).await;
        // A worker that waited may have died of anything; a fresh one that dies is telling something.
        if was_waiting && result.as_ref().is_err_and(Error::is_retryable) {
            process = Process::start(&self.0.options.ruby)?;
            result = process.call(request, self.0.options.timeout).await;
        }
        if result.is_ok() {
            self.put_back(process);
        }
        result
    }
}

/// A text, or its encoding if it is not UTF-8.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Packed {
    Text(String),
    Encoded { base64: String },
}

impl Packed {
    fn into_bytes(self) -> Result<Bytes, Error> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Encoded { base64 } => STANDARD
                .decode(base64)
                .map(Bytes::from)
                .map_err(|error| Error::Worker(error.to_string())),
        }
    }
}

fn packed(text: &[u8]) -> Value {
    match std::str::from_utf8(text) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({"base64": STANDARD.encode(text)}),
    }
}

fn job(job: &Job) -> Value {
    let templates: Vec<Value> = job
        .templates
        .iter()
        .map(|template| json!({"source": template.source, "text": packed(&template.text)}))
        .collect();
    json!({
        "name": job.name,
        "release": job.release,
        "release_version": job.release_version,
        "monit": packed(&job.monit),
        "templates": templates,
    })
}

fn dns(index: &Index) -> Value {
    let groups: Map<String, Value> = index
        .groups
        .iter()
        .map(|((kind, name, deployment), id)| (format!("{kind}\0{name}\0{deployment}"), json!(id)))
        .collect();
    json!({
        "azs": index.azs,
        "networks": index.networks,
        "groups": groups,
        "instances": index.instances,
    })
}

/// Complaints of several groups as upstream combines them into one.
pub fn combined(errors: &[String]) -> String {
    let body: Vec<&str> = errors.iter().map(|error| error.trim()).collect();
    crate::deploy::plan::spec::indented(
        "Unable to render instance groups for deployment. Errors are:",
        &body.join("\n"),
    )
}
