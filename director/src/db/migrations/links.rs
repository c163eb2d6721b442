//! Link providers, consumers and the links between them.

pub(super) const SQL: &str = r#"
create table if not exists link_providers (
    id {key},
    deployment_id integer not null references deployments (id) on delete cascade,
    instance_group text not null,
    name text not null,
    type text not null,
    serial_id integer,
    unique (deployment_id, instance_group, name, type)
);

create table if not exists link_provider_intents (
    id {key},
    link_provider_id integer references link_providers (id) on delete cascade,
    original_name text not null,
    type text not null,
    name text,
    content text,
    shared boolean not null default false,
    consumable boolean not null default true,
    metadata text,
    serial_id integer,
    unique (link_provider_id, original_name)
);

create table if not exists link_consumers (
    id {key},
    deployment_id integer references deployments (id) on delete cascade,
    instance_group text,
    name text not null,
    type text not null,
    serial_id integer,
    unique (deployment_id, instance_group, name, type)
);

create table if not exists link_consumer_intents (
    id {key},
    link_consumer_id integer references link_consumers (id) on delete cascade,
    original_name text not null,
    type text not null,
    name text,
    optional boolean not null default false,
    blocked boolean not null default false,
    metadata text,
    serial_id integer,
    unique (link_consumer_id, original_name)
);

create table if not exists links (
    id {key},
    link_provider_intent_id integer references link_provider_intents (id) on delete set null,
    link_consumer_intent_id integer not null
        references link_consumer_intents (id) on delete cascade,
    name text not null,
    link_content text,
    created_at timestamp
);
create index if not exists links_consumer_intent_index on links (link_consumer_intent_id);

create table if not exists instances_links (
    id {key},
    link_id integer not null references links (id) on delete cascade,
    instance_id integer not null references instances (id) on delete cascade,
    serial_id integer,
    unique (link_id, instance_id)
);
"#;
