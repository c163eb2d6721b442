//! Host names, time zone, locale, search path. Upstream: `base_debootstrap`, `bosh_environment`.

use super::{append, file, link, run};
use crate::plan::Step;
use crate::recipe::{Family, Recipe};

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let mut steps = vec![
        file(
            "/etc/hosts",
            0o644,
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
        ),
        file("/etc/hostname", 0o644, "bosh-stemcell\n"),
        link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        file("/etc/timezone", 0o644, "Etc/UTC\n"),
        file(
            "/etc/environment",
            0o644,
            "PATH=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/vcap/bosh/bin\"\n",
        ),
        append("/etc/security/limits.conf", "* hard core 0\n"),
    ];
    steps.extend(match recipe.os.family() {
        // Databases are initialised with it.
        Family::Debian => vec![
            file("/etc/locale.gen", 0o644, "en_US.UTF-8 UTF-8\n"),
            file("/etc/default/locale", 0o644, "LANG=en_US.UTF-8\n"),
            run("locale-gen"),
        ],
        Family::RedHat => vec![file("/etc/locale.conf", 0o644, "LANG=en_US.UTF-8\n")],
    });
    steps
}
