//! How often memory is allocated for a line of output: never, once the guests have been seen. A count,
//! and so the same on every machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../benches/replay/host.rs"]
mod host;

use allocation_counter::{AllocationInfo, measure};
use host::{Host, LINES};
use telegraf_virt::config::{DeviceTag, Feature};

fn measured(host: &mut Host) -> AllocationInfo {
    measure(|| {
        host.collect();
    })
}

fn assert_none_from_the_third_collection_on(mut host: Host) {
    let first = measured(&mut host);
    assert!(first.count_total > 0, "nothing is counted: {first:?}");
    // Each guest has two samples that take turns: the second collection makes the other one.
    measured(&mut host);
    for collection in 3..=10 {
        let counted = measured(&mut host);
        assert_eq!(host.write().count(), 100 * LINES);
        assert_eq!(counted, AllocationInfo::default(), "collection {collection}");
    }
}

#[test]
fn no_memory_is_allocated_for_guests_that_were_collected_twice() {
    assert_none_from_the_third_collection_on(Host::new(100));
}

#[test]
fn no_memory_is_allocated_with_all_rates_and_device_tags_either() {
    let mut host = Host::new(100);
    host.choice.features =
        vec![Feature::Net, Feature::Disk, Feature::Cpu, Feature::Latency, Feature::Balloon];
    host.choice.device_tags = DeviceTag::ALL.to_vec();
    assert_none_from_the_third_collection_on(host);
}
