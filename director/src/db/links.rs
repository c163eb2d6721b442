//! Link providers, consumers, what each offers and wants, and the links between.

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{Connection, Error, all, first, one, params};
use super::row::{
    DeploymentId, InstanceId, LinkConsumerId, LinkConsumerIntentId, LinkId, LinkProviderId,
    LinkProviderIntentId, Timestamp,
};

/// A row of `link_providers`: a job of an instance group that provides links.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Provider {
    /// Primary key.
    pub id: LinkProviderId,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// The instance group.
    pub instance_group: String,
    /// The job.
    pub name: String,
    /// `job`, `disk` or `manual`.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The pass over the links that last saw it.
    pub serial_id: Option<i32>,
}

/// A row of `link_provider_intents`: one link that a provider offers.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct ProviderIntent {
    /// Primary key.
    pub id: LinkProviderIntentId,
    /// Whose.
    pub link_provider_id: Option<LinkProviderId>,
    /// The name in the release.
    pub original_name: String,
    /// The link's type.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The name in the manifest.
    pub name: Option<String>,
    /// The link's content, JSON.
    pub content: Option<String>,
    /// Whether other deployments may use it.
    pub shared: bool,
    /// Whether it may be consumed at all.
    pub consumable: bool,
    /// More, JSON.
    pub metadata: Option<String>,
    /// The pass over the links that last saw it.
    pub serial_id: Option<i32>,
}

/// A row of `link_consumers`: a job of an instance group that consumes links.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Consumer {
    /// Primary key.
    pub id: LinkConsumerId,
    /// Whose.
    pub deployment_id: Option<DeploymentId>,
    /// The instance group.
    pub instance_group: Option<String>,
    /// The job.
    pub name: String,
    /// `job`, `variable` or `external`.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The pass over the links that last saw it.
    pub serial_id: Option<i32>,
}

/// A row of `link_consumer_intents`: one link that a consumer wants.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct ConsumerIntent {
    /// Primary key.
    pub id: LinkConsumerIntentId,
    /// Whose.
    pub link_consumer_id: Option<LinkConsumerId>,
    /// The name in the release.
    pub original_name: String,
    /// The link's type.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The name in the manifest.
    pub name: Option<String>,
    /// Whether it may stay without.
    pub optional: bool,
    /// `consumes: nil`: it wants none.
    pub blocked: bool,
    /// More, JSON.
    pub metadata: Option<String>,
    /// The pass over the links that last saw it.
    pub serial_id: Option<i32>,
}

/// A row of `links`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Link {
    /// Primary key.
    pub id: LinkId,
    /// What is provided; `None` for a link whose provider is gone, or a manual one.
    pub link_provider_intent_id: Option<LinkProviderIntentId>,
    /// What is consumed.
    pub link_consumer_intent_id: LinkConsumerIntentId,
    /// The consumer's name for it.
    pub name: String,
    /// The content at the time it was made, JSON.
    pub link_content: Option<String>,
    /// Made when.
    pub created_at: Option<Timestamp>,
}

/// A provider intent to record.
#[derive(Debug, Clone)]
pub struct NewProviderIntent {
    /// Whose.
    pub provider: LinkProviderId,
    /// The name in the release.
    pub original_name: String,
    /// The link's type.
    pub kind: String,
    /// The name in the manifest.
    pub name: Option<String>,
    /// The link's content.
    pub content: Option<Json>,
    /// Whether other deployments may use it.
    pub shared: bool,
    /// Whether it may be consumed at all.
    pub consumable: bool,
    /// More.
    pub metadata: Option<Json>,
    /// This pass.
    pub serial_id: i32,
}

/// A consumer intent to record.
#[derive(Debug, Clone)]
pub struct NewConsumerIntent {
    /// Whose.
    pub consumer: LinkConsumerId,
    /// The name in the release.
    pub original_name: String,
    /// The link's type.
    pub kind: String,
    /// The name in the manifest.
    pub name: Option<String>,
    /// Whether it may stay without.
    pub optional: bool,
    /// Whether it wants none.
    pub blocked: bool,
    /// More.
    pub metadata: Option<Json>,
    /// This pass.
    pub serial_id: i32,
}

/// A provided link with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct SharedIntent {
    /// The intent.
    pub id: LinkProviderIntentId,
    /// The deployment that provides it.
    pub deployment: String,
    /// The instance group.
    pub instance_group: String,
    /// The job.
    pub provider: String,
    /// The name in the release.
    pub original_name: String,
    /// The name in the manifest.
    pub name: Option<String>,
    /// The link's type.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The link's content, JSON.
    pub content: Option<String>,
    /// Whether other deployments may use it.
    pub shared: bool,
}

/// Records a provider, or that it is still there.
pub async fn upsert_provider(
    db: &dyn Connection,
    deployment: DeploymentId,
    instance_group: &str,
    name: &str,
    kind: &str,
    serial_id: i32,
) -> Result<Provider, Error> {
    one(
        db,
        "insert into link_providers (deployment_id, instance_group, name, type, serial_id) \
         values ($1, $2, $3, $4, $5) on conflict (deployment_id, instance_group, name, type) \
         do update set serial_id = excluded.serial_id returning *",
        params![deployment, instance_group, name, kind, serial_id],
    )
    .await
}

/// Records what a provider offers, replacing what was known of it.
pub async fn upsert_provider_intent(
    db: &dyn Connection,
    new: NewProviderIntent,
) -> Result<ProviderIntent, Error> {
    one(
        db,
        "insert into link_provider_intents (link_provider_id, original_name, type, name, content, \
         shared, consumable, metadata, serial_id) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         on conflict (link_provider_id, original_name) do update set type = excluded.type, \
         name = excluded.name, content = excluded.content, shared = excluded.shared, \
         consumable = excluded.consumable, metadata = excluded.metadata, \
         serial_id = excluded.serial_id returning *",
        params![
            new.provider,
            new.original_name,
            new.kind,
            new.name,
            new.content.map(|json| json.to_string()),
            new.shared,
            new.consumable,
            new.metadata.map(|json| json.to_string()),
            new.serial_id
        ],
    )
    .await
}

/// Records a consumer, or that it is still there.
pub async fn upsert_consumer(
    db: &dyn Connection,
    deployment: DeploymentId,
    instance_group: &str,
    name: &str,
    kind: &str,
    serial_id: i32,
) -> Result<Consumer, Error> {
    one(
        db,
        "insert into link_consumers (deployment_id, instance_group, name, type, serial_id) \
         values ($1, $2, $3, $4, $5) on conflict (deployment_id, instance_group, name, type) \
         do update set serial_id = excluded.serial_id returning *",
        params![deployment, instance_group, name, kind, serial_id],
    )
    .await
}

/// Records what a consumer wants, replacing what was known of it.
pub async fn upsert_consumer_intent(
    db: &dyn Connection,
    new: NewConsumerIntent,
) -> Result<ConsumerIntent, Error> {
    one(
        db,
        "insert into link_consumer_intents (link_consumer_id, original_name, type, name, optional, \
         blocked, metadata, serial_id) values ($1, $2, $3, $4, $5, $6, $7, $8) \
         on conflict (link_consumer_id, original_name) do update set type = excluded.type, \
         name = excluded.name, optional = excluded.optional, blocked = excluded.blocked, \
         metadata = excluded.metadata, serial_id = excluded.serial_id returning *",
        params![
            new.consumer,
            new.original_name,
            new.kind,
            new.name,
            new.optional,
            new.blocked,
            new.metadata.map(|json| json.to_string()),
            new.serial_id
        ],
    )
    .await
}

/// Makes a link, unless the newest one of that consumer is the same.
pub async fn create(
    db: &dyn Connection,
    provider: Option<LinkProviderIntentId>,
    consumer: LinkConsumerIntentId,
    name: &str,
    content: &Json,
) -> Result<Link, Error> {
    let newest: Option<Link> = first(
        db,
        "select * from links where link_consumer_intent_id = $1 order by id desc limit 1",
        params![consumer],
    )
    .await?;
    let text = content.to_string();
    if let Some(link) = newest
        && link.link_provider_intent_id == provider
        && link.link_content.as_deref() == Some(text.as_str())
        && link.name == name
    {
        return Ok(link);
    }
    one(
        db,
        "insert into links (link_provider_intent_id, link_consumer_intent_id, name, link_content, \
         created_at) values ($1, $2, $3, $4, $5) returning *",
        params![provider, consumer, name, text, Timestamp::now()],
    )
    .await
}

/// Notes that an instance uses a link.
pub async fn bind(
    db: &dyn Connection,
    instance: InstanceId,
    link: LinkId,
    serial_id: i32,
) -> Result<(), Error> {
    db.execute(
        "insert into instances_links (instance_id, link_id, serial_id) values ($1, $2, $3) \
         on conflict (link_id, instance_id) do update set serial_id = excluded.serial_id",
        params![instance, link, serial_id],
    )
    .await?;
    Ok(())
}

/// The providers of a deployment.
pub async fn providers(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Provider>, Error> {
    all(
        db,
        "select * from link_providers where deployment_id = $1 order by id",
        params![id],
    )
    .await
}

/// The offers of a deployment's providers.
pub async fn provider_intents(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Vec<ProviderIntent>, Error> {
    all(
        db,
        "select i.* from link_provider_intents i \
         join link_providers p on p.id = i.link_provider_id \
         where p.deployment_id = $1 order by i.id",
        params![id],
    )
    .await
}

/// The consumers of a deployment.
pub async fn consumers(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Consumer>, Error> {
    all(
        db,
        "select * from link_consumers where deployment_id = $1 order by id",
        params![id],
    )
    .await
}

/// The wants of a deployment's consumers.
pub async fn consumer_intents(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Vec<ConsumerIntent>, Error> {
    all(
        db,
        "select i.* from link_consumer_intents i \
         join link_consumers c on c.id = i.link_consumer_id \
         where c.deployment_id = $1 order by i.id",
        params![id],
    )
    .await
}

/// The links of a deployment's consumers.
pub async fn by_deployment(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Link>, Error> {
    all(
        db,
        "select l.* from links l \
         join link_consumer_intents i on i.id = l.link_consumer_intent_id \
         join link_consumers c on c.id = i.link_consumer_id \
         where c.deployment_id = $1 order by l.id",
        params![id],
    )
    .await
}

/// What a deployment provides to others (`shared`), or all of it.
pub async fn offered_by(
    db: &dyn Connection,
    deployment: &str,
    only_shared: bool,
) -> Result<Vec<SharedIntent>, Error> {
    all(
        db,
        "select i.id, d.name as deployment, p.instance_group, p.name as provider, \
         i.original_name, i.name, i.type, i.content, i.shared from link_provider_intents i \
         join link_providers p on p.id = i.link_provider_id \
         join deployments d on d.id = p.deployment_id \
         where d.name = $1 and i.consumable = $2 and (i.shared = $3 or $4 = $5) order by i.id",
        params![deployment, true, true, only_shared, false],
    )
    .await
}

/// Removes what the pass `serial_id` did not see any more, and links that no
/// instance uses and the pass did not make.
pub async fn remove_stale(
    db: &dyn Connection,
    id: DeploymentId,
    serial_id: i32,
) -> Result<(), Error> {
    for sql in [
        "delete from link_consumers where deployment_id = $1 and coalesce(serial_id, -1) <> $2",
        "delete from link_consumer_intents where coalesce(serial_id, -1) <> $2 \
         and link_consumer_id in (select id from link_consumers where deployment_id = $1 \
         and type <> 'external')",
        "delete from link_provider_intents where coalesce(serial_id, -1) <> $2 \
         and link_provider_id in (select id from link_providers where deployment_id = $1)",
        "delete from link_providers where deployment_id = $1 and coalesce(serial_id, -1) <> $2",
        "delete from instances_links where coalesce(serial_id, -1) <> $2 and instance_id in \
         (select id from instances where deployment_id = $1)",
    ] {
        let sql = if sql.starts_with("delete from link_consumers ") {
            format!("{sql} and type <> 'external'")
        } else {
            sql.to_owned()
        };
        db.execute(&sql, params![id, serial_id]).await?;
    }
    Ok(())
}

/// The offer of that number, with its provider.
pub async fn provider_intent(
    db: &dyn Connection,
    id: LinkProviderIntentId,
) -> Result<Option<(ProviderIntent, Provider)>, Error> {
    let intent: Option<ProviderIntent> = first(
        db,
        "select * from link_provider_intents where id = $1",
        params![id],
    )
    .await?;
    let Some(intent) = intent else {
        return Ok(None);
    };
    let provider: Option<Provider> = first(
        db,
        "select * from link_providers where id = $1",
        params![intent.link_provider_id],
    )
    .await?;
    Ok(provider.map(|provider| (intent, provider)))
}

/// The link of that number.
pub async fn get(db: &dyn Connection, id: LinkId) -> Result<Option<Link>, Error> {
    first(db, "select * from links where id = $1", params![id]).await
}

/// The consumer of a link.
pub async fn consumer_of(db: &dyn Connection, link: &Link) -> Result<Option<Consumer>, Error> {
    first(
        db,
        "select c.* from link_consumers c \
         join link_consumer_intents i on i.link_consumer_id = c.id where i.id = $1",
        params![link.link_consumer_intent_id],
    )
    .await
}

/// Deletes a link, what it was wanted by, and the consumer that wants nothing else. Use a transaction.
pub async fn delete_external(db: &dyn Connection, link: &Link) -> Result<(), Error> {
    let consumer = consumer_of(db, link).await?;
    db.execute("delete from links where id = $1", params![link.id])
        .await?;
    db.execute(
        "delete from link_consumer_intents where id = $1 and not exists \
         (select 1 from links where link_consumer_intent_id = $1)",
        params![link.link_consumer_intent_id],
    )
    .await?;
    if let Some(consumer) = consumer {
        db.execute(
            "delete from link_consumers where id = $1 and not exists \
             (select 1 from link_consumer_intents where link_consumer_id = $1)",
            params![consumer.id],
        )
        .await?;
    }
    Ok(())
}
