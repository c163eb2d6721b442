//! Carries a plan out. What comes of it is a whole stemcell, or an error and nothing; mounts are gone either way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::bootstrap::Origin;
use crate::chroot::{self, Chroot, Mounted};
use crate::layer::{self, Work};
use crate::pack::{self, Lists, Places};
use crate::plan::{Plan, Step};
use crate::recipe::{Family, Recipe};
use crate::rootfs::{self, Rootfs};
use crate::{command, inventory, stages};

/// Where to work and where to put it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for the stemcell, made if it is not there.
    pub output: PathBuf,
    /// Directory for layers and scratch files, kept between bakes.
    pub work: PathBuf,
    /// Install the packages anew, even if a layer with the same is kept.
    pub refresh: bool,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("baking needs root: it mounts file systems and makes files of many owners")]
    NotRoot,
    /// The work directory or the packages.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// A mount.
    #[error(transparent)]
    Chroot(#[from] chroot::Error),
    /// A step of a stage.
    #[error("stage '{stage}' failed")]
    Stage {
        /// The stage.
        stage: &'static str,
        /// Why.
        #[source]
        source: StepError,
    },
    /// The stemcell was not written.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// The scratch directory.
    #[error("could not use '{}'", path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What went wrong in a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A file in the tree.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// A program in the tree.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The agent's or monit's binary.
    #[error("could not read the binary '{}'", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Walking through the tree.
    #[error("could not walk through the tree")]
    Walk(#[source] io::Error),
}

/// Tells a person how far it is.
pub trait Progress {
    /// A stage begins: its number, how many there are, its name.
    fn stage(&mut self, number: usize, of: usize, name: &str);
    /// Something about the stage.
    fn detail(&mut self, text: &str);
}

/// Bakes. The calling thread gets a mount namespace of its own. Returns the path of the stemcell.
///
/// # Errors
/// [`Error`]; the output directory is as it was.
pub fn bake(
    recipe: &Recipe,
    plan: &Plan,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    chroot::private_mounts()?;
    let work = Work::open(&options.work)?;
    let total = plan.stages.len() + 2;
    progress.stage(1, total, "packages");
    let origin = Origin::find(recipe.os, recipe.mirror.as_deref());
    let layer = work.layer(recipe.os, plan, &origin, options.refresh, &mut |line| {
        progress.detail(line)
    })?;
    if layer.kept {
        progress.detail("as installed before");
    }

    let scratch = Scratch(work.scratch("bake")?);
    let [upper, inner, root] = ["upper", "work", "root"].map(|name| scratch.0.join(name));
    for path in [&upper, &inner, &root] {
        fs::create_dir(path).map_err(|source| Error::Scratch {
            path: path.clone(),
            source,
        })?;
    }
    // The upper directory's own mode becomes that of the root, whatever the umask.
    fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(
        |source| Error::Scratch {
            path: upper.clone(),
            source,
        },
    )?;
    let _mounted = Mounted::overlay(&layer.rootfs, &upper, &inner, &root)?;
    let lists = run_stages(recipe, plan, &root, layer.made, total, progress)?;

    progress.stage(total, total, "pack");
    let started = Instant::now();
    let places = Places {
        root: &root,
        scratch: &scratch.0,
        kept: &layer.blocks,
        output: &options.output,
    };
    let stemcell = pack::pack(recipe, &places, &lists, layer.made)?;
    tracing::debug!(ms = started.elapsed().as_millis() as u64, "packed");
    Ok(stemcell)
}

/// Removed when dropped, after what is mounted in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "could not remove; the next bake will");
        }
    }
}

fn run_stages(
    recipe: &Recipe,
    plan: &Plan,
    root: &Path,
    epoch: u64,
    total: usize,
    progress: &mut dyn Progress,
) -> Result<Lists, Error> {
    let chroot = Chroot::new(root, epoch)?;
    let failed = |stage| move |source| Error::Stage { stage, source };
    let rootfs = Rootfs::open(root).map_err(|error| failed("base")(error.into()))?;
    let baker = Baker {
        recipe,
        root,
        chroot: &chroot,
        rootfs: &rootfs,
    };
    for (index, stage) in plan.stages.iter().enumerate() {
        progress.stage(index + 2, total, stage.name);
        for step in &stage.steps {
            tracing::debug!(stage = stage.name, ?step, "step");
            baker.step(step).map_err(failed(stage.name))?;
        }
    }
    baker.lists().map_err(failed("lists"))
}

struct Baker<'a> {
    recipe: &'a Recipe,
    root: &'a Path,
    chroot: &'a Chroot,
    rootfs: &'a Rootfs,
}

impl Baker<'_> {
    fn step(&self, step: &Step) -> Result<(), StepError> {
        let rootfs = self.rootfs;
        match step {
            Step::Directory { path, mode, owner } => rootfs.directory(path, mode.0, owner)?,
            Step::File { path, mode, text } => rootfs.write(path, mode.0, &mut text.as_bytes())?,
            Step::Append { path, text } => rootfs.append(path, text)?,
            Step::Link { path, target } => rootfs.link(path, target)?,
            Step::Agent { path } => self.binary(&self.recipe.agent, path)?,
            Step::Monit { path } => self.binary(&self.recipe.monit, path)?,
            Step::Run { line } => {
                self.chroot.run(line)?;
            }
            Step::Remove { path } => rootfs.remove(path)?,
            Step::Empty { path } => rootfs.empty(path)?,
            Step::Unprivilege { keep } => {
                let changed = inventory::unprivilege(self.root, keep).map_err(StepError::Walk)?;
                tracing::debug!(changed, "took set-id bits");
            }
            Step::ListDevTools { packages, path } => {
                let list =
                    inventory::files_of(self.root, self.chroot, self.recipe.os.family(), packages)?;
                rootfs.write(path, 0o644, &mut list.as_bytes())?;
            }
            Step::ListStaticLibraries { path } => {
                let list = inventory::static_libraries(self.root).map_err(StepError::Walk)?;
                rootfs.write(path, 0o644, &mut list.as_bytes())?;
            }
        }
        Ok(())
    }

    fn binary(&self, from: &Path, to: &str) -> Result<(), StepError> {
        let mut file = fs::File::open(from).map_err(|source| StepError::Binary {
            path: from.to_owned(),
            source,
        })?;
        Ok(self.rootfs.write(to, 0o755, &mut file)?)
    }

    /// What is packed beside the image.
    fn lists(&self) -> Result<Lists, StepError> {
        let query = match self.recipe.os.family() {
            Family::Debian => "COLUMNS=200 dpkg --list",
            Family::RedHat => "rpm --query --all | sort",
        };
        Ok(Lists {
            packages: self.chroot.run(query)?,
            dev_tools: self.rootfs.read(stages::DEV_TOOLS)?.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Mode, Stage};
    use crate::recipe::Os;
    use crate::recipe::tests::recipe;

    struct Silent;

    impl Progress for Silent {
        fn stage(&mut self, _: usize, _: usize, _: &str) {}
        fn detail(&mut self, _: &str) {}
    }

    /// A work directory with a layer as if it had been installed before: busybox and what a bake asks of a distribution.
    struct Kitchen {
        dir: tempfile::TempDir,
        recipe: Recipe,
        plan: Plan,
    }

    impl Kitchen {
        fn new(steps: Vec<Step>) -> Self {
            assert!(nix::unistd::geteuid().is_root(), "baking needs root");
            let busybox = ["/bin/busybox", "/usr/bin/busybox"]
                .iter()
                .find(|path| Path::new(path).exists())
                .expect("this test needs a static busybox (apt-get install busybox-static)");
            let dir = tempfile::tempdir().unwrap();
            let mut recipe = recipe(Os::DebianBookworm);
            recipe.agent = dir.path().join("agent");
            fs::write(&recipe.agent, "agent").unwrap();
            let mut plan = Plan::new(&recipe);
            plan.stages = vec![Stage {
                name: "only",
                steps,
            }];
            let origin = Origin::find(recipe.os, None);
            let layer = dir
                .path()
                .join("work")
                .join(layer::name(recipe.os, &plan, &origin));
            let root = layer.join("rootfs");
            for folder in [
                "bin",
                "usr/bin",
                "etc",
                "proc",
                "sys",
                "dev",
                "var/lib/dpkg",
            ] {
                fs::create_dir_all(root.join(folder)).unwrap();
            }
            fs::copy(busybox, root.join("bin/busybox")).unwrap();
            for (path, name) in [
                ("bin/sh", "busybox"),
                ("usr/bin/env", "/bin/busybox"),
                ("bin/test", "busybox"),
            ] {
                std::os::unix::fs::symlink(name, root.join(path)).unwrap();
            }
            // busybox has a dpkg of its own.
            fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
            fs::write(layer.join("layer.json"), r#"{"made": 1000}"#).unwrap();
            Self { dir, recipe, plan }
        }

        fn bake(&self) -> Result<PathBuf, Error> {
            let options = Options {
                output: self.dir.path().join("out"),
                work: self.dir.path().join("work"),
                refresh: false,
            };
            bake(&self.recipe, &self.plan, &options, &mut Silent)
        }

        fn assert_clean(&self) {
            let place = self.dir.path().display().to_string();
            let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            assert!(!mounts.contains(&place), "mounts are left: {mounts}");
            let names: Vec<_> = fs::read_dir(self.dir.path().join("work"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with(".new-"))
                .collect();
            assert_eq!(names, [""; 0]);
        }
    }

    fn names_in(stemcell: &Path) -> Vec<String> {
        use std::io::Read;
        let unzip = |bytes: &[u8]| {
            let mut out = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes)
                .read_to_end(&mut out)
                .unwrap();
            out
        };
        let outer = unzip(&fs::read(stemcell).unwrap());
        let mut image = Vec::new();
        for entry in tar::Archive::new(outer.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap().as_os_str() == "image" {
                entry.read_to_end(&mut image).unwrap();
            }
        }
        let mut inner = tar::Archive::new(io::Cursor::new(unzip(&image)));
        let entries = inner.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn steps_are_carried_out_above_the_layer_and_nothing_stays_mounted() {
        let kitchen = Kitchen::new(vec![
            Step::File {
                path: "/etc/made".into(),
                mode: Mode(0o644),
                text: "by a step".into(),
            },
            Step::Agent {
                path: "/var/vcap/bosh/bin/bosh-agent".into(),
            },
            Step::Run {
                line: "test -c /dev/null && test -d /proc/1 && echo ran >/etc/ran".into(),
            },
            Step::Remove {
                path: "/bin/test".into(),
            },
        ]);
        let stemcell = kitchen.bake().unwrap();
        kitchen.assert_clean();
        let names = names_in(&stemcell);
        for name in [
            "etc/made",
            "etc/ran",
            "var/vcap/bosh/bin/bosh-agent",
            "bin/busybox",
        ] {
            assert!(
                names.iter().any(|found| found == name),
                "{name} is not in {names:?}"
            );
        }
        let unwanted = |name: &&String| {
            *name == "bin/test"
                || name
                    .strip_prefix("proc/")
                    .is_some_and(|rest| !rest.is_empty())
                || *name == "dev/null"
        };
        assert_eq!(names.iter().find(unwanted), None);
        let first = fs::read(&stemcell).unwrap();
        assert!(
            fs::read(kitchen.bake().unwrap()).unwrap() == first,
            "a second bake differs"
        );
    }

    #[test]
    fn a_step_that_fails_leaves_nothing() {
        let kitchen = Kitchen::new(vec![Step::Run {
            line: "echo this went wrong; exit 3".into(),
        }]);
        let error = kitchen.bake().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(matches!(error, Error::Stage { stage: "only", .. }));
        assert!(cause.contains("this went wrong"), "{cause}");
        kitchen.assert_clean();
        assert!(!kitchen.dir.path().join("out").exists());
    }
}
