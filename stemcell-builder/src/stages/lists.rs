//! Lists of what the agent removes when it is told to. Upstream: `dev_tools_config`, `static_libraries_config`.

use super::packages;
use crate::plan::Step;
use crate::recipe::Recipe;

/// Also packed beside the image.
pub(crate) const DEV_TOOLS: &str = "/var/vcap/bosh/etc/dev_tools_file_list";

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    vec![
        Step::ListDevTools {
            packages: packages::dev_tools(recipe.os),
            path: DEV_TOOLS.into(),
        },
        Step::ListStaticLibraries {
            path: "/var/vcap/bosh/etc/static_libraries_list".into(),
        },
    ]
}
