//! `monit -I`: a supervisor without an agent, in place of monit itself.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use super::arguments::Arguments;
use crate::supervisor::api::{self, Access};
use crate::supervisor::monitrc::{self, Settings};
use crate::supervisor::{Options, Service, mail, process, reap_orphans};

pub(super) fn run(arguments: &Arguments, control_files: Vec<PathBuf>) -> Result<(), String> {
    let loaded = monitrc::load(&control_files);
    if let Some(error) = loaded.errors.first() {
        return Err(error.to_string());
    }
    let settings = loaded.config.settings;
    if arguments.cycle.or(settings.cycle).is_none() {
        return Err(
            "the control file does not set a cycle ('set daemon N'), and there is no -d".to_owned(),
        );
    }
    let pid_file = arguments
        .pid_file
        .clone()
        .or_else(|| settings.pid_file.clone())
        .unwrap_or_else(|| "/var/run/monit.pid".into());
    let other = std::fs::read_to_string(&pid_file)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).ok();
    if let Some(other) = other.filter(|other| Some(*other) != own && process::is_alive(*other)) {
        return Err(format!("the daemon is already running with pid {other}"));
    }
    if !arguments.foreground {
        return detach();
    }
    log(arguments, &settings)?;
    let written = std::fs::write(&pid_file, format!("{}\n", std::process::id()));
    written.map_err(|error| format!("cannot write {}: {error}", pid_file.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let result = runtime.block_on(supervise(arguments, &settings, control_files));
    // A pidfile that is left over does no harm.
    drop(std::fs::remove_file(&pid_file));
    result
}

/// A program that a killed predecessor was about to start may hold the port for a moment.
async fn listen(address: (&str, u16)) -> std::io::Result<TcpListener> {
    for _ in 0..20 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            result => return result,
        }
    }
    TcpListener::bind(address).await
}

/// Starts ourselves again in the foreground of another session.
fn detach() -> Result<(), String> {
    let error = |error: std::io::Error| format!("cannot run in the background: {error}");
    let program = std::env::current_exe().map_err(error)?;
    let mut command = Command::new(program);
    command
        .arg0("monit")
        .args(
            std::env::args()
                .skip(1)
                .filter(|argument| argument != "monit"),
        )
        .arg("-I");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().map(drop).map_err(error)
}

fn log(arguments: &Arguments, settings: &Settings) -> Result<(), String> {
    let level = if arguments.verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false);
    match arguments
        .log_file
        .as_ref()
        .or(settings.log_file.as_ref())
        .filter(|path| path.as_os_str() != "syslog")
    {
        None => builder.with_writer(std::io::stderr).init(),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file =
                file.map_err(|error| format!("cannot write the log {}: {error}", path.display()))?;
            builder.with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}

async fn supervise(
    arguments: &Arguments,
    settings: &Settings,
    control_files: Vec<PathBuf>,
) -> Result<(), String> {
    let mut options = Options::new(std::path::Path::new("/var/vcap"));
    let files = control_files.clone();
    options.control_files = control_files;
    options.health_file = None;
    options.cycle = arguments.cycle.or(settings.cycle).unwrap_or(options.cycle);
    if let Some(state_file) = arguments
        .state_file
        .clone()
        .or_else(|| settings.state_file.clone())
    {
        options.state_file = state_file;
    }
    let cycle = options.cycle;
    let (service, handle, alerts) = Service::new(options).map_err(|error| error.to_string())?;
    let shutdown = CancellationToken::new();
    if std::process::id() == 1 {
        tokio::spawn(async {
            if let Err(error) = reap_orphans().await {
                tracing::error!(%error, "orphans will not be buried");
            }
        });
    }
    if let Some(httpd) = &settings.httpd {
        let address = (
            httpd
                .address
                .clone()
                .unwrap_or_else(|| "0.0.0.0".to_owned()),
            httpd.port,
        );
        let listener = listen((address.0.as_str(), address.1)).await;
        let listener = listener
            .map_err(|error| format!("cannot listen on {}:{}: {error}", address.0, address.1))?;
        let access = Access::from_settings(httpd);
        tokio::spawn(api::serve(
            listener,
            handle.clone(),
            access,
            shutdown.clone(),
            Some(shutdown.clone()),
        ));
    }
    let hostname = process::system().hostname;
    tokio::spawn(mail::deliver(alerts, files, hostname, cycle));
    let cannot = |error: std::io::Error| format!("cannot listen to signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    if let Err(error) = handle.reload().await {
                        tracing::error!(%error, "the control files are not valid and nothing changes");
                    }
                }
            }
        }
        stop.cancel();
    });
    if let Some(delay) = settings.start_delay {
        // Whoever asks for something meanwhile is answered after it.
        drop(tokio::time::timeout(delay, shutdown.cancelled()).await);
    }
    service
        .run(shutdown)
        .await
        .map_err(|error| error.to_string())
}
