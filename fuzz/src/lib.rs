//! What the fuzz targets share: what a right output looks like, written once more and without the
//! program's own code. Each target feeds one door that strangers' bytes come in by:
//!
//! | target | what comes in | what must hold |
//! |---|---|---|
//! | `xml` | a domain's XML | within the documented bounds; the same devices as another XML parser sees |
//! | `metadata` | paths into a guest's metadata, and its XML | refused in one short line; within bounds; the same values as another XML parser sees |
//! | `cache` | cache files, whole, forged, cut and flipped | all that a file says or a trouble, never half of it; replaced by the next save |
//! | `anomalies` | files of what was learned, and states of detectors | all that a file says or a trouble; what is read goes on to learn, and is saved and read back equal |
//! | `config` | a configuration | refused in one short line, or within its bounds and fit for line protocol |
//! | `parameters` | a guest's typed parameters, twice | lines that parse, with the schema's tags and fields and no others, and the right sums |
//! | `line_protocol` | tags and strings | they parse back value for value |
//! | `replies` | a hypervisor's replies with flipped bytes | within memory, no more guests than there are, every call comes back |
//! | `recording` | a recording | what is read is written and read back equal |
//!
//! `tests/fuzz` builds and runs them all.

pub mod reference;
pub mod schema;
pub mod state_file;
pub mod xml;
