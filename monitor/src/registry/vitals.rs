//! The numbers of a heartbeat, small enough to be kept for every agent, and how they went lately.

use std::time::Duration;

/// One number of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Load average of one minute.
    Load1,
    /// Per cent of CPU time in programs.
    CpuUser,
    /// Per cent of CPU time in the kernel.
    CpuSys,
    /// Per cent of CPU time spent waiting for disks.
    CpuWait,
    /// Per cent of memory in use.
    MemPercent,
    /// Per cent of swap in use.
    SwapPercent,
    /// Per cent of the root disk in use.
    SystemPercent,
    /// Per cent of the root disk's inodes in use.
    SystemInodes,
    /// Per cent of the ephemeral disk in use.
    EphemeralPercent,
    /// Per cent of the ephemeral disk's inodes in use.
    EphemeralInodes,
    /// Per cent of the persistent disk in use.
    PersistentPercent,
    /// Per cent of the persistent disk's inodes in use.
    PersistentInodes,
}

/// How many [`Reading`]s there are.
const READINGS: usize = 12;

const NONE: u16 = u16::MAX;

/// All numbers of one heartbeat, in hundredths: 327.67 is more than a percentage or a load anybody survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    hundredths: [u16; READINGS],
    mem_kb: u32,
    swap_kb: u32,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            hundredths: [NONE; READINGS],
            mem_kb: u32::MAX,
            swap_kb: u32::MAX,
        }
    }
}

impl Vitals {
    /// A number as the agent sent it; `None` where it sent none that is one.
    pub fn get(&self, reading: Reading) -> Option<f64> {
        let value = self.hundredths[reading as usize];
        (value != NONE).then(|| f64::from(value) / 100.)
    }

    /// Memory in use, in KB.
    pub fn mem_kb(&self) -> Option<u32> {
        (self.mem_kb != u32::MAX).then_some(self.mem_kb)
    }

    /// Swap in use, in KB.
    pub fn swap_kb(&self) -> Option<u32> {
        (self.swap_kb != u32::MAX).then_some(self.swap_kb)
    }

    /// CPU time that was not idle, in per cent.
    pub fn cpu(&self) -> Option<f64> {
        let parts = [Reading::CpuUser, Reading::CpuSys, Reading::CpuWait];
        let known = parts.into_iter().filter_map(|part| self.get(part));
        known.reduce(|sum, part| sum + part)
    }

    /// The fullest disk, in per cent.
    pub fn fullest_disk(&self) -> Option<f64> {
        let disks = [
            Reading::SystemPercent,
            Reading::EphemeralPercent,
            Reading::PersistentPercent,
        ];
        let known = disks.into_iter().filter_map(|disk| self.get(disk));
        known.reduce(f64::max)
    }

    pub(crate) fn set(&mut self, reading: Reading, value: Option<f64>) {
        let value = value.filter(|value| value.is_finite() && *value >= 0.);
        self.hundredths[reading as usize] = value.map_or(NONE, |value| {
            (value * 100.).round().min(f64::from(NONE - 1)) as u16
        });
    }

    pub(crate) fn set_mem_kb(&mut self, value: Option<f64>) {
        self.mem_kb = kilobytes(value);
    }

    pub(crate) fn set_swap_kb(&mut self, value: Option<f64>) {
        self.swap_kb = kilobytes(value);
    }
}

fn kilobytes(value: Option<f64>) -> u32 {
    let value = value.filter(|value| value.is_finite() && *value >= 0.);
    value.map_or(u32::MAX, |value| value.min(f64::from(u32::MAX - 1)) as u32)
}

/// How many samples are kept.
pub const SAMPLES: usize = 30;

/// The least time between two samples; [`SAMPLES`] of them are half an hour.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(60);

/// CPU, memory and fullest disk in per cent, 255 where unknown.
pub type Sample = [u8; 3];

/// The last [`SAMPLES`] samples.
#[derive(Clone, Debug)]
pub struct History {
    samples: [Sample; SAMPLES],
    next: u8,
    len: u8,
}

impl Default for History {
    fn default() -> Self {
        Self {
            samples: [[u8::MAX; 3]; SAMPLES],
            next: 0,
            len: 0,
        }
    }
}

impl History {
    pub(crate) fn push(&mut self, vitals: &Vitals) {
        let percent = |value: Option<f64>| value.map_or(u8::MAX, |value| value.min(100.) as u8);
        self.samples[usize::from(self.next)] = [
            percent(vitals.cpu()),
            percent(vitals.get(Reading::MemPercent)),
            percent(vitals.fullest_disk()),
        ];
        self.next = (self.next + 1) % SAMPLES as u8;
        self.len = (self.len + 1).min(SAMPLES as u8);
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        let first = (usize::from(self.next) + SAMPLES - usize::from(self.len)) % SAMPLES;
        (0..usize::from(self.len)).map(move |at| self.samples[(first + at) % SAMPLES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_forgets_what_is_oldest() {
        let mut history = History::default();
        for percent in 0..40 {
            let mut vitals = Vitals::default();
            vitals.set(Reading::MemPercent, Some(f64::from(percent)));
            history.push(&vitals);
        }
        let memory: Vec<_> = history.samples().map(|sample| sample[1]).collect();
        assert_eq!(memory, (10..40).collect::<Vec<_>>());
        assert_eq!(history.samples().next(), Some([255, 10, 255]));
    }

    #[test]
    fn what_is_not_a_number_is_not_kept() {
        let mut vitals = Vitals::default();
        vitals.set(Reading::Load1, Some(12.345));
        vitals.set(Reading::CpuUser, Some(f64::NAN));
        vitals.set(Reading::CpuSys, Some(-1.));
        vitals.set(Reading::CpuWait, Some(1e300));
        assert_eq!(vitals.get(Reading::Load1), Some(12.35));
        assert_eq!(vitals.get(Reading::CpuUser), None);
        assert_eq!(vitals.get(Reading::CpuSys), None);
        assert_eq!(vitals.get(Reading::CpuWait), Some(655.34));
        assert_eq!(vitals.mem_kb(), None);
    }
}
