//! What the director says there is.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::Id;

/// A deployment as the director tells it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// Its teams.
    pub teams: Vec<String>,
    /// Whether a task holds its lock: it is being changed on purpose.
    pub locked: bool,
    /// Its instances; `None` where asking for them failed, which changes nothing about them.
    pub instances: Option<Vec<Instance>>,
}

/// A deployment and what is known to be in it.
#[derive(Debug)]
pub struct Deployment {
    /// Its name.
    pub name: Arc<str>,
    /// Its teams.
    pub teams: Arc<[String]>,
    /// Whether a task holds its lock.
    pub locked: bool,
    /// Its instances, in the director's order.
    pub instances: Box<[Instance]>,
}

/// An instance as `GET /deployments/NAME/instances` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Instance {
    /// Its UUID. An instance without is left out.
    #[serde(default = "nobody", deserialize_with = "id")]
    pub id: Id,
    /// The agent of its VM, if it has one.
    #[serde(default)]
    pub agent_id: Option<Id>,
    /// Its instance group.
    #[serde(default)]
    pub job: Option<Arc<str>>,
    /// Its availability zone.
    #[serde(default)]
    pub az: Option<Arc<str>>,
    /// Its index in the group.
    #[serde(default, deserialize_with = "index")]
    pub index: Option<u32>,
    /// The CID of its VM, if it has one.
    #[serde(default)]
    pub cid: Option<Box<str>>,
    /// Whether it ought to have one.
    #[serde(default, deserialize_with = "truth")]
    pub expects_vm: bool,
}

fn nobody() -> Id {
    Id::from("")
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(nobody))
}

/// `null` is not yes.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A number, which some directors write as a string.
fn index<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u32),
        Text(Box<str>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => None,
        Some(Written::Number(number)) => Some(number),
        Some(Written::Text(text)) => text.parse().ok(),
    })
}

impl Instance {
    /// Whether it ought to have a VM and has none.
    pub fn misses_vm(&self) -> bool {
        self.expects_vm && self.cid.is_none()
    }

    /// Whether the resurrector counts it as a member of its deployment: it has an agent, or misses its VM.
    pub fn is_member(&self) -> bool {
        self.agent_id.is_some() || self.misses_vm()
    }

    /// The same, with the names that many instances have shared with theirs.
    pub(super) fn sharing(mut self, names: &mut HashSet<Arc<str>>) -> Self {
        for name in [&mut self.job, &mut self.az].into_iter().flatten() {
            match names.get(name) {
                Some(shared) => *name = shared.clone(),
                None => _ = names.insert(name.clone()),
            }
        }
        self
    }

    /// The name alerts have of it.
    pub fn name(&self, deployment: &str) -> String {
        let named = |name: &str, value: Option<&dyn fmt::Display>| {
            value.map(|value| format!("{name}={value}"))
        };
        let agent = named("agent_id", self.agent_id.as_ref().map(|id| id as _));
        let index = named("index", self.index.as_ref().map(|index| index as _));
        let (identifier, attributes) = match &self.job {
            Some(job) => {
                let cid = format!("cid={}", self.cid.as_deref().unwrap_or_default());
                (format!("{job}({})", self.id), vec![agent, index, Some(cid)])
            }
            None => {
                let cid = named("cid", self.cid.as_ref().map(|cid| cid as _));
                let expects = self.expects_vm.then(|| "expects_vm=true".to_owned());
                let identifier = format!("instance {}", self.id);
                (identifier, vec![agent, index, cid, expects])
            }
        };
        let attributes: Vec<_> = attributes.into_iter().flatten().collect();
        format!("{deployment}: {identifier} [{}]", attributes.join(", "))
    }
}
