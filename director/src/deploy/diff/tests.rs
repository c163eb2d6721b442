//! Against Ruby's own YAML, and against diffs as upstream shows them.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

use super::*;
use crate::manifest::{Config, raw};

/// Documents as Ruby writes them.
fn ruby(documents: &[Value]) -> Vec<Vec<String>> {
    let script = "puts JSON.generate(JSON.parse($stdin.read).map { |d| d.to_yaml(indent: 2).sub(/^---\\n/, '').split(\"\\n\") })";
    let mut child = Command::new("ruby")
        .args(["-ryaml", "-rjson", "-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = serde_json::to_vec(documents).unwrap();
    let writer = std::thread::spawn(move || input.write_all(&text).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check(documents: &[Value]) {
    for (document, theirs) in documents.iter().zip(ruby(documents)) {
        assert_eq!(yaml::lines(document), theirs, "{document}");
    }
}

#[test]
fn yaml_is_rubys() {
    let texts = [
        "",
        "a",
        "a b",
        "true",
        "True",
        "yes",
        "no",
        "null",
        "~",
        "Null",
        "1",
        "1.5",
        "1.",
        ".5",
        "1e3",
        "1.0e+3",
        "0x1f",
        "0b1",
        "017",
        "08",
        "019",
        "1_000",
        "1,000",
        "1__0",
        "-1",
        "+1",
        "-",
        "--",
        "---",
        "-a",
        "- a",
        "a: b",
        "a:b",
        "a:",
        ":a",
        ":",
        "#a",
        "a #b",
        "a#b",
        "((var))",
        "x((var))",
        "/a/b",
        "*",
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "a\"b",
        "it's",
        "{a}",
        "[a]",
        "a,b",
        "?",
        "? a",
        "?a",
        "=",
        "<<",
        "2020-01-02",
        "2020-13-02",
        "2020-1-2",
        "2020-01-02 03:04:05",
        "2020-01-02T03:04:05Z",
        "2020-01-02T03:04:05.5+01:00",
        "1:30",
        "1:60",
        "1:30:00",
        "1:30.5",
        "12:30:45.5",
        ".inf",
        "-.inf",
        ".nan",
        "+.inf",
        " a",
        "a ",
        "a  b",
        "a\n",
        "a\nb",
        "a\nb\n",
        "a\n\n",
        "\na",
        "a\n\nb\n\n",
        " a\nb",
        "a \nb",
        "a\n b",
        "\ta",
        "a\tb",
        "a\rb",
        "\u{e9}",
        "\u{1f600}",
        "\u{a0}",
        "\u{0}",
        "\u{7f}",
        "\u{2028}",
        "\u{feff}",
        "10.0.0.0/24",
        "10.0.0.1",
        "1000-30000",
        "https://a.b/c?d=e",
        "50%",
        "on",
        "off",
        "o",
        "t",
        "f",
        "nope",
        "a: ",
        "key:value",
        "\\",
        "a\\b",
        "$a",
        "^",
        "(",
        ")",
        ".",
        "..",
        "...",
        "....",
        ".a",
        "a.",
        "_",
        "__",
        "~a",
        "a~",
        "1a",
        "1-2",
        "1 2",
        "1.2.3",
        "0",
        "00",
        "0.0",
        "-0",
        "0o17",
        "1e",
        "1.e+3",
        "é",
        "-é",
        "\"",
        "'",
        "''",
        "\n",
        "\n\n",
        "multi\nline: with\n  indent\n",
        "trailing space \n",
        "a\n\n\n",
        "#\n#",
    ];
    let long = "word ".repeat(40);
    let mut documents: Vec<Value> = texts.iter().map(|text| json!({"k": text})).collect();
    documents.extend(texts.iter().map(|text| json!([text])));
    documents.extend(
        texts
            .iter()
            .map(|text| json!({*text: 1}))
            .filter(|document| {
                let key = document.as_object().unwrap().keys().next().unwrap();
                // A key over several lines is written in a way of its own, and `<<` with a tag.
                !key.contains(['\n', '\r', '\u{2028}']) && key != "<<"
            }),
    );
    documents.extend([
        json!({"a": long.trim_end(), "b": format!("'{long}x"), "c": format!("((x)) {long}x"), "d": format!("{long}\n{long}x")}),
        json!([[1, [2, []]], {"a": {}, "b": [], "c": null, "d": [null, {"e": [1]}], "f": {"g": {"h": [[1]]}}}]),
        json!({"f": 1.5, "g": 1e20, "h": 1.0, "i": 1e-5, "j": -2.5, "k": 123456789012345.0, "l": 1e16, "m": true, "n": 0}),
        json!([{"name": "x", "properties": {"a": ["b", {"c": "d"}]}, "text": "one\ntwo\n"}, "s", 1]),
    ]);
    documents.retain(|document| !document.to_string().contains("\"<<\""));
    check(&documents);
}

fn document() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "[a-z :#'\"\\-\n]{0,20}",
        "[0-9:._,+eE-]{1,8}",
        "([a-z]{1,9} ){5,40}[a-z]",
        "[ -~éü€😀]{0,8}",
    ]
    .prop_filter("written in ways of their own", |text: &String| {
        !text.contains("<<") && !matches!(text.as_str(), "Y" | "N") && !text.contains('\u{7f}')
    });
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let inner = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z_]{1,8}", inner, 1..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

#[test]
fn yaml_is_rubys_for_any_document() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let documents: Vec<Value> = (0..2000)
        .map(|_| document().new_tree(&mut runner).unwrap().current())
        .collect();
    check(&documents);
}

fn show(before: &str, after: &str, redacted: bool) -> String {
    let (before, after) = (raw::parse(before).unwrap(), raw::parse(after).unwrap());
    lines(&before, &after, redacted)
        .iter()
        .map(|line| {
            let sign = match line.status {
                None => ' ',
                Some(Status::Added) => '+',
                Some(Status::Removed) => '-',
            };
            format!("{sign} {}\n", line.text())
        })
        .collect()
}

const BEFORE: &str = "
name: dep
releases: [{name: a, version: '1', url: 'https://robot:hunter2@x.example/a'}, {name: gone, version: '1'}]
instance_groups:
- name: web
  instances: 1
  azs: [z1]
  jobs:
  - {name: web, release: a, properties: {password: old, list: [1, 2], same: s}}
  env: {bosh: {password: x}}
update: {canaries: 1}
";

const AFTER: &str = "
name: dep
releases: [{name: a, version: '2', url: 'https://robot:hunter2@x.example/a'}]
instance_groups:
- name: web
  instances: 2
  azs: [z1, z2]
  jobs:
  - {name: web, release: a, properties: {password: new, list: [1, 3], same: s, more: {a: 1}}}
  env: {bosh: {password: y}}
- name: db
  instances: 1
update: {canaries: 1, serial: false}
variables:
- {name: pw, type: password}
";

#[test]
fn a_diff_reads_as_upstreams() {
    insta::assert_snapshot!(show(BEFORE, AFTER, true));
}

#[test]
fn a_diff_shows_secrets_when_asked() {
    insta::assert_snapshot!(show(BEFORE, AFTER, false));
}

#[test]
fn a_new_deployment_is_all_added() {
    insta::assert_snapshot!(show("", AFTER, true));
}

#[test]
fn the_same_is_no_diff() {
    assert_eq!(show(BEFORE, BEFORE, true), "");
}

#[test]
fn lines_go_over_the_wire_as_pairs() {
    let lines = lines(&json!({"a": 1}), &json!({"a": {"b": [1]}, "c": []}), true);
    assert_eq!(
        serde_json::to_value(&lines).unwrap(),
        json!([
            ["a: 1", "removed"],
            ["", null],
            ["a:", "added"],
            ["  b:", "added"],
            ["  - 1", "added"],
            ["", null],
            ["c: []", "added"]
        ])
    );
}

#[test]
fn configs_are_part_of_it() {
    let side = |canaries: u32, zones: &str, addon: &str| {
        Side {
        manifest: raw::parse(&format!(
            "{{name: dep, update: {{canaries: {canaries}}}, stemcells: [{{alias: d, os: ubuntu-noble, version: latest}}], \
             instance_groups: [{{name: web, stemcell: d, jobs: [], networks: [], azs: []}}], releases: [], tags: {{a: 1}}}}"
        ))
        .unwrap(),
        cloud_configs: vec![Config {
            content: raw::parse(&format!("azs: [{zones}]")).unwrap(),
            ..Config::default()
        }],
        runtime_configs: vec![Config {
            content: raw::parse(&format!(
                "{{releases: [{{name: tools, version: '3'}}, {{name: other, version: '1'}}], tags: {{a: 2, b: 3}}, addons: [\
                 {{name: logs, jobs: [{{name: logs, release: tools}}], include: {{instance_groups: [{addon}]}}}}]}}"
            ))
            .unwrap(),
            ..Config::default()
        }],
    }
    };
    let before = side(1, "{name: z1}", "nobody");
    let after = side(2, "{name: z1}, {name: z2}", "web");
    let stemcells = crate::manifest::tests::stemcells();
    let diff = manifests(&before, &after, &[], &[], &stemcells, true).unwrap();
    let text: String = diff
        .iter()
        .map(|line| format!("{:?} {}\n", line.status, line.text()))
        .collect();
    insta::assert_snapshot!(text);
    assert!(manifests(&before, &after, &[], &[], &[], true).is_err());
}
