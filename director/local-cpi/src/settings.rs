//! The settings file that a VM's agent reads at boot.
//!
//! Upstream: `apiv1/agent_env.go` of bosh-cpi-go writes it, `settings/settings.go` of bosh-agent reads it.

use bosh_cpi::Object;
use serde_json::{Value, json};

use crate::config::AgentOptions;
use crate::ids::{DiskCid, VmCid};

/// Where the agent of a warden stemcell looks for it.
pub(crate) const PATH: &str = "/var/vcap/bosh/warden-cpi-agent-env.json";

/// The settings of a new VM.
pub(crate) fn document(
    agent_id: &str,
    cid: &VmCid,
    networks: Object,
    env: &Object,
    agent: &AgentOptions,
) -> Value {
    json!({
        "agent_id": agent_id,
        "vm": {"name": cid.as_str(), "id": cid.as_str()},
        "mbus": agent.mbus,
        "ntp": agent.ntp,
        "blobstore": agent.blobstore.clone().unwrap_or_else(|| json!({})),
        "networks": networks,
        "disks": {"system": "", "ephemeral": "", "persistent": {}},
        "env": env,
    })
}

/// Where a disk shows inside a VM; also the hint that the director hands to the agent.
pub(crate) fn disk_path(cid: &DiskCid) -> String {
    format!("/warden-cpi-dev/{cid}")
}

/// Adds a persistent disk.
pub(crate) fn attach(settings: &mut Value, cid: &DiskCid) {
    settings["disks"]["persistent"][cid.as_str()] = json!(disk_path(cid));
}

/// Takes a persistent disk away.
pub(crate) fn detach(settings: &mut Value, cid: &DiskCid) {
    if let Some(disks) = settings["disks"]["persistent"].as_object_mut() {
        disks.remove(cid.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let agent = AgentOptions {
            mbus: "nats://10.244.0.1:4222".into(),
            ntp: vec!["0.pool.ntp.org".into()],
            blobstore: Some(
                json!({"provider": "dav", "options": {"endpoint": "https://10.244.0.1:25250"}}),
            ),
        };
        let networks =
            json!({"default": {"type": "manual", "ip": "10.244.0.5", "preconfigured": true}});
        let env = json!({"bosh": {"mbus": {"urls": ["nats://10.244.0.1:4222"]}}});
        let cid = VmCid::try_from("c-1".to_owned()).unwrap();
        let disk = DiskCid::try_from("disk-1".to_owned()).unwrap();
        let mut settings = document(
            "agent-1",
            &cid,
            networks.as_object().unwrap().clone(),
            env.as_object().unwrap(),
            &agent,
        );
        attach(&mut settings, &disk);
        let golden: Value =
            serde_json::from_str(include_str!("../tests/golden/settings.json")).unwrap();
        assert_eq!(settings, golden);
        detach(&mut settings, &disk);
        assert_eq!(settings["disks"]["persistent"], json!({}));
    }
}
