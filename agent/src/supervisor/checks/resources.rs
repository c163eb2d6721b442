//! Limits on what processes and the machine use.

use super::facts::SystemFacts;
use crate::supervisor::monitrc::{ResourceKind, ResourceLimit};
use crate::supervisor::service::{Outcome, Vitals};

/// Failed if all limits are exceeded; the message is about the first.
pub(super) fn test(
    limits: &[ResourceLimit],
    vitals: Option<&Vitals>,
    system: &SystemFacts,
) -> Outcome {
    let mut messages = Vec::new();
    let mut exceeded = true;
    for limit in limits {
        // A process that cannot be measured is about to be missing, which is another test's business.
        let Some((value, name, unit)) = measure(limit.kind, vitals, system) else {
            return Outcome::NotChanged;
        };
        let over = limit.operator.holds(value, limit.limit);
        exceeded &= over;
        let sign = limit.operator.symbol();
        messages.push(if over {
            format!(
                "{name} of {} matches resource limit [{name}{sign}{}]",
                show(value, unit),
                show(limit.limit, unit)
            )
        } else {
            format!(
                "{name} is within the limit [{name}{sign}{}, now {}]",
                show(limit.limit, unit),
                show(value, unit)
            )
        });
    }
    let message = messages.into_iter().next().unwrap_or_default();
    if exceeded {
        Outcome::Failed(message)
    } else {
        Outcome::Succeeded(message)
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Percent,
    Kb,
    Count,
    Load,
}

fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{value:.1}%"),
        Unit::Kb => format!("{value:.0}kB"),
        Unit::Count => format!("{value:.0}"),
        Unit::Load => format!("{value:.1}"),
    }
}

fn measure(
    kind: ResourceKind,
    vitals: Option<&Vitals>,
    system: &SystemFacts,
) -> Option<(f64, &'static str, Unit)> {
    Some(match (kind, vitals) {
        (ResourceKind::Load1, _) => (system.load[0], "loadavg(1min)", Unit::Load),
        (ResourceKind::Load5, _) => (system.load[1], "loadavg(5min)", Unit::Load),
        (ResourceKind::Load15, _) => (system.load[2], "loadavg(15min)", Unit::Load),
        (ResourceKind::CpuUser, _) => (system.cpu_user, "cpu user usage", Unit::Percent),
        (ResourceKind::CpuSystem, _) => (system.cpu_system, "cpu system usage", Unit::Percent),
        (ResourceKind::CpuWait, _) => (system.cpu_wait, "cpu wait usage", Unit::Percent),
        (ResourceKind::SwapPercent, _) => (system.swap_percent, "swap usage", Unit::Percent),
        (ResourceKind::SwapKb, _) => (system.swap_kb as f64, "swap amount", Unit::Kb),
        (ResourceKind::MemoryPercent, None) => (system.memory_percent, "mem usage", Unit::Percent),
        (ResourceKind::MemoryKb, None) => (system.memory_kb as f64, "mem amount", Unit::Kb),
        (_, None) => return None,
        (ResourceKind::Cpu, Some(vitals)) => (vitals.cpu_percent, "cpu usage", Unit::Percent),
        (ResourceKind::TotalCpu, Some(vitals)) => {
            (vitals.total_cpu_percent, "cpu usage (total)", Unit::Percent)
        }
        (ResourceKind::MemoryPercent, Some(vitals)) => {
            (vitals.memory_percent, "mem usage", Unit::Percent)
        }
        (ResourceKind::MemoryKb, Some(vitals)) => (vitals.memory_kb as f64, "mem amount", Unit::Kb),
        (ResourceKind::TotalMemoryPercent, Some(vitals)) => (
            vitals.total_memory_percent,
            "total mem usage",
            Unit::Percent,
        ),
        (ResourceKind::TotalMemoryKb, Some(vitals)) => {
            (vitals.total_memory_kb as f64, "total mem amount", Unit::Kb)
        }
        (ResourceKind::Children, Some(vitals)) => {
            (f64::from(vitals.children), "children", Unit::Count)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::test;
    use crate::supervisor::checks::facts::SystemFacts;
    use crate::supervisor::monitrc::{Operator, ResourceKind, ResourceLimit};
    use crate::supervisor::service::{Outcome, Vitals};

    #[test]
    fn a_limit_that_is_exceeded_says_so() {
        let vitals = Vitals {
            total_memory_kb: 2048,
            ..Vitals::default()
        };
        let limit = |limit: f64| ResourceLimit {
            kind: ResourceKind::TotalMemoryKb,
            operator: Operator::Greater,
            limit,
        };
        let outcome = test(&[limit(1024.0)], Some(&vitals), &SystemFacts::default());
        let expected =
            "total mem amount of 2048kB matches resource limit [total mem amount>1024kB]";
        assert_eq!(outcome, Outcome::Failed(expected.to_owned()));
        assert!(matches!(
            test(&[limit(4096.0)], Some(&vitals), &SystemFacts::default()),
            Outcome::Succeeded(_)
        ));
        assert!(matches!(
            test(
                &[limit(1024.0), limit(4096.0)],
                Some(&vitals),
                &SystemFacts::default()
            ),
            Outcome::Succeeded(_)
        ));
        assert_eq!(
            test(&[limit(1.0)], None, &SystemFacts::default()),
            Outcome::NotChanged
        );
    }
}
