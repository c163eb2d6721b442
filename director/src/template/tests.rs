//! Against the real Ruby.

use serde_json::{Value, json};

use super::*;
use crate::deploy::plan::names::Index;

fn job(name: &str, monit: &str, templates: &[(&str, &str, &str)]) -> Job {
    Job {
        name: name.into(),
        release: "rel".into(),
        release_version: "1.2".into(),
        monit: monit.to_owned().into(),
        templates: templates
            .iter()
            .map(|(source, destination, text)| Template {
                source: (*source).into(),
                destination: (*destination).into(),
                text: (*text).to_owned().into(),
            })
            .collect(),
        offers: Vec::new(),
    }
}

fn group(jobs: Vec<Job>, shared: Value, specs: Vec<Value>) -> Group {
    Group {
        name: "web".into(),
        jobs,
        shared,
        instances: specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| Instance {
                uuid: format!("uuid-{index}"),
                spec,
            })
            .collect(),
    }
}

fn files(rendered: &Rendered) -> std::collections::BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&rendered.archive[..]));
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut text).unwrap();
            (path, String::from_utf8_lossy(&text).into_owned())
        })
        .collect()
}

async fn render(group: Group) -> Result<Vec<Rendered>, Error> {
    let index = Index {
        azs: [("z1".to_owned(), 1)].into(),
        ..Index::default()
    };
    Pool::new(Options::default()).render(&[group], &index).await
}

/// What a template of one job makes of a spec.
async fn text_of(template: &str, shared: Value, spec: Value) -> String {
    let group = group(
        vec![job("j", "", &[("t.erb", "bin/t", template)])],
        shared,
        vec![spec],
    );
    files(&render(group).await.unwrap()[0])["j/bin/t"].clone()
}

async fn error_of(template: &str, shared: Value) -> String {
    let spec = json!({"name": "web", "index": 0});
    let group = group(
        vec![job("j", "", &[("t.erb", "bin/t", template)])],
        shared,
        vec![spec],
    );
    render(group).await.unwrap_err().to_string()
}

fn properties(properties: Value) -> Value {
    json!({"properties": {"j": properties}, "links": {}})
}

#[tokio::test]
async fn properties_are_looked_up_as_upstream_does() {
    let template = r#"<%= p("a.b") %>|<%= p("nope", "dflt") %>|<%= p(["x", "a.c"]) %>|<%= p("a.f") %>|<%
if_p("a.b", "a.c") do |b, c| %><%= b + c %><% end.else do %>no<% end %>|<%
if_p("nope") do |x| %>yes<% end.else_if_p("a.c") do |c| %>elsif <%= c %><% end.else do %>no<% end %>|<%
if_p("nope") do |x| %>yes<% end.else do %>else<% end %>|<%= properties.a.b %>|<%= raw_properties["a"]["c"] %>"#;
    let text = text_of(
        template,
        properties(json!({"a": {"b": 1, "c": 2, "f": false}})),
        json!({"name": "web"}),
    )
    .await;
    assert_eq!(text, "1|dflt|2|false|3|elsif 2|else|1|2");
}

#[tokio::test]
async fn the_spec_is_at_hand() {
    let template = concat!(
        "<%= name %>/<%= index %> <%= spec.id %> <%= spec.az %> <%= spec.bootstrap %> <%= spec.ip %> ",
        "<%= spec.networks.default.ip %> <%= spec.networks.methods(false).grep(/def/).first %> ",
        "<%= spec.release.name %>/<%= spec.release.version %> <%= spec.dig(:networks, :default, :ip) %>"
    );
    let spec = json!({
        "name": "web", "index": 2, "id": "u", "az": "z1", "bootstrap": true, "ip": "10.0.0.1",
        "networks": {"default": {"ip": "10.0.0.1"}}
    });
    let text = text_of(template, json!({}), spec).await;
    assert_eq!(
        text,
        "web/2 u z1 true 10.0.0.1 10.0.0.1 default rel/1.2 10.0.0.1"
    );
}

#[tokio::test]
async fn links_are_at_hand() {
    let shared = json!({"properties": {}, "links": {"j": {
        "db": {
            "instances": [{"name": "db", "index": 0, "id": "i0", "az": "z1", "address": "10.0.0.9", "bootstrap": true}],
            "properties": {"port": 3306, "opt": {"x": "y"}},
            "instance_group": "my_db", "default_network": "default", "deployment_name": "dep", "domain": "bosh"
        },
        "manual": {"instances": [{"address": "x.example"}], "properties": null, "address": "all.example"}
    }}});
    let template = concat!(
        r#"<%= link("db").instances.map(&:address).join(",") %> <%= link("db").p("opt.x") %> "#,
        r#"<% link("db").if_p("port") do |port| %><%= port %><% end.else do %>no<% end %> "#,
        r#"<%= link("db").address(azs: ["z1"]) %> <%= link("manual").address %> "#,
        r#"<% if_link("nope") do |l| %>yes<% end.else_if_link("db") do |l| %><%= l.instances[0].id %><% end.else do %>no<% end %>"#
    );
    let text = text_of(template, shared, json!({"name": "web"})).await;
    assert_eq!(
        text,
        "10.0.0.9 y 3306 q-a1s0.my-db.default.dep.bosh all.example i0"
    );
}

#[tokio::test]
async fn errors_read_as_upstreams() {
    let text = error_of("a\n\n<%= p('x.y') %>", json!({})).await;
    assert_eq!(
        text,
        "Unable to render instance groups for deployment. Errors are:\n  \
         - Unable to render jobs for instance group 'web'. Errors are:\n    \
         - Unable to render templates for job 'j'. Errors are:\n      \
         - Error filling in template 't.erb' (line 3: Can't find property '[\"x.y\"]')"
    );
    assert!(
        error_of("<%= link('db') %>", json!({}))
            .await
            .ends_with("(line 1: Can't find link 'db')")
    );
    assert!(
        error_of("<% raise 'boom' %>", json!({}))
            .await
            .ends_with("'t.erb' (line 1: boom)")
    );
    assert!(
        error_of("<% exit 1 %>", json!({}))
            .await
            .contains("'t.erb' (line 1: exit)")
    );
}

#[tokio::test]
async fn errors_of_monit_and_of_several_jobs_are_told_apart() {
    let jobs = vec![
        job("a", "<%= p('m') %>", &[]),
        job(
            "b",
            "",
            &[
                ("x.erb", "x", "<%= p('x') %>"),
                ("y.erb", "y", "<%= p('y') %>"),
            ],
        ),
    ];
    let text = render(group(jobs, json!({}), vec![json!({"name": "web"})]))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "Unable to render instance groups for deployment. Errors are:\n  \
         - Unable to render jobs for instance group 'web'. Errors are:\n    \
         Error filling in template 'monit' (line 1: Can't find property '[\"m\"]')\n    \
         - Unable to render templates for job 'b'. Errors are:\n      \
         - Error filling in template 'x.erb' (line 1: Can't find property '[\"x\"]')\n      \
         - Error filling in template 'y.erb' (line 1: Can't find property '[\"y\"]')"
    );
}

#[tokio::test]
async fn the_archive_is_the_same_for_the_same_contents() {
    let make = |index: u32| {
        let jobs = vec![
            job(
                "z",
                "monit z",
                &[
                    ("b.erb", "config/b", "B <%= index %>"),
                    ("a.erb", "bin/a", "A"),
                ],
            ),
            job("a", "monit a", &[]),
        ];
        group(
            jobs,
            json!({}),
            vec![json!({"name": "web", "index": index})],
        )
    };
    let (one, two, other) = (
        render(make(0)).await.unwrap(),
        render(make(0)).await.unwrap(),
        render(make(1)).await.unwrap(),
    );
    assert_eq!(one[0].archive, two[0].archive);
    assert_eq!(one[0].configuration_hash, two[0].configuration_hash);
    assert_ne!(one[0].configuration_hash, other[0].configuration_hash);
    assert_eq!(one[0].template_hashes["a"], other[0].template_hashes["a"]);
    assert_ne!(one[0].template_hashes["z"], other[0].template_hashes["z"]);
    let files = files(&one[0]);
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "a/.bosh/links.json",
            "a/monit",
            "z/.bosh/links.json",
            "z/bin/a",
            "z/config/b",
            "z/monit"
        ]
    );
    assert_eq!(files["z/.bosh/links.json"], "[]\n");
    // SHA-1 over: monit and name of each job by name, then text and destination of each template by source.
    let expected = "monit aa[]\n.bosh/links.jsonmonit zz[]\n.bosh/links.jsonAbin/aB 0config/b";
    use sha1::Digest;
    let digest: String = sha1::Sha1::digest(expected)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(one[0].configuration_hash, digest);
}

#[tokio::test]
async fn what_a_template_does_to_ruby_does_not_last() {
    let pool = Pool::new(Options {
        workers: 1,
        ..Options::default()
    });
    let with = |template: &str| {
        group(
            vec![job("j", "", &[("t.erb", "t", template)])],
            json!({}),
            vec![json!({"name": "web"})],
        )
    };
    let index = Index::default();
    pool.render(
        &[with("<% class String; def upcase; 'gotcha'; end; end %>")],
        &index,
    )
    .await
    .unwrap();
    let text = files(
        &pool
            .render(&[with("<%= 'a'.upcase %>")], &index)
            .await
            .unwrap()[0],
    )["j/t"]
        .clone();
    assert_eq!(text, "A");
    // Neither does what it prints, nor that it kills its process.
    pool.render(&[with("<% $stdout.puts '{}'; STDOUT.puts '{}' %>")], &index)
        .await
        .unwrap();
    let error = pool
        .render(&[with("<% Process.kill(:KILL, $$) %>")], &index)
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("template worker failed"),
        "{error}"
    );
    let text = files(
        &pool
            .render(&[with("<%= ENV.keys.sort.join(' ') %>")], &index)
            .await
            .unwrap()[0],
    )["j/t"]
        .clone();
    assert_eq!(text, "HOME LANG PATH");
}

#[tokio::test]
async fn a_template_that_does_not_end_is_ended() {
    let pool = Pool::new(Options {
        timeout: std::time::Duration::from_millis(700),
        ..Options::default()
    });
    let group = group(
        vec![job("j", "", &[("t.erb", "t", "<% loop {} %>")])],
        json!({}),
        vec![json!({"name": "web"})],
    );
    let error = pool.render(&[group], &Index::default()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
}

#[tokio::test]
async fn many_instances_keep_their_order_and_their_copies() {
    let specs: Vec<Value> = (0..150)
        .map(|index| json!({"name": "web", "index": index}))
        .collect();
    let template =
        "<%= index %> <%= raw_properties['list'] << index; raw_properties['list'].size %>";
    let group = group(
        vec![job("j", "", &[("t.erb", "t", template)])],
        properties(json!({"list": []})),
        specs,
    );
    let rendered = render(group).await.unwrap();
    assert_eq!(rendered.len(), 150);
    for (index, rendered) in rendered.iter().enumerate() {
        assert_eq!(rendered.uuid, format!("uuid-{index}"));
        assert_eq!(files(rendered)["j/t"], format!("{index} 1"));
    }
}

#[tokio::test]
async fn text_that_is_not_unicode_comes_through() {
    let mut job = job("j", "", &[("t.erb", "t", "")]);
    job.templates[0].text = bytes::Bytes::from_static(b"\xff\xfe <%= 1 %>");
    let rendered = render(group(vec![job], json!({}), vec![json!({"name": "web"})]))
        .await
        .unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&rendered[0].archive[..]));
    let mut entry = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().ends_with("t"))
        .unwrap();
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut text).unwrap();
    assert_eq!(text, b"\xff\xfe 1");
}

#[test]
fn a_job_is_unpacked() {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, text) in [
        ("./job.MF", "x"),
        ("./monit", "m"),
        ("./templates/a.erb", "A"),
        ("./templates/b/c.erb", "C"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let tarball = tar.into_inner().unwrap().finish().unwrap();
    let mut catalog = crate::manifest::catalog::Job {
        name: "j".into(),
        ..Default::default()
    };
    catalog.spec.templates = json!({"b/c.erb": "config/c", "a.erb": "bin/a"})
        .as_object()
        .cloned()
        .unwrap();
    let job = super::job::unpack(&catalog, "rel", "1", &tarball[..]).unwrap();
    assert_eq!(job.monit, "m");
    let templates: Vec<(&str, &[u8])> = job
        .templates
        .iter()
        .map(|template| (template.destination.as_str(), &template.text[..]))
        .collect();
    assert_eq!(templates, [("config/c", &b"C"[..]), ("bin/a", &b"A"[..])]);
    catalog.spec.templates = json!({"nope.erb": "x"}).as_object().cloned().unwrap();
    let error = super::job::unpack(&catalog, "rel", "1", &tarball[..]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot unpack 'j' job blob: no 'templates/nope.erb' in it"
    );
}
