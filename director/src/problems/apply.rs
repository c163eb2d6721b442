//! Solves problems as told. Upstream: problem_resolver.rb, post_deployment_script_runner.rb.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::kind::Kind;
use super::repair::{self, Failure};
use super::subject::Subject;
use crate::db;
use crate::db::problems::Problem;
use crate::deploy::blueprint::Blueprint;
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::deploy::{Error, parallel};
use crate::manifest::update::Amount;
use crate::tasks::Stage;

/// How long an agent may take to take a post-deploy script, after a repair.
const POST_DEPLOY: Duration = Duration::from_secs(10);

/// What to do: problem id -> way out; `None` for the automatic one.
pub type Resolutions = BTreeMap<String, Option<String>>;

/// Solves the problems that `resolutions` names: instance groups one after another, or all at once where none of them
/// is serial, in each group as many at a time as its `max_in_flight` or `overrides` allow. How many were seen to, and
/// what went wrong.
pub async fn apply(
    scope: &Scope,
    resolutions: &Resolutions,
    overrides: &BTreeMap<String, String>,
) -> Result<(usize, Vec<String>), Error> {
    let mut problems = Vec::new();
    for problem in db::problems::open(scope.db(), scope.deployment.id).await? {
        if resolutions.contains_key(&problem.id.to_string()) {
            let subject = Subject::of(scope.db(), &problem).await?;
            problems.push((problem, subject));
        }
    }
    let stage = scope.task.stage(
        "Applying problem resolutions",
        Vec::new(),
        Some(problems.len()),
    );
    let makes_vms = |(problem, subject): &(Problem, Subject)| {
        let kind = subject.describe(problem).kind;
        way(resolutions, problem, kind).starts_with("recreate_vm")
    };
    let blueprint = if problems.iter().any(makes_vms) {
        Some(Blueprint::new(scope).await?)
    } else {
        None
    };
    let groups = by_group(problems);
    let serial = |(_, group): &(String, Vec<(Problem, Subject)>)| {
        let settings = group
            .first()
            .and_then(|(_, subject)| subject.instance())
            .map(|instance| instance.spec());
        settings.is_none_or(|spec| spec["update"]["serial"] != json!(false))
    };
    let at_once = if !scope.director.config.parallel_problem_resolution || groups.iter().any(serial)
    {
        1
    } else {
        groups.len()
    };
    let told = parallel::each(at_once, &groups, |(name, group)| {
        let (stage, blueprint) = (&stage, blueprint.as_ref());
        async move {
            let limit = limit(scope, group, overrides.get(name));
            parallel::each(limit, group, |(problem, subject)| async move {
                solve(scope, blueprint, stage, resolutions, problem, subject).await
            })
            .await
        }
    })
    .await?;
    let told: Vec<Solved> = told.into_iter().flatten().collect();
    let count = told.iter().filter(|solved| solved.counts).count();
    Ok((
        count,
        told.into_iter()
            .filter_map(|solved| solved.complaint)
            .collect(),
    ))
}

/// What came of a problem.
struct Solved {
    counts: bool,
    complaint: Option<String>,
}

fn by_group(problems: Vec<(Problem, Subject)>) -> Vec<(String, Vec<(Problem, Subject)>)> {
    let mut groups: Vec<(String, Vec<(Problem, Subject)>)> = Vec::new();
    for (problem, subject) in problems {
        let name = subject
            .instance()
            .map(|instance| instance.job.clone())
            .unwrap_or_default();
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, members)) => members.push((problem, subject)),
            None => groups.push((name, vec![(problem, subject)])),
        }
    }
    groups
}

fn limit(scope: &Scope, group: &[(Problem, Subject)], wanted: Option<&String>) -> usize {
    if !scope.director.config.parallel_problem_resolution {
        return 1;
    }
    let amount = wanted.cloned().or_else(|| {
        let spec = group.first()?.1.instance()?.spec();
        match &spec["update"]["max_in_flight"] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    });
    amount
        .map_or(1, |amount| Amount(amount).of(group.len()))
        .max(1)
}

fn way(resolutions: &Resolutions, problem: &Problem, kind: Kind) -> String {
    let told = resolutions.get(&problem.id.to_string()).cloned().flatten();
    told.unwrap_or_else(|| kind.auto().to_owned())
}

async fn solve(
    scope: &Scope,
    blueprint: Option<&Blueprint>,
    stage: &Stage,
    resolutions: &Resolutions,
    problem: &Problem,
    subject: &Subject,
) -> Result<Solved, Error> {
    scope.task.checkpoint()?;
    let described = subject.describe(problem);
    // A problem that vanished is only closed, whatever was to be done about it.
    let way = match described.kind {
        Kind::Invalid => "close".to_owned(),
        kind => way(resolutions, problem, kind),
    };
    let plan = described
        .kind
        .resolution(&way)
        .map_or("no resolution", |resolution| resolution.plan);
    let name = format!(
        "{} ({} {}): {plan}",
        described.description, problem.kind, problem.resource_id
    );
    let mut step = stage.start(name);
    let done = repair::run(scope, blueprint, subject, &way, &mut step).await;
    let complaint = done
        .as_ref()
        .err()
        .map(|error| format!("Error resolving problem '{}': {error}", problem.id));
    let counts = !matches!(done, Err(Failure::Other(_)));
    match &done {
        Ok(()) => step.finish(),
        Err(error) => step.fail(&error.to_string()),
    }
    if let Err(Failure::Other(error)) = done
        && error.is_cancelled()
    {
        return Err(error);
    }
    if counts {
        db::problems::set_state(scope.db(), problem.id, "resolved").await?;
    }
    if let Some(complaint) = &complaint {
        scope.task.debug(complaint);
    }
    Ok(Solved { counts, complaint })
}

/// Has every running instance run its post-deploy scripts; those that do not answer are left alone.
pub async fn post_deploy(scope: &Scope) -> Result<(), Error> {
    let rows = Rows::of(scope).await?;
    let mut agents = Vec::new();
    for instance in &rows.instances {
        if let Some(vm) = rows.active_vm(instance.id) {
            agents.push(scope.agent(vm, &instance.name())?);
        }
    }
    parallel::each(scope.max_threads(), agents, |agent| async move {
        let arguments = vec![json!("post-deploy"), json!({})];
        match agent
            .start_within("run_script", arguments, POST_DEPLOY)
            .await
        {
            Err(error) if error.is_timeout() || error.is_unknown_method() => Ok(()),
            other => other.map(drop).map_err(Error::from),
        }
    })
    .await?;
    Ok(())
}
