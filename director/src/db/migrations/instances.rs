//! Instances, their VMs and their addresses.

pub(super) const SQL: &str = r#"
create table if not exists instances (
    id {key},
    job text not null,
    "index" integer not null,
    deployment_id integer not null references deployments (id),
    state text not null,
    uuid text unique,
    availability_zone text,
    cloud_properties text,
    compilation boolean default false,
    bootstrap boolean default false,
    spec_json text,
    vm_cid_bak text unique,
    agent_id_bak text unique,
    trusted_certs_sha1_bak text default 'da39a3ee5e6b4b0d3255bfef95601890afd80709',
    update_completed boolean default false,
    ignore boolean default false,
    variable_set_id bigint not null references variable_sets (id)
);
create index if not exists instances_deployment_id_index on instances (deployment_id);

create table if not exists instances_templates (
    id {key},
    instance_id integer not null references instances (id),
    template_id integer not null references templates (id),
    unique (instance_id, template_id)
);

create table if not exists rendered_templates_archives (
    id {key},
    instance_id integer not null references instances (id),
    blobstore_id text not null,
    sha1 text not null,
    content_sha1 text not null,
    created_at timestamp not null
);
create index if not exists rendered_templates_archives_created_at_index
    on rendered_templates_archives (created_at);
create index if not exists rendered_templates_archives_instance_index
    on rendered_templates_archives (instance_id);

create table if not exists vms (
    id {key},
    instance_id integer not null references instances (id),
    agent_id text unique,
    cid text unique,
    trusted_certs_sha1 text default 'da39a3ee5e6b4b0d3255bfef95601890afd80709',
    active boolean default false,
    cpi text default '',
    created_at timestamp,
    network_spec_json text,
    stemcell_api_version integer,
    stemcell_name text,
    stemcell_version text,
    env_json text,
    cloud_properties_json text,
    blobstore_config_sha1 varchar(50),
    nats_config_sha1 varchar(50),
    permanent_nats_credentials boolean not null default false
);
create index if not exists vms_instance_id_index on vms (instance_id);

create table if not exists orphaned_vms (
    id {key},
    cid text not null,
    availability_zone text,
    cloud_properties text,
    cpi text,
    orphaned_at timestamp not null,
    stemcell_api_version integer,
    deployment_name text,
    instance_name text
);

create table if not exists ip_addresses (
    id {key},
    network_name text,
    static boolean,
    instance_id integer references instances (id),
    created_at timestamp,
    task_id text,
    address_str text not null unique,
    vm_id integer references vms (id),
    orphaned_vm_id integer references orphaned_vms (id),
    nic_group integer
);
create index if not exists ip_addresses_instance_id_index on ip_addresses (instance_id);
create index if not exists ip_addresses_vm_id_index on ip_addresses (vm_id);
"#;
