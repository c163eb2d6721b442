//! Directories and services that are set up once per boot. Upstream: platform/linux_platform.go.

use super::{Linux, mounts};
use crate::platform::{Error, Owner, files, group, owner};
use bosh_protocol::settings::{JobDir, RunDir};
use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What is remembered across restarts of the agent, in agent_state.json. Upstream: platform/bootstrap_state.go.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    linux: LinuxState,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LinuxState {
    hosts_configured: bool,
}

impl Linux {
    pub(super) async fn hostname(&self, hostname: &str) -> Result<(), Error> {
        let state_path = self.dirs.base().join("bosh/agent_state.json");
        let text = files::read(&state_path)?.unwrap_or_default();
        let mut state: State = if text.is_empty() {
            State::default()
        } else {
            serde_json::from_str(&text)
                .map_err(|e| Error::file("reading", &state_path, e.into()))?
        };
        if state.linux.hosts_configured {
            return Ok(());
        }
        if self.dirs.is_machine() {
            nix::unistd::sethostname(hostname)
                .map_err(|e| Error::file("setting the host name", Path::new(hostname), e.into()))?;
        }
        files::write(
            &self.dirs.system("/etc/hostname"),
            hostname.as_bytes(),
            0o644,
        )?;
        files::write(
            &self.dirs.system("/etc/hosts"),
            super::dns::hosts(hostname, &[]).as_bytes(),
            0o644,
        )?;
        state.linux.hosts_configured = true;
        let json = serde_json::to_vec(&state)
            .map_err(|e| Error::file("writing", &state_path, e.into()))?;
        files::write(&state_path, &json, 0o644)
    }

    pub(super) fn shared_memory(&self) -> Result<(), Error> {
        let mounts = mounts::Mounts::read()?;
        for point in ["/dev/shm", "/run/shm"] {
            let point = self.dirs.system(point);
            if mounts.at(&point).is_some() {
                mounts::restrict(
                    &point,
                    MsFlags::MS_NOEXEC | MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn log_dir(&self) -> Result<(), Error> {
        let logs = self.dirs.data().join("root_log");
        files::mkdir(&logs, 0o775)?;
        files::chmod(&logs, 0o771)?;
        for (name, mode) in [("audit", 0o750), ("sysstat", 0o755)] {
            let dir = logs.join(name);
            files::mkdir(&dir, mode)?;
            files::chmod(&dir, mode)?;
        }
        self.first_group(&["syslog", "adm"])?.give(&logs)?;
        let utmp = self.first_group(&["utmp"])?;
        for (name, mode) in [("btmp", 0o600), ("wtmp", 0o664), ("lastlog", 0o664)] {
            let file = logs.join(name);
            if !file.exists() {
                files::write(&file, b"", mode)?;
            }
            utmp.give(&file)?;
            files::chmod(&file, mode)?;
        }
        self.move_to_data(
            &logs,
            "/var/log",
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        )?;
        if let Ok(chrony) = owner::user(&self.dirs, "_chrony") {
            let dir = logs.join("chrony");
            files::mkdir(&dir, 0o700)?;
            files::chmod(&dir, 0o700)?;
            Owner::user(&chrony).give(&dir)?;
        }
        Ok(())
    }

    pub(super) fn opt_dir(&self) -> Result<(), Error> {
        for (source, point) in [("root_var_opt", "/var/opt"), ("root_opt", "/opt")] {
            let source = self.dirs.data().join(source);
            files::mkdir(&source, 0o755)?;
            // Programs live here: they may run, and be setuid.
            self.move_to_data(&source, point, MsFlags::MS_NODEV)?;
        }
        Ok(())
    }

    pub(super) fn tmp_dir(&self) -> Result<(), Error> {
        files::mkdir(&self.dirs.tmp(), 0o755)?;
        let vcap = self.root_vcap()?;
        let sticky = |path: &Path| {
            vcap.give(path)?;
            files::chmod(path, 0o1777)
        };
        let (tmp, var_tmp) = (self.dirs.system("/tmp"), self.dirs.system("/var/tmp"));
        for dir in [&tmp, &var_tmp] {
            files::mkdir(dir, 0o1777)?;
            sticky(dir)?;
        }
        if self.options.use_default_tmp_dir {
            return Ok(());
        }
        let root_tmp = self.dirs.data().join("root_tmp");
        files::mkdir(&root_tmp, 0o1777)?;
        sticky(&root_tmp)?;
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        self.move_to_data(&root_tmp, "/tmp", flags)?;
        self.move_to_data(&root_tmp, "/var/tmp", flags)
    }

    pub(super) fn home_dir(&self) -> Result<(), Error> {
        let home = self.dirs.system("/home");
        if home.is_dir() && mounts::Mounts::read()?.at(&home).is_none() {
            mounts::bind(&home, &home)?;
            mounts::restrict(&home, MsFlags::MS_NODEV | MsFlags::MS_NOSUID)?;
        }
        Ok(())
    }

    pub(super) fn data_dir(&self, job_dir: &JobDir, run_dir: &RunDir) -> Result<(), Error> {
        let dirs = &self.dirs;
        let vcap = self.root_vcap()?;
        let sys = dirs.data_sys();
        files::mkdir(&sys.join("log"), 0o750)?;
        for dir in [&sys, &sys.join("log")] {
            vcap.give(dir)?;
        }
        let (jobs, sensitive) = (dirs.data_jobs(), dirs.sensitive_blobs());
        files::mkdir(&jobs, 0o750)?;
        files::mkdir(&dirs.dynamic_disks(), 0o700)?;
        files::mkdir(&sensitive, 0o700)?;
        if job_dir.tmpfs {
            let size = if job_dir.tmpfs_size.is_empty() {
                "100m"
            } else {
                &job_dir.tmpfs_size
            };
            mounts::tmpfs(&jobs, size)?;
            mounts::tmpfs(&sensitive, size)?;
        }
        files::mkdir(&dirs.data_packages(), 0o755)?;
        for dir in [jobs, sensitive, dirs.dynamic_disks(), dirs.data_packages()] {
            vcap.give(&dir)?;
        }

        let run = sys.join("run");
        if mounts::Mounts::read()?.at(&run).is_none() {
            files::mkdir(&run, 0o750)?;
            let size = if run_dir.tmpfs_size.is_empty() {
                "16m"
            } else {
                &run_dir.tmpfs_size
            };
            mounts::tmpfs(&run, size)?;
            vcap.give(&run)?;
        }
        files::symlink(&sys, &dirs.sys())
    }

    pub(super) fn can_restart_dir(&self) -> Result<(), Error> {
        let dir = self.dirs.can_restart();
        files::mkdir(&dir, 0o740)?;
        mounts::tmpfs(&dir, "16m")?;
        self.root_vcap()?.give(&dir)
    }

    pub(super) fn blobs_dir(&self) -> Result<(), Error> {
        let dir = self.dirs.blobs();
        files::mkdir(&dir, 0o700)?;
        self.root_vcap()?.give(&dir)
    }

    pub(super) fn settings_tmpfs(&self) -> Result<(), Error> {
        let dir = self.dirs.settings();
        files::mkdir(&dir, 0o700)?;
        mounts::tmpfs(&dir, "16m")
    }

    pub(super) fn ntp(&self, servers: &[String]) -> Result<(), Error> {
        if servers.is_empty() {
            return Ok(());
        }
        files::write(
            &self.dirs.etc().join("ntpserver"),
            servers.join(" ").as_bytes(),
            0o644,
        )?;
        if let Some(sync_time) = self.tool("sync-time") {
            // The best that can be done, and nothing waits for it.
            tokio::spawn(async {
                if let Err(error) = sync_time.timeout(Duration::from_secs(60)).run().await {
                    tracing::warn!(%error, "cannot set the clock now");
                }
            });
        }
        Ok(())
    }

    /// Runs a program that upstream's stemcells have; one without it has nothing to run.
    pub(super) async fn stemcell_program(&self, name: &str) -> Result<(), Error> {
        let Some(program) = self.tool(name) else {
            tracing::info!(program = name, "the stemcell has no such program");
            return Ok(());
        };
        let done = program.run().await;
        done.map_err(|e| Error::command(format!("Shelling out to {name}"), e))?;
        Ok(())
    }

    pub(super) fn monit_user(&self) -> Result<(), Error> {
        let path = self.dirs.monit().join("monit.user");
        if files::read(&path)?.is_some_and(|text| parse_credentials(&text).is_some()) {
            return Ok(());
        }
        files::write(
            &path,
            format!("vcap:{}", uuid::Uuid::new_v4().simple()).as_bytes(),
            0o600,
        )
    }

    pub(super) fn monit_credentials(&self) -> Result<(String, String), Error> {
        let path = self.dirs.monit().join("monit.user");
        let text = files::read(&path)?.unwrap_or_default();
        parse_credentials(&text).ok_or_else(|| {
            Error::Invalid(format!(
                "{}: expected user and password separated by ':'",
                path.display()
            ))
        })
    }

    /// Deletes the files and directories that a list names, one a line.
    pub(super) fn remove_listed(&self, list: &str) -> Result<(), Error> {
        let Some(text) = files::read(&self.dirs.etc().join(list))? else {
            return Ok(());
        };
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with('/'))
        {
            files::remove(&self.dirs.system(line))?;
        }
        Ok(())
    }

    pub(super) async fn logrotate(&self, group: &str, size: &str) -> Result<(), Error> {
        let logs = self.dirs.base().join("data/sys/log");
        let logs = logs.display();
        let patterns: Vec<String> = [
            "*.log",
            ".*.log",
            "*/*.log",
            "*/.*.log",
            "*/*/*.log",
            "*/*/.*.log",
        ]
        .iter()
        .map(|pattern| format!("{logs}/{pattern}"))
        .collect();
        let text = format!(
            "# Generated by bosh-agent\n\n{} {{\n  missingok\n  rotate 7\n  compress\n  copytruncate\n  size={size}\n}}\n",
            patterns.join(" ")
        );
        files::write(
            &self.dirs.system("/etc/logrotate.d").join(group),
            text.as_bytes(),
            0o644,
        )?;
        // Upstream does not mind its failure either: it moves the hour at which logs are rotated.
        if let Some(setup) = self.tool("setup-logrotate.sh")
            && let Err(error) = setup.timeout(Duration::from_secs(60)).run().await
        {
            tracing::warn!(%error, "cannot set up log rotation");
        }
        Ok(())
    }

    /// Shows a directory of the ephemeral disk in place of one of the operating system's.
    fn move_to_data(&self, source: &Path, point: &str, flags: MsFlags) -> Result<(), Error> {
        let point = self.dirs.system(point);
        files::mkdir(&point, 0o755)?;
        if mounts::Mounts::read()?.at(&point).is_none() {
            mounts::bind(source, &point)?;
        }
        mounts::restrict(&point, flags)
    }

    pub(super) fn root_vcap(&self) -> Result<Owner, Error> {
        Owner::root_vcap(&self.dirs)
    }

    /// root with the first of these groups that exists: stemcells differ.
    fn first_group(&self, names: &[&str]) -> Result<Owner, Error> {
        let name = names
            .iter()
            .find(|name| group(&self.dirs, name).is_ok())
            .unwrap_or(&"root");
        Owner::of(&self.dirs, "root", name)
    }

    pub(super) fn bosh_bin_program(&self, name: &str) -> PathBuf {
        self.dirs.bosh_bin().join(name)
    }
}

fn parse_credentials(text: &str) -> Option<(String, String)> {
    let (user, password) = text.trim_end().split_once(':')?;
    (!user.is_empty() && !password.is_empty()).then(|| (user.to_owned(), password.to_owned()))
}
