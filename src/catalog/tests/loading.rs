//! From files to a catalog or a report.

use super::*;
use crate::catalog::load_with_definitions;
use crate::definition::{Definition, OasVersion, Syntax};

/// A copy of an example beside a certificate made for it.
fn example(folder: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let original = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(folder);
    for entry in std::fs::read_dir(original).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    std::fs::write(copy.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(
        copy.path().join("key.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    copy
}

#[test]
fn every_example_loads_without_a_complaint() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let name = entry.unwrap().file_name();
        let copy = example(name.to_str().unwrap());
        let report = check(&copy.path().join("ringgate.toml"));
        assert!(report.is_ok() && report.complaints.is_empty(), "{report}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn every_group_of_the_catalogue_is_exported_as_it_is() {
    let copy = example("catalogue");
    let (loaded, definitions) = load_with_definitions(&copy.path().join("ringgate.toml")).unwrap();
    let mut groups: Vec<&str> = definitions.iter().map(|d| d.group.as_str()).collect();
    groups.dedup();
    assert_eq!(groups, ["chat", "DEFAULT", "shop", "telemetry"]);
    for group in groups {
        let of_group = |d: &&Definition| d.group == group;
        let definitions: Vec<Definition> = definitions.iter().filter(of_group).cloned().collect();
        let environments = &definitions[0].environments;
        let mut once = None;
        for (version, syntax, file) in [
            (OasVersion::Swagger2, Syntax::Json, "a.json"),
            (OasVersion::OpenApi3, Syntax::Yaml, "a.yaml"),
        ] {
            let text = definition::export(&definitions, version, syntax).unwrap();
            let (read, complaints) = definition::parse(file, &text, environments, &loaded.config);
            assert_eq!(complaints, [], "{text}");
            let mut read = read.unwrap();
            read.erase_places();
            let count: usize = definitions.iter().map(|d| d.apis.len()).sum();
            assert_eq!(read.apis.len(), count, "{text}");
            assert_eq!(once.get_or_insert_with(|| read.clone()), &read);
        }
    }
}

#[test]
fn both_formats_of_the_scenario_give_the_same_catalog() {
    let copy = example("hello");
    let path = copy.path().join("ringgate.toml");
    let openapi = load(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"hello.openapi.yaml\"", "\"hello.swagger.yaml\""),
    )
    .unwrap();
    let swagger = load(&path).unwrap();
    assert_eq!(
        format!("{:?}", openapi.catalog),
        format!("{:?}", swagger.catalog)
    );
    let query = query("192.0.2.1", "GET", "/hello");
    let api = openapi.catalog.route(&query).unwrap().api;
    assert_eq!(
        (api.name.as_str(), api.schemes, http(&api).timeout),
        ("API01", Schemes::Https, Duration::from_secs(60))
    );
    assert_eq!(
        (
            http(&api).retries(api.method),
            http(&api).policy.idle_timeout
        ),
        (1, Duration::from_secs(60))
    );
    assert_eq!(openapi.config.tls.certificates[0].names, ["localhost"]);
    // The two at once are API01 twice.
    std::fs::write(
        &path,
        text.replace("\"hello.openapi.yaml\"", "\"hello.*.yaml\""),
    )
    .unwrap();
    let codes: Vec<_> = check(&path)
        .complaints
        .iter()
        .map(|complaint| complaint.code)
        .collect();
    assert_eq!(codes, [Some("APIG.3301"), Some("APIG.3202")]);
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_check_reports_every_file_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[listeners]]\naddress = \"0.0.0.0:443\"\nprotocol = \"https\"\n[[certificates]]\ncertificate = \"none.pem\"\n\
                key = \"none.key\"\n[[definitions]]\nfiles = [\"*.yaml\", \"none/*.json\"]\n[limits]\nhalf = 1\n\
                [[domains]]\nname = \"a.b\"\ngroup = \"nobody\"\n";
    let path = write(&folder, "ringgate.toml", text);
    write(&folder, "a.yaml", "swagger: '2.0'\n");
    write(&folder, "b.yaml", "{");
    let report = check(&path);
    assert!(!report.is_ok());
    let base = folder.path().display().to_string();
    let text = report.to_string().replace(&format!("{base}/"), "");
    let starts: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(": ").unwrap_or((line, "")).0)
        .collect();
    assert_eq!(
        starts,
        [
            "a.yaml:1:1",
            "a.yaml:1:1",
            "b.yaml:1:1",
            "ringgate.toml:5:15",
            "ringgate.toml:6:7",
            "ringgate.toml:8:20",
            "ringgate.toml:10:1",
            "ringgate.toml:12:8",
            "7 errors, 1 warning",
        ],
        "{text}"
    );
    assert!(
        check(&folder.path().join("none.toml"))
            .to_string()
            .contains("none.toml: error: cannot be read")
    );
}

#[test]
fn a_good_check_says_what_would_be_served() {
    let copy = example("hello");
    assert_eq!(
        check(&copy.path().join("ringgate.toml")).to_string(),
        "ok: 1 API, 0 warnings"
    );
}
