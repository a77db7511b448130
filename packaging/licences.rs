//! Writes what a package must say of the crates in the program, into a folder:
//!
//! ```text
//! cargo run --example licences -- FOLDER
//! ```
//!
//! | file | what |
//! |---|---|
//! | `copyright` | each crate with its licence and the licence's text, and how to link the program again with another libvirt binding, in [Debian's form] |
//! | `telegraf-virt.cdx.json` | the same crates for machines, a [CycloneDX] bill of materials |
//! | `licence` | one SPDX expression of all the licences that apply, for an rpm |
//!
//! All is read from Cargo.lock and from the crates' own files, by `cargo metadata`, without a network. A
//! licence that is not in [`ALLOWED`] is an error, here and in tests/licences.rs.
//!
//! [Debian's form]: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
//! [CycloneDX]: https://cyclonedx.org/docs/1.5/json/
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Licences of crates that may be in the program, the one that is taken first where there is a choice.
pub const ALLOWED: [&str; 7] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "Unicode-3.0",
    "Unlicense",
    "BSD-3-Clause",
    "Zlib",
];
/// Crates that may have another one: libvirt's own binding.
pub const EXCEPTIONS: [(&str, &str); 2] = [("virt", "LGPL-2.1"), ("virt-sys", "LGPL-2.1")];

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A crate, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Crate {
    pub name: String,
    pub version: String,
    /// As the crate says it.
    pub expression: String,
    authors: Vec<String>,
    repository: Option<String>,
    folder: PathBuf,
    /// Of its archive, as in Cargo.lock.
    checksum: Option<String>,
    needs: Vec<String>,
}

impl Crate {
    /// The licences that apply to it, of those that may be chosen; `None` where none of them is allowed.
    pub fn chosen(&self) -> Option<BTreeSet<String>> {
        let own = EXCEPTIONS.iter().filter(|(name, _)| *name == self.name);
        let allowed: Vec<&str> =
            ALLOWED.into_iter().chain(own.map(|(_, licence)| *licence)).collect();
        let tokens = tokens(&self.expression);
        let mut rest = tokens.as_slice();
        let chosen = either(&mut rest, &allowed)?;
        rest.is_empty().then_some(chosen)
    }
}

/// The words of an SPDX expression. The slash of old crates means "or"; a licence with its exception is
/// one word.
fn tokens(expression: &str) -> Vec<String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens: Vec<String> = Vec::new();
    let mut words = spaced.split_whitespace();
    while let Some(word) = words.next() {
        match (word, tokens.last_mut()) {
            ("WITH", Some(last)) => {
                let _ = write!(last, " WITH {}", words.next().unwrap_or_default());
            }
            _ => tokens.push(word.to_owned()),
        }
    }
    tokens
}

/// `A OR B`: the first that is allowed, by the order of `allowed`.
fn either(rest: &mut &[String], allowed: &[&str]) -> Option<BTreeSet<String>> {
    let mut choices = vec![both(rest, allowed)];
    while rest.first().is_some_and(|word| word == "OR") {
        *rest = &rest[1..];
        choices.push(both(rest, allowed));
    }
    let place = |choice: &BTreeSet<String>| {
        choice.iter().filter_map(|it| allowed.iter().position(|allowed| allowed == it)).max()
    };
    choices.into_iter().flatten().min_by_key(place)
}

/// `A AND B`: all of them must be allowed.
fn both(rest: &mut &[String], allowed: &[&str]) -> Option<BTreeSet<String>> {
    let mut all = one(rest, allowed);
    while rest.first().is_some_and(|word| word == "AND") {
        *rest = &rest[1..];
        let next = one(rest, allowed);
        all = all.zip(next).map(|(mut all, next)| {
            all.extend(next);
            all
        });
    }
    all
}

fn one(rest: &mut &[String], allowed: &[&str]) -> Option<BTreeSet<String>> {
    let (word, after) = rest.split_first()?;
    *rest = after;
    if word == "(" {
        let inner = either(rest, allowed);
        *rest = rest.strip_prefix(&[")".to_owned()][..]).unwrap_or(rest);
        return inner;
    }
    allowed.contains(&word.as_str()).then(|| BTreeSet::from([word.clone()]))
}

/// Every crate that is built: those in the program, and those that only build or test it.
pub fn crates() -> Result<(Vec<Crate>, Vec<Crate>), Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform"])
        .arg(host()?)
        .arg("--manifest-path")
        .arg(Path::new(ROOT).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let checksums = checksums()?;
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let needs = |id: &str| -> Vec<&str> {
        let dependencies = nodes.get(id).map(|node| list(&node["deps"])).into_iter().flatten();
        let is_linked = |it: &&Value| list(&it["dep_kinds"]).any(|kind| kind["kind"].is_null());
        dependencies.filter(is_linked).map(|it| text(&it["pkg"])).collect()
    };
    let root = text(&metadata["resolve"]["root"]);
    let mut linked = BTreeSet::from([root]);
    let mut left = vec![root];
    while let Some(id) = left.pop() {
        left.extend(needs(id).into_iter().filter(|id| linked.insert(*id)));
    }
    let (mut inside, mut beside) = (Vec::new(), Vec::new());
    for package in list(&metadata["packages"]).filter(|package| text(&package["id"]) != root) {
        let id = text(&package["id"]);
        let (name, version) =
            (text(&package["name"]).to_owned(), text(&package["version"]).to_owned());
        let found = Crate {
            expression: text(&package["license"]).to_owned(),
            authors: list(&package["authors"]).map(|it| text(it).to_owned()).collect(),
            repository: package["repository"].as_str().map(str::to_owned),
            folder: Path::new(text(&package["manifest_path"]))
                .parent()
                .unwrap_or(Path::new(""))
                .into(),
            checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
            needs: needs(id).into_iter().map(str::to_owned).collect(),
            name,
            version,
        };
        if linked.contains(id) { inside.push(found) } else { beside.push(found) }
    }
    for found in inside.iter_mut().chain(&mut beside) {
        found.needs = found.needs.iter().filter_map(|id| purl_of(&metadata, id)).collect();
    }
    inside.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok((inside, beside))
}

/// The machine that the program is built for, which is this one: what other systems need is not in it.
fn host() -> Result<String, Box<dyn Error>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = String::from_utf8(Command::new(rustc).arg("-vV").output()?.stdout)?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not tell its host")?.to_owned())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn purl_of(metadata: &Value, id: &str) -> Option<String> {
    let package = list(&metadata["packages"]).find(|package| text(&package["id"]) == id)?;
    Some(purl(text(&package["name"]), text(&package["version"])))
}

/// The checksums of Cargo.lock by name and version.
fn checksums() -> Result<BTreeMap<(String, String), String>, Box<dyn Error>> {
    let lock: toml::Table = fs::read_to_string(Path::new(ROOT).join("Cargo.lock"))?.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let word = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    let checksum = |package: &toml::Value| {
        Some(((word(package, "name")?, word(package, "version")?), word(package, "checksum")?))
    };
    Ok(packages.filter_map(checksum).collect())
}

/// Names of files that may hold the text of a licence.
fn file_names(licence: &str) -> &'static [&'static str] {
    match licence {
        "MIT" => &[
            "LICENSE-MIT",
            "LICENSE-MIT.md",
            "LICENSE-MIT.txt",
            "LICENSE",
            "LICENSE.md",
            "LICENSE.txt",
        ],
        "Apache-2.0" => &["LICENSE-APACHE", "LICENSE-APACHE.md", "LICENSE", "LICENSE.txt"],
        "Apache-2.0 WITH LLVM-exception" => &["LICENSE-Apache-2.0_WITH_LLVM-exception"],
        "Unicode-3.0" => &["LICENSE-UNICODE"],
        "Unlicense" => &["UNLICENSE"],
        "LGPL-2.1" => &["COPYING", "LICENSE"],
        _ => &["LICENSE", "LICENSE.md", "LICENSE.txt", "COPYING"],
    }
}

/// The text of a licence as this crate has it; where it brings none, as a crate of the same source does.
fn licence_text(of: &Crate, licence: &str, all: &[Crate]) -> Result<String, String> {
    let read = |of: &Crate| {
        file_names(licence).iter().find_map(|name| fs::read_to_string(of.folder.join(name)).ok())
    };
    let of_kin = || {
        let is_kin = |it: &&Crate| {
            it.name != of.name && of.name.starts_with(&it.name) && it.expression == of.expression
        };
        all.iter().filter(is_kin).find_map(read)
    };
    read(of)
        .or_else(of_kin)
        .ok_or_else(|| format!("{} has no text of its licence {licence}", of.name))
}

const RELINKING: &str = "\
telegraf-virt is linked statically with virt and virt-sys, libvirt's binding for Rust, which are under the
GNU Lesser General Public License 2.1; libvirt itself, under the same one, is a shared library. You may
change virt and virt-sys and link the program with them again: take the sources of telegraf-virt of this
version with their Cargo.lock, name the changed crates in Cargo.toml under [patch.crates-io], such as
virt = { path = \"../virt\" }, and run: cargo build --release. Nothing else is needed, and every source is
there: those of telegraf-virt are under the MIT licence, and `cargo fetch --locked` gets the others. Debian has
the text of the LGPL in /usr/share/common-licenses/LGPL-2.1, too.
";

/// The copyright file.
pub fn copyright(inside: &[Crate]) -> Result<String, Box<dyn Error>> {
    let own = fs::read_to_string(Path::new(ROOT).join("LICENSE"))?;
    let holder =
        own.lines().find_map(|line| line.strip_prefix("Copyright (c) ")).unwrap_or_default();
    let permission = own.split_once("\nPermission").map_or("", |(_, rest)| rest);
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: telegraf-virt\nComment:\n{}\n\
         Files: *\nCopyright: {holder}\nLicense: MIT\n{}",
        indented(RELINKING),
        indented(&format!("Permission{permission}"))
    );
    let _ = write!(
        text,
        "\nFiles: rust-standard-library/*\nCopyright: the Rust Project contributors\nLicense: MIT\n{}\
         Comment: offered under MIT OR Apache-2.0; its source: https://github.com/rust-lang/rust\n",
        indented(&format!("Permission{permission}"))
    );
    for of in inside {
        let chosen =
            of.chosen().ok_or_else(|| format!("{}: {} is not allowed", of.name, of.expression))?;
        let names: Vec<&str> = chosen.iter().map(String::as_str).collect();
        let holders = match of.authors.as_slice() {
            [] => format!("the authors of {}", of.name),
            authors => authors.join("\n "),
        };
        let _ =
            write!(text, "\nFiles: crates/{}-{}/*\nCopyright: {holders}\n", of.name, of.version);
        let _ = writeln!(text, "License: {}", names.join(" and ").replace(' ', "-"));
        for licence in &chosen {
            text.push_str(&indented(&licence_text(of, licence, inside)?));
        }
        let source = of.repository.as_deref().unwrap_or("https://crates.io");
        let _ = writeln!(text, "Comment: the crate offers {}; its source: {source}", of.expression);
    }
    Ok(text)
}

/// Lines of a field that goes on.
fn indented(text: &str) -> String {
    let line = |line: &str| match line.trim_end() {
        "" => " .\n".to_owned(),
        line => format!(" {}\n", line.replace('\t', "    ")),
    };
    text.trim_end().lines().map(line).collect()
}

/// All the licences that apply, as an SPDX expression. Where a crate offers a choice, it is made.
pub fn expression(inside: &[Crate]) -> String {
    let chosen = inside.iter().filter_map(Crate::chosen).flatten();
    // The program's own comes first.
    let others: BTreeSet<String> = chosen.filter(|licence| licence != "MIT").collect();
    let spdx = |licence: &str| licence.replace("LGPL-2.1", "LGPL-2.1-only");
    let others = others.iter().map(|licence| format!(" AND {}", spdx(licence)));
    format!("MIT{}", others.collect::<String>())
}

/// The bill of materials.
pub fn bill(inside: &[Crate]) -> Value {
    let root = purl(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let licences = |expression: &str| {
        let spdx = expression
            .replace(" / ", "/")
            .replace('/', " OR ")
            .replace("LGPL-2.1", "LGPL-2.1-only");
        let spdx = spdx.replace("LGPL-2.1-only-or-later", "LGPL-2.1-or-later");
        json!([{ "expression": spdx }])
    };
    let component = |of: &Crate| {
        let id = purl(&of.name, &of.version);
        let mut component = json!({
            "type": "library", "bom-ref": id, "name": of.name, "version": of.version, "purl": id,
            "licenses": licences(&of.expression),
        });
        if let Some(checksum) = &of.checksum {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if let Some(repository) = &of.repository {
            component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
        }
        component
    };
    let of_root: Vec<String> = {
        let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap_or_default();
        let table: toml::Table = manifest.parse().unwrap_or_default();
        let direct = table.get("dependencies").and_then(toml::Value::as_table);
        let is_direct = |of: &&Crate| direct.is_some_and(|direct| direct.contains_key(&of.name));
        inside.iter().filter(is_direct).map(|of| purl(&of.name, &of.version)).collect()
    };
    let mut dependencies = vec![json!({ "ref": root, "dependsOn": of_root })];
    dependencies.extend(
        inside
            .iter()
            .map(|of| json!({ "ref": purl(&of.name, &of.version), "dependsOn": of.needs })),
    );
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": {
            "type": "application", "bom-ref": root, "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"), "purl": root, "licenses": licences("MIT"),
        } },
        "components": inside.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

#[allow(dead_code)] // The tests take this file as a module.
fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name the folder to write into")?);
    fs::create_dir_all(&folder)?;
    let (inside, _) = crates()?;
    fs::write(folder.join("copyright"), copyright(&inside)?)?;
    let mut bill = serde_json::to_string_pretty(&bill(&inside))?;
    bill.push('\n');
    fs::write(folder.join("telegraf-virt.cdx.json"), bill)?;
    fs::write(folder.join("licence"), expression(&inside))?;
    Ok(())
}
