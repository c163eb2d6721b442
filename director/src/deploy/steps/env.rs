//! `env` of a new VM: what its agent is told before it can be reached.
//!
//! Upstream: deployment_plan/steps/create_vm_step.rb.

use base64::Engine as _;
use bosh_protocol::AgentId;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};

use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::raw::canonical;

/// Options of blobstores that hold credentials.
const CREDENTIALS: [&str; 8] = [
    "user",
    "password",
    "secret",
    "access_key_id",
    "secret_access_key",
    "json_key",
    "account_key",
    "credentials_source",
];

/// The environment for a VM of `subject` whose agent will be `agent_id`; `env` is what the manifest says, placeholders
/// filled in.
pub fn build(
    scope: &Scope,
    subject: &Subject,
    agent_id: &AgentId,
    mut env: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let config = &scope.director.config;
    let mut bosh = config.agent_env.clone();
    if let Some(Value::Object(given)) = env.remove("bosh") {
        bosh.extend(given);
    }
    if scope.can_sign(subject.stemcell.api_version)
        && let Some(Value::Array(blobstores)) = bosh.get_mut("blobstores")
    {
        blobstores.iter_mut().for_each(redact);
    }
    if !subject.tags.is_empty() {
        bosh.insert("tags".into(), Value::Object(subject.tags.clone()));
    }
    let credentials = scope.director.nats_ca.bootstrap(agent_id)?;
    let mbus = object(&mut bosh, "mbus");
    let cert = object(mbus, "cert");
    cert.insert("ca".into(), json!(scope.director.nats_server_ca));
    cert.insert("certificate".into(), json!(credentials.certificate));
    cert.insert(
        "private_key".into(),
        json!(credentials.private_key.expose()),
    );
    let has_password = bosh
        .get("password")
        .and_then(Value::as_str)
        .is_some_and(|password| !password.is_empty());
    if config.generate_vm_passwords && !has_password {
        bosh.insert("password".into(), json!(unknown_password()?));
    }
    let (director, deployment, group) = (&config.name, scope.name(), &subject.group);
    let all = format!("{director}-{deployment}-{group}");
    let groups = [
        director.clone(),
        deployment.to_owned(),
        group.clone(),
        format!("{director}-{deployment}"),
        format!("{deployment}-{group}"),
        all.clone(),
    ];
    let groups = groups
        .iter()
        .map(|name| canonical(name))
        .collect::<Result<Vec<_>, _>>()?;
    bosh.insert("group".into(), json!(canonical(&all)?));
    bosh.insert("groups".into(), json!(groups));
    env.insert("bosh".into(), Value::Object(bosh));
    Ok(env)
}

/// `blobstores` as agents are given them anew, without credentials when URLs are signed for them.
pub fn blobstores(scope: &Scope, stemcell_api_version: Option<u32>) -> Option<Value> {
    let mut blobstores = scope.director.config.agent_env.get("blobstores")?.clone();
    if scope.can_sign(stemcell_api_version)
        && let Value::Array(list) = &mut blobstores
    {
        list.iter_mut().for_each(redact);
    }
    Some(blobstores)
}

fn redact(blobstore: &mut Value) {
    if let Some(Value::Object(options)) = blobstore.get_mut("options") {
        options.retain(|key, _| !CREDENTIALS.contains(&key.as_str()));
    }
}

fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = parent.entry(key.to_owned()).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("it was just made an object")
}

/// A SHA-512 crypt hash of a password that nobody knows: the hash itself is drawn, not computed.
fn unknown_password() -> Result<String, Error> {
    let mut bytes = [0; 72];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::other("generate a password: no randomness"))?;
    // The alphabet of crypt(3) differs in order only, and '+' becomes '.'.
    let text = base64::engine::general_purpose::STANDARD_NO_PAD
        .encode(bytes)
        .replace('+', ".");
    Ok(format!("$6${}${}", &text[..8], &text[8..94]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_nobody_knows_looks_like_a_hash() {
        let (one, other) = (unknown_password().unwrap(), unknown_password().unwrap());
        assert_ne!(one, other);
        let parts: Vec<&str> = one.split('$').collect();
        assert_eq!(parts[1], "6");
        assert_eq!((parts[2].len(), parts[3].len()), (8, 86));
    }

    #[test]
    fn signed_urls_leave_no_credentials() {
        let mut blobstore =
            json!({"provider": "dav", "options": {"endpoint": "e", "user": "u", "password": "p"}});
        redact(&mut blobstore);
        assert_eq!(
            blobstore,
            json!({"provider": "dav", "options": {"endpoint": "e"}})
        );
    }
}
