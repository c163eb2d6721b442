//! Where instances are, and at which addresses.

use super::*;

#[test]
fn groups_that_are_gone_are_deleted_first() {
    let mut world = deployed();
    let deploy = world
        .plan(&edited(|manifest| {
            manifest["instance_groups"]
                .as_array_mut()
                .unwrap()
                .remove(1);
            manifest["variables"] = json!([]);
        }))
        .unwrap();
    assert_eq!(deploy.plan.deletions.len(), 3);
    let fewer = edited(|manifest| manifest["instance_groups"][1]["instances"] = json!(1));
    let deploy = world.plan(&fewer).unwrap();
    assert_eq!(deploy.plan.groups[1].deletions.len(), 2);
    assert_eq!(deploy.plan.groups[1].instances.len(), 1);
    assert!(deploy.instance("web/0").placed.bootstrap);
}

#[test]
fn ignored_instances_are_guarded() {
    let mut world = deployed();
    for instance in &mut world.current.instances {
        instance.ignore = instance.group == "web";
    }
    let refused = |world: &mut World, edit: &dyn Fn(&mut Value)| {
        let error = world
            .plan(&edited(|manifest| edit(manifest)))
            .err()
            .unwrap();
        (error.code(), error.to_string())
    };
    let fewer = refused(&mut world, &|manifest| {
        manifest["instance_groups"][1]["instances"] = json!(1)
    });
    assert_eq!(
        fewer,
        (
            190_020,
            "Instance Group 'web' has 3 ignored instance(s). 1 instance(s) of that instance group were requested. \
             Deleting ignored instances is not allowed."
                .into()
        )
    );
    let gone = refused(&mut world, &|manifest| {
        manifest["instance_groups"]
            .as_array_mut()
            .unwrap()
            .remove(1);
    });
    assert_eq!(gone.0, 190_021);
    let zone = refused(&mut world, &|manifest| {
        manifest["instance_groups"][1]["azs"] = json!(["z1"])
    });
    assert_eq!(
        zone.1,
        "Instance Group 'web' no longer contains AZs [\"z2\"] where ignored instance(s) exist."
    );
    let state = refused(&mut world, &|manifest| {
        manifest["instance_groups"][1]["instance_states"] = json!({"0": "stopped"});
    });
    assert_eq!(state.0, 140_021);
    let network = refused(&mut world, &|manifest| {
        manifest["instance_groups"][1]["networks"] = json!([{"name": "cloudy"}])
    });
    assert!(
        network
            .1
            .contains("an attempt was made to modify the networks")
    );
    assert!(world.plan(&input(MANIFEST)).unwrap().plan.is_empty());
}

#[test]
fn a_renamed_group_keeps_its_instances() {
    let mut world = deployed();
    let renamed = edited(|manifest| {
        manifest["instance_groups"][1]["name"] = json!("site");
        manifest["instance_groups"][1]["migrated_from"] = json!([{"name": "web"}]);
    });
    let before: BTreeSet<String> = world
        .current
        .instances
        .iter()
        .filter(|instance| instance.group == "web")
        .map(|instance| instance.uuid.clone())
        .collect();
    let deploy = world.deploy(&renamed);
    assert!(deploy.plan.deletions.is_empty() && deploy.plan.groups[1].deletions.is_empty());
    let after: BTreeSet<String> = deploy.placement.groups[1]
        .instances
        .iter()
        .map(|placed| placed.uuid.clone())
        .collect();
    assert_eq!(before, after);
    assert!(world.plan(&renamed).unwrap().plan.is_empty());
    let both = edited(|manifest| {
        manifest["instance_groups"][1]["migrated_from"] = json!([{"name": "db"}])
    });
    let error = deployed().plan(&both).err().unwrap();
    assert!(error.to_string().starts_with(
        "Failed to migrate instance group 'db' to 'web'. A deployment can not migrate"
    ));
}

#[test]
fn static_addresses_hold_instances_and_zones() {
    let with = |ips: Value, count: u32| {
        edited(move |manifest| {
            manifest["instance_groups"][1]["networks"][0]["static_ips"] = ips;
            manifest["instance_groups"][1]["instances"] = json!(count);
        })
    };
    let mut world = World::default();
    let first = world.deploy(&with(json!(["10.0.1.22", "10.0.2.20 - 10.0.2.21"]), 3));
    let zones: BTreeMap<String, Option<String>> = first.plan.groups[1]
        .instances
        .iter()
        .map(|plan| {
            (
                plan.placed.networks["default"]["ip"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
                plan.placed.az.clone(),
            )
        })
        .collect();
    assert_eq!(zones["10.0.1.22"].as_deref(), Some("z1"));
    assert_eq!(zones["10.0.2.21"].as_deref(), Some("z2"));
    let second = world.deploy(&with(json!(["10.0.2.21", "10.0.1.22"]), 2));
    assert_eq!(second.plan.groups[1].deletions.len(), 1);
    assert!(
        second.plan.groups[1]
            .instances
            .iter()
            .all(|plan| plan.action == Action::None)
    );
    let moved = world
        .plan(&with(json!(["10.0.1.22", "10.0.1.23"]), 2))
        .unwrap();
    let kept = moved.plan.groups[1]
        .instances
        .iter()
        .filter(|plan| plan.action == Action::None)
        .count();
    assert_eq!(kept, 1);
    let taken = world
        .plan(&with(json!(["10.0.1.21", "10.0.1.22"]), 2))
        .err()
        .unwrap();
    assert!(
        taken
            .to_string()
            .contains("already reserved by instance 'db/"),
        "{taken}"
    );
    for (ips, message) in [
        (
            json!(["10.0.1.200", "10.0.1.22"]),
            "declares static ip '10.0.1.200/32', which belongs to no subnet",
        ),
        (
            json!(["10.0.9.9", "10.0.1.22"]),
            "declares static ip '10.0.9.9/32', which belongs to no subnet",
        ),
    ] {
        let error = world.plan(&with(ips, 2)).err().unwrap();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn there_may_be_no_address_left() {
    let mut manifest = edited(|manifest| manifest["instance_groups"][1]["azs"] = json!(["z1"]));
    manifest.cloud_configs[0].content["networks"][0]["subnets"][0]["reserved"] =
        json!(["10.0.1.2-10.0.1.19", "10.0.1.32-10.0.1.254"]);
    let error = World::default().plan(&manifest).err().unwrap();
    assert_eq!(error.code(), 130_011);
    assert!(
        error
            .to_string()
            .ends_with("for manual network 'default': no more available"),
        "{error}"
    );
}

#[test]
fn addresses_of_others_are_left_alone() {
    let mut world = World::default();
    for last in [10, 11, 12] {
        let owner = IpOwner {
            instance: Some(99),
            name: "x/y".into(),
            deployment: "other".into(),
        };
        world
            .current
            .used_ips
            .insert(format!("10.0.1.{last}/32").parse().unwrap(), owner);
    }
    world
        .current
        .used_ips
        .insert("10.0.1.12/30".parse().unwrap(), IpOwner::default());
    assert_eq!(
        world.plan(&input(MANIFEST)).unwrap().ip("web/0"),
        "10.0.1.16"
    );
}

#[test]
fn blocks_are_handed_out_where_a_network_says_so() {
    let mut manifest = input(MANIFEST);
    for subnet in [0, 1] {
        manifest.cloud_configs[0].content["networks"][0]["subnets"][subnet]["prefix"] = json!(30);
    }
    manifest.manifest["instance_groups"][0]["networks"] = json!([{"name": "default"}]);
    let deploy = World::default().plan(&manifest).unwrap();
    let settings = &deploy.instance("web/0").placed.networks["default"];
    assert_eq!(settings["prefix"], "30");
    let blocks: BTreeSet<String> = deploy
        .plan
        .instances()
        .map(|plan| plan.placed.reservations[0].block.unwrap().to_string())
        .collect();
    assert_eq!(blocks.len(), 4);
    assert!(blocks.iter().all(|block| block.ends_with("/30")));
}
