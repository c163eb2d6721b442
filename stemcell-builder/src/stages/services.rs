//! Process 1 and what runs beside the agent. Upstream: `base_warden`, `bosh_go_agent`.
//!
//! As upstream's, process 1 is runit, which runs the agent and, for an agent that asks for it, monit. Where a distribution has
//! no runit, process 1 is a shell that runs the agent again and again. The agent itself was not made process 1: the container
//! would end with it, and with it the jobs, which are to outlive an agent that is killed, replaced, or gives up on a message bus
//! that is away. The host keys are made at the first boot. rsyslogd starts when the agent says so, because the agent first puts
//! /var/log elsewhere.

use super::agent::{BINARY, CONFIG, MONIT};
use super::{directory, file, link, run};
use crate::plan::Step;
use crate::recipe::{Family, Recipe};

/// `service NAME ACTION`, for the release scripts that restart one.
const SERVICE: &str = r#"#!/bin/sh
# service NAME start|stop|restart|reload|status, for what runs beside the agent.
name=$1
action=$2
case $name in
  ssh|sshd) pid_file=/run/sshd.pid; start="/usr/sbin/sshd" ;;
  cron|crond) pid_file=/run/crond.pid; start="$(command -v cron || command -v crond)" ;;
  rsyslog|rsyslogd) pid_file=/run/rsyslogd.pid; start="/usr/sbin/rsyslogd" ;;
  *) echo "service: no such service: $name" >&2; exit 1 ;;
esac

running() {
  [ -s "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

stop() {
  running || return 0
  pid=$(cat "$pid_file")
  kill "$pid"
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid"
}

case $action in
  start) running || $start ;;
  stop) stop ;;
  restart|force-restart) stop && $start ;;
  reload|force-reload) running && kill -HUP "$(cat "$pid_file")" ;;
  status) if running; then echo "$name is running"; else echo "$name is not running"; exit 3; fi ;;
  *) echo "service: no such action: $action" >&2; exit 1 ;;
esac
"#;

/// Upstream's agent leaves name servers in this directory and runs `resolvconf -u`; ours writes /etc/resolv.conf.
/// Source: upstream agent platform/net/dnsresolver.
const RESOLVCONF: &str = r#"#!/bin/sh
# resolvconf -u, for an agent that does not write /etc/resolv.conf itself.
[ "$1" = -u ] || exit 0
dir=/etc/resolvconf/resolv.conf.d
run=/run/resolvconf
mkdir -p -m 0755 $run
for part in head base tail; do
  [ ! -r $dir/$part ] || cat $dir/$part
done >$run/resolv.conf.new
mv $run/resolv.conf.new $run/resolv.conf
"#;

/// What comes before anything else, whatever process 1 then becomes.
const FIRST: &str = r#"#!/bin/sh
# Process 1 of the container: starts what runs beside the agent, then keeps the agent running.
PATH=/var/vcap/bosh/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
unset TERM
umask 022

# Left by an earlier boot of the same container.
rm -f /run/sshd.pid /run/crond.pid /run/rsyslogd.pid
mkdir -p -m 0755 /run/sshd

(
  for type in ed25519 ecdsa rsa; do
    key=/etc/ssh/ssh_host_${type}_key
    if [ ! -s $key ]; then
      rm -f $key $key.pub
      nice ssh-keygen -q -t $type -f $key -N '' -C ''
    fi
  done
  service cron start
  service ssh start
) >/var/log/boot.log 2>&1 </dev/null &

cd /var/vcap/bosh
"#;

/// The agent's output goes where `bosh logs --agent` looks for it.
fn first(recipe: &Recipe) -> String {
    match recipe.os.family() {
        Family::Debian => format!("{FIRST}exec runsvdir -P /etc/service\n"),
        Family::RedHat => format!(
            r#"{FIRST}while :; do
  {} >>/var/vcap/bosh/log/current 2>&1 </dev/null
  sleep 1
done
"#,
            agent(recipe)
        ),
    }
}

fn agent(recipe: &Recipe) -> String {
    format!("{BINARY} -P {} -C {CONFIG}", recipe.os.platform())
}

/// The directories of the services that runit runs. Only the agent's is linked to where runit looks: upstream's agent does
/// that with monit's itself, and ours has no use for it.
fn runit(recipe: &Recipe) -> Vec<Step> {
    let script = |run: &str| format!("#!/bin/sh\nexec 2>&1\ncd /var/vcap/bosh\nexec {run}\n");
    vec![
        directory("/etc/sv/agent", 0o755, "root:root"),
        file("/etc/sv/agent/run", 0o755, script(&agent(recipe))),
        directory("/etc/sv/agent/log", 0o755, "root:root"),
        file(
            "/etc/sv/agent/log/run",
            0o755,
            script("svlogd -tt /var/vcap/bosh/log"),
        ),
        directory("/etc/sv/monit", 0o755, "root:root"),
        file(
            "/etc/sv/monit/run",
            0o755,
            script(&format!("{MONIT} -I -c /var/vcap/bosh/etc/monitrc")),
        ),
        // What the package itself would run is not a container's business.
        run("rm -rf /etc/service && mkdir /etc/service"),
        link("/etc/service/agent", "/etc/sv/agent"),
    ]
}

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let bin = "/var/vcap/bosh/bin";
    let mut steps = match recipe.os.family() {
        Family::Debian => runit(recipe),
        Family::RedHat => Vec::new(),
    };
    steps.extend([
        file("/usr/sbin/runsvdir-start", 0o755, first(recipe)),
        file("/usr/sbin/service", 0o755, SERVICE),
        directory("/etc/resolvconf/resolv.conf.d", 0o755, "root:root"),
        file("/usr/sbin/resolvconf", 0o755, RESOLVCONF),
        // The agent runs these by name.
        file(
            &format!("{bin}/restart_networking"),
            0o755,
            "#!/bin/sh\necho 'the network of a container is set up by its CPI'\n",
        ),
        file(
            &format!("{bin}/bosh-start-logging-and-auditing"),
            0o755,
            "#!/bin/sh\n# The agent has just put /var/log elsewhere. The audit log is not a container's to read.\nservice rsyslog restart >/dev/null 2>&1 </dev/null &\n",
        ),
        file(
            &format!("{bin}/sync-time"),
            0o755,
            "#!/bin/sh\n# A container has the clock of its host. With a clock of its own: chronyc waitsync\nexit 0\n",
        ),
        file(
            &format!("{bin}/bosh-agent-rc"),
            0o755,
            "#!/bin/sh\nset -e\nif [ -e /dev/shm ]; then\n  chown root:vcap /dev/shm\n  chmod 0770 /dev/shm\nfi\n",
        ),
    ]);
    steps
}
