//! `reload.watch`: files that change are read again, in whatever way they are written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::backend::Backend;
use crate::support::certificate::Certificate;
use crate::support::client::{self, Client};
use crate::support::program::{Ringgate, Workspace};
use crate::support::settings::{Route, Settings};
use crate::support::{Transport, eventually};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

fn watching(backend: &Backend<Option<u16>>, path: &'static str) -> Settings {
    let route = Route {
        path,
        ..Route::hello(backend.address)
    };
    Settings::new(vec![route]).with("[reload]\nwatch = true")
}

fn serves(program: &Ringgate, path: &str) -> bool {
    program.connect().ask(client::upgrade(path, &[])).status == 101
}

/// As most editors and every careful script write a file.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn files_are_read_again_however_they_were_written() {
    let backend = echoing();
    let program = Ringgate::run(&watching(&backend, "/one"));
    let api = program.workspace.path("api.yaml");
    // In place.
    fs::write(&api, watching(&backend, "/two").definition()).unwrap();
    eventually("/two is served", || serves(&program, "/two"));
    // By another file in its place.
    replace(&api, &watching(&backend, "/three").definition());
    eventually("/three is served", || serves(&program, "/three"));
    // Away and back, as some editors do.
    fs::rename(&api, program.workspace.path("api.yaml~")).unwrap();
    fs::write(&api, watching(&backend, "/four").definition()).unwrap();
    eventually("/four is served", || serves(&program, "/four"));
    assert!(
        program
            .errors()
            .contains("files of the configuration have changed")
    );
}

#[test]
fn a_mistake_is_reported_and_its_correction_taken() {
    let backend = echoing();
    let program = Ringgate::run(&watching(&backend, "/one"));
    let toml = program.workspace.path("ringgate.toml");
    let right = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, format!("{right}\ncolour = \"red\"\n")).unwrap();
    let failures = "ringgate_config_reloads_total{result=\"failure\"}";
    eventually("the mistake is seen", || program.metric(failures) >= 1.0);
    assert!(program.errors().contains("colour"), "{}", program.errors());
    assert!(serves(&program, "/one"));
    replace(&toml, &right);
    let successes = "ringgate_config_reloads_total{result=\"success\"}";
    eventually("the correction is taken", || {
        program.metric(successes) >= 1.0
    });
    // No longer watched: the last reload that comes by itself is that which says so.
    replace(&toml, &right.replace("watch = true", "watch = false"));
    eventually("that is taken too", || program.metric(successes) >= 2.0);
    fs::write(program.workspace.path("api.yaml"), "wrong").unwrap();
    program.signal("HUP");
    eventually("it is read when asked for", || {
        program.metric(failures) >= 2.0
    });
    assert!(program.metric(successes) < 3.0);
}

#[test]
fn certificates_and_new_definition_files_count() {
    let backend = echoing();
    let workspace = Workspace::new();
    let settings = watching(&backend, "/one");
    fs::create_dir(workspace.path("more")).unwrap();
    let toml = settings
        .toml()
        .replace(r#"["api.yaml"]"#, r#"["api.yaml", "m*/*.yaml"]"#);
    let extra = Route {
        name: "API02",
        path: "/two",
        ..Route::hello(backend.address)
    };
    let extra = Settings::new(vec![extra]);
    workspace.write(
        "more/zero.yaml",
        &extra.definition().replace("/two", "/zero"),
    );
    let program = Ringgate::run_in(workspace, &settings, |command| {
        let file = command.get_args().last().unwrap().to_owned();
        fs::write(file, &toml).unwrap();
    });
    assert!(serves(&program, "/zero"));
    fs::remove_file(program.workspace.path("more/zero.yaml")).unwrap();
    let path = program
        .workspace
        .write("more/new.yaml", &extra.definition());
    eventually("the new file is served", || serves(&program, "/two"));
    assert!(path.exists());
    let renewed = Certificate::create(&program.workspace.path(""));
    let listener = program.listener(Transport::Tls).address;
    eventually("the new certificate is shown", || {
        Client::try_tls(listener, renewed.client()).is_some()
    });
}

/// `..data` is a link to a directory, every file one through it, and an update replaces the one link.
#[test]
fn a_mounted_volume_is_followed_through_its_links() {
    let backend = echoing();
    let workspace = Workspace::new();
    let version = |name: &str, path| {
        let directory = workspace.path(name);
        fs::create_dir(&directory).unwrap();
        let settings = watching(&backend, path);
        let toml = settings.toml();
        let toml = toml
            .replace("cert.pem", "../cert.pem")
            .replace("key.pem", "../key.pem");
        let toml = toml.replace("admin.sock", "../admin.sock");
        fs::write(directory.join("ringgate.toml"), toml).unwrap();
        fs::write(directory.join("api.yaml"), settings.definition()).unwrap();
    };
    fs::create_dir(workspace.path("etc")).unwrap();
    version("etc/..1", "/one");
    version("etc/..2", "/two");
    symlink("..1", workspace.path("etc/..data")).unwrap();
    for file in ["ringgate.toml", "api.yaml"] {
        symlink(format!("..data/{file}"), workspace.path("etc").join(file)).unwrap();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringgate"));
    command
        .arg("run")
        .arg("-c")
        .arg(workspace.path("etc/ringgate.toml"));
    let program = Ringgate::start(command, workspace);
    assert!(serves(&program, "/one"));
    symlink("..2", program.workspace.path("etc/..tmp")).unwrap();
    fs::rename(
        program.workspace.path("etc/..tmp"),
        program.workspace.path("etc/..data"),
    )
    .unwrap();
    eventually("the new version is served", || serves(&program, "/two"));
}
