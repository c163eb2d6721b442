//! The records that agents resolve names from, and who has which version.

pub(super) const SQL: &str = r#"
create table if not exists agent_dns_versions (
    id {big_key},
    agent_id text not null unique,
    dns_version bigint not null default 0
);

create table if not exists local_dns_records (
    id {big_key},
    ip text not null,
    az text,
    instance_group text,
    network text,
    deployment text,
    instance_id integer references instances (id),
    agent_id text,
    domain text,
    links_json text
);
create index if not exists local_dns_records_instance_id_index on local_dns_records (instance_id);

create table if not exists local_dns_aliases (
    id {key},
    deployment_id integer references deployments (id) on delete cascade,
    domain text,
    health_filter text,
    initial_health_check text,
    group_id text,
    placeholder_type text
);

create table if not exists local_dns_blobs (
    id {big_key},
    blob_id integer references blobs (id),
    version bigint,
    created_at timestamp,
    records_version integer not null default 0,
    aliases_version integer not null default 0
);

create table if not exists local_dns_encoded_azs (
    id {key},
    name text not null unique
);

create table if not exists local_dns_encoded_networks (
    id {key},
    name text not null unique
);

create table if not exists local_dns_encoded_groups (
    id {key},
    name text not null,
    deployment_id integer not null references deployments (id) on delete cascade,
    type text not null default 'instance-group',
    unique (name, type, deployment_id)
);
"#;
