//! sshd for `bosh ssh`: keys only, members of bosh_sshers only. Upstream: `base_ssh`. The host's keys are made at the first
//! boot, see `services`.

use super::{file, run};
use crate::plan::Step;
use crate::recipe::Recipe;

const CONFIG: &str = "\
AllowGroups bosh_sshers
Banner /etc/issue.net
Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
ClientAliveCountMax 1
ClientAliveInterval 180
Compression delayed
DenyUsers root
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_rsa_key
HostbasedAuthentication no
IgnoreRhosts yes
KbdInteractiveAuthentication no
LoginGraceTime 60
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-512,hmac-sha2-256,umac-128@openssh.com
MaxAuthTries 3
PasswordAuthentication no
PermitEmptyPasswords no
PermitRootLogin no
PermitUserEnvironment no
PrintLastLog yes
PrintMotd no
Subsystem sftp internal-sftp
UseDNS no
UsePAM yes
X11Forwarding no
";

const NOTICE: &str = "This machine is for authorized users only. What is done on it is recorded.\n";

pub(super) fn steps(_recipe: &Recipe) -> Vec<Step> {
    vec![
        file("/etc/ssh/sshd_config", 0o600, CONFIG),
        file("/etc/issue", 0o644, NOTICE),
        file("/etc/issue.net", 0o644, NOTICE),
        file("/etc/motd", 0o644, ""),
        // A login must not fail where the kernel keeps no audit session.
        run(
            "sed -i -E 's/^(session\\s+)required(\\s+pam_loginuid)/\\1optional\\2/' /etc/pam.d/sshd",
        ),
    ]
}
