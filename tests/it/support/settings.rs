//! `ringgate.toml` and a definition file for the reference scenario (spec 1.2) and its relatives.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Transport;
use super::program::Workspace;

/// One API of group DEFAULT, published in RELEASE.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) schemes: &'static [&'static str],
    /// `host:port`, as a definition has it.
    pub(crate) backend: String,
    pub(crate) backend_path: &'static str,
    pub(crate) backend_method: &'static str,
    pub(crate) timeout_ms: u32,
}

impl Route {
    /// API01 on `/hello`, for both schemes.
    pub(crate) fn hello(backend: SocketAddr) -> Self {
        Self {
            name: "API01",
            path: "/hello",
            schemes: &["https", "http"],
            backend: backend.to_string(),
            backend_path: "/",
            backend_method: "GET",
            timeout_ms: 60_000,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listeners: Vec<(Transport, &'static str)>,
    pub(crate) routes: Vec<Route>,
    /// Who has to speak the PROXY protocol, on every listener.
    pub(crate) proxy_protocol: &'static [&'static str],
    /// Further TOML, from a table header on.
    pub(crate) more: String,
    /// Where the admin listener is on loopback, with `TOKEN`.
    pub(crate) page: Option<String>,
}

/// What `admin.token_file` holds where there is one.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

impl Settings {
    /// One listener of each kind on 127.0.0.1.
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self {
            listeners: vec![
                (Transport::Plain, "127.0.0.1:0"),
                (Transport::Tls, "127.0.0.1:0"),
            ],
            routes,
            proxy_protocol: &[],
            more: String::new(),
            page: None,
        }
    }

    pub(crate) fn hello(backend: SocketAddr) -> Self {
        Self::new(vec![Route::hello(backend)])
    }

    pub(crate) fn with(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self.more.push('\n');
        self
    }

    pub(crate) fn with_page(mut self, address: &str) -> Self {
        self.page = Some(address.to_owned());
        self
    }

    pub(crate) fn with_timeout(mut self, milliseconds: u32) -> Self {
        for route in &mut self.routes {
            route.timeout_ms = milliseconds;
        }
        self
    }

    /// Writes both files and returns the path of `ringgate.toml`.
    pub(crate) fn write(&self, workspace: &Workspace) -> PathBuf {
        workspace.write("api.yaml", &self.definition());
        if self.page.is_some() {
            workspace.write_secret("admin.token", TOKEN);
        }
        workspace.write("ringgate.toml", &self.toml())
    }

    pub(crate) fn toml(&self) -> String {
        let mut text = String::new();
        for (transport, address) in &self.listeners {
            let protocol = match transport {
                Transport::Plain => "http",
                Transport::Tls => "https",
            };
            writeln!(
                text,
                "[[listeners]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n"
            )
            .unwrap();
            if !self.proxy_protocol.is_empty() {
                writeln!(text, "proxy_protocol = {:?}", self.proxy_protocol).unwrap();
            }
        }
        text.push_str("[[certificates]]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n");
        text.push_str("[[definitions]]\nfiles = [\"api.yaml\"]\n\n");
        text.push_str("[workers]\ncores = [0]\n\n[admin]\nsocket = \"admin.sock\"\n");
        if let Some(address) = &self.page {
            writeln!(text, "listen = \"{address}\"\ntoken_file = \"admin.token\"").unwrap();
        }
        text.push('\n');
        text.push_str(&self.more);
        text
    }

    /// The routes as OpenAPI 3.0 with the cloud's extensions.
    pub(crate) fn definition(&self) -> String {
        let mut text =
            String::from("openapi: 3.0.0\ninfo:\n  title: DEFAULT\n  version: \"1\"\npaths:\n");
        for route in &self.routes {
            write!(
                text,
                "  {}:\n    get:\n      operationId: {}\n      servers:\n",
                route.path, route.name
            )
            .unwrap();
            for scheme in route.schemes {
                writeln!(text, "        - url: {scheme}://203.0.113.10").unwrap();
            }
            write!(
                text,
                r#"      responses:
        default:
          description: default response
      x-apigateway-request-type: public
      x-apigateway-match-mode: NORMAL
      x-apigateway-cors: false
      x-apigateway-response: default
      x-apigateway-backend:
        type: HTTP
        httpEndpoints:
          address: "{}"
          scheme: http
          method: {}
          path: {}
          timeout: {}
          retryCount: "-1"
          enableClientSsl: false
"#,
                route.backend, route.backend_method, route.backend_path, route.timeout_ms
            )
            .unwrap();
        }
        text
    }
}
