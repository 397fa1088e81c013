//! The root of a recipe: bootstrapped once, and then found in the cache until anything changes that
//! decides it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use darksite::lock::Lock;
use darksite::request::asked_for;
use darksite::site::Site;
use jiff::Timestamp;
use pkg::recipe::line_of;
use plan::recipe::{Files, User};
use rootfs::bootstrap::{
    Bootstrap, Event, Late, LateAccount, LateFile, LateScript, Package, bootstrap, finish,
};
use rootfs::personalise::{PersonaliseError, locale};
use serde_json::json;
use tree::store::{self, DirStore};
use tree::{Digest, Tree};

use super::room::room;
use crate::cache::Cache;
use crate::commands::darksite::asked::Asked;
use crate::scratch::Scratch;
use crate::ui::Ui;

/// Changes when the same packages become another root than before.
const VERSION: u32 = 6;
/// Kind of these outputs in the cache.
const KIND: &str = "roots";
/// How long one script of a package may take; a kernel module takes minutes.
const SCRIPT_LIMIT: Duration = Duration::from_secs(3600);

/// A root.
#[derive(Debug)]
pub struct Root {
    /// Its tree.
    pub tree: Tree,
    /// Its content.
    pub blobs: DirStore,
    /// Without a cache: where it is, as long as this lives.
    _directory: Option<Scratch>,
}

/// What is asked of the bootstrap, and of the root that comes out, if anything.
#[derive(Debug)]
pub struct Request {
    bootstrap: Bootstrap,
    late: Option<Late>,
    /// Compiled by the first late script, if that is needed.
    locale: Option<String>,
    /// Bytes that the root takes at least: what is in packages is hardly smaller when it is unpacked.
    least: u64,
}

/// `SOURCE_DATE_EPOCH`, else the date of the lock: so the same lock gives the same machine.
pub fn timestamp(lock: &Lock) -> anyhow::Result<i64> {
    let time = super::source_date_epoch()?.or_else(|| lock.date());
    Ok(time.map_or(0, Timestamp::as_second))
}

/// What is asked of the bootstrap.
pub fn request(
    asked: &Asked,
    files: &Files,
    lock: &Lock,
    site: &Site,
    timestamp: i64,
) -> anyhow::Result<Request> {
    let recipe = asked.recipe();
    let manual = asked_for(asked.request(), lock, site.store())?;
    let packages = lock.packages.iter().map(|package| Package {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        deb: site.store().path(&package.blob.digest),
        sha256: package.blob.digest.to_string(),
        automatic: !manual.contains(&package.name),
    });
    let mut scripts: Vec<LateScript> = Vec::new();
    if let Some(script) = recipe.machine.locale.as_ref().and_then(|l| locale::script(l.as_str())) {
        scripts.push(LateScript { name: "locale".to_owned(), content: script.into_bytes() });
    }
    let own = recipe.scripts(files)?;
    // Without scripts that might look at them, files and users are added later, which needs no new root.
    let (late, accounts) = match own.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => (recipe.new_files(files)?, recipe.machine.users.iter().map(account).collect()),
    };
    let lines = std::fs::read_to_string(asked.path()).unwrap_or_default();
    scripts.extend(own.into_iter().enumerate().map(|(at, (name, content))| {
        let place = match line_of(&lines, &format!("scripts.{at}")) {
            Some(line) => format!(" ({}, line {line})", asked.path().display()),
            None => String::new(),
        };
        LateScript { name: format!("{name}{place}"), content }
    }));
    let late = late.into_iter().map(|file| LateFile {
        path: file.path.trim_start_matches('/').to_owned(),
        mode: file.mode.into(),
        content: file.content.unwrap_or_default(),
    });
    let late = Late {
        timestamp,
        script_timeout: SCRIPT_LIMIT,
        accounts,
        files: late.collect(),
        scripts,
        program: None,
    };
    Ok(Request {
        bootstrap: Bootstrap {
            packages: packages.collect(),
            architecture: lock.architecture.clone(),
            timestamp,
            script_timeout: SCRIPT_LIMIT,
            jobs: 0,
            modules: None,
            signing: recipe.module_key(files)?,
            program: None,
        },
        late: (!late.scripts.is_empty()).then_some(late),
        locale: recipe.machine.locale.as_ref().map(ToString::to_string),
        least: lock.size(),
    })
}

fn account(user: &User) -> LateAccount {
    LateAccount {
        name: user.name.to_string(),
        uid: user.uid,
        groups: user.groups.iter().map(ToString::to_string).collect(),
        shell: user.shell.to_string(),
        home: user.home.as_ref().map(ToString::to_string),
    }
}

impl Request {
    /// Names everything that decides what the root is.
    pub fn key(&self) -> String {
        self.late.as_ref().map_or_else(|| self.base_key(), |late| self.late_key(late))
    }

    /// Names what decides the root that the scripts find.
    fn base_key(&self) -> String {
        let Bootstrap { packages, architecture, timestamp, signing, .. } = &self.bootstrap;
        let packages: Vec<_> = packages
            .iter()
            .map(|package| (&package.name, &package.sha256, package.automatic))
            .collect();
        let program = env!("CARGO_PKG_VERSION");
        let key = signing.as_ref().map(|key| Digest::of(key.certificate()).to_string());
        digest(&json!([VERSION, program, packages, architecture, timestamp, key]))
    }

    /// What the packages have to say before anything runs in their root.
    fn judge(&self, tree: &Tree, blobs: &DirStore) -> Result<(), PersonaliseError> {
        self.locale.iter().try_for_each(|locale| locale::check(tree, blobs, locale))
    }

    fn late_key(&self, late: &Late) -> String {
        let Late { accounts, files, scripts, .. } = late;
        let digest_of = |content: &[u8]| Digest::of(content).to_string();
        let files: Vec<_> =
            files.iter().map(|file| (&file.path, file.mode, digest_of(&file.content))).collect();
        // What messages call a script decides nothing.
        let scripts: Vec<_> = scripts.iter().map(|script| digest_of(&script.content)).collect();
        digest(&json!([self.base_key(), accounts, files, scripts]))
    }
}

fn digest(decides: &serde_json::Value) -> String {
    Digest::of(decides.to_string().as_bytes()).to_string()
}

/// The root, from the cache or made now; without a cache, in `output`.
pub fn root(
    request: &Request,
    name: &str,
    cache: Option<&Cache>,
    output: &Path,
    ui: &mut Ui,
) -> anyhow::Result<Root> {
    let Some(cache) = cache else {
        room(output, request.least)?;
        let directory = Scratch::create(&output.join(format!(".{name}.root")))?;
        let path = directory.path().join("root");
        let (mut tree, mut blobs) = bootstrap(&request.bootstrap, &path, &mut |e| show(ui, e))?;
        if let Some(late) = &request.late {
            request.judge(&tree, &blobs)?;
            let finished = directory.path().join("finished");
            (tree, blobs) = finish(&path, late, &finished, &mut |e| show(ui, e))?;
        }
        return Ok(Root { tree, blobs, _directory: Some(directory) });
    };
    let key = request.key();
    if let Some(path) = cache.find(KIND, &key) {
        return loaded(&path, ui);
    }
    let Some(late) = &request.late else { return base(request, name, cache, ui).and_then(of) };
    let base = base(request, name, cache, ui)?;
    let begun = cache.begin(KIND, &key)?;
    if let Some(path) = begun.made_meanwhile() {
        return loaded(path, ui);
    }
    let (tree, blobs) = store::load(&base)?;
    let finished = request
        .judge(&tree, &blobs)
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(finish(&base, late, begun.directory(), &mut |event| show(ui, event))?));
    if finished.is_err() {
        ui.note("the root that the scripts began with is kept: the next build goes on from there");
    }
    finished?;
    of(begun.finish(&format!("{name}: {} scripts", late.scripts.len()))?)
}

/// Where the cache has the root of the packages, which is made if it is not there.
fn base(request: &Request, name: &str, cache: &Cache, ui: &mut Ui) -> anyhow::Result<PathBuf> {
    let key = request.base_key();
    if let Some(path) = cache.find(KIND, &key) {
        return Ok(path);
    }
    let begun = cache.begin(KIND, &key)?;
    if let Some(path) = begun.made_meanwhile() {
        return Ok(path.to_owned());
    }
    room(cache.directory(), request.least)?;
    let wanted = Bootstrap { modules: Some(cache.modules()), ..request.bootstrap.clone() };
    bootstrap(&wanted, begun.directory(), &mut |event| show(ui, event))?;
    begun.finish(&format!("{name}: {} packages", wanted.packages.len()))
}

/// The root that is kept there.
fn of(path: PathBuf) -> anyhow::Result<Root> {
    let (tree, blobs) = store::load(&path)?;
    Ok(Root { tree, blobs, _directory: None })
}

fn loaded(path: &Path, ui: &mut Ui) -> anyhow::Result<Root> {
    ui.stage("reading root from cache", 0);
    of(path.to_owned())
}

fn show(ui: &mut Ui, event: Event) {
    match event {
        Event::Stage { name, total } => ui.steps(&name, total),
        Event::Step(_) => ui.advance(1),
        Event::Said(_) => {}
        Event::Note(text) => ui.note(&text),
        Event::Warning(text) => ui.warn(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_nothing(late: Option<Late>) -> Request {
        let bootstrap = Bootstrap {
            packages: Vec::new(),
            architecture: "amd64".to_owned(),
            timestamp: 0,
            script_timeout: SCRIPT_LIMIT,
            jobs: 0,
            modules: None,
            signing: None,
            program: None,
        };
        Request { bootstrap, late, locale: None, least: u64::MAX }
    }

    #[test]
    fn contents_decide_what_a_root_is() {
        let key = |mode, file: &str, script: &str, name: &str| {
            of_nothing(Some(Late {
                timestamp: 0,
                script_timeout: SCRIPT_LIMIT,
                accounts: Vec::new(),
                files: vec![LateFile { path: "etc/x".to_owned(), mode, content: file.into() }],
                scripts: vec![LateScript { name: name.to_owned(), content: script.into() }],
                program: None,
            }))
            .key()
        };
        let first = key(0o600, "pears", "#!/bin/sh", "a");
        assert_eq!(first, key(0o600, "pears", "#!/bin/sh", "b"));
        for other in [
            key(0o644, "pears", "#!/bin/sh", "a"),
            key(0o600, "plums", "#!/bin/sh", "a"),
            key(0o600, "pears", "#!/bin/sed", "a"),
            of_nothing(None).key(),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn nothing_is_begun_where_there_is_no_room_for_a_root() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let request = of_nothing(None);
        for cache in [Some(&cache), None] {
            let made = root(&request, "pear", cache, directory.path(), &mut Ui::new(true));
            let error = made.unwrap_err().to_string();
            assert!(error.contains("are free there, and what is to be made takes"), "{error}");
        }
    }
}
