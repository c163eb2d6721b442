//! `ssh`: makes and removes the users of `bosh ssh`. Source: upstream agent/action/ssh.go.

use bosh_protocol::arguments::{SshParams, SshResult};

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::platform::{EPHEMERAL_USER_PREFIX, SSH_GROUPS};

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<SshResult, Error> {
    let command: String = arguments.get(0)?;
    let params: SshParams = arguments.get(1)?;
    match command.as_str() {
        "setup" => setup(agent, &params).await,
        "cleanup" => cleanup(agent, &params).await,
        _ => Err(Error::refused("Unknown command for SSH method")),
    }
}

async fn setup(agent: &Agent, params: &SshParams) -> Result<SshResult, Error> {
    let user = &params.user;
    if !user.starts_with(EPHEMERAL_USER_PREFIX) {
        // No clean-up will remove it, so it must not be somebody's already.
        if crate::platform::user(agent.dirs(), user).is_ok() {
            return Err(Error::refused(format!(
                "Creating user: user '{user}' already exists"
            )));
        }
        tracing::warn!(user, "this user will stay");
    }
    let platform = &agent.platform;
    let host_public_key = platform
        .host_public_key()
        .await
        .context("Getting host public key")?;
    platform
        .create_user(user, &agent.dirs().bosh_ssh())
        .await
        .context("Creating user")?;
    platform
        .add_user_to_groups(user, &SSH_GROUPS)
        .await
        .context("Adding user to groups")?;
    let keys = [params.public_key.clone()];
    platform
        .setup_ssh(&keys, user)
        .await
        .context("Setting ssh public key")?;
    let ip = agent.networks().await.default_ip().map(str::to_owned);
    Ok(SshResult {
        command: "setup".into(),
        status: "success".into(),
        ip: ip.ok_or_else(|| Error::refused("No default ip could be found"))?,
        host_public_key,
    })
}

async fn cleanup(agent: &Agent, params: &SshParams) -> Result<SshResult, Error> {
    let deleted = agent
        .platform
        .delete_ephemeral_users_matching(&params.user_regex)
        .await;
    deleted.context("SSH Cleanup: Deleting Ephemeral Users")?;
    Ok(SshResult {
        command: "cleanup".into(),
        status: "success".into(),
        ..SshResult::default()
    })
}
