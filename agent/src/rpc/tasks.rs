//! The registry of long-running tasks. Source: upstream agent/task.
//!
//! Tasks that change the machine run one after the other, in the order they were asked for, as upstream runs all of its
//! tasks; those that only look or store run at once, so that logs can be had while an errand runs.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bosh_protocol::AgentTaskId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::settings::{self, store};

/// Unfinished tasks at a time; one more is refused.
const MAX_UNFINISHED: usize = 64;
/// Finished tasks that can still be asked for; then the oldest are forgotten.
const MAX_FINISHED: usize = 256;

/// What a task is made of.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;

/// Whether a task waits for those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// After all tasks of this lane that were started before.
    Ordered,
    /// At once.
    Parallel,
}

/// Asks a task to end early. Cheap to clone; asking twice is asking once.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// Returns once the task has been asked to end; never, if nobody does.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|requested| *requested).await.is_err() {
            // The task was forgotten; nobody can cancel it any more.
            std::future::pending::<()>().await;
        }
    }

    /// A pair of its own, for callers that are no tasks.
    pub fn pair() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }
}

/// Where a task is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Running,
    Done(Value),
    Failed(String),
}

struct Entry {
    progress: Progress,
    cancel: Option<watch::Sender<bool>>,
}

#[derive(Default)]
struct State {
    tasks: HashMap<AgentTaskId, Entry>,
    finished: VecDeque<AgentTaskId>,
}

/// All tasks of this agent. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    state: Arc<Mutex<State>>,
    ordered: mpsc::Sender<(AgentTaskId, Work)>,
    file: Arc<PersistentFile>,
}

/// No more tasks can be taken.
#[derive(Debug, thiserror::Error)]
#[error("too many unfinished tasks ({MAX_UNFINISHED})")]
pub(super) struct TooMany;

impl Tasks {
    /// A registry that remembers persistent tasks in a file; needs a runtime.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let (ordered, mut queue) = mpsc::channel::<(AgentTaskId, Work)>(MAX_UNFINISHED);
        let tasks = Self {
            state: Arc::default(),
            ordered,
            file: Arc::new(PersistentFile::new(file.into())),
        };
        let worker = Arc::downgrade(&tasks.state);
        let file = tasks.file.clone();
        tokio::spawn(async move {
            while let Some((id, work)) = queue.recv().await {
                let result = run(work).await;
                let Some(state) = worker.upgrade() else {
                    return;
                };
                finish(&state, &file, &id, result);
            }
        });
        tasks
    }

    /// Registers and starts a task; `make` gets the means to notice that it is to end early if `cancellable`.
    pub(super) fn start(
        &self,
        id: AgentTaskId,
        lane: Lane,
        cancellable: bool,
        make: impl FnOnce(Cancel) -> Work,
    ) -> Result<(), TooMany> {
        let (sender, receiver) = watch::channel(false);
        {
            let mut state = lock(&self.state);
            if state.tasks.len() - state.finished.len() >= MAX_UNFINISHED {
                return Err(TooMany);
            }
            let cancel = cancellable.then_some(sender);
            state.tasks.insert(
                id.clone(),
                Entry {
                    progress: Progress::Running,
                    cancel,
                },
            );
        }
        let work = make(Cancel(receiver));
        match lane {
            Lane::Parallel => {
                let (state, file) = (self.state.clone(), self.file.clone());
                tokio::spawn(async move {
                    let result = run(work).await;
                    finish(&state, &file, &id, result);
                });
            }
            Lane::Ordered => {
                if let Err(error) = self.ordered.try_send((id.clone(), work)) {
                    tracing::error!(task = %id, %error, "the task queue does not take a task it has room for");
                    lock(&self.state).tasks.remove(&id);
                    return Err(TooMany);
                }
            }
        }
        Ok(())
    }

    /// Registers a task that another agent process has finished.
    pub(super) fn insert_finished(&self, id: AgentTaskId, result: Result<Value, String>) {
        lock(&self.state).tasks.insert(
            id.clone(),
            Entry {
                progress: Progress::Running,
                cancel: None,
            },
        );
        finish(&self.state, &self.file, &id, result);
    }

    /// Forgets a task of another agent process that this one knows nothing about.
    pub(super) fn forget(&self, id: &AgentTaskId) {
        if let Err(error) = self.file.remove(id) {
            tracing::error!(task = %id, error = &error as &dyn std::error::Error, "cannot forget a task");
        }
    }

    /// Where a task is; `None` if there is no such task.
    pub(super) fn progress(&self, id: &AgentTaskId) -> Option<Progress> {
        lock(&self.state)
            .tasks
            .get(id)
            .map(|entry| entry.progress.clone())
    }

    /// Asks a task to end early. `None`: no such task; `false`: it cannot.
    pub(super) fn cancel(&self, id: &AgentTaskId) -> Option<bool> {
        let state = lock(&self.state);
        let entry = state.tasks.get(id)?;
        Some(match (&entry.progress, &entry.cancel) {
            (Progress::Done(_) | Progress::Failed(_), _) => true,
            (Progress::Running, Some(cancel)) => {
                cancel.send_replace(true);
                true
            }
            (Progress::Running, None) => false,
        })
    }

    /// Where tasks that outlive the agent are remembered.
    pub(super) fn persistent(&self) -> &PersistentFile {
        &self.file
    }
}

/// A panic in one task must not take the others, or the queue, with it.
async fn run(work: Work) -> Result<Value, String> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the task broke down: {error}")),
    }
}

fn finish(
    state: &Mutex<State>,
    file: &PersistentFile,
    id: &AgentTaskId,
    result: Result<Value, String>,
) {
    if let Err(error) = file.remove(id) {
        tracing::error!(task = %id, error = &error as &dyn std::error::Error, "cannot forget a finished task");
    }
    let mut state = lock(state);
    let Some(entry) = state.tasks.get_mut(id) else {
        return;
    };
    entry.cancel = None;
    entry.progress = match result {
        Ok(value) => Progress::Done(value),
        Err(message) => {
            tracing::error!(task = %id, error = message, "task failed");
            Progress::Failed(message)
        }
    };
    state.finished.push_back(id.clone());
    while state.finished.len() > MAX_FINISHED {
        if let Some(oldest) = state.finished.pop_front() {
            state.tasks.remove(&oldest);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `/var/vcap/bosh/tasks.json`: tasks to finish after a restart. Source: upstream agent/task/concrete_manager.go.
pub(super) struct PersistentFile {
    path: PathBuf,
    tasks: Mutex<HashMap<AgentTaskId, PersistentTask>>,
}

/// What is remembered of a task. Upstream remembers its request too, as `Payload`, and makes no use of it; it has the key
/// to the message bus in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PersistentTask {
    /// Its id once more.
    #[serde(default, rename = "TaskID")]
    id: AgentTaskId,
    /// Its method.
    pub(super) method: String,
}

impl PersistentFile {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            tasks: Mutex::default(),
        }
    }

    /// What the agent before this one did not finish.
    pub(super) fn load(&self) -> Result<HashMap<AgentTaskId, PersistentTask>, settings::Error> {
        let tasks: HashMap<_, _> = store::read(&self.path)?.unwrap_or_default();
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks.clone();
        Ok(tasks)
    }

    pub(super) fn add(&self, id: &AgentTaskId, method: &str) -> Result<(), settings::Error> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(
            id.clone(),
            PersistentTask {
                id: id.clone(),
                method: method.to_owned(),
            },
        );
        store::write(&self.path, &*tasks)
    }

    fn remove(&self, id: &AgentTaskId) -> Result<(), settings::Error> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.remove(id).is_none() {
            return Ok(());
        }
        store::write(&self.path, &*tasks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;

    async fn finished(tasks: &Tasks, id: &str) -> Progress {
        let id = AgentTaskId::new(id);
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            loop {
                match tasks.progress(&id).unwrap() {
                    Progress::Running => tokio::task::yield_now().await,
                    progress => return progress,
                }
            }
        })
        .await
        .unwrap()
    }

    fn registry() -> (tempfile::TempDir, Tasks) {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::new(dir.path().join("tasks.json"));
        (dir, tasks)
    }

    #[tokio::test]
    async fn ordered_tasks_wait_for_each_other_and_parallel_ones_do_not() {
        let (_dir, tasks) = registry();
        let (release, blocked) = oneshot::channel::<()>();
        let blocking: Work = Box::pin(async move {
            blocked.await.unwrap();
            Ok(json!(1))
        });
        tasks
            .start("1".into(), Lane::Ordered, false, |_| blocking)
            .unwrap();
        tasks
            .start("2".into(), Lane::Ordered, false, |_| {
                Box::pin(async { Ok(json!(2)) })
            })
            .unwrap();
        tasks
            .start("3".into(), Lane::Parallel, false, |_| {
                Box::pin(async { Err("no".into()) })
            })
            .unwrap();
        assert!(
            matches!(finished(&tasks, "3").await, Progress::Failed(message) if message == "no")
        );
        assert!(matches!(
            tasks.progress(&"2".into()),
            Some(Progress::Running)
        ));
        release.send(()).unwrap();
        assert!(matches!(finished(&tasks, "2").await, Progress::Done(value) if value == 2));
        assert!(matches!(
            tasks.progress(&"1".into()),
            Some(Progress::Done(_))
        ));
        assert!(tasks.progress(&"4".into()).is_none());
    }

    #[tokio::test]
    async fn cancelling() {
        let (_dir, tasks) = registry();
        let work = |mut cancel: Cancel| -> Work {
            Box::pin(async move {
                cancel.requested().await;
                Err("cancelled".into())
            })
        };
        tasks.start("1".into(), Lane::Ordered, true, work).unwrap();
        tasks
            .start("2".into(), Lane::Parallel, false, |_| {
                Box::pin(std::future::pending())
            })
            .unwrap();
        assert_eq!(tasks.cancel(&"0".into()), None);
        assert_eq!(tasks.cancel(&"2".into()), Some(false));
        assert_eq!(tasks.cancel(&"1".into()), Some(true));
        assert!(matches!(finished(&tasks, "1").await, Progress::Failed(_)));
    }

    #[tokio::test]
    async fn a_panic_fails_one_task_only() {
        let (_dir, tasks) = registry();
        tasks
            .start("1".into(), Lane::Ordered, false, |_| {
                Box::pin(async { panic!("oops") })
            })
            .unwrap();
        tasks
            .start("2".into(), Lane::Ordered, false, |_| {
                Box::pin(async { Ok(json!("fine")) })
            })
            .unwrap();
        assert!(matches!(finished(&tasks, "1").await, Progress::Failed(_)));
        assert!(matches!(finished(&tasks, "2").await, Progress::Done(_)));
    }

    #[tokio::test]
    async fn bounded() {
        let (_dir, tasks) = registry();
        for n in 0..MAX_UNFINISHED {
            tasks
                .start(n.to_string().into(), Lane::Parallel, false, |_| {
                    Box::pin(std::future::pending())
                })
                .unwrap();
        }
        assert!(
            tasks
                .start("x".into(), Lane::Parallel, false, |_| Box::pin(
                    std::future::pending()
                ))
                .is_err()
        );
        for n in 0..=MAX_FINISHED {
            tasks.insert_finished(format!("f{n}").into(), Ok(Value::Null));
        }
        assert!(tasks.progress(&"f0".into()).is_none());
        assert!(tasks.progress(&"f1".into()).is_some());
    }

    #[tokio::test]
    async fn persistent_tasks_are_forgotten_when_done() {
        let (dir, tasks) = registry();
        let id = AgentTaskId::new("1");
        tasks.persistent().add(&id, "update_settings").unwrap();
        let after_restart = Tasks::new(dir.path().join("tasks.json"));
        assert_eq!(
            after_restart.persistent().load().unwrap()[&id].method,
            "update_settings"
        );
        after_restart.insert_finished(id.clone(), Ok(json!("ok")));
        assert!(
            Tasks::new(dir.path().join("tasks.json"))
                .persistent()
                .load()
                .unwrap()
                .is_empty()
        );
    }
}
