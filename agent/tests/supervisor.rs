//! The supervisor as a program of its own: killed again and again, mailing its alerts, and under operators' hands.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod yard;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use yard::{Random, Yard, eventually, process_state};

/// In each of as many yards at a time.
const KILLS: usize = 250;
const YARDS: u64 = 4;

/// SIGKILL at any instant, a thousand times: no service runs twice, none is lost, nobody is left behind, and what was
/// acknowledged is remembered. It takes as long as starting a program a thousand times.
#[test]
fn a_thousand_kills_leave_no_trace() {
    std::thread::scope(|scope| {
        for seed in 1..=YARDS {
            scope.spawn(move || kill_again_and_again(&mut Random(seed)));
        }
    });
}

fn kill_again_and_again(random: &mut Random) {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut yard = Yard::new(
        1,
        &[
            ("a", "slow", ""),
            ("b", "quick", "depends on a"),
            ("c", "race", ""),
        ],
    );
    // What the supervisor said last about who is monitored, if nothing was asked since.
    let mut known: Option<Vec<(String, bool)>> = None;
    for kill in 0..KILLS {
        yard.start();
        // Most do not live long enough to do more than the beginning of something.
        if random.below(5) > 0 {
            std::thread::sleep(Duration::from_micros(random.below(25_000)));
            yard.kill();
            continue;
        }
        let monitored = yard.monitored();
        if let Some(known) = &known {
            assert_eq!(*known, monitored, "forgotten at kill {kill}");
        }
        let name = NAMES[random.index(NAMES.len())];
        let action = ["start", "stop", "restart", "unmonitor", "monitor", "start"][random.index(6)];
        if random.below(3) == 0 {
            // It dies while it is asked; whether it heard is not known.
            known = None;
            yard.ask(name, action);
        } else {
            assert!(yard.act(name, action), "{action} {name} is acknowledged");
            known = Some(yard.monitored());
        }
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        yard.kill();
    }
    yard.start();
    if let Some(known) = &known {
        assert_eq!(*known, yard.monitored(), "forgotten in the end");
    }
    for name in NAMES {
        assert!(yard.act(name, "start"));
    }
    eventually("everything runs once", || {
        let mut running = yard.daemons();
        let mut expected: Vec<i32> = NAMES.iter().filter_map(|name| yard.pid(name)).collect();
        running.sort_unstable();
        expected.sort_unstable();
        (expected.len() == NAMES.len() && running == expected && yard.strays().is_empty())
            .then_some(())
    });
    assert_eq!(yard.doubles(), "", "somebody was started twice");
    yard.command(&["stop", "all"]);
    eventually("everything is down", || {
        yard.everybody().is_empty().then_some(())
    });
}

/// As upstream's agent configures monit and listens to it.
#[test]
fn alerts_are_mailed_and_kept_until_they_are() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut yard = Yard::new(1, &[("a", "quick", "")]);
    yard.add(&format!(
        "set alert agent@local\nset mailserver 127.0.0.1 port {port}\n     with timeout 15 seconds\n\n\
         set eventqueue\n    basedir {}\n    slots 5000\n\nset mail-format {{\n  from: monit@localhost\n  subject: Monit Alert\n\
         \x20 message: Service: $SERVICE\n  Event: $EVENT\n  Action: $ACTION\n  Date: $DATE\n  Description: $DESCRIPTION\n}}\n",
        yard.path("events").display()
    ));
    yard.start();
    let first = eventually("it runs", || yard.pid("a"));
    yard.kill_daemon("a");
    eventually("it runs again", || {
        yard.pid("a").filter(|pid| *pid != first)
    });
    // Nobody listens, and then the supervisor is killed: the alert is still there.
    eventually("the alert is kept", || (kept(&yard) > 0).then_some(()));
    yard.kill();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    yard.start();
    let mail = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&mail);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever is killed in the middle of it does so again.
            let _ = receive(stream?, &seen);
        }
        std::io::Result::Ok(())
    });
    eventually("the alert is mailed", || {
        let mail = mail.lock().unwrap();
        [
            "MAIL FROM: <monit@localhost>",
            "RCPT TO: <agent@local>",
            "Subject: Monit Alert",
            "Service: a",
            "  Event: Does not exist",
            "  Action: restart",
            "  Description: process is not running",
        ]
        .iter()
        .all(|line| mail.iter().any(|own| own == line))
        .then_some(())
    });
    eventually("nothing is kept any more", || {
        (kept(&yard) == 0).then_some(())
    });
    let mail = mail.lock().unwrap();
    let ids = mail.iter().filter(|line| line.starts_with("Message-id: <"));
    assert!(ids.clone().count() > 0 && ids.clone().all(|line| line.ends_with('>')));
}

/// Alerts that wait, as far as they are written.
fn kept(yard: &Yard) -> usize {
    let entries = std::fs::read_dir(yard.path("events"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter(|entry| entry.path().extension().is_some_and(|own| own == "json"))
        .count()
}

/// One conversation, line by line.
fn receive(stream: TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut in_data = false;
    answers.write_all(b"220-hello\r\n220 there\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        in_data = (in_data && line != ".") || line == "DATA";
        let quit = !in_data && line == "QUIT";
        let begins = line == "DATA";
        seen.lock().unwrap().push(line);
        if begins {
            answers.write_all(b"354 go on\r\n")?;
        } else if !in_data {
            answers.write_all(b"250 ok\r\n")?;
        }
        if quit {
            break;
        }
    }
    Ok(())
}

#[test]
fn operators_hands_find_what_they_know() {
    let mut yard = Yard::new(1, &[("a", "quick", ""), ("b", "quick", "depends on a")]);
    yard.start();
    for name in ["a", "b"] {
        eventually("it runs", || yard.pid(name));
    }
    let summary = eventually("the summary is complete", || {
        let (status, text) = yard.command(&["summary"]);
        assert!(status);
        text.contains("Process 'b'                         running\n")
            .then_some(text)
    });
    assert!(summary.starts_with("The Monit daemon 5.2.5 uptime: 0m \n\nProcess 'a'"));
    assert!(summary.contains("\nSystem 'system_"), "{summary}");
    let (_, status) = yard.command(&["status"]);
    assert!(
        status.contains("\n  monitoring status                 monitored\n"),
        "{status}"
    );
    assert!(
        status.contains("\n  uptime                            0m \n"),
        "{status}"
    );

    assert_eq!(yard.command(&["-g", "vcap", "stop"]), (true, String::new()));
    eventually("both are down", || yard.daemons().is_empty().then_some(()));
    assert!(
        yard.command(&["summary"])
            .1
            .contains("Process 'a'                         not monitored")
    );
    assert!(yard.command(&["start", "b"]).0, "with what it depends on");
    eventually("both run", || (yard.daemons().len() == 2).then_some(()));
    assert!(yard.command(&["unmonitor", "all"]).0);
    assert!(yard.command(&["monitor", "a"]).0);
    assert!(yard.command(&["restart", "a"]).0);
    let (well, text) = yard.command(&["start", "nobody"]);
    assert!(
        !well && text.contains("There is no service by that name"),
        "{text}"
    );
    let (well, text) = yard.command(&["dance", "all"]);
    assert!(
        !well && text.contains("invalid argument -- dance"),
        "{text}"
    );
    assert!(!yard.command(&["stop"]).0);

    yard.add("check process late with pidfile /nonexistent mode manual\n");
    assert!(yard.command(&["reload"]).0);
    eventually("the new one is known", || {
        yard.command(&["summary"])
            .1
            .contains("'late'")
            .then_some(())
    });
    assert!(yard.command(&["validate"]).0);
    assert_eq!(
        yard.command(&["-t"]),
        (true, "Control file syntax OK\n".to_owned())
    );
    yard.add("sunshine\n");
    let (well, text) = yard.command(&["-t"]);
    assert!(!well && text.contains("found 'sunshine'"), "{text}");
    assert!(!yard.command(&["reload"]).0, "nothing changes");
    assert!(
        yard.command(&["-V"])
            .1
            .starts_with("This is Monit version 5.2.5")
    );
    assert!(yard.command(&["procmatch", "no such process at all"]).0);
    yard.repair();
    let supervisor = yard.supervisor();
    let (well, text) = yard.command(&["quit"]);
    assert!(well, "{text}");
    assert_eq!(
        text,
        format!("monit daemon with pid [{supervisor}] killed\n")
    );
    eventually("it has ended", || {
        process_state(supervisor)
            .is_none_or(|state| state == 'Z')
            .then_some(())
    });
    assert!(!yard.daemons().is_empty(), "its services run on");
}

/// A second supervisor of the same services is refused.
#[test]
fn there_is_only_one() {
    let mut yard = Yard::new(1, &[("a", "quick", "")]);
    yard.start();
    eventually("it runs", || yard.pid("a"));
    let begun = Instant::now();
    let (well, text) = yard.command(&["-I"]);
    assert!(!well && text.contains("already running with pid"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
