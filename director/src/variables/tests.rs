//! Making variables, keeping them, and making them anew, with the real Ruby and a store in memory.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use time::macros::datetime;

use super::deploy::{Deploy, load};
use super::store::Failure;
use super::*;
use crate::deploy::plan::names::Index;
use crate::links::Resolved;
use crate::manifest::{Desired, tests::minimal};

#[derive(Default)]
struct Memory(Mutex<Vec<Sealed>>);

#[async_trait::async_trait]
impl Store for Memory {
    async fn latest(&self, names: &[String]) -> Result<Vec<Sealed>, Failure> {
        let all = self.0.lock().unwrap();
        let newest: BTreeMap<&str, &Sealed> = all
            .iter()
            .map(|sealed| (sealed.name.as_str(), sealed))
            .collect();
        Ok(names
            .iter()
            .filter_map(|name| newest.get(name.as_str()).map(|sealed| (*sealed).clone()))
            .collect())
    }

    async fn by_id(&self, ids: &[String]) -> Result<Vec<Sealed>, Failure> {
        let all = self.0.lock().unwrap();
        Ok(all
            .iter()
            .filter(|sealed| ids.contains(&sealed.id))
            .cloned()
            .collect())
    }

    async fn put(&self, sealed: &Sealed) -> Result<(), Failure> {
        self.0.lock().unwrap().push(sealed.clone());
        Ok(())
    }
}

struct World {
    store: Memory,
    cipher: Cipher,
    desired: Desired,
    links: Resolved,
    index: Index,
}

impl World {
    fn new(variables: Value) -> Self {
        let mut desired = minimal();
        desired.variables = definition::read(&variables).unwrap();
        Self {
            store: Memory::default(),
            cipher: Cipher::new(&[7; 32]).unwrap(),
            desired,
            links: Resolved::default(),
            index: Index::default(),
        }
    }

    fn define(&mut self, variables: Value) {
        self.desired.variables = definition::read(&variables).unwrap();
    }

    async fn ensure(
        &self,
        previous: Option<&Values>,
    ) -> Result<(Values, Vec<Ensured>), deploy::Error> {
        let mut values = Values::new("d", "dep", BTreeMap::new());
        let deploy = Deploy {
            desired: &self.desired,
            links: &self.links,
            index: &self.index,
            previous,
            stemcell_changed: false,
            ruby: Path::new("ruby"),
            now: datetime!(2030-01-01 0:00 UTC),
        };
        let ensured = ensure(&self.store, &self.cipher, deploy, &mut values).await?;
        Ok((values, ensured))
    }
}

/// Runs Ruby over a JSON document, to look at keys and certificates with eyes other than ours.
fn ruby(script: &str, input: &Value) -> Value {
    let mut child = Command::new("ruby")
        .args([
            "-ropenssl",
            "-rjson",
            "-e",
            &format!("i = JSON.parse($stdin.read); puts JSON.generate([({script})])"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice::<Vec<Value>>(&output.stdout)
        .unwrap()
        .remove(0)
}

#[tokio::test]
async fn passwords_are_made_once() {
    let world = World::new(json!([
        {"name": "pw", "type": "password"},
        {"name": "/shared", "type": "password", "options": {"length": 12, "exclude_upper": true}},
        {"name": "u", "type": "user", "options": {"username": "bob"}}
    ]));
    let (values, ensured) = world.ensure(None).await.unwrap();
    let password = values.get("pw").unwrap().value.as_str().unwrap().to_owned();
    assert_eq!(password.len(), 30);
    assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let shared = values
        .get("/shared")
        .unwrap()
        .value
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(shared.len(), 12);
    assert!(!shared.bytes().any(|byte| byte.is_ascii_uppercase()));
    assert_eq!(values.get("u").unwrap().value["username"], "bob");
    let user = &values.get("u").unwrap().value;
    assert_eq!(
        ruby("i['password'].crypt(i['password_hash'])", user),
        user["password_hash"]
    );
    let names: Vec<&str> = ensured
        .iter()
        .map(|ensured| ensured.name.as_str())
        .collect();
    assert_eq!(names, ["/d/dep/pw", "/shared", "/d/dep/u"]);
    assert!(ensured.iter().all(|ensured| ensured.generated));

    let (again, ensured) = world.ensure(None).await.unwrap();
    assert_eq!(again.get("pw"), values.get("pw"));
    assert!(
        ensured
            .iter()
            .all(|ensured| !ensured.generated && ensured.latest)
    );
    let names = ["pw".to_owned(), "/shared".to_owned(), "nope".to_owned()].into();
    let loaded = load(&world.store, &world.cipher, "d", "dep", &names)
        .await
        .unwrap();
    assert_eq!(loaded.get("pw"), values.get("pw"));
    assert_eq!(loaded.iter().count(), 2);
}

#[tokio::test]
async fn modes_decide_what_is_made_anew() {
    let with = |mode: Value, length: u32| json!([{"name": "pw", "type": "password", "update_mode": mode, "options": {"length": length}}]);
    let mut world = World::new(with(json!("no-overwrite"), 10));
    let (first, _) = world.ensure(None).await.unwrap();
    let value = |values: &Values| values.get("pw").unwrap().clone();

    world.define(with(Value::Null, 20));
    assert_eq!(value(&world.ensure(None).await.unwrap().0), value(&first));

    world.define(with(json!("converge"), 10));
    assert_eq!(value(&world.ensure(None).await.unwrap().0), value(&first));

    world.define(with(json!("converge"), 20));
    let (second, _) = world.ensure(None).await.unwrap();
    assert_eq!(value(&second).value.as_str().unwrap().len(), 20);

    world.desired.features.converge_variables = true;
    world.define(with(Value::Null, 25));
    let (third, _) = world.ensure(None).await.unwrap();
    assert_eq!(value(&third).value.as_str().unwrap().len(), 25);

    world.define(with(json!("overwrite"), 25));
    let (fourth, _) = world.ensure(None).await.unwrap();
    assert_ne!(value(&fourth), value(&third));

    let kept =
        json!([{"name": "pw", "type": "password", "update": {"strategy": "on-stemcell-change"}}]);
    world.define(kept);
    let (fifth, ensured) = world.ensure(Some(&first)).await.unwrap();
    assert_eq!(value(&fifth), value(&first));
    assert!(!ensured[0].latest);
}

#[tokio::test]
async fn certificates_are_signed_by_their_authority() {
    let world = World::new(json!([
        {"name": "ca", "type": "certificate", "options": {"is_ca": true, "common_name": "our ca"}},
        {"name": "leaf", "type": "certificate", "options": {
            "ca": "ca", "common_name": "web", "alternative_names": ["web.internal", "*.web.internal", "10.0.0.1"],
            "extended_key_usage": ["client_auth", "server_auth"], "duration": 10
        }},
        {"name": "own", "type": "certificate", "options": {"self_sign": true, "common_name": "own"}}
    ]));
    let (values, _) = world.ensure(None).await.unwrap();
    let (ca, leaf) = (
        &values.get("ca").unwrap().value,
        &values.get("leaf").unwrap().value,
    );
    assert_eq!(ca["ca"], ca["certificate"]);
    assert_eq!(leaf["ca"], ca["certificate"]);
    let facts = ruby(
        "c = OpenSSL::X509::Certificate.new(i['certificate']); a = OpenSSL::X509::Certificate.new(i['ca']); \
         k = OpenSSL::PKey::RSA.new(i['private_key']); ext = c.extensions.to_h { |e| [e.oid, e.value] }; \
         [c.verify(a.public_key), a.verify(a.public_key), c.check_private_key(k), k.n.num_bits, c.subject.to_s, c.issuer.to_s, \
         c.not_after.utc.to_s, ext['subjectAltName'], ext['extendedKeyUsage'], ext['keyUsage'], ext['basicConstraints'], \
         a.extensions.find { |e| e.oid == 'basicConstraints' }.value]",
        leaf,
    );
    assert_eq!(
        facts,
        json!([
            true,
            true,
            true,
            2048,
            "/C=USA/O=Cloud Foundry/CN=web",
            "/C=USA/O=Cloud Foundry/CN=our ca",
            "2030-01-11 00:00:00 UTC",
            "DNS:web.internal, DNS:*.web.internal, IP Address:10.0.0.1",
            "TLS Web Client Authentication, TLS Web Server Authentication",
            "Digital Signature, Key Encipherment",
            "CA:FALSE",
            "CA:TRUE"
        ])
    );
    assert!(
        leaf["private_key"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN RSA PRIVATE KEY-----")
    );
}

#[tokio::test]
async fn keys_are_of_their_kind() {
    let world = World::new(json!([{"name": "r", "type": "rsa"}, {"name": "s", "type": "ssh"}]));
    let (values, _) = world.ensure(None).await.unwrap();
    let rsa = &values.get("r").unwrap().value;
    let same = ruby(
        "OpenSSL::PKey::RSA.new(i['private_key']).public_key.to_der == OpenSSL::PKey::RSA.new(i['public_key']).to_der",
        rsa,
    );
    assert_eq!(same, true);
    let ssh = &values.get("s").unwrap().value;
    let facts = ruby(
        "b = i['public_key'].split(' ')[1].unpack1('m'); k = OpenSSL::PKey::RSA.new(i['private_key']); \
         f = ['ssh-rsa', k.e.to_s(0)[4..], k.n.to_s(0)[4..]]; \
         [b == f.map { |s| [s.bytesize].pack('N') + s.b }.join, \
          i['public_key_fingerprint'] == [OpenSSL::Digest::SHA256.digest(b)].pack('m0').delete('=')]",
        ssh,
    );
    assert_eq!(facts, json!([true, true]));
}

#[tokio::test]
async fn what_cannot_be_made_is_refused() {
    for (variable, complaint) in [
        (
            json!({"name": "x", "type": "nope"}),
            "with type 'nope'. HTTP Code '400', Error: 'The request does not include a valid type.",
        ),
        (
            json!({"name": "x", "type": "certificate", "options": {"common_name": "a"}}),
            "You must specify a signing CA",
        ),
        (
            json!({"name": "x", "type": "certificate", "options": {"common_name": "a", "ca": "nope"}}),
            "the CA '/d/dep/nope' does not exist",
        ),
        (
            json!({"name": "a b", "type": "password"}),
            "must only contain alphanumeric",
        ),
        (
            json!({"name": "x", "type": "rsa", "options": {"key_length": 512}}),
            "The provided key length is not supported",
        ),
    ] {
        let world = World::new(json!([variable]));
        let error = world.ensure(None).await.unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_can_be_for_a_link() {
    let mut world = World::new(json!([{
        "name": "c", "type": "certificate",
        "options": {"self_sign": true, "common_name": "x", "alternative_names": ["first"]},
        "consumes": {"alternative_name": {"from": "db", "properties": {"wildcard": true}}}
    }]));
    world.links.consumers.push(crate::links::Consumer {
        kind: "variable".into(),
        instance_group: String::new(),
        owner: "c".into(),
        name: "alternative_name".into(),
        alias: "db".into(),
        link_type: "address".into(),
        optional: false,
        blocked: false,
        metadata: json!({"wildcard": true}).as_object().cloned().unwrap(),
        found: Some(crate::links::Found {
            provider: None,
            external: None,
            group_name: "db-address".into(),
            content: json!({"instance_group": "my_db", "default_network": "net", "deployment_name": "dep", "domain": "bosh"}),
        }),
    });
    let (values, _) = world.ensure(None).await.unwrap();
    let names = ruby(
        "OpenSSL::X509::Certificate.new(i['certificate']).extensions.find { |e| e.oid == 'subjectAltName' }.value",
        &values.get("c").unwrap().value,
    );
    assert_eq!(names, "DNS:first, DNS:*.my-db.net.dep.bosh");
}
