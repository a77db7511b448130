//! Tests of the device lists in memory: how long an inventory is fresh.

use super::*;

const NOW: u64 = 1_700_000_000;
const TTL: Duration = Duration::from_secs(300);

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn inventory(id: i32) -> Arc<Inventory> {
    Arc::new(Inventory { id, ..Inventory::default() })
}

#[test]
fn an_entry_is_fresh_for_its_own_boot_until_its_part_of_the_ttl_has_passed() {
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(7), NOW);
    let fresh = |id, now, ttl| cache.fresh(&uuid(1), id, now, ttl).is_some();
    assert!(fresh(7, NOW, TTL));
    assert!(fresh(7, NOW + 149, TTL));
    assert!(!fresh(7, NOW + 300, TTL));
    assert!(!fresh(8, NOW, TTL), "another boot of the guest");
    assert!(!fresh(7, NOW - 1, TTL), "the clock stepped back");
    assert!(!fresh(7, NOW, Duration::ZERO));
    assert!(fresh(7, u64::MAX / 4, Duration::MAX));
    assert_eq!(cache.fresh(&uuid(2), 7, NOW, TTL), None);
}

#[test]
fn guests_that_were_read_together_expire_one_after_another() {
    let mut cache = DeviceCache::default();
    for number in 0..500 {
        cache.insert(uuid(number), "g", inventory(1), NOW);
    }
    let fresh_at =
        |age| (0..500).filter(|n| cache.fresh(&uuid(*n), 1, NOW + age, TTL).is_some()).count();
    let (mut before, mut most) = (500, 0);
    assert_eq!(fresh_at(149), 500);
    for age in (150..=310).step_by(10) {
        let now = fresh_at(age);
        most = most.max(before - now);
        before = now;
    }
    assert_eq!(fresh_at(300), 0);
    // 500 guests over 15 collections make 33 each.
    assert!(most <= 60, "{most} expired in one collection");
}
