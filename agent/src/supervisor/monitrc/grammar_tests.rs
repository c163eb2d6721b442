//! The grammar: what releases write, every statement, and what is refused with which words.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    Account, Condition, Connect, Effect, Endpoint, Exchange, Find, Kind, LoadResult, Mode,
    Operator, Protocol, Rate, ResourceKind, Service, Transport, Verb, load,
};

fn load_text(text: &str) -> LoadResult {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rc");
    std::fs::write(&path, text).unwrap();
    load(&[path])
}

fn services(text: &str) -> Vec<Service> {
    let result = load_text(text);
    assert!(result.errors.is_empty(), "{text}\n{:?}", result.errors);
    result.config.services
}

fn service(text: &str) -> Service {
    let mut services = services(text);
    assert_eq!(services.len(), 1);
    services.remove(0)
}

/// The error of a text, without the file's directory.
fn error(text: &str) -> String {
    let result = load_text(text);
    let error = result
        .errors
        .first()
        .unwrap_or_else(|| panic!("no error in {text}"))
        .to_string();
    error
        .split_once("/rc:")
        .map_or(error.clone(), |(_, rest)| rest.to_owned())
}

/// A process with one test in it.
fn condition(test: &str) -> (Condition, super::Reaction) {
    let mut service = service(&format!("check process p with pidfile /p\n{test}"));
    let check = service.checks.remove(0);
    (check.condition, check.reaction)
}

fn connection(test: &str) -> Connect {
    match condition(test).0 {
        Condition::Connection(connect) => connect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_of_a_release() {
    let service = service(
        "check process postgres\n  with pidfile /var/vcap/sys/run/bpm/postgres/postgres.pid\n\
         \x20 start program \"/var/vcap/jobs/bpm/bin/bpm start postgres\" with timeout 300 seconds\n\
         \x20 stop program \"/var/vcap/jobs/bpm/bin/bpm stop postgres\"\n  group vcap\n",
    );
    assert_eq!(service.name, "postgres");
    assert_eq!(
        service.kind,
        Kind::Process(Find::PidFile(
            "/var/vcap/sys/run/bpm/postgres/postgres.pid".into()
        ))
    );
    let start = service.start.unwrap();
    assert_eq!(
        start.argv,
        ["/var/vcap/jobs/bpm/bin/bpm", "start", "postgres"]
    );
    assert_eq!(start.timeout, Duration::from_secs(300));
    assert_eq!(service.stop.unwrap().timeout, Duration::from_secs(30));
    assert_eq!(service.groups, ["vcap"]);
    assert_eq!(service.mode, Mode::Active);
    assert_eq!(service.missing.failed.effect, Effect::Restart);
}

#[test]
fn a_test_over_several_lines() {
    let service = service(
        "check process health_monitor\n  with pidfile /p\n  start program \"/b start\"\n  group vcap\n  if failed\n    port 25923\n\
         \x20   protocol http\n    request \"/healthz\"\n  then exec \"/b stop health_monitor\"\n",
    );
    let check = &service.checks[0];
    assert_eq!(check.line, 5);
    let Condition::Connection(connect) = &check.condition else {
        panic!("{check:?}")
    };
    assert_eq!(
        connect.endpoint,
        Endpoint::Tcp("localhost".to_owned(), 25923)
    );
    assert_eq!(
        connect.protocol,
        Protocol::Http {
            request: "/healthz".to_owned(),
            checksum: None,
            host: None
        }
    );
    let Effect::Exec(program) = &check.reaction.failed.effect else {
        panic!("{check:?}")
    };
    assert_eq!(program.argv, ["/b", "stop", "health_monitor"]);
}

#[test]
fn programs_and_who_runs_them() {
    let service = service(
        "check process p with pidfile /p\n start program = \"/bin/bash -c 'echo one  two; exit'\" as uid root and gid 0 with timeout 5 seconds\n\
         stop \"/bin/true\"\n",
    );
    let start = service.start.unwrap();
    assert_eq!(start.argv, ["/bin/bash", "-c", "echo one  two; exit"]);
    assert_eq!(
        (start.uid, start.gid),
        (Some(Account::Name("root".to_owned())), Some(Account::Id(0)))
    );
    assert_eq!(start.timeout, Duration::from_secs(5));
    assert_eq!(service.stop.unwrap().argv, ["/bin/true"]);
}

#[test]
fn kinds_of_services() {
    let text = "check file a with path /a\ncheck directory b path /b\ncheck filesystem c with path /dev/sda1\ncheck device d with path /\n\
                check fifo e with path \"/e e\"\ncheck host f with address 10.0.0.1 if failed port 80 then alert\ncheck system g\n\
                check process h matching \"java .*h\\.jar\"\ncheck process \"i\" pidfile \"/i.pid\"";
    let kinds: Vec<Kind> = services(text)
        .into_iter()
        .map(|service| service.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            Kind::File("/a".into()),
            Kind::Directory("/b".into()),
            Kind::Filesystem("/dev/sda1".into()),
            Kind::Filesystem("/".into()),
            Kind::Fifo("/e e".into()),
            Kind::Host("10.0.0.1".to_owned()),
            Kind::System,
            Kind::Process(Find::Matching("java .*h\\.jar".to_owned())),
            Kind::Process(Find::PidFile("/i.pid".into())),
        ]
    );
}

#[test]
fn resource_tests() {
    for (text, kind, operator, limit) in [
        ("cpu > 80%", ResourceKind::Cpu, Operator::Greater, 80.0),
        (
            "cpu usage is greater than 80 percent",
            ResourceKind::Cpu,
            Operator::Greater,
            80.0,
        ),
        ("totalcpu < 5%", ResourceKind::TotalCpu, Operator::Less, 5.0),
        (
            "mem usage > 50%",
            ResourceKind::MemoryPercent,
            Operator::Greater,
            50.0,
        ),
        (
            "memory > 500 MB",
            ResourceKind::MemoryKb,
            Operator::Greater,
            512_000.0,
        ),
        (
            "totalmem > 1.5 Gb",
            ResourceKind::TotalMemoryKb,
            Operator::Greater,
            1_572_864.0,
        ),
        (
            "totalmem is equal 2048",
            ResourceKind::TotalMemoryKb,
            Operator::Equal,
            2.0,
        ),
        (
            "children != 3",
            ResourceKind::Children,
            Operator::NotEqual,
            3.0,
        ),
        (
            "loadavg(5min) greater than 10",
            ResourceKind::Load5,
            Operator::Greater,
            10.0,
        ),
        (
            "loadavg (15 m) > 2.5",
            ResourceKind::Load15,
            Operator::Greater,
            2.5,
        ),
        ("loadavg > 2", ResourceKind::Load1, Operator::Greater, 2.0),
    ] {
        let (condition, _) = condition(&format!("if {text} then alert"));
        let Condition::Resource(limits) = condition else {
            panic!("{text}: {condition:?}")
        };
        assert_eq!(
            (limits[0].kind, limits[0].operator, limits[0].limit),
            (kind, operator, limit),
            "{text}"
        );
    }
    let text = "check system s\nif cpu usage (wait) > 20% then alert\nif cpu(user) > 1% then alert\nif swap > 5% then alert";
    assert_eq!(service(text).checks.len(), 3);
}

#[test]
fn rates_and_reactions() {
    let (_, reaction) = condition("if cpu > 1% for 3 cycles then restart");
    assert_eq!(
        reaction.failed.rate,
        Rate {
            count: 3,
            cycles: 3
        }
    );
    assert_eq!(reaction.failed.effect, Effect::Restart);
    assert_eq!(reaction.recovered.effect, Effect::Alert);
    let (_, reaction) = condition(
        "if cpu > 1% 2 times within 5 cycles then stop else if succeeded for 4 cycles then exec \"/x\"",
    );
    assert_eq!(
        reaction.failed.rate,
        Rate {
            count: 2,
            cycles: 5
        }
    );
    assert_eq!(
        reaction.recovered.rate,
        Rate {
            count: 4,
            cycles: 4
        }
    );
    assert!(matches!(reaction.recovered.effect, Effect::Exec(_)));
    for (word, effect) in [
        ("alert", Effect::Alert),
        ("start", Effect::Start),
        ("stop", Effect::Stop),
        ("monitor", Effect::Monitor),
        ("unmonitor", Effect::Unmonitor),
    ] {
        assert_eq!(
            condition(&format!("if mem > 1% then {word} group g"))
                .1
                .failed
                .effect,
            effect
        );
    }
    let service = service(
        "check process p with pidfile /p\nif 5 restarts within 10 cycles then timeout\nif 3 restarts within 5 cycles then exec \"/x\"\n\
         if does not exist for 2 cycles then alert\nif changed pid then restart\nif changed ppid 2 cycles then alert",
    );
    assert_eq!(service.restart_limits[0].effect, Effect::Unmonitor);
    assert_eq!(
        (
            service.restart_limits[1].restarts,
            service.restart_limits[1].cycles
        ),
        (3, 5)
    );
    assert_eq!(
        service.missing.failed.rate,
        Rate {
            count: 2,
            cycles: 2
        }
    );
    assert_eq!(service.pid_changed.effect, Effect::Restart);
    assert_eq!(service.ppid_changed.rate.count, 2);
}

#[test]
fn connections() {
    let connect = connection(
        "if failed host 10.1.2.3 port 53 type udp protocol dns with timeout 7 seconds for 2 cycles then alert",
    );
    assert_eq!(connect.endpoint, Endpoint::Tcp("10.1.2.3".to_owned(), 53));
    assert_eq!(
        (connect.transport, connect.protocol),
        (Transport::Datagram, Protocol::Named("dns"))
    );
    assert_eq!(connect.timeout, Duration::from_secs(7));
    let connect = connection("if failed unixsocket /run/x.sock then restart");
    assert_eq!(
        connect.endpoint,
        Endpoint::Unix(PathBuf::from("/run/x.sock"))
    );
    assert_eq!(connect.timeout, Duration::from_secs(5));
    let connect = connection(
        "if failed port 443 type tcpssl sslauto proto http and request '/ping?a=b' hostheader \"x.y\" then alert",
    );
    assert_eq!(connect.transport, Transport::Tls(None));
    let http = Protocol::Http {
        request: "/ping?a=b".to_owned(),
        checksum: None,
        host: Some("x.y".to_owned()),
    };
    assert_eq!(connect.protocol, http);
    let connect =
        connection("if failed port 25 send \"EHLO\\r\\n\\0x41\" expect \"^250\" then alert");
    let exchanges = vec![
        Exchange::Send(b"EHLO\r\nA".to_vec()),
        Exchange::Expect("^250".to_owned()),
    ];
    assert_eq!(connect.protocol, Protocol::Generic(exchanges));
    let (url, _) = condition(
        "if failed url https://user:pw@h:8443/p?q=1 and content == \"ok\" with timeout 3 seconds then alert",
    );
    let Condition::Url(connect, Some(content)) = url else {
        panic!("{url:?}")
    };
    assert_eq!(connect.endpoint, Endpoint::Tcp("h".to_owned(), 8443));
    assert!(matches!(&connect.protocol, Protocol::Http { request, .. } if request == "/p?q=1"));
    assert!(content.must_match && content.pattern == "ok");
    for name in [
        "apache-status loglimit > 10% or waitlimit < 5%",
        "sip target a@b maxforward 6",
        "radius secret x",
        "default",
        "pgsql",
        "ntp3",
    ] {
        connection(&format!("if failed port 1 protocol {name} then alert"));
    }
}

#[test]
fn file_tests() {
    let service = service(
        "check file f with path /f\nif failed permission 0644 then alert\nif failed uid root then alert\nif failed gid 5 then alert\n\
         if timestamp > 15 minutes then alert\nif changed timestamp then alert\nif size > 10 MB then alert\nif changed size for 2 cycles then alert\n\
         if failed md5 checksum expect 8f7f419955cefa0b33a2ba316cba3659 then alert\nif changed sha1 checksum then alert\n\
         if match \"^error\" then alert\nif not match \"ok\" then alert\nignore match \"fine\"",
    );
    let conditions: Vec<Condition> = service
        .checks
        .into_iter()
        .map(|check| check.condition)
        .collect();
    assert_eq!(conditions[0], Condition::Permission(0o644));
    assert_eq!(
        conditions[3],
        Condition::Age(Operator::Greater, Duration::from_secs(900))
    );
    assert_eq!(conditions[5], Condition::Size(Operator::Greater, 10 << 20));
    assert!(matches!(
        &conditions[11],
        Condition::Match {
            ignore: true,
            not: false,
            ..
        }
    ));
    assert_eq!(conditions.len(), 12);
    let text = "check filesystem d with path /\nif space usage > 80% for 5 times within 15 cycles then alert\nif space > 1.5 GB then alert\n\
                if inode usage > 30000 then alert\nif changed fsflags then exec \"/x\"";
    let conditions: Vec<Condition> = self::service(text)
        .checks
        .into_iter()
        .map(|check| check.condition)
        .collect();
    assert_eq!(
        conditions[0],
        Condition::Space(Operator::Greater, 80.0, Verb::Percent)
    );
    assert_eq!(
        conditions[1],
        Condition::Space(Operator::Greater, 1.5 * f64::from(1 << 30), Verb::Absolute)
    );
    assert_eq!(
        conditions[2],
        Condition::Inodes(Operator::Greater, 30000, Verb::Absolute)
    );
}

#[test]
fn other_options_of_services() {
    let service = &services(
        "check process a with pidfile /a # a comment\n  mode manual every 3 cycles group vcap group other\n  depends on b,\n     c\n\
         alert root@localhost on { timeout, nonexist } with mail-format { subject: Hey $SERVICE } with reminder on 10 cycles\n\
         noalert x@y\ncheck process b with pidfile /b depends on c\ncheck process c with pidfile /c",
    )[0];
    assert_eq!((service.mode, service.every), (Mode::Manual, 3));
    assert_eq!(service.depends, ["b", "c"]);
    assert_eq!(service.groups, ["vcap", "other"]);
}

#[test]
fn settings() {
    let result = load_text(
        "set daemon 10 with start delay 60\nset logfile /var/vcap/monit/monit.log\nset logfile syslog facility log_daemon\n\
         set httpd port 2822 and use address 127.0.0.1\n  allow cleartext /var/vcap/monit/monit.user\n  allow admin:\"m0nit\" read-only\n\
         allow localhost\nset alert agent@local\nset mailserver localhost port 2825\n     with timeout 15 seconds\n\n\
         set eventqueue\n    basedir /var/vcap/monit/events\n    slots 5000\n\nset mail-format {\n  from: monit@localhost\n\
         \x20 subject: Monit Alert\n  message: Service: $SERVICE\n  Event: $EVENT\n}\nset pidfile /p\nset statefile /s\nset idfile /i\n\
         set expectbuffer 2 kb\nset init\nset mmonit http://m:8080/collector register credentials\n\
         set mailserver mail.foo.bar username \"x\" password \"y\" using tlsv1, backup.foo.bar\nset alert x@y not on { action }\n",
    );
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    let settings = result.config.settings;
    assert_eq!(settings.cycle, Some(Duration::from_secs(10)));
    assert_eq!(settings.start_delay, Some(Duration::from_secs(60)));
    let httpd = settings.httpd.unwrap();
    assert_eq!(
        (httpd.port, httpd.address.as_deref(), httpd.allow.len()),
        (2822, Some("127.0.0.1"), 3)
    );
    assert!(!format!("{httpd:?}").contains("m0nit"));
    assert_eq!(settings.expect_buffer, Some(2048));
}

#[test]
fn includes_and_patterns() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "0002_b.monitrc",
        "check process b with pidfile /b depends on a",
    );
    write("0001_a.monitrc", "check process a with pidfile /a");
    write("other", "check process x with pidfile /x");
    write(
        "rc",
        &format!(
            "set daemon 5\ninclude {}/*.monitrc\ninclude '{0}/nothing*'\ncheck process z with pidfile /z",
            dir.path().display()
        ),
    );
    let result = load(&[dir.path().join("rc")]);
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    let names: Vec<&str> = result
        .config
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    // The last file first: the agent numbers its jobs that way round.
    assert_eq!(names, ["b", "a", "z"]);
    assert!(load(&[dir.path().join("no*")]).errors.is_empty());
    assert_eq!(load(&[dir.path().join("none")]).errors.len(), 1);
    write("loop", &format!("include {}/loop", dir.path().display()));
    assert!(
        load(&[dir.path().join("loop")]).errors[0]
            .to_string()
            .ends_with("includes are nested deeper than 16")
    );
}

#[test]
fn mistakes_say_where_and_what_was_expected() {
    for (text, expected) in [
        (
            "Monit conf goes here",
            "1: expected 'check', 'set' or 'include', found 'Monit'",
        ),
        (
            "check process a\n  start program \"/x\"",
            "2: expected 'pidfile' or 'matching', found 'start'",
        ),
        (
            "check process a with pidfile relative",
            "1: expected the absolute path of a pidfile, found 'relative'",
        ),
        (
            "check service a with path /a",
            "1: expected 'pidfile' or 'matching', found 'a'",
        ),
        (
            "check process a with pidfile /a\n\nif cpu > 5 then alert",
            "3: expected '%', found 'then'",
        ),
        (
            "check process a with pidfile /a\nif totalmem > 500MB then alert",
            "2: expected an amount of memory, found '500MB'",
        ),
        (
            "check process a with pidfile /a\nif cpu > 5% then explode",
            "2: expected 'alert', 'restart', 'start', 'stop', 'exec', 'monitor' or 'unmonitor', found 'explode'",
        ),
        (
            "check process a with pidfile /a\nif cpu > 5% for 100 cycles then alert",
            "2: the number of cycles must be between 1 and 64",
        ),
        (
            "check process a with pidfile /a\nif 5 restarts within 3 cycles then timeout",
            "2: the number of restarts must be at least 1 and at most the number of cycles",
        ),
        (
            "check process a with pidfile /a\nsunshine",
            "2: expected 'start', 'stop', 'restart', 'if', 'group', 'depends on', 'mode', 'every', 'alert' or the next statement, found 'sunshine'",
        ),
        (
            "check process a with pidfile /a\nif failed permission 0644 then alert",
            "2: a permission test does not belong in a check of a process ('a')",
        ),
        (
            "check file a with path /a\nif failed permission 0999 then alert",
            "2: 999 is not an octal mode between 0 and 7777",
        ),
        (
            "check process a with pidfile /a\nstart program \"/x\" as uid timeout",
            "2: expected a user (name or number), found the keyword 'timeout' (put it in quotes if it is meant as a name)",
        ),
        (
            "check process a with pidfile /a\ncheck process A with pidfile /a",
            "2: the service 'A' is already defined at ",
        ),
        (
            "check process a with pidfile /a depends on b",
            "1: the service 'a' depends on 'b', which is not defined",
        ),
        (
            "check process a with pidfile /a depends on b\ncheck process b with pidfile /b depends on a",
            "1: the dependencies of 'a', 'b' go in circles",
        ),
        (
            "check process a with pidfile /a\nstart program \"/x\" as uid nobodywiththisname",
            "1: there is no user 'nobodywiththisname'",
        ),
        (
            "check host h with address localhost",
            "1: check host 'h' needs a port, url or icmp test",
        ),
        ("set sunshine 5", "1: there is no setting 'sunshine'"),
        ("set daemon 0", "1: a cycle needs at least 1 second"),
        (
            "check process a with pidfile \"/a",
            "1: expected a closing \", found '\"/a'",
        ),
    ] {
        let got = error(text);
        assert!(
            got.starts_with(expected),
            "{text}\n  got:      {got}\n  expected: {expected}"
        );
    }
}

/// Strange things that monit 5.2.5 takes, so that a release may have them, and what it makes of them.
#[test]
fn what_monit_takes_is_taken() {
    let argv = |text: &str| {
        let text = format!("check process a with pidfile /a\nstart program {text}\n  group g");
        let service = service(&text);
        assert_eq!(service.groups, ["g"], "{text}");
        service.start.unwrap().argv
    };
    for (text, expected) in [
        ("\"relative x\"", &["relative", "x"][..]),
        ("\"/x a\" foo '/c d'", &["/x", "a", "foo", "/c d"]),
        ("\"/sh -c \\\"x\\\"\"", &["/sh", "-c", "\\", "x\\", ""]),
        ("\"/x 'a b'c\"", &["/x", "a b", "c"]),
        ("\"/x 'a'bc\"", &["/x", "'a'bc"]),
        ("\"/x it's 'a \"b\" c'\"", &["/x", "it's", "a \"b\" c"]),
        ("\"/x 'open\"", &["/x", "'open"]),
        ("\"/x 'a\\tb\\0x41'\"", &["/x", "a\tbA"]),
        ("= \"/x\"", &["/x"]),
        ("/x y", &["/x", "y"]),
    ] {
        assert_eq!(argv(text), expected, "{text}");
    }
    let open = service("check process a with pidfile /a\nstart program \"/x y");
    assert_eq!(open.start.unwrap().argv, ["/x", "y"]);
    let twice =
        service("check process a with pidfile /a\nstart program \"/x\"\nstartprogram \"/y\"");
    assert_eq!(twice.start.unwrap().argv, ["/y"]);
    let ports = [
        ("0", 0),
        ("70000", 4464),
        ("99999999999999999999", u16::MAX),
    ];
    for (text, expected) in ports {
        let connect = connection(&format!("if failed host h port {text} then alert"));
        assert_eq!(connect.endpoint, Endpoint::Tcp("h".to_owned(), expected));
    }
    assert_eq!(
        service("check status a with path /a if does not exist then alert").kind,
        Kind::Status("/a".into())
    );
    let result = load_text(
        "set daemon 99999999999999999999\ninclude /nonexistent/file\ncheck process a with pidfile /a stop program \"/nope\"",
    );
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    assert_eq!(result.warnings.len(), 2, "{:?}", result.warnings);
}

#[test]
fn mail_alerts_say_who_wants_what() {
    let result = load_text(
        "set alert agent@local\nset mailserver localhost port 2825, other username \"u\" password \"p4ss\"\n with timeout 15 seconds\n\
         set eventqueue basedir /q slots 10\nset mail-format {\n  from: monit@localhost\n  subject: Monit Alert\n\
         \x20 message: Service: $SERVICE\n  Event: $EVENT\n}\ncheck process a with pidfile /a\n\
         alert x@y only on { timeout, perm } with reminder on 3 cycles\nalert z@y but not on { pid }\nnoalert agent@local",
    );
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    let mail = &result.config.settings.mail;
    assert_eq!(mail.timeout, Some(Duration::from_secs(15)));
    assert_eq!(mail.format.from.as_deref(), Some("monit@localhost"));
    assert_eq!(
        mail.format.message.as_deref(),
        Some("Service: $SERVICE\n  Event: $EVENT")
    );
    assert_eq!((mail.servers[0].port, mail.servers[1].port), (2825, 25));
    assert!(!format!("{mail:?}").contains("p4ss"));
    assert!(mail.recipients[0].wants("nonexist"));
    let [x, z, none] = &result.config.services[0].recipients[..] else {
        panic!("{:?}", result.config.services[0].recipients);
    };
    assert!(x.wants("timeout") && x.wants("permission") && !x.wants("pid") && x.reminder == 3);
    assert!(z.wants("timeout") && !z.wants("pid"));
    assert!(!none.wants("timeout"));
}

#[test]
fn watchdogs_and_restart_programs() {
    let service = service(
        "check process a with pidfile /a\nrestart program = \"/x again\" as uid root with timeout 5 seconds\n\
         watchdog 20 seconds then alert",
    );
    let restart = service.restart.unwrap();
    assert_eq!(restart.argv, ["/x", "again"]);
    assert_eq!(restart.timeout, Duration::from_secs(5));
    let watchdog = service.watchdog.unwrap();
    assert_eq!(watchdog.interval, Some(Duration::from_secs(20)));
    assert_eq!(watchdog.effect, Effect::Alert);
    let plain = self::service("check process a with pidfile /a watchdog group vcap");
    assert_eq!(plain.watchdog.unwrap().effect, Effect::Restart);
    assert_eq!(plain.groups, ["vcap"]);
    assert_eq!(
        error("check file a with path /a\nwatchdog"),
        "2: a watchdog test does not belong in a check of a file ('a')"
    );
    assert_eq!(
        error("check process a with pidfile /a\nwatchdog 0 seconds"),
        "2: a watchdog needs at least 1 second"
    );
}

#[test]
fn what_is_good_survives_what_is_not() {
    let result = load_text(
        "check process a with pidfile /a depends on nothing\ncheck process b with pidfile /b\ncheck process c with pidfile /c depends on a",
    );
    assert_eq!(
        result
            .config
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(result.errors.len(), 2);
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "\\PC{0,200}") {
        load_text(&text);
    }

    #[test]
    fn no_words_break_the_parser(words in proptest::collection::vec(proptest::sample::select(vec![
        "check", "process", "file", "host", "a", "with", "pidfile", "/a", "\"", "'", "\"/x y\"", "start", "stop", "program", "if",
        "failed", "port", "80", "1.5", "%", "then", "alert", "restart", "exec", "\n", ",", "{", "}", "depends", "on", "group",
        "set", "daemon", "httpd", "allow", "x:y", "@", "a@b", "http://", "http://h/p", "include", "cpu", "loadavg(", "(5min)",
        ">", "!=", "not", "match", "exist", "url", "content", "every", "cycles", "#", "\\", "é",
    ]), 0..40)) {
        load_text(&words.join(" "));
    }
}
