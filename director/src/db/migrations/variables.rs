//! Variable sets of deployments, and the values of generated variables.
//!
//! `variable_values` is ours: upstream keeps values in a separate config
//! server. `value` is sealed by the director before it gets here.

pub(super) const SQL: &str = r#"
create table if not exists variable_sets (
    id {big_key},
    deployment_id integer not null references deployments (id) on delete cascade,
    created_at timestamp not null,
    deployed_successfully boolean default false,
    writable boolean default false
);
create index if not exists variable_sets_created_at_index on variable_sets (created_at);
create index if not exists variable_sets_deployment_id_index on variable_sets (deployment_id);

create table if not exists variables (
    id {big_key},
    variable_id text not null,
    variable_name text not null,
    variable_set_id bigint not null references variable_sets (id) on delete cascade,
    is_local boolean default true,
    provider_deployment text default '',
    unique (variable_set_id, variable_name, provider_deployment)
);

create table if not exists variable_values (
    id {big_key},
    variable_id text not null unique,
    name text not null,
    type text not null,
    value {bytes} not null,
    created_at timestamp not null
);
create index if not exists variable_values_name_index on variable_values (name);
"#;
