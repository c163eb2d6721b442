//! Persistent disks, their snapshots, and the orphans of both.

pub(super) const SQL: &str = r#"
create table if not exists persistent_disks (
    id {key},
    instance_id integer not null references instances (id),
    disk_cid text not null unique,
    size integer,
    active boolean default false,
    cloud_properties_json text,
    name text default '',
    cpi text default ''
);
create index if not exists persistent_disks_instance_id_index on persistent_disks (instance_id);

create table if not exists snapshots (
    id {key},
    persistent_disk_id integer not null references persistent_disks (id),
    clean boolean default false,
    created_at timestamp not null,
    snapshot_cid text not null unique
);

create table if not exists orphan_disks (
    id {key},
    disk_cid text not null unique,
    size integer,
    availability_zone text,
    deployment_name text not null,
    instance_name text not null,
    cloud_properties_json text,
    created_at timestamp not null,
    cpi text default ''
);
create index if not exists orphan_disks_created_at_index on orphan_disks (created_at);

create table if not exists orphan_snapshots (
    id {key},
    orphan_disk_id integer not null references orphan_disks (id),
    snapshot_cid text not null unique,
    clean boolean default false,
    created_at timestamp not null,
    snapshot_created_at timestamp
);

create table if not exists dynamic_disks (
    id {key},
    deployment_id integer not null references deployments (id),
    vm_id integer references vms (id) on delete set null,
    disk_cid varchar(255) not null,
    disk_hint_json varchar(255),
    name varchar(255) not null unique,
    disk_pool_name varchar(255) not null,
    cpi varchar(255) default '',
    size integer not null,
    metadata_json text,
    availability_zone varchar(255)
);
"#;
