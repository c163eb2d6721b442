//! First deploys, and deploys that change nothing.

use bosh_director::db;
use bosh_director::tasks::jobs::update_deployment::Options;
use serde_json::json;

use super::Fixture;
use super::release::manifest;

#[tokio::test]
async fn a_first_deploy_compiles_makes_vms_and_starts_canaries_first() {
    let fixture = Fixture::new().await;
    let ended = fixture
        .run(fixture.deploy(&manifest(3, "  persistent_disk_type: small\n")))
        .await
        .done();
    assert_eq!(ended.result(), "/deployments/shop");
    let instances = fixture.instances().await;
    assert_eq!(instances.len(), 3);
    let name = |index: usize| instances[index].label();
    let head = [
        "Preparing deployment: Preparing deployment finished".to_owned(),
        "Preparing deployment: Rendering templates finished".to_owned(),
        "Preparing package compilation: Finding packages to compile finished".to_owned(),
        "Compiling packages: lib/lib-1 finished".to_owned(),
        "Compiling packages: app/app-1 finished".to_owned(),
    ];
    assert_eq!(ended.steps[..5], head);
    let mut made = ended.steps[5..8].to_vec();
    made.sort();
    let mut expected: Vec<String> = (0..3)
        .map(|index| format!("Creating missing vms: {} finished", name(index)))
        .collect();
    expected.sort();
    assert_eq!(made, expected);
    assert_eq!(
        ended.steps[8],
        format!("Updating instance web: {} (canary) finished", name(0))
    );
    assert_eq!(ended.steps.len(), 11);

    fixture.nothing_leaks().await;
    assert_eq!(fixture.vms().len(), 3);
    assert_eq!(fixture.disks(), 3);
    assert_eq!(fixture.cpi_calls("create_vm"), 4, "one of them compiled");
    for instance in &instances {
        assert_eq!(instance.update_completed, Some(true));
        assert_eq!(instance.state, "started");
        let vm = db::vms::active(fixture.db(), instance.id)
            .await
            .unwrap()
            .unwrap();
        let world = fixture.world.lock().unwrap();
        let agent = world.agent(vm.agent_id.as_deref().unwrap());
        assert!(agent.running);
        assert_eq!(agent.mounted.len(), 1);
        assert_eq!(agent.spec["id"], json!(instance.uuid()));
        assert_eq!(agent.spec["packages"]["app"]["version"], "app-1.1");
        assert!(
            agent.spec["packages"].get("lib").is_none(),
            "only run-time packages"
        );
        assert_eq!(agent.env["bosh"]["group"], "test-shop-web");
        assert_eq!(agent.env["bosh"]["groups"][5], "test-shop-web");
        assert_eq!(agent.spec["networks"], agent.networks);
    }
    let deployment = db::deployments::find(fixture.db(), "shop")
        .await
        .unwrap()
        .unwrap();
    assert!(
        deployment.manifest.unwrap().contains("version: '1.1'"),
        "latest is resolved"
    );
    assert!(
        deployment
            .manifest_text
            .unwrap()
            .contains("version: latest")
    );
    assert_eq!(db::dns::records(fixture.db()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_deploy_of_the_same_again_changes_nothing() {
    let fixture = Fixture::new().await;
    let manifest = manifest(2, "  persistent_disk_type: small\n");
    fixture.run(fixture.deploy(&manifest)).await.done();
    fixture.forget();
    let before = fixture.vms();
    let ended = fixture.run(fixture.deploy(&manifest)).await.done();
    assert_eq!(
        ended.steps,
        [
            "Preparing deployment: Preparing deployment finished",
            "Preparing deployment: Rendering templates finished",
            "Preparing package compilation: Finding packages to compile finished",
        ],
        "{}",
        fixture.debug(&ended.task)
    );
    assert_eq!(fixture.vms(), before);
    assert_eq!(
        fixture.world.lock().unwrap().story(),
        ["get_state", "get_state"]
    );
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    let fixture = Fixture::new().await;
    let options = Options {
        deploy: true,
        dry_run: true,
        ..Options::default()
    };
    let variables = "variables: [{name: password, type: password}]\n";
    let text = format!("{variables}{}", manifest(2, "").trim_start()).replace(
        "release: shop}]",
        "release: shop, properties: {secret: ((password))}}]",
    );
    let ended = fixture
        .run(fixture.deploy_with(&text, options))
        .await
        .done();
    assert_eq!(ended.steps.len(), 2);
    assert!(
        fixture
            .debug(&ended.task)
            .contains("\"action\": \"create\"")
    );
    assert!(fixture.instances().await.is_empty());
    assert!(fixture.vms().is_empty());
    assert!(
        db::ip_addresses::list(fixture.db())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        db::variables::latest_value(fixture.db(), "/test/shop/password")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn compiled_packages_are_used_again() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(1, ""))).await.done();
    let made = fixture.cpi_calls("create_vm");
    let ended = fixture.run(fixture.deploy(&manifest(2, ""))).await.done();
    assert!(
        !ended.steps.iter().any(|step| step.starts_with("Compiling")),
        "{:#?}",
        ended.steps
    );
    assert_eq!(fixture.cpi_calls("create_vm"), made + 1);
}
