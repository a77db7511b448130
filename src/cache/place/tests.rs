//! Tests of the choice of a folder, each in a tree of its own that stands for the machine's.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use tempfile::TempDir;

use super::*;

/// A machine with /var/cache, /var/lib and a home, and nothing of ours yet.
struct Machine {
    root: TempDir,
    surroundings: CacheEnv,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["var/cache", "var/lib", "home/me"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let surroundings = CacheEnv {
            home: Some(root.path().join("home/me")),
            euid: geteuid().as_raw(),
            root: root.path().to_owned(),
            ..CacheEnv::default()
        };
        Self { root, surroundings }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn make(&self, path: &str, mode: u32) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn found(&self) -> PathBuf {
        CacheDir::find(&self.surroundings).unwrap().path
    }

    fn refused(&self) -> Vec<FileError> {
        CacheDir::find(&self.surroundings).unwrap_err().tried
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn is_root(surroundings: &CacheEnv) -> bool {
    let root = surroundings.euid == 0;
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

#[test]
fn the_home_is_the_last_choice_and_its_folders_are_made_for_the_user_alone() {
    let machine = Machine::new();
    assert_eq!(machine.found(), machine.path("home/me/.cache/telegraf-virt"));
    assert_eq!(mode(&machine.path("home/me/.cache")), 0o700);
    assert_eq!(mode(&machine.path("home/me/.cache/telegraf-virt")), 0o700);
    assert_eq!(machine.found(), machine.path("home/me/.cache/telegraf-virt"));
}

#[test]
fn each_choice_goes_before_the_ones_after_it() {
    let mut machine = Machine::new();
    machine.surroundings.xdg_cache_home = Some(machine.path("home/me/xdg").into());
    assert_eq!(machine.found(), machine.path("home/me/xdg/telegraf-virt"));

    let packaged = machine.make("var/cache/telegraf-virt", 0o755);
    assert_eq!(machine.found(), packaged);

    let unit = machine.make("var/cache/telegraf", 0o755);
    machine.surroundings.cache_directory = Some(format!("{}:/elsewhere", unit.display()).into());
    assert_eq!(machine.found(), unit.join("telegraf-virt"));
    assert_eq!(mode(&unit.join("telegraf-virt")), 0o700);

    machine.surroundings.cache_directory = Some(packaged.clone().into());
    assert_eq!(machine.found(), packaged);
}

#[test]
fn telegrafs_own_folder_is_used_by_its_user_and_never_by_root() {
    let mut machine = Machine::new();
    let telegraf = machine.make("var/lib/telegraf", 0o770);
    if machine.surroundings.euid == 0 {
        assert_eq!(machine.found(), machine.path("home/me/.cache/telegraf-virt"));
        // Whatever this user may write, the folder in there is another's.
        let ours = machine.make("var/lib/telegraf/telegraf-virt", 0o700);
        chown(&ours, Some(997), None).unwrap();
        machine.surroundings.euid = 997;
        assert_eq!(machine.found(), ours);
    } else {
        assert_eq!(machine.found(), telegraf.join("telegraf-virt"));
        assert_eq!(mode(&telegraf.join("telegraf-virt")), 0o700);
        machine.make("var/lib/telegraf", 0o550);
        assert_eq!(machine.found(), machine.path("home/me/.cache/telegraf-virt"));
    }
}

#[test]
fn the_packaged_folder_is_never_made_and_only_used_where_it_is_ours() {
    let machine = Machine::new();
    machine.found();
    assert!(!machine.path("var/cache/telegraf-virt").exists());
    if is_root(&machine.surroundings) {
        let packaged = machine.make("var/cache/telegraf-virt", 0o755);
        chown(packaged, Some(65534), None).unwrap();
        assert_eq!(machine.found(), machine.path("home/me/.cache/telegraf-virt"));
    }
}

#[test]
fn a_unit_with_a_dynamic_user_has_its_folder_behind_a_link_of_systemd() {
    let mut machine = Machine::new();
    let real = machine.make("var/cache/private/telegraf-virt", 0o755);
    let link = machine.path("var/cache/telegraf-virt");
    symlink("private/telegraf-virt", &link).unwrap();
    machine.surroundings.cache_directory = Some(link.into());
    assert_eq!(machine.found(), real.canonicalize().unwrap());
}

#[test]
fn relative_and_empty_variables_do_not_count() {
    let mut machine = Machine::new();
    for value in ["", "cache", ":/x"] {
        machine.surroundings.cache_directory = Some(value.into());
        machine.surroundings.xdg_cache_home = Some("cache".into());
        assert_eq!(machine.found(), machine.path("home/me/.cache/telegraf-virt"), "{value}");
    }
    machine.surroundings.home = Some(PathBuf::new());
    assert_eq!(machine.refused(), []);
    machine.surroundings.home = None;
    assert_eq!(machine.refused(), []);
}

#[test]
fn nothing_is_chosen_in_a_folder_that_everyone_can_write() {
    let mut machine = Machine::new();
    let shared = machine.make("tmp", 0o1777);
    let open = vec![FileError::new(shared.clone(), FileFault::OpenToOthers)];
    machine.surroundings.home = Some(shared.clone());
    assert_eq!(machine.refused(), open);
    assert!(!shared.join(".cache").exists());
    machine.surroundings.home = None;
    machine.surroundings.xdg_cache_home = Some(shared.clone().into());
    assert_eq!(machine.refused(), open);
    machine.make("tmp/telegraf-virt", 0o700);
    assert_eq!(machine.refused(), open);
}

#[test]
fn nothing_is_chosen_in_the_home_of_another_user() {
    let machine = Machine::new();
    if is_root(&machine.surroundings) {
        chown(machine.path("home/me"), Some(65534), None).unwrap();
        let home = machine.path("home/me");
        assert_eq!(machine.refused(), [FileError::new(home, FileFault::OpenToOthers)]);
    }
}

#[test]
fn a_folder_that_is_not_safe_is_refused_and_the_next_one_is_tried() {
    let machine = Machine::new();
    let path = machine.path("home/me/.cache/telegraf-virt");
    let refused = |cause| vec![FileError::new(path.clone(), cause)];
    let not_a_folder = |is| FileFault::Kind { is, wanted: FOLDER };
    for wide in [0o777, 0o770, 0o702] {
        machine.make("home/me/.cache/telegraf-virt", wide);
        assert_eq!(machine.refused(), refused(FileFault::WritableByOthers(wide)));
    }
    let mut with_xdg = machine.surroundings.clone();
    with_xdg.xdg_cache_home = Some(machine.path("home/me/.cache").into());
    with_xdg.home = Some(machine.make("home/other", 0o700));
    let next = CacheDir::find(&with_xdg).unwrap();
    assert_eq!(next.path(), machine.path("home/other/.cache/telegraf-virt"));

    fs::remove_dir(&path).unwrap();
    for to in [machine.make("elsewhere", 0o700), "nowhere".into()] {
        symlink(to, &path).unwrap();
        assert_eq!(machine.refused(), refused(not_a_folder("a symbolic link")));
        fs::remove_file(&path).unwrap();
    }
    fs::write(&path, "").unwrap();
    assert_eq!(machine.refused(), refused(not_a_folder("a plain file")));
    fs::remove_file(&path).unwrap();
    if is_root(&machine.surroundings) {
        machine.make("home/me/.cache/telegraf-virt", 0o700);
        chown(&path, Some(65534), None).unwrap();
        assert_eq!(machine.refused(), refused(FileFault::Owner(65534)));
    }
}

#[test]
fn a_missing_home_is_not_made() {
    let mut machine = Machine::new();
    let home = machine.path("nonexistent");
    machine.surroundings.home = Some(home.clone());
    let tried = FileFault::System { tried: "look at", errno: Errno::ENOENT };
    assert_eq!(machine.refused(), [FileError::new(home.clone(), tried)]);
    assert!(!home.exists());
}

#[test]
fn a_folder_that_the_user_names_is_made_but_not_what_is_above_it() {
    let machine = Machine::new();
    let named = |path: &Path| {
        let place = CacheDir::named(path, &machine.surroundings);
        place.map(|place| place.path).map_err(|none| none.tried)
    };
    let shared = machine.make("tmp", 0o1777);
    assert_eq!(named(&shared.join("mine")), Ok(shared.join("mine")));
    assert_eq!(mode(&shared.join("mine")), 0o700);
    let refused = |path: &Path, cause| Err(vec![FileError::new(path.to_owned(), cause)]);
    assert_eq!(named(&shared), refused(&shared, FileFault::WritableByOthers(0o1777)));
    let deep = machine.path("a/b");
    let tried = FileFault::System { tried: "make", errno: Errno::ENOENT };
    assert_eq!(named(&deep), refused(&deep, tried));

    let link = machine.path("link");
    symlink(shared.join("mine"), &link).unwrap();
    let cause = FileFault::Kind { is: "a symbolic link", wanted: FOLDER };
    assert_eq!(named(&link), refused(&link, cause.clone()));
    assert_eq!(named(Path::new(&format!("{}/", link.display()))), refused(&link, cause));
}

#[test]
fn the_message_says_what_is_lost_and_the_remedy_before_the_reasons() {
    let tried = vec![
        FileError::new("/tmp".into(), FileFault::OpenToOthers),
        FileError::new("/c".into(), FileFault::Owner(0)),
    ];
    assert_eq!(
        NoCacheDir { tried, euid: 997 }.to_string(),
        "no folder for the cache: every guest's XML is read at each start, and once never prints \
         vm_features; set dir in [cache] or --cache-dir to a folder of uid 997 with mode 0700, or use \
         --no-cache (tried: /tmp belongs to another user or can be written by everyone; /c belongs \
         to uid 0, not to this user)"
    );
    assert!(NoCacheDir { tried: vec![], euid: 0 }.to_string().ends_with("or use --no-cache"));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let machine = Machine::new();
    let path = machine.make("home/me/.cache/telegraf-virt", 0o500);
    if machine.surroundings.euid == 0 {
        assert_eq!(machine.found(), path);
    } else {
        let tried = FileFault::System { tried: "write to", errno: Errno::EACCES };
        assert_eq!(machine.refused(), [FileError::new(path, tried)]);
    }
}
