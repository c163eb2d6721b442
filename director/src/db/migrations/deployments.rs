//! Deployments, what they use, and what is wrong with them.

pub(super) const SQL: &str = r#"
create table if not exists deployments (
    id {key},
    name text not null unique,
    manifest text,
    manifest_text text,
    has_stale_errand_links boolean not null default false,
    links_serial_id integer default 0
);

create table if not exists deployment_properties (
    id {key},
    deployment_id integer not null references deployments (id),
    name text not null,
    value text not null,
    unique (deployment_id, name)
);

create table if not exists deployment_problems (
    id {key},
    deployment_id integer not null references deployments (id),
    state text not null,
    resource_id integer not null,
    type text not null,
    data_json text not null,
    created_at timestamp not null,
    last_seen_at timestamp not null,
    counter integer not null default 0
);
create index if not exists deployment_problems_open_index
    on deployment_problems (deployment_id, state, created_at);

create table if not exists deployments_configs (
    deployment_id integer not null references deployments (id) on delete cascade,
    config_id integer not null references configs (id) on delete cascade,
    unique (deployment_id, config_id)
);

create table if not exists deployments_networks (
    deployment_id integer not null references deployments (id) on delete cascade,
    network_id integer not null references networks (id) on delete cascade,
    unique (deployment_id, network_id)
);

create table if not exists deployments_teams (
    deployment_id integer not null references deployments (id) on delete cascade,
    team_id integer not null references teams (id) on delete cascade,
    unique (deployment_id, team_id)
);

create table if not exists errand_runs (
    id {key},
    deployment_id integer not null references deployments (id) on delete cascade,
    errand_name text,
    successful_state_hash varchar(512)
);
"#;
