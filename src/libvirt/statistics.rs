//! The bulk statistics call and its typed parameters, read where libvirt put them.

use std::ffi::{CStr, c_char, c_uint};
use std::{ptr, slice};

use virt::sys;

use super::array::until_null;
use super::{Connection, Error, Guest, Kind, Value};

/// A group of statistics that the bulk call can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// state.*
    State,
    /// cpu.*
    Cpu,
    /// balloon.*
    Balloon,
    /// vcpu.*
    Vcpu,
    /// net.*
    Interface,
    /// block.*
    Block,
    /// perf.*
    Perf,
    /// iothread.*
    Iothread,
    /// memory.*
    Memory,
    /// dirtyrate.*
    DirtyRate,
    /// vm.*
    Vm,
}

impl Group {
    /// Every group that this program can ask for.
    pub const ALL: [Self; 11] = [
        Self::State,
        Self::Cpu,
        Self::Balloon,
        Self::Vcpu,
        Self::Interface,
        Self::Block,
        Self::Perf,
        Self::Iothread,
        Self::Memory,
        Self::DirtyRate,
        Self::Vm,
    ];
    /// Those of which every collection prints something.
    pub const ALWAYS: [Self; 6] =
        [Self::State, Self::Cpu, Self::Balloon, Self::Vcpu, Self::Interface, Self::Block];

    /// libvirt's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Cpu => "cpu",
            Self::Balloon => "balloon",
            Self::Vcpu => "vcpu",
            Self::Interface => "interface",
            Self::Block => "block",
            Self::Perf => "perf",
            Self::Iothread => "iothread",
            Self::Memory => "memory",
            Self::DirtyRate => "dirtyrate",
            Self::Vm => "vm",
        }
    }

    fn bit(self) -> sys::virDomainStatsTypes {
        match self {
            Self::State => sys::VIR_DOMAIN_STATS_STATE,
            Self::Cpu => sys::VIR_DOMAIN_STATS_CPU_TOTAL,
            Self::Balloon => sys::VIR_DOMAIN_STATS_BALLOON,
            Self::Vcpu => sys::VIR_DOMAIN_STATS_VCPU,
            Self::Interface => sys::VIR_DOMAIN_STATS_INTERFACE,
            Self::Block => sys::VIR_DOMAIN_STATS_BLOCK,
            Self::Perf => sys::VIR_DOMAIN_STATS_PERF,
            Self::Iothread => sys::VIR_DOMAIN_STATS_IOTHREAD,
            Self::Memory => sys::VIR_DOMAIN_STATS_MEMORY,
            Self::DirtyRate => sys::VIR_DOMAIN_STATS_DIRTYRATE,
            Self::Vm => sys::VIR_DOMAIN_STATS_VM,
        }
    }
}

/// A set of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups(sys::virDomainStatsTypes);

impl Groups {
    /// Whether the group is in the set.
    pub fn has(self, group: Group) -> bool {
        self.0 & group.bit() != 0
    }

    /// Whether the set is empty: libvirt would take that for "all".
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The groups that both sets have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The groups that either set has.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The groups of this set that the other does not have.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl From<Group> for Groups {
    fn from(group: Group) -> Self {
        Self(group.bit())
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        Self(groups.into_iter().fold(0, |bits, group| bits | group.bit()))
    }
}

impl Connection {
    /// Which of `wanted` this hypervisor answers in bulk, and whether it knows NOWAIT, as tried on one guest.
    ///
    /// No other guest is waited for: the bulk call without a list of guests takes the lock of each.
    ///
    /// # Errors
    /// Only where the connection itself failed: what is not offered is an answer.
    pub fn offer(&self, guest: &Guest, wanted: Groups) -> Result<Offer, Error> {
        let mut broken = None;
        let mut has = |groups: Groups, nowait: bool| match self.statistics(
            std::iter::once(guest),
            groups,
            Bulk { nowait, enforce: true },
        ) {
            Ok(_) => true,
            Err(error) => {
                let is_offered = error.kind == Kind::Other;
                broken = Some(error);
                is_offered
            }
        };
        if has(wanted, true) {
            return Ok(Offer { bulk: wanted, nowait: true });
        }
        let nowait = has(Group::State.into(), true);
        let offered =
            Group::ALL.into_iter().filter(|&group| wanted.has(group) && has(group.into(), nowait));
        let bulk = offered.collect();
        // A connection that broke in between refuses everything: that says nothing of the driver.
        match broken {
            Some(error) if !self.is_alive() => Err(error),
            _ => Ok(Offer { bulk, nowait }),
        }
    }

    /// One bulk call for these guests, which must be of this connection.
    ///
    /// A guest that went away is absent from the answer.
    ///
    /// # Errors
    /// libvirt's words: one guest's error fails the call for all.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainListGetStats>
    pub fn statistics<'a>(
        &self,
        guests: impl Iterator<Item = &'a Guest>,
        groups: Groups,
        how: Bulk,
    ) -> Result<Records, Error> {
        let mut pointers: Vec<sys::virDomainPtr> = guests.map(Guest::as_ptr).collect();
        if pointers.is_empty() || groups.is_empty() {
            return Ok(Records(ptr::null_mut()));
        }
        pointers.push(ptr::null_mut());
        let mut flags = 0;
        if how.nowait {
            flags |= sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        }
        if how.enforce {
            flags |= sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS;
        }
        let mut list = ptr::null_mut();
        // SAFETY: the array ends in null, and the guests that it points to are borrowed for 'a,
        // which outlasts the call; on success libvirt sets `list` to a list that ends in NULL.
        let returned = unsafe {
            sys::virDomainListGetStats(pointers.as_mut_ptr(), groups.0, &mut list, flags)
        };
        Records::owned(list, returned)
    }
}

/// How the bulk call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// A guest whose job is taken by another call is answered at once, with what libvirtd knows by itself.
    pub nowait: bool,
    /// A group that the hypervisor does not have is an error, and not passed over.
    pub enforce: bool,
}

/// What a hypervisor answers in bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The groups that the bulk call has; the calls for one guest fill in the others.
    pub bulk: Groups,
    /// Whether the bulk call knows NOWAIT (libvirt 4.5 and later), which skips a guest that is busy.
    pub nowait: bool,
}

/// The answer of a bulk call: the one owner of the C list. Its length is not kept: the list ends in
/// NULL, and a number may be the server's word.
pub struct Records(*mut sys::virDomainStatsRecordPtr);

impl Records {
    pub(super) fn owned(
        list: *mut sys::virDomainStatsRecordPtr,
        returned: i32,
    ) -> Result<Self, Error> {
        let error = (returned < 0).then(Error::last);
        // Also frees what came beside an error.
        let records = Self(list);
        match error {
            Some(error) => Err(error),
            None => Ok(records),
        }
    }

    /// The records, one a guest that answered.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        // SAFETY: the list ends in NULL, and its records live until `drop` frees them.
        unsafe { until_null(self.0).map(|record| Record(&*record)) }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the list came from libvirt, ends in NULL and is freed once, here.
            unsafe { sys::virDomainStatsRecordListFree(self.0) };
        }
    }
}

/// One guest's part of the answer.
pub struct Record<'a>(&'a sys::virDomainStatsRecord);

impl<'a> Record<'a> {
    /// The name of the guest that it speaks of.
    pub fn name(&self) -> &'a CStr {
        // SAFETY: the record's domain lives as long as the record.
        unsafe { super::guest::name(self.0.dom) }
    }

    /// The UUID of the guest that it speaks of.
    pub fn uuid(&self) -> uuid::Uuid {
        // SAFETY: the record's domain lives as long as the record.
        unsafe { super::guest::uuid(self.0.dom) }
    }

    /// The guest's id when it was asked; -1 when it did not run.
    pub fn id(&self) -> i32 {
        // SAFETY: as above.
        unsafe { super::guest::id(self.0.dom) }
    }

    /// The typed parameters.
    pub fn parameters(&self) -> Parameters<'a> {
        // SAFETY: libvirt allocates the array by the number that it puts beside it, and both live as long
        // as the record.
        unsafe { Parameters::new(self.0.params, self.0.nparams) }
    }
}

/// Typed parameters, read where libvirt put them.
pub struct Parameters<'a>(slice::Iter<'a, sys::virTypedParameter>);

impl<'a> Parameters<'a> {
    /// # Safety
    /// `array` must be null or hold `count` parameters that live for 'a.
    pub(super) unsafe fn new(array: *const sys::virTypedParameter, count: i32) -> Self {
        let array = match usize::try_from(count) {
            // SAFETY: as the caller promises.
            Ok(count) if !array.is_null() => unsafe { slice::from_raw_parts(array, count) },
            _ => &[],
        };
        Self(array.iter())
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Parameter<'a>> {
        self.0.find_map(Parameter::read)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.0.size_hint().1)
    }
}

/// One statistic: its name, such as `block.0.rd.bytes`, and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter<'a> {
    /// libvirt's name for it. Bytes, as in C: each one is compared and few are kept.
    pub name: &'a [u8],
    /// Its value, typed as libvirt sent it.
    pub value: Value<'a>,
}

impl<'a> Parameter<'a> {
    /// `None` for a name without an end, or a type that this libvirt's headers do not know.
    pub(super) fn read(raw: &'a sys::virTypedParameter) -> Option<Self> {
        let field: &[c_char] = &raw.field;
        // SAFETY: c_char and u8 have one size and alignment, and any bits are a u8.
        let bytes = unsafe { slice::from_raw_parts(field.as_ptr().cast::<u8>(), field.len()) };
        // Bounded by the field, should its end be missing.
        let name = CStr::from_bytes_until_nul(bytes).ok()?.to_bytes();
        // SAFETY: `type_` says which member of the union libvirt wrote; a string is null or ends
        // in NUL and lives as long as the record.
        let value = unsafe {
            match raw.type_ as c_uint {
                sys::VIR_TYPED_PARAM_INT => Value::Int(raw.value.i.into()),
                sys::VIR_TYPED_PARAM_UINT => Value::Uint(raw.value.ui.into()),
                sys::VIR_TYPED_PARAM_LLONG => Value::Int(raw.value.l),
                sys::VIR_TYPED_PARAM_ULLONG => Value::Uint(raw.value.ul),
                sys::VIR_TYPED_PARAM_DOUBLE => Value::Float(raw.value.d),
                sys::VIR_TYPED_PARAM_BOOLEAN => Value::Bool(raw.value.b != 0),
                sys::VIR_TYPED_PARAM_STRING if !raw.value.s.is_null() => {
                    Value::Text(CStr::from_ptr(raw.value.s).to_bytes())
                }
                _ => return None,
            }
        };
        Some(Self { name, value })
    }
}
