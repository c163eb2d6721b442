//! The stages, one file each, in the order [`all`] gives. Each turns a recipe into steps and does nothing else.

mod agent;
mod base;
mod bosh;
mod clean;
mod harden;
mod lists;
mod logs;
mod packages;
mod services;
mod ssh;
mod users;

pub(crate) use lists::DEV_TOOLS;

use crate::plan::{Bootstrap, Mode, Stage, Step};
use crate::recipe::{Family, Recipe};

/// How the packages get in.
pub(crate) fn bootstrap(recipe: &Recipe) -> Bootstrap {
    Bootstrap {
        tool: match recipe.os.family() {
            Family::Debian => "mmdebstrap",
            Family::RedHat => "dnf",
        },
        packages: packages::wanted(recipe.os),
        mirror: recipe.mirror.clone(),
    }
}

/// Everything after the packages.
pub(crate) fn all(recipe: &Recipe) -> Vec<Stage> {
    vec![
        Stage {
            name: "base",
            steps: base::steps(recipe),
        },
        Stage {
            name: "users",
            steps: users::steps(),
        },
        Stage {
            name: "ssh",
            steps: ssh::steps(recipe),
        },
        Stage {
            name: "bosh",
            steps: bosh::steps(recipe),
        },
        Stage {
            name: "agent",
            steps: agent::steps(),
        },
        Stage {
            name: "services",
            steps: services::steps(recipe),
        },
        Stage {
            name: "logs",
            steps: logs::steps(),
        },
        Stage {
            name: "lists",
            steps: lists::steps(recipe),
        },
        Stage {
            name: "harden",
            steps: harden::steps(),
        },
        Stage {
            name: "clean",
            steps: clean::steps(recipe),
        },
    ]
}

fn directory(path: &str, mode: u32, owner: &'static str) -> Step {
    Step::Directory {
        path: path.into(),
        mode: Mode(mode),
        owner,
    }
}

fn file(path: &str, mode: u32, text: impl Into<String>) -> Step {
    Step::File {
        path: path.into(),
        mode: Mode(mode),
        text: text.into(),
    }
}

fn append(path: &str, text: impl Into<String>) -> Step {
    Step::Append {
        path: path.into(),
        text: text.into(),
    }
}

fn link(path: &str, target: &str) -> Step {
    Step::Link {
        path: path.into(),
        target: target.into(),
    }
}

fn run(line: impl Into<String>) -> Step {
    Step::Run { line: line.into() }
}

fn remove(path: &str) -> Step {
    Step::Remove { path: path.into() }
}

fn empty(path: &str) -> Step {
    Step::Empty { path: path.into() }
}
