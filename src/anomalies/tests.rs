use super::*;
use crate::devices::{DiskDevice, NicDevice};
use crate::sample::{Cpu, Disk, Memory, Nic};

const PACE: Pace = Pace { slot_s: 300.0, learning: 100 };
const START_S: u64 = 1_700_000_100;

/// A guest that is sampled every 100 s, and what it does in between.
struct Lived {
    anomalies: Anomalies,
    before: Option<Domain>,
    now: Domain,
    inventory: Inventory,
    unix_s: u64,
}

impl Lived {
    fn new() -> Self {
        let disk =
            Disk { name: "vda".into(), wr_bytes: Some(0), wr_reqs: Some(0), ..Disk::default() };
        let nic = Nic { name: "vnet0".into(), rx_bytes: Some(0), ..Nic::default() };
        let now = Domain {
            id: 1,
            name: "a".into(),
            uuid: Uuid::from_u128(7),
            state: Some(1),
            cpu: Cpu { time_ns: Some(0), ..Cpu::default() },
            vcpu_count: Some(2),
            memory: Memory { maximum_kib: Some(1000), minor_faults: Some(5), ..Memory::default() },
            disks: vec![disk],
            nics: vec![nic],
            ..Domain::default()
        };
        let inventory = Inventory {
            id: 1,
            nics: vec![NicDevice {
                target: Some("vnet0".into()),
                mac: Some("52:54:00:00:00:01".into()),
                ..NicDevice::default()
            }],
            disks: vec![DiskDevice { target: "vda".into(), ..DiskDevice::default() }],
            ..Inventory::default()
        };
        Self { anomalies: Anomalies::new(PACE), before: None, now, inventory, unix_s: START_S }
    }

    /// 100 s later, with so much CPU in percent and so many bytes written a second.
    fn pass(&mut self, cpu: u64, written: u64) -> Option<Summary> {
        self.before = Some(self.now.clone());
        self.unix_s += 100;
        let add = |to: &mut Option<u64>, gain| *to = to.map(|old| old + gain);
        add(&mut self.now.cpu.time_ns, cpu * 2 * 1_000_000_000);
        add(&mut self.now.disks[0].wr_bytes, written * 100);
        add(&mut self.now.disks[0].wr_reqs, written / 40);
        add(&mut self.now.nics[0].rx_bytes, 1_000_000);
        self.look()
    }

    fn look(&mut self) -> Option<Summary> {
        self.now.answered_at_ns = self.unix_s * 1_000_000_000;
        let unix = Duration::from_secs(self.unix_s);
        let (before, inventory) = (self.before.as_ref(), Some(&self.inventory));
        self.anomalies.observe(0, &self.now, before, inventory, unix)
    }

    /// So many slots of the usual life; the last summary.
    fn usual(&mut self, slots: u64) -> Option<Summary> {
        let steps =
            (0..3 * slots).map(|step| (5 + step / 3 % 4 * 2, 100_000 + step / 3 % 5 * 10_000));
        steps.filter_map(|(cpu, written)| self.pass(cpu, written)).last()
    }

    fn series(&self) -> Vec<(String, SeriesKind, u32)> {
        let guest = self.anomalies.guests(0).next().unwrap();
        let of_part = |part: &guest::Part| -> Vec<_> {
            let name = part.name.to_string();
            part.series.iter().map(|it| (name.clone(), it.kind, it.detector.seen())).collect()
        };
        guest.parts.iter().flat_map(of_part).collect()
    }

    fn seen(&self, kind: SeriesKind) -> u32 {
        self.series().iter().find(|(_, of, _)| *of == kind).map_or(0, |(_, _, seen)| *seen)
    }
}

#[test]
fn a_guest_that_writes_as_never_before_is_flagged_and_named() {
    let mut lived = Lived::new();
    let quiet = lived.usual(150).unwrap();
    assert_eq!((quiet.flagged, quiet.learning, quiet.events), (0, 0, 0), "{quiet:?}");
    assert_eq!(quiet.learned, 4, "cpu, bytes and requests of vda, bytes of the NIC: {quiet:?}");
    let mut last = None;
    for _ in 0..4 {
        last = lived.pass(7, 40_000_000).or(last);
    }
    let last = last.unwrap();
    assert_eq!((last.flagged, last.events), (2, 2), "{last:?}");
    let top = last.top.unwrap();
    assert_eq!(top.series, "vda wr_bytes", "the first of two that are alike");
    assert_eq!(top.verdict.reason(), "range");
    assert!((100_000.0..200_000.0).contains(&top.verdict.high), "{top:?}");
    let report =
        report(&lived.anomalies.guests(0).cloned().collect::<Vec<_>>(), PACE, lived.unix_s);
    assert!(report.starts_with("a: 2 of 4 series\n"), "{report}");
    assert!(report.contains("  vda writes 38MiB/s, never outside "), "{report}");
    // After two hours of the usual life the flags are gone, and the events stay.
    let later = lived.usual(60).unwrap();
    assert_eq!((later.flagged, later.events >= 2), (0, true), "{later:?}");
}

#[test]
fn a_slot_needs_half_of_its_time() {
    let mut lived = Lived::new();
    lived.usual(10);
    let seen = lived.seen(SeriesKind::CpuPercent);
    // Nothing of the guest for two slots: its next sample has no earlier one.
    lived.unix_s += 600;
    lived.before = None;
    lived.look();
    assert!(lived.seen(SeriesKind::CpuPercent) <= seen + 1);
    let seen = lived.seen(SeriesKind::CpuPercent);
    lived.usual(5);
    assert!(lived.seen(SeriesKind::CpuPercent) >= seen + 4);
}

#[test]
fn an_interval_over_several_slots_counts_in_each() {
    let mut lived = Lived::new();
    lived.usual(10);
    let seen = lived.seen(SeriesKind::CpuPercent);
    lived.before = Some(lived.now.clone());
    lived.unix_s += 1500;
    lived.now.cpu.time_ns = lived.now.cpu.time_ns.map(|time| time + 1_000_000_000);
    lived.look();
    assert_eq!(lived.seen(SeriesKind::CpuPercent), seen + 5);
}

#[test]
fn ten_minutes_after_a_start_or_a_resume_nothing_counts() {
    for is_start in [true, false] {
        let mut lived = Lived::new();
        lived.usual(10);
        let seen = lived.seen(SeriesKind::CpuPercent);
        if is_start {
            (lived.now.id, lived.inventory.id) = (2, 2);
            lived.before = None;
            lived.look();
        } else {
            lived.now.state = Some(3);
            lived.pass(0, 0);
            lived.now.state = Some(1);
        }
        lived.usual(2);
        assert_eq!(lived.seen(SeriesKind::CpuPercent), seen, "start: {is_start}");
        lived.usual(5);
        assert!(lived.seen(SeriesKind::CpuPercent) > seen, "start: {is_start}");
    }
}

#[test]
fn a_reboot_drops_the_open_slot_and_keeps_the_model() {
    let mut lived = Lived::new();
    lived.usual(10);
    let seen = lived.seen(SeriesKind::CpuPercent);
    lived.pass(5, 0);
    lived.pass(5, 0);
    lived.now.memory.minor_faults = Some(1);
    lived.pass(5, 0);
    assert!(lived.seen(SeriesKind::CpuPercent) <= seen + 1);
    lived.usual(5);
    assert!(lived.seen(SeriesKind::CpuPercent) >= seen + 4);
}

#[test]
fn another_device_or_size_begins_again_and_a_new_name_of_a_nic_does_not() {
    let mut lived = Lived::new();
    lived.usual(50);
    lived.now.nics[0].name = "vnet9".into();
    lived.inventory.nics[0].target = Some("vnet9".into());
    lived.usual(3);
    assert!(lived.seen(SeriesKind::RxBytes) > 40);
    assert!(lived.series().iter().any(|(name, ..)| name == "vnet9"));
    lived.inventory.nics[0].mac = Some("52:54:00:00:00:02".into());
    lived.inventory.disks[0].serial = Some("other".into());
    lived.usual(3);
    assert!(lived.seen(SeriesKind::RxBytes) < 5);
    assert!(lived.seen(SeriesKind::WrBytes) < 5);
    assert!(lived.seen(SeriesKind::CpuPercent) > 40);
    lived.now.vcpu_count = Some(4);
    lived.usual(3);
    assert!(lived.seen(SeriesKind::CpuPercent) < 5);
}

#[test]
fn a_clock_that_steps_is_no_news() {
    let mut lived = Lived::new();
    lived.usual(150);
    for step in [-900_000_i64, 1_800_000, -7, 99_999_900] {
        lived.unix_s = lived.unix_s.checked_add_signed(step).unwrap();
        lived.before = None;
        lived.look();
        let summary = lived.usual(4).unwrap();
        assert_eq!(summary.flagged, 0, "{step}: {summary:?}");
    }
}

#[test]
fn what_was_learned_is_saved_and_goes_on() {
    let mut lived = Lived::new();
    lived.usual(150);
    lived.pass(90, 50_000_000);
    lived.usual(1);
    let guest = lived.anomalies.guests(0).next().unwrap().clone();
    let text = serde_json::to_string(&SavedGuest::from(&guest)).unwrap();
    let saved: SavedGuest = serde_json::from_str(&text).unwrap();
    let restored = saved.model().unwrap();
    assert_eq!(restored.flags().count(), guest.flags().count());
    let mut anomalies = Anomalies::new(PACE);
    anomalies.restore(0, restored);
    assert_eq!(anomalies.series(), lived.anomalies.series());
    lived.anomalies = anomalies;
    let seen = lived.seen(SeriesKind::CpuPercent);
    lived.usual(3);
    assert!(lived.seen(SeriesKind::CpuPercent) >= seen + 2);
    let broken = text.replacen("\"state\":\"", "\"state\":\"!", 1);
    let saved: SavedGuest = serde_json::from_str(&broken).unwrap();
    assert_eq!(saved.model(), None);
}

#[test]
fn no_more_series_than_the_cap_are_learned_and_old_guests_are_forgotten() {
    let mut lived = Lived::new();
    lived.usual(4);
    let of_guest = lived.anomalies.series();
    for number in 0..SERIES_MAX / of_guest + 10 {
        let uuid = Uuid::from_u128(1000 + number as u128);
        let now = Domain { uuid, ..lived.now.clone() };
        let before = lived.before.clone().map(|before| Domain { uuid, ..before });
        for after_s in [0, 700, 800] {
            let unix = Duration::from_secs(lived.unix_s + after_s);
            lived.anomalies.observe(0, &now, before.as_ref(), Some(&lived.inventory), unix);
        }
    }
    assert!(lived.anomalies.series() <= SERIES_MAX && lived.anomalies.is_full());
    lived.anomalies.forget_old(lived.unix_s + KEPT_S + 900);
    assert_eq!(lived.anomalies.series(), 0);
}

proptest::proptest! {
    /// Any values, any gaps, any clock: no panic, and a state that stays small.
    #[test]
    fn any_life_is_survived(
        steps in proptest::collection::vec(
            (proptest::num::u64::ANY, 0..5_000_u64, 0..8_u8, proptest::num::u64::ANY), 0..120,
        ),
    ) {
        let mut lived = Lived::new();
        for (counter, seconds, what, other) in steps {
            lived.before = Some(lived.now.clone());
            lived.unix_s = if what == 0 { other >> 31 } else { lived.unix_s.saturating_add(seconds) };
            let now = &mut lived.now;
            match what {
                1 => now.id = (counter % 3) as i32 - 1,
                2 => now.state = Some((counter % 8) as i64),
                3 => now.vcpu_count = Some(counter),
                4 => now.cpu.time_ns = None,
                5 => now.memory.available_kib = Some(counter),
                6 => now.memory.usable_kib = Some(other),
                _ => now.cpu.time_ns = Some(counter),
            }
            now.disks[0].wr_bytes = Some(other);
            now.disks[0].wr_time_ns = Some(counter);
            now.disks[0].wr_reqs = Some(other / 3);
            lived.inventory.id = now.id;
            if let Some(summary) = lived.look() {
                proptest::prop_assert!(summary.flagged <= summary.learned + summary.learning);
            }
            proptest::prop_assert!(lived.anomalies.series() <= 13);
        }
    }
}
