//! What runs and what happened: tasks and their queue, locks, events, and the
//! director's own attributes.

pub(super) const SQL: &str = r#"
create table if not exists director_attributes (
    id {key},
    name text not null unique,
    value text
);

create table if not exists teams (
    id {key},
    name text not null unique
);

create table if not exists tasks (
    id {key},
    state text not null,
    timestamp timestamp not null,
    description text not null,
    result text,
    output text,
    checkpoint_time timestamp,
    type text not null,
    username text,
    deployment_name text,
    started_at timestamp,
    event_output text,
    result_output text,
    context_id varchar(64) not null default ''
);
create index if not exists tasks_state_index on tasks (state);
create index if not exists tasks_context_id_index on tasks (context_id);
create index if not exists tasks_type_index on tasks (type);
create index if not exists tasks_timestamp_index on tasks (timestamp);

create table if not exists tasks_teams (
    task_id integer not null references tasks (id) on delete cascade,
    team_id integer not null references teams (id) on delete cascade,
    unique (task_id, team_id)
);

create table if not exists delayed_jobs (
    id {key},
    priority integer not null default 0,
    attempts integer not null default 0,
    handler text not null,
    last_error text,
    run_at timestamp,
    locked_at timestamp,
    failed_at timestamp,
    locked_by text,
    queue text
);
create index if not exists delayed_jobs_priority_run_at_index on delayed_jobs (priority, run_at);

create table if not exists locks (
    id {key},
    expired_at timestamp not null,
    name text not null unique,
    uid text not null unique,
    task_id text not null default ''
);

create table if not exists events (
    id {big_key},
    parent_id bigint,
    "user" text not null,
    timestamp timestamp not null,
    action text not null,
    object_type text not null,
    object_name text,
    error text,
    task text,
    deployment text,
    instance text,
    context_json text
);
create index if not exists events_timestamp_index on events (timestamp);

create table if not exists blobs (
    id {key},
    blobstore_id text not null,
    sha1 text not null,
    created_at timestamp not null,
    type text
);

create table if not exists log_bundles (
    id {key},
    blobstore_id text not null unique,
    timestamp timestamp not null
);
create index if not exists log_bundles_timestamp_index on log_bundles (timestamp);
"#;
