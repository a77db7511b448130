//! What Telegraf makes of the lines on their way into the database: the tag of its host, tags in the order of
//! their names, timestamps rounded, and what a configuration drops or renames.

/// A configuration of Telegraf, as far as it changes lines.
#[derive(Clone, Debug, Default)]
pub struct Telegraf {
    /// What timestamps are rounded to, in nanoseconds; 0 for as they are.
    pub precision_ns: i64,
    /// Tags that are dropped.
    pub tagexclude: Vec<&'static str>,
    /// Whether a NIC's device is its alias.
    pub nics_by_alias: bool,
    /// Fields that are dropped: names, or parts of them before a last *.
    pub fielddrop: Vec<&'static str>,
    /// Measurements that are dropped.
    pub namedrop: Vec<&'static str>,
}

impl Telegraf {
    /// Writes these lines of a host after what is there; returns how many fields that are numbers they have.
    /// Names here are made, and need no escaping.
    pub fn pass(&self, host: &str, lines: &[u8], out: &mut Vec<u8>) -> u64 {
        let text = std::str::from_utf8(lines).expect("UTF-8");
        let mut values = 0;
        for line in text.lines() {
            let mut parts = line.split(' ');
            let mut next = || parts.next().expect("three parts");
            let (head, fields, moment) = (next(), next(), next());
            let mut tags = head.split(',');
            let measurement = tags.next().expect("a name");
            if self.namedrop.contains(&measurement) {
                continue;
            }
            let mut tags: Vec<(&str, &str)> =
                tags.map(|tag| tag.split_once('=').expect("a tag")).collect();
            tags.push(("host", host));
            if self.nics_by_alias {
                rename(&mut tags);
            }
            tags.retain(|(name, _)| !self.tagexclude.contains(name));
            tags.sort_unstable();
            let start = out.len();
            out.extend_from_slice(measurement.as_bytes());
            for (name, value) in tags {
                for part in [",", name, "=", value] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            out.push(b' ');
            let before = out.len();
            for field in fields.split(',').filter(|field| !self.is_dropped(field)) {
                values += u64::from(!field.ends_with('"'));
                out.extend_from_slice(field.as_bytes());
                out.push(b',');
            }
            if out.len() == before {
                out.truncate(start);
                continue;
            }
            out.pop();
            out.push(b' ');
            let moment: i64 = moment.parse().expect("a timestamp");
            let moment = match self.precision_ns {
                0 => moment,
                unit => (moment + unit / 2) / unit * unit,
            };
            out.extend_from_slice(moment.to_string().as_bytes());
            out.push(b'\n');
        }
        values
    }

    fn is_dropped(&self, field: &str) -> bool {
        let (name, _) = field.split_once('=').expect("a field");
        self.fielddrop.iter().any(|drop| match drop.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *drop,
        })
    }
}

/// As processors.template does it, with tagpass for NICs.
fn rename(tags: &mut Vec<(&str, &str)>) {
    let find = |tags: &[(&str, &str)], wanted| tags.iter().position(|(name, _)| *name == wanted);
    if let (Some(device), Some(alias)) = (find(tags, "device"), find(tags, "alias")) {
        if tags.contains(&("devtype", "nic")) {
            tags[device].1 = tags[alias].1;
        }
        tags.remove(alias);
    }
}
