//! The status page in a real browser.

use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::client;
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::{Ringgate, Workspace};
use crate::support::settings::{Route, Settings, TOKEN};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

/// The text of an element.
fn text(id: &str) -> String {
    format!("document.getElementById('{id}').innerText")
}

/// The first cell of a row, and the number behind it.
fn row(body: &str, name: &str, column: usize) -> String {
    format!(
        "[...document.querySelectorAll('#{body} tr')].find((row) => row.innerText.includes('{name}'))?.cells[{column}].innerText"
    )
}

fn enter(browser: &Browser, token: &str) {
    browser.value(&format!(
        "document.getElementById('token').value = '{token}'; document.getElementById('ask').requestSubmit()"
    ));
}

#[test]
fn people_see_what_happens() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let backend = echoing();
    let other = Route {
        // What a page takes for markup must not become any.
        name: "API02",
        path: "/other",
        ..Route::hello(backend.address)
    };
    let settings = Settings::new(vec![Route::hello(backend.address), other]);
    let workspace = Workspace::new();
    let program = Ringgate::run_in(workspace, &settings.with_page("127.0.0.1:0"), |_| {});
    let page = program.page.unwrap();

    // Nothing is told before the token is there.
    browser.open(&format!("http://{page}/"));
    browser.until("!document.getElementById('ask').hidden");
    assert_eq!(
        browser.value("document.getElementById('main').hidden"),
        true
    );
    enter(&browser, "not-the-token");
    browser.until(&format!(
        "{} === 'That is not the token.'",
        text("ask-error")
    ));
    assert!(
        browser
            .value("sessionStorage.getItem('ringgate.token')")
            .is_null()
    );
    let refused = browser.problems().len();
    enter(&browser, TOKEN);
    browser.until("!document.getElementById('main').hidden");
    browser.until(&format!("{} === 'ready'", text("state-text")));

    // Sockets by API and backend, messages, refusals.
    let mut clients: Vec<_> = (0..3).map(|_| program.connect()).collect();
    for client in &mut clients {
        client.upgrade("/hello");
        client.send(masked(TEXT, b"hello"));
        client.read_frame();
    }
    let mut refused_client = program.connect();
    assert_eq!(
        refused_client.ask(client::upgrade("/none", &[])).status,
        404
    );
    browser.until(&format!("parseInt({}) === 3", row("apis", "API01", 1)));
    browser.until(&format!("parseInt({}) === 0", row("apis", "API02", 1)));
    let address = backend.address.to_string();
    browser.until(&format!("parseInt({}) === 3", row("backends", &address, 1)));
    browser.until(&format!("{}.includes('no route')", text("refused")));
    browser.until("document.title.startsWith('3 open')");
    browser.until("document.querySelector('.tile .stroke').getAttribute('d').includes('L')");

    // A Close, its code and its reason.
    let mut leaving = clients.pop().unwrap();
    leaving.send(masked(CLOSE, &close(4321, "")));
    leaving.read_frame();
    drop(leaving);
    browser.until(&format!("{}.includes('4000-4999')", text("codes")));
    browser.until(&format!("{}.includes('finished')", text("reasons")));

    // A drain's progress.
    let request = "POST /v1/drains?all&over=10h HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(program.admin_raw(request).0, 202);
    browser.until(&format!("{}.includes('over 10h')", text("drains")));
    browser.until(
        "document.querySelector('[role=progressbar]').getAttribute('aria-valuemax') === '2'",
    );

    // A reload that is refused; what it says is shown as text.
    program
        .workspace
        .write("ringgate.toml", "\"<b>bold</b>\" = 1\n");
    program.signal("HUP");
    browser.until(&format!("{}.includes('1 refused')", text("config")));
    browser.until(&format!("{}.includes('<b>')", text("complaints")));
    assert_eq!(browser.value("document.querySelectorAll('b').length"), 0);

    // Readable on a phone: nothing but tables that scroll by themselves is wider than it.
    assert_eq!(
        browser.value("document.documentElement.scrollWidth <= window.innerWidth"),
        true
    );
    // The description of the API is to be had; no policy of the page's own forbids it.
    browser.value("document.getElementById('api').click()");
    browser.until("!document.getElementById('notice').innerText.includes('answer')");
    // Every complaint so far was a question without the token.
    assert_eq!(
        browser.problems().len(),
        refused,
        "{:?}",
        browser.problems()
    );
}

#[test]
fn the_page_outlives_the_program() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let backend = echoing();
    let settings = Settings::hello(backend.address).with_page("127.0.0.1:0");
    let program = Ringgate::run(&settings);
    let page = program.page.unwrap();
    browser.open(&format!("http://{page}/"));
    browser.until("!document.getElementById('ask').hidden");
    enter(&browser, TOKEN);
    let mut client = program.connect();
    client.upgrade("/hello");
    browser.until("document.title.startsWith('1 open')");
    drop(program);
    browser.until(&format!("{} === 'no answer'", text("state-text")));
    browser.until("document.getElementById('main').classList.contains('stale')");
    assert_eq!(
        browser.value("document.getElementById('notice').hidden"),
        false
    );

    let settings = Settings::hello(backend.address).with_page(&page.to_string());
    let program = Ringgate::run(&settings);
    browser.until("document.title.startsWith('0 open')");
    browser.until("!document.getElementById('main').classList.contains('stale')");
    assert_eq!(
        browser.value("document.getElementById('notice').hidden"),
        true
    );
    // Its counters began anew, and no rate is made of the difference.
    let mut client = program.connect();
    client.upgrade("/hello");
    browser.until(&format!("parseInt({}) === 1", row("apis", "API01", 1)));
    let shown = browser.value(&text("tiles"));
    assert!(!shown.as_str().unwrap().contains('-'), "{shown}");
}
