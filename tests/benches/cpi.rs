//! A CPI of almost no cost: a VM is a settings file, for which `bosh-agent-fake --settings-dir` runs an agent.
//!
//! The micro director starts it as the local CPI, `bosh-local-cpi --config FILE`; the file's `root` is where its state is.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// What this program is called when it is the CPI.
pub(crate) const NAME: &str = "bosh-local-cpi";

/// Where the settings files are, below the CPI's root.
pub(crate) const AGENTS: &str = "agents";

pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let config = match (args.next(), args.next()) {
        (Some(flag), Some(file)) if flag == "--config" => file,
        _ => bail!("expected --config FILE"),
    };
    if let Some(command) = args.next() {
        // `cleanup`: all there is are files in the director's directory.
        if command == "cleanup" {
            return Ok(());
        }
        bail!("there is no command {command:?}");
    }
    let config: Value = serde_json::from_slice(&fs::read(config)?)?;
    let root = config["root"].as_str().context("no root in the config")?;
    let mut request = Vec::new();
    std::io::stdin().lock().read_to_end(&mut request)?;
    let request: Value = serde_json::from_slice(&request)?;
    let answer = match answer(&Path::new(root).join(AGENTS), &request) {
        Ok(result) => json!({ "result": result, "error": null, "log": "" }),
        Err(error) => json!({
            "result": null,
            "error": { "type": "Bosh::Clouds::CloudError", "message": format!("{error:#}"), "ok_to_retry": false },
            "log": "",
        }),
    };
    writeln!(std::io::stdout().lock(), "{answer}")?;
    Ok(())
}

fn answer(agents: &Path, request: &Value) -> anyhow::Result<Value> {
    let arguments = &request["arguments"];
    let first = || arguments[0].as_str().context("the first argument is text");
    let file = |vm: &str| -> PathBuf { agents.join(format!("{vm}.json")) };
    Ok(match request["method"].as_str().unwrap_or_default() {
        "info" => json!({ "api_version": 3, "stemcell_formats": ["warden-tar"] }),
        "create_stemcell" => json!("stemcell-1"),
        "create_vm" => {
            let id = first()?;
            let settings = json!({
                "agent_id": id, "vm": { "name": id }, "networks": arguments[3], "env": arguments[5],
            });
            let new = agents.join(id);
            fs::write(&new, settings.to_string())?;
            fs::rename(&new, file(id))?;
            json!([id, arguments[3]])
        }
        "delete_vm" => {
            fs::remove_file(file(first()?))?;
            Value::Null
        }
        "has_vm" => file(first()?).exists().into(),
        "delete_stemcell" | "set_vm_metadata" | "set_disk_metadata" => Value::Null,
        other => bail!("the CPI of the benches has no method {other:?}"),
    })
}
