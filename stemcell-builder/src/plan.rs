//! What will be done, as plain data: ordered stages of ordered steps. Printed by `--plan`, compared in tests, carried out
//! by [`crate::bake`].

use serde::Serialize;

use crate::recipe::Recipe;
use crate::stages;

/// Everything between a recipe and a root filesystem ready to be packed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// File name of the stemcell.
    pub stemcell: String,
    /// The packages, and how they are installed. Kept for the next bake with the same.
    pub bootstrap: Bootstrap,
    /// In the order of execution.
    pub stages: Vec<Stage>,
}

/// How the distribution gets into the tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bootstrap {
    /// `mmdebstrap` or `dnf`
    pub tool: &'static str,
    /// What to install, dependencies aside.
    pub packages: Vec<&'static str>,
    /// Where from, if the recipe says.
    pub mirror: Option<String>,
}

/// A named group of steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// One word.
    pub name: &'static str,
    /// In the order of execution.
    pub steps: Vec<Step>,
}

/// One thing to do. Paths are absolute inside the tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Makes a directory, or sets mode and owner of one that is there.
    Directory {
        /// Path.
        path: String,
        /// Permissions.
        mode: Mode,
        /// `user:group` by name.
        owner: &'static str,
    },
    /// Writes a file; what was there is replaced.
    File {
        /// Path.
        path: String,
        /// Permissions.
        mode: Mode,
        /// Content.
        text: String,
    },
    /// Adds lines to the end of a file, made if it is not there.
    Append {
        /// Path.
        path: String,
        /// Content.
        text: String,
    },
    /// Makes a symbolic link; what was there is replaced.
    Link {
        /// Path.
        path: String,
        /// Where it points.
        target: String,
    },
    /// Copies the agent's binary to a path.
    Agent {
        /// Path.
        path: String,
    },
    /// Copies monit's binary to a path.
    Monit {
        /// Path.
        path: String,
    },
    /// Runs a shell line in the tree; it must succeed.
    Run {
        /// The line.
        line: String,
    },
    /// Removes a file or a tree, if it is there.
    Remove {
        /// Path.
        path: String,
    },
    /// Removes what is in a directory, which stays.
    Empty {
        /// Path.
        path: String,
    },
    /// Takes the set-user-id and set-group-id bits from all programs but these.
    Unprivilege {
        /// File names that keep theirs.
        keep: Vec<&'static str>,
    },
    /// Lists the files of these packages, those that are installed.
    ListDevTools {
        /// Packages.
        packages: Vec<&'static str>,
        /// Where the list goes.
        path: String,
    },
    /// Lists the static libraries.
    ListStaticLibraries {
        /// Where the list goes.
        path: String,
    },
}

/// File permissions, shown in octal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "String")]
pub struct Mode(pub u32);

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl Plan {
    /// The plan for a recipe. Pure.
    pub fn new(recipe: &Recipe) -> Self {
        Self {
            stemcell: recipe.file_name(),
            bootstrap: stages::bootstrap(recipe),
            stages: stages::all(recipe),
        }
    }

    /// For people.
    ///
    /// # Errors
    /// None that can happen: everything in a plan has a place in YAML.
    pub fn to_yaml(&self) -> Result<String, serde_yaml_ng::Error> {
        serde_yaml_ng::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Os;
    use crate::recipe::tests::recipe;

    #[test]
    fn debian_bookworm() {
        insta::assert_snapshot!(Plan::new(&recipe(Os::DebianBookworm)).to_yaml().unwrap());
    }

    #[test]
    fn what_differs_on_centos() {
        let plan = Plan::new(&recipe(Os::CentosStream9));
        insta::assert_yaml_snapshot!(plan.bootstrap);
        let names = |plan: &Plan| {
            plan.stages
                .iter()
                .map(|stage| stage.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&plan), names(&Plan::new(&recipe(Os::UbuntuNoble))));
    }

    #[test]
    fn every_path_is_absolute_and_stays_inside() {
        for os in Os::ALL {
            for step in Plan::new(&recipe(os))
                .stages
                .into_iter()
                .flat_map(|stage| stage.steps)
            {
                let path = match &step {
                    Step::Directory { path, .. }
                    | Step::File { path, .. }
                    | Step::Append { path, .. }
                    | Step::Link { path, .. }
                    | Step::Agent { path }
                    | Step::Monit { path }
                    | Step::Remove { path }
                    | Step::Empty { path }
                    | Step::ListDevTools { path, .. }
                    | Step::ListStaticLibraries { path } => path,
                    Step::Run { .. } | Step::Unprivilege { .. } => continue,
                };
                assert!(path.starts_with('/') && !path.contains(".."), "{path}");
            }
        }
    }
}
