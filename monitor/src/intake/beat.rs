//! Reads heartbeats. Whatever is odd in one but its being a JSON object does not make the agent silent: a number may be a
//! string, a key may come twice or be of a type nobody expects. Nothing is allocated, however large the message is.
//!
//! Source: upstream's instance_manager.rb (`on_heartbeat`) and events/heartbeat.rb.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::registry::{JobState, Reading, Vitals};

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beat {
    /// `job_state`
    pub job_state: JobState,
    /// `number_of_processes`, where it is a number: upstream takes no other for one.
    pub processes: Option<u64>,
    /// `timestamp`
    pub timestamp: Timestamp,
    /// `vitals`
    pub vitals: Vitals,
}

/// A heartbeat's `timestamp`, which agents leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamp {
    /// Not there: it is now.
    #[default]
    Absent,
    /// In seconds since the epoch.
    At(i64),
    /// Not a number: the heartbeat is a sign of life and otherwise invalid.
    Invalid,
}

impl Beat {
    /// Reads one.
    pub fn read(payload: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(payload)
    }
}

impl<'de> Deserialize<'de> for Beat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            JobState,
            NumberOfProcesses,
            Timestamp,
            Vitals,
            #[serde(other)]
            Other,
        }
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Beat;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a heartbeat")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Beat, A::Error> {
                let mut beat = Beat::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::JobState => beat.job_state = map.next_value::<Loose<_>>()?.0,
                        Key::NumberOfProcesses => {
                            beat.processes = map.next_value::<Loose<Count>>()?.0.0;
                        }
                        Key::Timestamp => beat.timestamp = map.next_value::<Loose<_>>()?.0,
                        Key::Vitals => beat.vitals = map.next_value::<Loose<_>>()?.0,
                        Key::Other => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(beat)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A value that may come as anything. What it is not made of leaves it as it is by default.
trait Odd: Sized + Default {
    fn text(_: &str) -> Self {
        Self::default()
    }

    /// A number, and whether it is a whole one that is not negative.
    fn number(_: f64, _: Option<u64>) -> Self {
        Self::default()
    }

    /// `true`, an array or an object where neither is expected.
    fn other() -> Self {
        Self::default()
    }

    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::other())
    }

    fn array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Self, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::other())
    }
}

struct Loose<T>(T);

impl<'de, T: Odd> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything<T>(PhantomData<T>);
        impl<'de, T: Odd> Visitor<'de> for Anything<T> {
            type Value = Loose<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Loose(T::default()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Loose(T::other()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Loose(T::number(number as f64, Some(number))))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Loose(T::number(number as f64, None)))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Loose(T::number(number, None)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose(T::text(text)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::object(map).map(Loose)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
                T::array(array).map(Loose)
            }
        }
        deserializer.deserialize_any(Anything(PhantomData))
    }
}

impl Odd for JobState {
    fn text(text: &str) -> Self {
        Some(text).into()
    }

    fn number(_: f64, _: Option<u64>) -> Self {
        Self::Other
    }

    fn other() -> Self {
        Self::Other
    }
}

#[derive(Default)]
struct Count(Option<u64>);

impl Odd for Count {
    fn number(_: f64, whole: Option<u64>) -> Self {
        Self(whole)
    }
}

impl Odd for Timestamp {
    fn text(_: &str) -> Self {
        Self::Invalid
    }

    fn number(seconds: f64, _: Option<u64>) -> Self {
        Self::At(seconds as i64)
    }

    fn other() -> Self {
        Self::Invalid
    }
}

/// A number, or a string that is one.
#[derive(Clone, Copy, Default)]
struct Number(Option<f64>);

impl Odd for Number {
    fn text(text: &str) -> Self {
        Self(text.trim().parse().ok())
    }

    fn number(number: f64, _: Option<u64>) -> Self {
        Self(Some(number))
    }
}

/// The first element of an array.
#[derive(Default)]
struct First(Number);

impl Odd for First {
    fn array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Self, A::Error> {
        let first = array.next_element::<Loose<Number>>()?;
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self(first.map(|Loose(number)| number).unwrap_or_default()))
    }
}

/// The numbers of an object by the few names that matter.
#[derive(Default)]
struct Numbers {
    user: Number,
    sys: Number,
    wait: Number,
    percent: Number,
    inode_percent: Number,
    kb: Number,
}

impl Odd for Numbers {
    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            User,
            Sys,
            Wait,
            Percent,
            InodePercent,
            Kb,
            #[serde(other)]
            Other,
        }
        let mut numbers = Self::default();
        while let Some(key) = map.next_key()? {
            let number = match key {
                Key::User => &mut numbers.user,
                Key::Sys => &mut numbers.sys,
                Key::Wait => &mut numbers.wait,
                Key::Percent => &mut numbers.percent,
                Key::InodePercent => &mut numbers.inode_percent,
                Key::Kb => &mut numbers.kb,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *number = map.next_value::<Loose<Number>>()?.0;
        }
        Ok(numbers)
    }
}

#[derive(Default)]
struct Disks {
    system: Numbers,
    ephemeral: Numbers,
    persistent: Numbers,
}

impl Odd for Disks {
    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            System,
            Ephemeral,
            Persistent,
            #[serde(other)]
            Other,
        }
        let mut disks = Self::default();
        while let Some(key) = map.next_key()? {
            let disk = match key {
                Key::System => &mut disks.system,
                Key::Ephemeral => &mut disks.ephemeral,
                Key::Persistent => &mut disks.persistent,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *disk = map.next_value::<Loose<Numbers>>()?.0;
        }
        Ok(disks)
    }
}

impl Odd for Vitals {
    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            Load,
            Cpu,
            Mem,
            Swap,
            Disk,
            #[serde(other)]
            Other,
        }
        let mut vitals = Self::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Load => {
                    let First(load) = map.next_value::<Loose<_>>()?.0;
                    vitals.set(Reading::Load1, load.0);
                }
                Key::Cpu => {
                    let cpu: Numbers = map.next_value::<Loose<_>>()?.0;
                    vitals.set(Reading::CpuUser, cpu.user.0);
                    vitals.set(Reading::CpuSys, cpu.sys.0);
                    vitals.set(Reading::CpuWait, cpu.wait.0);
                }
                Key::Mem => {
                    let mem: Numbers = map.next_value::<Loose<_>>()?.0;
                    vitals.set(Reading::MemPercent, mem.percent.0);
                    vitals.set_mem_kb(mem.kb.0);
                }
                Key::Swap => {
                    let swap: Numbers = map.next_value::<Loose<_>>()?.0;
                    vitals.set(Reading::SwapPercent, swap.percent.0);
                    vitals.set_swap_kb(swap.kb.0);
                }
                Key::Disk => {
                    let disks: Disks = map.next_value::<Loose<_>>()?.0;
                    vitals.set(Reading::SystemPercent, disks.system.percent.0);
                    vitals.set(Reading::SystemInodes, disks.system.inode_percent.0);
                    vitals.set(Reading::EphemeralPercent, disks.ephemeral.percent.0);
                    vitals.set(Reading::EphemeralInodes, disks.ephemeral.inode_percent.0);
                    vitals.set(Reading::PersistentPercent, disks.persistent.percent.0);
                    vitals.set(Reading::PersistentInodes, disks.persistent.inode_percent.0);
                }
                Key::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(vitals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_are_both_numbers() {
        let text = br#"{"job_state":"running","number_of_processes":2,"index":0,"vitals":{"cpu":{"user":"1.5","sys":0.5,"wait":null},
            "load":["0.25","1"],"mem":{"kb":"1024","percent":"12"},"disk":{"system":{"percent":43},"persistent":{"inode_percent":"7"},"x":[]},"uptime":{"secs":1}}}"#;
        let beat = Beat::read(text).unwrap();
        assert_eq!(
            (beat.job_state, beat.processes, beat.timestamp),
            (JobState::Running, Some(2), Timestamp::Absent)
        );
        let of = |reading| beat.vitals.get(reading);
        assert_eq!(
            (
                of(Reading::CpuUser),
                of(Reading::CpuSys),
                of(Reading::CpuWait)
            ),
            (Some(1.5), Some(0.5), None)
        );
        assert_eq!(
            (of(Reading::Load1), beat.vitals.mem_kb()),
            (Some(0.25), Some(1024))
        );
        assert_eq!(
            (
                of(Reading::SystemPercent),
                of(Reading::PersistentInodes),
                of(Reading::EphemeralPercent)
            ),
            (Some(43.), Some(7.), None)
        );
        assert_eq!(beat.vitals.cpu(), Some(2.));
    }

    #[test]
    fn what_is_odd_within_does_not_make_an_agent_silent() {
        for text in [
            r#"{}"#,
            r#"{"job_state":7,"number_of_processes":"3","vitals":[]}"#,
            r#"{"job_state":{"a":[1]},"number_of_processes":-1,"vitals":"none","timestamp":"soon"}"#,
            r#"{"job_state":"running","job_state":"failing","vitals":{"disk":7,"mem":[1,2],"cpu":true,"load":{"a":1}}}"#,
            r#"{"number_of_processes":1e300,"vitals":{"mem":{"kb":1e300,"percent":"NaN"},"load":[[1],2]}}"#,
        ] {
            Beat::read(text.as_bytes()).expect(text);
        }
        let beat = Beat::read(br#"{"job_state":"running","job_state":"failing"}"#).unwrap();
        assert_eq!(beat.job_state, JobState::Failing);
        let beat = Beat::read(br#"{"timestamp":"soon","number_of_processes":"0"}"#).unwrap();
        assert_eq!((beat.timestamp, beat.processes), (Timestamp::Invalid, None));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in [
            "",
            "no",
            "[]",
            "7",
            "null",
            "\"x\"",
            "{",
            "{}x",
            "{\"a\"",
            "\u{feff}{}",
        ] {
            assert!(Beat::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Beat::read(b"{\"job_state\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = |open: &str, close: &str| {
            let (open, close) = (open.repeat(300_000), close.repeat(300_000));
            format!("{{\"x\":{open}1{close},\"vitals\":{{\"disk\":{open}1{close}}}}}")
        };
        assert!(Beat::read(deep("[", "]").as_bytes()).is_ok());
        assert!(Beat::read(deep("{\"a\":", "}").as_bytes()).is_ok());
    }
}
