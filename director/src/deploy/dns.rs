//! Sends DNS records to agents, if the director does local DNS at all.

use bosh_director_api::Code;
use bosh_protocol::AgentId;

use super::Error;
use super::scope::Scope;
use super::subject::Subject;
use crate::dns::Target;

impl From<crate::dns::Error> for Error {
    fn from(error: crate::dns::Error) -> Self {
        Self::because(Code::Generic.number(), error)
    }
}

/// Publishes what is written down and sends it to every agent.
pub async fn publish(scope: &Scope) -> Result<(), Error> {
    Ok(scope.director.dns.broadcast(&scope.director).await?)
}

/// Publishes what is written down and sends it to the agent of `subject`; the others learn of it soon.
pub async fn publish_to(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    let Some(vm) = &subject.vm else { return Ok(()) };
    let target = Target {
        agent_id: AgentId::from(vm.agent_id.clone().unwrap_or_default()),
        instance: subject.name(),
        stemcell_api_version: subject.api_version().unwrap_or(1),
    };
    Ok(scope
        .director
        .dns
        .publish_to(&scope.director, vec![target])
        .await?)
}
