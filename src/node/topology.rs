//! What the host's capabilities say of its CPUs and its NUMA cells. The text is libvirt's, and is read with
//! the same bounds as a domain's.

use quick_xml::events::BytesStart;

use crate::devices::walk::{OpenPath, Stop, Visitor, attribute, walk_root};
use crate::libvirt::cpu_set;

/// More NUMA cells than libvirt tells of.
const CELLS_MAX: usize = 1024;
/// More CPUs of a cell, or sizes of pages, than there are.
const PARTS_MAX: usize = 65_536;

/// A host's CPU model and its NUMA cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    pub(super) cpu_model: String,
    pub(super) cells: Vec<CellOfHost>,
}

/// A NUMA cell of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CellOfHost {
    pub(super) id: u32,
    cpus: Vec<u32>,
    /// The sizes of pages in KiB, and how many there are.
    pages: Vec<(u32, u64)>,
}

impl CellOfHost {
    /// Its CPUs, such as `0-15`.
    pub(super) fn cpuset(&self) -> String {
        let mut cpus = self.cpus.clone();
        cpus.sort_unstable();
        cpu_set(cpus.into_iter())
    }

    /// The pages that are larger than those that all memory is made of.
    pub(super) fn huge_pages(&self) -> impl Iterator<Item = (u32, u64)> {
        let smallest = self.pages.iter().map(|&(size, _)| size).min();
        self.pages.iter().copied().filter(move |&(size, _)| Some(size) > smallest)
    }
}

impl Topology {
    /// Reads the host's capabilities; what they do not say is absent.
    pub(super) fn of(capabilities: &str) -> Self {
        let mut reader = TopologyReader::default();
        match walk_root("capabilities", capabilities, &mut reader) {
            Ok(()) => reader.topology,
            Err(_) => Self::default(),
        }
    }
}

#[derive(Default)]
struct TopologyReader {
    topology: Topology,
    /// The size of the pages whose element is open.
    page_kib: Option<u32>,
}

impl Visitor for TopologyReader {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        let number = |name| attribute(tag, name).map(|value| value?.parse::<u32>().ok());
        let Some(path) = path.as_str().strip_prefix("/capabilities/host/") else {
            return Ok(false);
        };
        let cells = &mut self.topology.cells;
        match path {
            "cpu/model" => return Ok(true),
            "topology/cells/cell" if cells.len() < CELLS_MAX => {
                cells.extend(number("id")?.map(|id| CellOfHost { id, ..CellOfHost::default() }));
            }
            "topology/cells/cell/cpus/cpu" => {
                if let (Some(cell), Some(cpu)) = (cells.last_mut(), number("id")?)
                    && cell.cpus.len() < PARTS_MAX
                {
                    cell.cpus.push(cpu);
                }
            }
            "topology/cells/cell/pages" => {
                let is_kib = attribute(tag, "unit")?.is_none_or(|unit| unit == "KiB");
                self.page_kib = number("size")?.filter(|_| is_kib);
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        let text = text.map_or("", str::trim);
        match path.as_str() {
            "/capabilities/host/cpu/model" => text.clone_into(&mut self.topology.cpu_model),
            "/capabilities/host/topology/cells/cell/pages" => {
                let size = self.page_kib.take();
                if let (Some(cell), Some(size), Ok(total)) =
                    (self.topology.cells.last_mut(), size, text.parse())
                    && cell.pages.len() < PARTS_MAX
                {
                    cell.pages.push((size, total));
                }
            }
            _ => {}
        }
    }

    /// The guests that the host can have come behind it.
    fn is_done(&self) -> bool {
        false
    }
}

/// The type of a storage pool, by its XML.
pub(super) fn pool_type(xml: &str) -> Option<String> {
    struct TypeReader(Option<String>);
    impl Visitor for TypeReader {
        fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
            if path.depth() == 1 {
                self.0 = attribute(tag, "type")?;
            }
            Ok(false)
        }

        fn is_done(&self) -> bool {
            self.0.is_some()
        }
    }
    let mut kind = TypeReader(None);
    walk_root("pool", xml, &mut kind).ok()?;
    kind.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_pages_and_cpus_are_read() {
        let topology = Topology::of(
            "<capabilities><host><uuid>u</uuid><cpu><arch>x86_64</arch><model>EPYC-Rome</model>\
             <feature name='x'/><pages unit='KiB' size='4'/></cpu><topology><cells num='2'>\
             <cell id='0'><memory unit='KiB'>9</memory><pages unit='KiB' size='4'>5298739</pages>\
             <pages unit='KiB' size='2048'>16</pages><pages unit='KiB' size='1048576'>1</pages>\
             <cpus num='3'><cpu id='0' socket_id='0'/><cpu id='2'/><cpu id='1'/></cpus></cell>\
             <cell id='8'><cpus num='0'/></cell></cells></topology></host>\
             <guest><host><cpu><model>no</model></cpu></host></guest></capabilities>",
        );
        assert_eq!(topology.cpu_model, "EPYC-Rome");
        let ids: Vec<_> = topology.cells.iter().map(|cell| (cell.id, cell.cpuset())).collect();
        assert_eq!(ids, [(0, "0-2".to_owned()), (8, String::new())]);
        let pages = topology.cells[0].huge_pages().collect::<Vec<_>>();
        assert_eq!(pages, [(2048, 16), (1_048_576, 1)]);
        assert_eq!(topology.cells[1].huge_pages().count(), 0);
    }

    #[test]
    fn what_is_no_such_text_says_nothing() {
        for text in ["", "<domain/>", "<capabilities><host>", "<capabilities/>", "<a"] {
            assert_eq!(Topology::of(text), Topology::default(), "{text}");
        }
        assert_eq!(pool_type("<pool type='dir'><name>a</name></pool>").as_deref(), Some("dir"));
        for text in ["", "<pool/>", "<pool", "<x type='dir'/>"] {
            assert_eq!(pool_type(text), None, "{text}");
        }
    }
}
