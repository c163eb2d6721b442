//! Errands: which instances an errand runs on, and what came of it. The choice is pure.
//!
//! Upstream: errand/{errand_provider,instance_matcher,result,result_set}.rb.

use bosh_director_api::Code;
use bosh_protocol::arguments::ErrandResult;
use serde_json::{Value, json};

use super::Error;
use crate::db::instances::Instance;
use crate::manifest::Desired;
use crate::manifest::resolved::Lifecycle;

/// Where an errand runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Names of instance groups that have it as a job, or of the one that is it.
    pub groups: Vec<(String, Lifecycle)>,
    /// Whether the name is that of a job.
    pub by_job: bool,
    /// Whether it is that of an errand's instance group as well.
    pub ambiguous: bool,
}

/// Finds the errand called `name`: a job, or an instance group whose lifecycle is `errand`.
pub fn choose(desired: &Desired, name: &str, filtered: bool) -> Result<Choice, Error> {
    let having: Vec<(String, Lifecycle)> = desired
        .instance_groups
        .iter()
        .filter(|group| group.jobs.iter().any(|job| job.name == name))
        .map(|group| (group.name.clone(), group.lifecycle))
        .collect();
    let group = desired.instance_group(name);
    if !having.is_empty() {
        return Ok(Choice {
            groups: having,
            by_job: true,
            ambiguous: group.is_some(),
        });
    }
    let Some(group) = group else {
        return Err(Error::new(
            Code::JobNotFound,
            format!("Errand '{name}' doesn't exist"),
        ));
    };
    if group.lifecycle != Lifecycle::Errand {
        let message = format!(
            "Instance group '{name}' is not an errand. To mark an instance group as an errand set its lifecycle to \
             'errand' in the deployment manifest."
        );
        return Err(Error::new(Code::RunErrandError, message));
    }
    if group.instances == 0 {
        let message = format!("Instance '{}/{name}/0' doesn't exist", desired.name);
        return Err(Error::new(Code::InstanceNotFound, message));
    }
    if filtered {
        let message =
            "Filtering by instances is not supported when running errand by instance group name";
        return Err(Error::new(Code::RunErrandError, message));
    }
    Ok(Choice {
        groups: vec![(name.to_owned(), Lifecycle::Errand)],
        by_job: false,
        ambiguous: false,
    })
}

/// Instances that one of the filters (group, and id, index or `first`) names; the filters that name none.
pub fn matching<'a>(
    instances: &'a [Instance],
    filters: &[(String, Option<String>)],
) -> (Vec<&'a Instance>, Vec<(String, Option<String>)>) {
    if filters.is_empty() {
        return (instances.iter().collect(), Vec::new());
    }
    let named = |(group, id): &(String, Option<String>)| -> Vec<&'a Instance> {
        let of_group = instances.iter().filter(|instance| instance.job == *group);
        match id.as_deref() {
            None | Some("") => of_group.collect(),
            Some("first") => of_group
                .min_by_key(|instance| instance.uuid())
                .into_iter()
                .collect(),
            Some(id) => of_group
                .filter(|instance| instance.uuid() == id || instance.index.to_string() == id)
                .collect(),
        }
    };
    let mut found: Vec<&Instance> = Vec::new();
    let mut unmatched = Vec::new();
    for filter in filters {
        let of_filter = named(filter);
        if of_filter.is_empty() {
            unmatched.push(filter.clone());
        }
        for instance in of_filter {
            if !found.iter().any(|known| known.id == instance.id) {
                found.push(instance);
            }
        }
    }
    (found, unmatched)
}

/// What came of an errand on one instance.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit code; above 128 when it was cancelled.
    pub exit_code: i32,
}

/// `N succeeded, N errored, N canceled`.
pub fn summary(outcomes: &[Outcome]) -> String {
    let count = |of: fn(i32) -> bool| {
        outcomes
            .iter()
            .filter(|outcome| of(outcome.exit_code))
            .count()
    };
    format!(
        "{} succeeded, {} errored, {} canceled",
        count(|code| code == 0),
        count(|code| code > 0 && code <= 128),
        count(|code| code > 128)
    )
}

/// A line of the task's result.
pub fn line(
    group: &str,
    uuid: &str,
    errand: &str,
    result: &ErrandResult,
    logs: Option<(&str, &str)>,
) -> Value {
    json!({
        "instance": {"group": group, "id": uuid},
        "errand_name": errand,
        "exit_code": result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "logs": {
            "blobstore_id": logs.map(|(id, _)| id),
            "sha1": logs.map(|(_, sha1)| sha1),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{DeploymentId, InstanceId, VariableSetId};

    fn instance(id: i32, group: &str, uuid: &str, index: i32) -> Instance {
        Instance {
            id: InstanceId(id),
            job: group.into(),
            index,
            deployment_id: DeploymentId(1),
            state: "started".into(),
            uuid: Some(uuid.into()),
            availability_zone: None,
            cloud_properties: None,
            compilation: None,
            bootstrap: None,
            spec_json: None,
            update_completed: None,
            ignore: None,
            variable_set_id: VariableSetId(1),
        }
    }

    #[test]
    fn filters_name_instances_in_all_ways() {
        let all = [
            instance(1, "a", "z", 0),
            instance(2, "a", "b", 1),
            instance(3, "c", "d", 0),
        ];
        let ids = |filters: &[(&str, Option<&str>)]| {
            let filters: Vec<_> = filters
                .iter()
                .map(|(group, id)| ((*group).to_owned(), id.map(str::to_owned)))
                .collect();
            let (found, unmatched) = matching(&all, &filters);
            (
                found
                    .iter()
                    .map(|instance| instance.id.0)
                    .collect::<Vec<_>>(),
                unmatched.len(),
            )
        };
        assert_eq!(ids(&[]), (vec![1, 2, 3], 0));
        assert_eq!(ids(&[("a", None)]), (vec![1, 2], 0));
        assert_eq!(ids(&[("a", Some("first"))]), (vec![2], 0));
        assert_eq!(ids(&[("a", Some("0")), ("a", Some("z"))]), (vec![1], 0));
        assert_eq!(ids(&[("c", Some("9")), ("c", Some("d"))]), (vec![3], 1));
    }

    #[test]
    fn outcomes_are_counted() {
        let outcomes = [0, 0, 1, 128, 143].map(|exit_code| Outcome { exit_code });
        assert_eq!(summary(&outcomes), "2 succeeded, 2 errored, 1 canceled");
    }
}
