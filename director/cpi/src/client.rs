//! Runs a CPI executable: the director's side of the contract.
//!
//! Upstream: `clouds/external_cpi.rb`, `clouds/external_cpi_response_wrapper.rb`, `cloud_factory.rb`. Different here:
//! `info` is asked once per program on disk (path, size, modification time), not before every call; a call has a
//! deadline, and only so many run at once.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Semaphore};

use crate::journal::Entry;
use crate::{
    Asked, Call, Context, CreateVm, Error, Info, MIN_API_VERSION, Object, Receipt, Request,
    Response, StemcellContext, VmContext, VmRequirements, redact,
};

/// Where the lines about a call go: a task's debug log and its CPI log.
pub trait Log: Send + Sync {
    /// One line for the debug log.
    fn debug(&self, line: &str);
    /// What the CPI itself wrote; ends in a newline if the CPI's text did.
    fn output(&self, text: &str);
}

/// Nowhere.
impl Log for () {
    fn debug(&self, _line: &str) {}
    fn output(&self, _text: &str) {}
}

/// How to run a CPI.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub executable: PathBuf,
    /// Sent as `context.director_uuid`.
    pub director_uuid: String,
    /// The CPI config's properties, laid into the context.
    pub properties: Object,
    /// The newest version of the contract to speak, at most [`crate::MAX_API_VERSION`].
    pub preferred_api_version: u32,
    /// How long a call may take before the program is killed.
    pub timeout: Duration,
    /// How many calls may run at once; the rest wait their turn.
    pub concurrency: usize,
    /// Where calls that make something are kept until it is written down; nowhere when none.
    pub journal: Option<PathBuf>,
}

impl Options {
    /// The defaults: newest contract, an hour per call, 32 calls at once.
    pub fn new(executable: impl Into<PathBuf>, director_uuid: impl Into<String>) -> Self {
        Self {
            executable: executable.into(),
            director_uuid: director_uuid.into(),
            properties: Object::new(),
            preferred_api_version: crate::MAX_API_VERSION,
            timeout: Duration::from_secs(3600),
            concurrency: 32,
            journal: None,
        }
    }
}

/// A CPI executable. Cheap to clone; clones share the negotiated version and the limit of concurrent calls.
#[derive(Clone)]
pub struct Cpi {
    shared: Arc<Shared>,
    stemcell_api_version: Option<u32>,
}

struct Shared {
    options: Options,
    running: Semaphore,
    info: Mutex<Option<(Fingerprint, Info)>>,
}

/// Tells one build of the program from the next without running it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Fingerprint {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The result of `create_vm`.
#[derive(Debug)]
pub struct CreatedVm {
    /// The VM's cloud id.
    pub vm_cid: String,
    /// Its networks as the CPI completed them; empty from a CPI that speaks version 1 of the result.
    pub networks: Object,
    /// To be settled once the VM is written down.
    pub receipt: Receipt,
}

/// The result of `create_disk`.
#[derive(Debug)]
pub struct CreatedDisk {
    /// The disk's cloud id.
    pub disk_cid: String,
    /// To be settled once the disk is written down.
    pub receipt: Receipt,
}

/// The result of `create_network`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedNetwork {
    /// The network's cloud id.
    pub network_cid: String,
    /// `range`, `gateway`, `reserved`.
    pub addresses: Object,
    /// What VMs on this network get as its cloud properties.
    pub cloud_properties: Object,
}

impl Cpi {
    /// Nothing is run yet.
    pub fn new(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                running: Semaphore::new(options.concurrency.max(1)),
                options,
                info: Mutex::new(None),
            }),
            stemcell_api_version: None,
        }
    }

    /// The same CPI for a VM with a stemcell of that `api_version`.
    pub fn for_stemcell(&self, api_version: Option<u32>) -> Self {
        Self {
            shared: self.shared.clone(),
            stemcell_api_version: api_version,
        }
    }

    /// The program and how it is run.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What the CPI can do: asked once for each build of the program.
    pub async fn info(&self, log: &dyn Log) -> Result<Info, Error> {
        let fingerprint = self.fingerprint()?;
        let mut cached = self.shared.info.lock().await;
        if let Some((known, info)) = cached.as_ref()
            && *known == fingerprint
        {
            return Ok(info.clone());
        }
        let value = match self.run(&Call::Info, None, log, None).await {
            Err(e) if e.is_not_implemented() => return Err(no_api_version()),
            other => other?.0,
        };
        let info: Info = match value {
            Value::Null => return Err(no_api_version()),
            value => result(Call::Info.method(), value)?,
        };
        *cached = Some((fingerprint, info.clone()));
        Ok(info)
    }

    /// The version of the contract that both sides speak.
    pub async fn api_version(&self, log: &dyn Log) -> Result<u32, Error> {
        let info = self.info(log).await?;
        let version = info
            .api_version
            .ok_or_else(no_api_version)?
            .min(self.shared.options.preferred_api_version);
        if version < MIN_API_VERSION {
            return Err(Error::NotSupported(format!(
                "CPI API version {version} is not supported. Minimum required version is {MIN_API_VERSION}."
            )));
        }
        Ok(version)
    }

    /// Makes any call; the typed methods below are this.
    pub async fn call(&self, call: &Call, log: &dyn Log) -> Result<Value, Error> {
        let version = self.api_version(log).await?;
        Ok(self.run(call, Some(version), log, None).await?.0)
    }

    /// A call whose result must not be lost.
    async fn make(&self, call: &Call, log: &dyn Log) -> Result<(Value, Receipt), Error> {
        let version = self.api_version(log).await?;
        let journal = self.shared.options.journal.as_deref();
        self.run(call, Some(version), log, journal).await
    }

    /// Imports an image; answers the stemcell's cloud id.
    pub async fn create_stemcell(
        &self,
        image_path: &str,
        cloud_properties: Object,
        env: Object,
        log: &dyn Log,
    ) -> Result<String, Error> {
        let call = Call::CreateStemcell {
            image_path: image_path.to_string(),
            cloud_properties,
            env: Some(env),
        };
        self.call_for(&call, log).await
    }

    /// Forgets an image.
    pub async fn delete_stemcell(&self, stemcell_cid: &str, log: &dyn Log) -> Result<(), Error> {
        let stemcell_cid = stemcell_cid.to_string();
        self.done(&Call::DeleteStemcell { stemcell_cid }, log).await
    }

    /// Makes and starts a VM.
    pub async fn create_vm(&self, vm: CreateVm, log: &dyn Log) -> Result<CreatedVm, Error> {
        let call = Call::CreateVm(Box::new(vm));
        let (value, receipt) = self.make(&call, log).await?;
        match value {
            Value::String(vm_cid) => Ok(CreatedVm {
                vm_cid,
                networks: Object::new(),
                receipt,
            }),
            value => {
                let (vm_cid, networks): (String, Option<Object>) = result(call.method(), value)?;
                Ok(CreatedVm {
                    vm_cid,
                    networks: networks.unwrap_or_default(),
                    receipt,
                })
            }
        }
    }

    /// Removes a VM.
    pub async fn delete_vm(&self, vm_cid: &str, log: &dyn Log) -> Result<(), Error> {
        let vm_cid = vm_cid.to_string();
        self.done(&Call::DeleteVm { vm_cid }, log).await
    }

    /// Whether the VM exists.
    pub async fn has_vm(&self, vm_cid: &str, log: &dyn Log) -> Result<bool, Error> {
        let vm_cid = vm_cid.to_string();
        self.call_for(&Call::HasVm { vm_cid }, log).await
    }

    /// Restarts a VM.
    pub async fn reboot_vm(&self, vm_cid: &str, log: &dyn Log) -> Result<(), Error> {
        let vm_cid = vm_cid.to_string();
        self.done(&Call::RebootVm { vm_cid }, log).await
    }

    /// Tags a VM.
    pub async fn set_vm_metadata(
        &self,
        vm_cid: &str,
        metadata: Object,
        log: &dyn Log,
    ) -> Result<(), Error> {
        let vm_cid = vm_cid.to_string();
        self.done(&Call::SetVmMetadata { vm_cid, metadata }, log)
            .await
    }

    /// Turns wanted resources into the cloud properties of a VM.
    pub async fn calculate_vm_cloud_properties(
        &self,
        requirements: VmRequirements,
        log: &dyn Log,
    ) -> Result<Object, Error> {
        self.call_for(&Call::CalculateVmCloudProperties { requirements }, log)
            .await
    }

    /// Makes a persistent disk of `size` MiB; answers its cloud id.
    pub async fn create_disk(
        &self,
        size: u64,
        cloud_properties: Object,
        vm_cid: Option<&str>,
        log: &dyn Log,
    ) -> Result<CreatedDisk, Error> {
        let call = Call::CreateDisk {
            size,
            cloud_properties,
            vm_cid: vm_cid.map(str::to_string),
        };
        let (value, receipt) = self.make(&call, log).await?;
        Ok(CreatedDisk {
            disk_cid: result(call.method(), value)?,
            receipt,
        })
    }

    /// Removes a disk.
    pub async fn delete_disk(&self, disk_cid: &str, log: &dyn Log) -> Result<(), Error> {
        let disk_cid = disk_cid.to_string();
        self.done(&Call::DeleteDisk { disk_cid }, log).await
    }

    /// Whether the disk exists.
    pub async fn has_disk(&self, disk_cid: &str, log: &dyn Log) -> Result<bool, Error> {
        let disk_cid = disk_cid.to_string();
        self.call_for(&Call::HasDisk { disk_cid }, log).await
    }

    /// Attaches a disk; answers the hint for the agent: a string or an object.
    pub async fn attach_disk(
        &self,
        vm_cid: &str,
        disk_cid: &str,
        log: &dyn Log,
    ) -> Result<Value, Error> {
        let call = Call::AttachDisk {
            vm_cid: vm_cid.to_string(),
            disk_cid: disk_cid.to_string(),
        };
        let hint = self.call(&call, log).await?;
        let empty = match &hint {
            Value::String(text) => text.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Null => true,
            _ => false,
        };
        if empty {
            return Err(Error::NoDiskHint);
        }
        Ok(hint)
    }

    /// Detaches a disk.
    pub async fn detach_disk(
        &self,
        vm_cid: &str,
        disk_cid: &str,
        log: &dyn Log,
    ) -> Result<(), Error> {
        let (vm_cid, disk_cid) = (vm_cid.to_string(), disk_cid.to_string());
        self.done(&Call::DetachDisk { vm_cid, disk_cid }, log).await
    }

    /// The cloud id of the VM that this runs on.
    pub async fn current_vm_id(&self, log: &dyn Log) -> Result<String, Error> {
        self.call_for(&Call::CurrentVmId, log).await
    }

    /// The cloud ids of the attached disks.
    pub async fn get_disks(&self, vm_cid: &str, log: &dyn Log) -> Result<Vec<String>, Error> {
        let vm_cid = vm_cid.to_string();
        self.call_for(&Call::GetDisks { vm_cid }, log).await
    }

    /// Tags a disk.
    pub async fn set_disk_metadata(
        &self,
        disk_cid: &str,
        metadata: Object,
        log: &dyn Log,
    ) -> Result<(), Error> {
        let disk_cid = disk_cid.to_string();
        self.done(&Call::SetDiskMetadata { disk_cid, metadata }, log)
            .await
    }

    /// Grows a disk in place to `size` MiB.
    pub async fn resize_disk(&self, disk_cid: &str, size: u64, log: &dyn Log) -> Result<(), Error> {
        let disk_cid = disk_cid.to_string();
        self.done(&Call::ResizeDisk { disk_cid, size }, log).await
    }

    /// Changes a disk in place; answers its new cloud id if it got one.
    pub async fn update_disk(
        &self,
        disk_cid: &str,
        size: u64,
        cloud_properties: Object,
        log: &dyn Log,
    ) -> Result<Option<String>, Error> {
        let call = Call::UpdateDisk {
            disk_cid: disk_cid.to_string(),
            size,
            cloud_properties,
        };
        self.call_for(&call, log).await
    }

    /// Takes a snapshot; answers its cloud id.
    pub async fn snapshot_disk(
        &self,
        disk_cid: &str,
        metadata: Object,
        log: &dyn Log,
    ) -> Result<String, Error> {
        let disk_cid = disk_cid.to_string();
        self.call_for(&Call::SnapshotDisk { disk_cid, metadata }, log)
            .await
    }

    /// Removes a snapshot.
    pub async fn delete_snapshot(&self, snapshot_cid: &str, log: &dyn Log) -> Result<(), Error> {
        let snapshot_cid = snapshot_cid.to_string();
        self.done(&Call::DeleteSnapshot { snapshot_cid }, log).await
    }

    /// Makes a network.
    pub async fn create_network(
        &self,
        definition: Object,
        log: &dyn Log,
    ) -> Result<CreatedNetwork, Error> {
        let call = Call::CreateNetwork { definition };
        let (network_cid, addresses, cloud_properties): (String, Option<Object>, Option<Object>) =
            self.call_for(&call, log).await?;
        Ok(CreatedNetwork {
            network_cid,
            addresses: addresses.unwrap_or_default(),
            cloud_properties: cloud_properties.unwrap_or_default(),
        })
    }

    /// Removes a network.
    pub async fn delete_network(&self, network_cid: &str, log: &dyn Log) -> Result<(), Error> {
        let network_cid = network_cid.to_string();
        self.done(&Call::DeleteNetwork { network_cid }, log).await
    }

    async fn call_for<T: DeserializeOwned>(&self, call: &Call, log: &dyn Log) -> Result<T, Error> {
        let value = self.call(call, log).await?;
        result(call.method(), value)
    }

    async fn done(&self, call: &Call, log: &dyn Log) -> Result<(), Error> {
        self.call(call, log).await.map(drop)
    }

    fn fingerprint(&self) -> Result<Fingerprint, Error> {
        let executable = &self.shared.options.executable;
        let not_executable = || Error::NotExecutable(executable.clone());
        let metadata = std::fs::metadata(executable).map_err(|_| not_executable())?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(not_executable());
        }
        Ok(Fingerprint {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn request(&self, call: &Call, api_version: Option<u32>) -> Request {
        let options = &self.shared.options;
        Request {
            method: call.method().to_string(),
            arguments: call.arguments(api_version.unwrap_or(1)),
            context: Context {
                director_uuid: options.director_uuid.clone(),
                request_id: next_request_id(),
                vm: self.stemcell_api_version.map(|version| VmContext {
                    stemcell: StemcellContext {
                        api_version: Some(version),
                    },
                }),
                properties: options.properties.clone(),
            },
            api_version,
        }
    }

    async fn run(
        &self,
        call: &Call,
        api_version: Option<u32>,
        log: &dyn Log,
        journal: Option<&Path>,
    ) -> Result<(Value, Receipt), Error> {
        self.fingerprint()?;
        let options = &self.shared.options;
        let method = call.method();
        let request = self.request(call, api_version);
        let request_id = request.context.request_id.clone();
        let tag = format!("[external-cpi] [{request_id}]");
        log.debug(&format!(
            "{tag} request: {} with command: {}",
            to_json(&redact::request(&request)),
            options.executable.display()
        ));

        let _turn = self.shared.running.acquire().await.map_err(|_| {
            // The semaphore is never closed; kept as an error so that nothing here can panic.
            Error::NotSupported("CPI is shut down".to_string())
        })?;
        let not_run = |source| Error::Run {
            executable: options.executable.clone(),
            method,
            source,
        };
        let entry = journal
            .map(|directory| {
                let asked = Asked {
                    method: method.to_owned(),
                    executable: options.executable.clone(),
                    properties: options.properties.clone(),
                    stemcell_api_version: self.stemcell_api_version,
                    request_id: request_id.clone(),
                };
                Entry::begin(directory, &asked)
            })
            .transpose()
            .map_err(not_run)?;
        let mut child = start(&options.executable, entry.as_ref()).map_err(not_run)?;
        let conversation = converse(&mut child, to_json(&request), log, entry.as_ref());
        let Ok(finished) = tokio::time::timeout(options.timeout, conversation).await else {
            // Not left to `kill_on_drop`: one with an entry outlives what drops it.
            child.kill().await.map_err(not_run)?;
            Receipt::of(entry).settle();
            return Err(Error::TimedOut {
                method,
                request_id,
                after: options.timeout,
            });
        };
        let finished = finished.map_err(not_run)?;
        log.debug(&format!(
            "{tag} response: {}, err: {}, exit_status: {}",
            finished.stdout,
            finished.stderr,
            finished
                .exit_status
                .map_or_else(String::new, |code| code.to_string())
        ));

        let receipt = Receipt::of(entry);
        let made = parse(&finished.stdout).and_then(|response| {
            log.output(&response.log);
            match response.error {
                Some(failure) => Err(Error::from_failure(failure, method, request_id)),
                None => Ok(response.result),
            }
        });
        match made {
            Ok(value) => Ok((value, receipt)),
            Err(error) => {
                receipt.settle();
                Err(error)
            }
        }
    }
}

struct Finished {
    stdout: String,
    stderr: String,
    exit_status: Option<i32>,
}

/// Longest answer that is read, and longest part of standard error that is kept for the debug log.
const MAX_OUTPUT: u64 = 64 * 1024 * 1024;
const MAX_KEPT_STDERR: usize = 1024 * 1024;

/// Runs the program. One with an entry writes to its files, which also hear it when nobody else does any more.
fn start(executable: &Path, entry: Option<&Entry>) -> std::io::Result<Child> {
    let mut command = Command::new(executable);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .kill_on_drop(entry.is_none());
    match entry {
        None => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        Some(entry) => {
            let errors = std::fs::File::create(entry.path("err"))?;
            command.stdout(entry.output.try_clone()?).stderr(errors);
        }
    }
    for name in ["TMPDIR", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.spawn()
}

async fn converse(
    child: &mut Child,
    request: String,
    log: &dyn Log,
    entry: Option<&Entry>,
) -> std::io::Result<Finished> {
    let missing = || std::io::Error::other("no pipe to the program");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;

    let write = async move {
        match stdin.write_all(request.as_bytes()).await {
            // A program that does not read its input may still answer.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
        // Dropping it here closes the pipe, which ends the program's input.
    };
    if let Some(entry) = entry {
        let ((), status) = tokio::try_join!(write, child.wait())?;
        let stdout = read(&entry.path("out"), MAX_OUTPUT)?;
        let stderr = read(&entry.path("err"), MAX_KEPT_STDERR as u64)?;
        log.output(&stderr);
        return Ok(Finished {
            stdout,
            stderr,
            exit_status: status.code(),
        });
    }
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let read_stdout = async {
        let mut bytes = Vec::new();
        stdout.take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
        std::io::Result::Ok(bytes)
    };
    let read_stderr = async {
        let mut kept = String::new();
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut lines)
                .take(MAX_KEPT_STDERR as u64)
                .read_until(b'\n', &mut line)
                .await?;
            if read == 0 {
                return std::io::Result::Ok(kept);
            }
            let text = String::from_utf8_lossy(&line);
            log.output(&text);
            if kept.len() + text.len() <= MAX_KEPT_STDERR {
                kept.push_str(&text);
            }
        }
    };
    let ((), stdout, stderr, status) =
        tokio::try_join!(write, read_stdout, read_stderr, child.wait())?;
    Ok(Finished {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr,
        exit_status: status.code(),
    })
}

fn read(path: &Path, most: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(most)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(stdout: &str) -> Result<Response, Error> {
    let value: Value = serde_json::from_str(stdout)
        .map_err(|e| Error::InvalidResponse(format!("ParserError - {e}: '{stdout}'")))?;
    let schema = |e: String| Error::InvalidResponse(format!("SchemaValidationError: {e}"));
    let object = value
        .as_object()
        .ok_or_else(|| schema("Expected instance of Hash".to_string()))?;
    for key in ["result", "error", "log"] {
        if !object.contains_key(key) {
            return Err(schema(format!("{{ {key} => Missing key }}")));
        }
    }
    serde_json::from_value(value).map_err(|e| schema(e.to_string()))
}

fn result<T: DeserializeOwned>(method: &str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|e| {
        Error::InvalidResponse(format!(
            "SchemaValidationError: {{ result => '{method}' CPI method: {e} }}"
        ))
    })
}

fn no_api_version() -> Error {
    Error::NotSupported("CPI must report api_version via info".to_string())
}

fn to_json(request: &Request) -> String {
    serde_json::to_string(request).expect("a request has string keys only")
}

/// `cpi-` and six digits. Ids only have to differ among the calls of one task, so a counter from a random start does.
fn next_request_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if NEXT.load(Ordering::Relaxed) == 0 {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |now| now.as_nanos() as u64);
        let start = 1 + (nanos ^ (u64::from(std::process::id()) << 20)) % 899_999;
        let _lost_race = NEXT.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("cpi-{}", 100_000 + number % 900_000)
}
