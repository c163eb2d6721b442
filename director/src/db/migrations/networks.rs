//! Managed networks and their subnets.

pub(super) const SQL: &str = r#"
create table if not exists networks (
    id {key},
    name text not null unique,
    type text not null,
    created_at timestamp not null,
    orphaned boolean default false,
    orphaned_at timestamp
);

create table if not exists subnets (
    id {key},
    cid text not null,
    name text not null,
    range text,
    gateway text,
    reserved text,
    cloud_properties text,
    cpi text default '',
    network_id integer not null references networks (id) on delete cascade
);
"#;
