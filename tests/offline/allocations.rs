//! How often memory is allocated for a line of output: never, once the guests have been seen. A count,
//! and so the same on every machine.

#[path = "../../benches/replay/host.rs"]
mod host;

use allocation_counter::{AllocationInfo, measure};
use host::{Host, LINES};
use telegraf_virt::config::{DeviceTag, Feature};
use telegraf_virt::devices::metadata::{Metadata, Path};
use telegraf_virt::line_protocol::Tags;
use telegraf_virt::points::UserTags;

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

#[test]
fn no_memory_is_allocated_for_tags_out_of_metadata_either() {
    let path = |text: &str| Path::parse(text).unwrap();
    let paths = [path("//n:flavor/@name"), path("//n:user")];
    let names = ["flavor", "user"].map(str::to_owned);
    let xml =
        "<domain><metadata><n:flavor name='m1, small'/><n:user>a b</n:user></metadata></domain>";
    let metadata = Metadata::read(xml, &paths).unwrap();
    let from_metadata: Vec<(String, Path)> = names.into_iter().zip(paths).collect();
    let mut tags = UserTags::new(&[("dc".to_owned(), "fra1".to_owned())], &from_metadata);
    let source = Tags::default();
    let of_guest = |tags: &mut UserTags| {
        tags.of_guest(&source, Some(&metadata));
    };
    assert!(measure(|| of_guest(&mut tags)).count_total > 0);
    assert_eq!(measure(|| of_guest(&mut tags)), AllocationInfo::default());
}
