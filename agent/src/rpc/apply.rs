//! `apply`: makes a spec the one this instance has. Source: upstream agent/action/apply.go.

use bosh_protocol::ApplySpec;
use bosh_protocol::network::Networks;
use serde_json::Value;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::platform::InstanceFiles;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<&'static str, Error> {
    let mut desired: ApplySpec = arguments.get(0)?;
    populate_dhcp_networks(&mut desired, &agent.networks().await)?;
    if !desired.configuration_hash.is_empty() {
        agent
            .tools()
            .applier
            .apply(&desired)
            .await
            .context("Applying")?;
    }
    agent
        .spec
        .set(desired.clone())
        .context("Persisting apply spec")?;
    let files = InstanceFiles {
        id: desired.id.as_str(),
        az: &desired.az,
        name: &desired.name,
        deployment: &desired.deployment,
    };
    agent.platform.write_instance_files(&files).await.plain()?;
    Ok("applied")
}

/// The director learns from `get_state` which addresses dynamic networks have got.
fn populate_dhcp_networks(spec: &mut ApplySpec, networks: &Networks) -> Result<(), Error> {
    for (name, fields) in &mut spec.networks {
        if name == "local" && fields["ip"] == "127.0.0.1" {
            continue;
        }
        let network = networks.0.get(name).ok_or_else(|| {
            Error::refused(format!(
                "Resolving dynamic networks: Network '{name}' is not found in settings"
            ))
        })?;
        if !network.is_dhcp() {
            continue;
        }
        if !fields.is_object() {
            *fields = Value::Object(serde_json::Map::new());
        }
        fields["ip"] = network.ip.clone().into();
        fields["netmask"] = network.netmask.clone().into();
        fields["gateway"] = network.gateway.clone().into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dynamic_networks_get_their_addresses() {
        let networks: Networks = serde_json::from_value(json!({
            "a": {"type": "dynamic", "ip": "10.0.0.5", "netmask": "255.0.0.0", "gateway": "10.0.0.1"},
            "b": {"type": "manual", "ip": "10.1.0.5", "netmask": "255.0.0.0"},
        }))
        .unwrap();
        let mut spec: ApplySpec = serde_json::from_value(json!({
            "networks": {"a": {"type": "dynamic", "x": 1}, "b": {"ip": "10.1.0.5"}, "local": {"ip": "127.0.0.1"}}
        }))
        .unwrap();
        populate_dhcp_networks(&mut spec, &networks).unwrap();
        assert_eq!(
            spec.networks["a"],
            json!({"type": "dynamic", "x": 1, "ip": "10.0.0.5", "netmask": "255.0.0.0", "gateway": "10.0.0.1"})
        );
        assert_eq!(spec.networks["b"], json!({"ip": "10.1.0.5"}));
        let error = populate_dhcp_networks(&mut spec, &Networks::default()).unwrap_err();
        assert_eq!(
            error.chain(),
            "Resolving dynamic networks: Network 'a' is not found in settings"
        );
    }
}
