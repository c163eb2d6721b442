//! What changes, and what is done about it.

use super::*;

#[test]
fn a_first_deploy_creates_everything() {
    let mut world = World::default();
    let deploy = world.deploy(&input(MANIFEST));
    assert!(
        deploy
            .actions()
            .values()
            .all(|(action, _)| *action == Action::Create)
    );
    assert_eq!(deploy.ip("db/0"), "10.0.1.21");
    // Reserved, static and the gateway are left out; the bootstrap instance comes first.
    assert_eq!(deploy.ip("web/0"), "10.0.1.10");
    let azs: Vec<(u32, &str)> = deploy.plan.groups[1]
        .instances
        .iter()
        .map(|plan| (plan.placed.index, plan.placed.az.as_deref().unwrap()))
        .collect();
    assert_eq!(azs, [(0, "z1"), (2, "z1"), (1, "z2")]);
    assert_eq!(deploy.ip("web/1"), "10.0.2.2");
    assert!(
        deploy.instance("web/0").placed.bootstrap && !deploy.instance("web/1").placed.bootstrap
    );
    assert_eq!(deploy.plan.batches, [vec![0], vec![1]]);
    let rounds = &deploy.plan.groups[1].rounds;
    assert_eq!(
        (
            rounds[0].canaries.len(),
            rounds[0].rest.len(),
            rounds[0].max_in_flight
        ),
        (1, 1, 1)
    );
    assert_eq!((rounds[1].canaries.len(), rounds[1].rest.len()), (0, 1));
    assert_eq!(
        deploy.instance("db/0").disks,
        [DiskChange::Create {
            name: String::new(),
            size: 2048
        }]
    );
}

#[test]
fn a_second_deploy_of_the_same_does_nothing() {
    let mut world = deployed();
    let deploy = world.plan(&input(MANIFEST)).unwrap();
    assert!(deploy.plan.is_empty(), "{:?}", deploy.actions());
}

#[test]
fn specs_are_upstreams() {
    let mut world = World::default();
    let deploy = world.plan(&input(MANIFEST)).unwrap();
    let spec = &deploy.instance("db/0").spec;
    insta::assert_json_snapshot!("full_spec", spec.0);
    insta::assert_json_snapshot!("apply_spec", spec.apply());
    insta::assert_json_snapshot!(
        "template_spec",
        deploy.instance("web/0").spec.template().unwrap()
    );
    let shared = deploy
        .instance("web/0")
        .spec
        .template_shared(&deploy.links, &values(), &BTreeMap::new())
        .unwrap();
    insta::assert_json_snapshot!("template_shared", shared);
}

#[test]
fn what_changes_decides_what_is_done() {
    let set = |pointer: &'static str, value: Value| {
        edited(move |manifest| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            manifest.pointer_mut(parent).unwrap()[key] = value;
        })
    };
    let web = "web/0";
    for (input, action, changes) in [
        (
            set("/stemcells/0/version", json!("2.0")),
            Action::Recreate,
            vec![Change::Stemcell],
        ),
        (
            set("/instance_groups/1/env", json!({"a": 1})),
            Action::Recreate,
            vec![Change::Env],
        ),
        (
            set("/instance_groups/1/vm_extensions", json!(["public"])),
            Action::Recreate,
            vec![Change::CloudProperties],
        ),
        (
            set("/instance_groups/1/persistent_disk", json!(5)),
            Action::Update,
            vec![Change::PersistentDisk, Change::Configuration],
        ),
        (
            set(
                "/instance_groups/1/jobs/0/properties",
                json!({"title": "x"}),
            ),
            Action::Update,
            vec![Change::Configuration],
        ),
        (
            set("/instance_groups/0/jobs/0/properties/port", json!(1)),
            Action::Update,
            vec![Change::Configuration],
        ),
        (
            set("/instance_groups/1/state", json!("stopped")),
            Action::Stop,
            vec![Change::State],
        ),
        (
            set("/instance_groups/1/state", json!("detached")),
            Action::Detach,
            vec![Change::State],
        ),
        (
            set("/instance_groups/1/state", json!("restart")),
            Action::Update,
            vec![Change::Restart],
        ),
        (
            set("/instance_groups/1/state", json!("recreate")),
            Action::Recreate,
            vec![Change::Recreate],
        ),
        (
            set("/tags", json!({"team": "blue"})),
            Action::Metadata,
            vec![Change::Tags],
        ),
        (
            set("/instance_groups/1/networks", json!([{"name": "cloudy"}])),
            Action::Recreate,
            vec![Change::Network, Change::Configuration],
        ),
    ] {
        let deploy = deployed().plan(&input).unwrap();
        assert_eq!(deploy.of(web), (action, changes), "{}", input.manifest);
    }
}

#[test]
fn what_the_director_and_the_agents_say_counts_too() {
    let after = |edit: &dyn Fn(&mut Instance)| {
        let mut world = deployed();
        let web = world
            .current
            .instances
            .iter_mut()
            .find(|instance| instance.group == "web" && instance.index == 0);
        edit(web.unwrap());
        world.plan(&input(MANIFEST)).unwrap().of("web/0")
    };
    assert_eq!(
        after(&|instance| instance.update_completed = false),
        (Action::Update, vec![Change::Dirty])
    );
    assert_eq!(
        after(&|instance| instance.agent.as_mut().unwrap().job_state = "failing".into()),
        (Action::Update, vec![Change::State])
    );
    assert_eq!(
        after(&|instance| instance.agent.as_mut().unwrap().job_state = "unresponsive".into()),
        (Action::Recreate, vec![Change::Recreate, Change::State])
    );
    assert_eq!(
        after(&|instance| instance.vm.as_mut().unwrap().trusted_certs_sha1 = None),
        (Action::None, vec![])
    );
    assert_eq!(
        after(&|instance| instance.vm.as_mut().unwrap().trusted_certs_sha1 = Some("old".into())),
        (Action::Update, vec![Change::TrustedCerts])
    );
    assert_eq!(
        after(&|instance| {
            instance.vm = None;
            instance.agent = None;
        }),
        (Action::Create, vec![Change::State])
    );
    assert_eq!(
        after(&|instance| instance.spec["packages"]["app"]["sha1"] = json!("other")),
        (Action::Update, vec![Change::Packages])
    );
    assert_eq!(
        after(&|instance| instance.ignore = true),
        (Action::Ignore, vec![])
    );
}

#[test]
fn a_changed_variable_changes_what_is_made_of_it() {
    let mut manifest = edited(|manifest| {
        manifest["instance_groups"][1]["env"] = json!({"x": "((pw))"});
    });
    let cloud = &mut manifest.cloud_configs[0].content;
    cloud["vm_types"][0]["cloud_properties"]["secret"] = json!("((/director/dep/pw))");
    let mut world = World::default();
    world.deploy(&manifest);
    assert!(world.plan(&manifest).unwrap().plan.is_empty());
    let old = Stored {
        id: "0".into(),
        value: json!("before"),
    };
    let before = Values::new(
        "director",
        "dep",
        [("/director/dep/pw".to_owned(), old)].into(),
    );
    world.current.variable_sets = [(1, before)].into();
    let deploy = world.plan(&manifest).unwrap();
    assert_eq!(
        deploy.of("web/0"),
        (Action::Recreate, vec![Change::CloudProperties])
    );
    assert!(
        !serde_json::to_string(&deploy.plan)
            .unwrap()
            .contains("s3cret")
    );
}

#[test]
fn recreation_asked_for_can_depend_on_age() {
    for (before, action) in [
        (None, Action::Recreate),
        (Some("2030-01-02T00:00:00Z"), Action::Recreate),
        (Some("2029-12-31T00:00:00Z"), Action::None),
    ] {
        let mut input = input(MANIFEST);
        input.options.recreate = true;
        input.options.recreate_vms_created_before = before.map(str::to_owned);
        assert_eq!(deployed().plan(&input).unwrap().of("web/1").0, action);
    }
}

#[test]
fn disks_grow_move_come_and_go() {
    let with = |edit: &dyn Fn(&mut Input)| {
        let mut input = input(MANIFEST);
        edit(&mut input);
        deployed()
            .plan(&input)
            .unwrap()
            .instance("db/0")
            .disks
            .clone()
    };
    let disk = |key: &'static str, value: Value| {
        move |input: &mut Input| {
            input.cloud_configs[0].content["disk_types"][0][key] = value.clone()
        }
    };
    assert_eq!(
        with(&disk("disk_size", json!(4096))),
        [DiskChange::Resize { id: 1, size: 4096 }]
    );
    assert_eq!(
        with(&disk("disk_size", json!(1024))),
        [DiskChange::Migrate { id: 1, size: 1024 }]
    );
    assert_eq!(
        with(&disk("cloud_properties", json!({}))),
        [DiskChange::Migrate { id: 1, size: 2048 }]
    );
    assert_eq!(
        with(&|input| input.options.recreate_persistent_disks = true),
        [DiskChange::Migrate { id: 1, size: 2048 }]
    );
    let none = |input: &mut Input| {
        input.manifest["instance_groups"][0]
            .as_object_mut()
            .unwrap()
            .shift_remove("persistent_disk_type");
    };
    assert_eq!(with(&none), [DiskChange::Delete { id: 1 }]);
}

#[test]
fn errands_take_part_when_they_have_or_need_a_vm() {
    let errand = edited(|manifest| manifest["instance_groups"][1]["lifecycle"] = json!("errand"));
    let mut world = World::default();
    let deploy = world.deploy(&errand);
    assert!(!deploy.plan.groups[1].starts_on_deploy);
    assert!(deploy.plan.groups[1].rounds.is_empty());
    assert!(deploy.instance("web/0").placed.networks.is_empty());
    assert_eq!(deploy.plan.batches, [vec![0]]);
    assert!(world.plan(&errand).unwrap().plan.is_empty());
    let mut run = input(MANIFEST);
    run.manifest = errand.manifest.clone();
    run.options.start_errand = Some("web".into());
    let deploy = world.deploy(&run);
    assert_eq!(deploy.of("web/0").0, Action::Create);
    assert!(world.plan(&errand).unwrap().plan.groups[1].starts_on_deploy);
    assert!(world.plan(&errand).unwrap().plan.is_empty());
}

#[test]
fn vms_can_be_made_beside_the_old_ones() {
    let beside = |version: &'static str| {
        edited(move |manifest| {
            manifest["update"]["vm_strategy"] = json!("create-swap-delete");
            manifest["stemcells"][0]["version"] = json!(version);
        })
    };
    let mut world = World::default();
    world.deploy(&beside("1.20"));
    let deploy = world.plan(&beside("2.0")).unwrap();
    let web = deploy.instance("web/0");
    assert_eq!(
        (web.action, web.vm_strategy),
        (
            Action::Recreate,
            crate::manifest::update::VmStrategy::CreateSwapDelete
        )
    );
    let status: Vec<ReservationStatus> = web
        .placed
        .reservations
        .iter()
        .map(|reservation| reservation.status)
        .collect();
    assert_eq!(
        status,
        [ReservationStatus::New, ReservationStatus::Obsolete]
    );
    assert_ne!(deploy.ip("web/0"), "10.0.1.10");
    // The database has a static address, which only one VM can have.
    let db = deploy.instance("db/0");
    assert_eq!(
        db.vm_strategy,
        crate::manifest::update::VmStrategy::DeleteCreate
    );
    assert_eq!(deploy.ip("db/0"), "10.0.1.21");
    world.apply(&deploy);
    assert!(world.plan(&beside("2.0")).unwrap().plan.is_empty());
}
