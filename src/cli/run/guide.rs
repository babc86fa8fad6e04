//! What `tidegate run` says first: where things are, and in the quickstart what to try.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// An address to call that leads to `bound`: one that stands for every address is reached on loopback.
fn reach(bound: SocketAddr) -> SocketAddr {
    let ip = if bound.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        bound.ip()
    };
    SocketAddr::new(ip, bound.port())
}

/// How to call the Integration `name` of `namespace`, as arguments of curl: by a name where that leads to loopback
/// without any DNS (RFC 6761, 6.3), by a header elsewhere.
fn call(listen: SocketAddr, name: &str, namespace: &str, path: &str) -> String {
    let reached = reach(listen);
    if reached.ip().is_loopback() {
        format!("http://{name}.{namespace}.localhost:{}{path}", reached.port())
    } else {
        format!("-H 'Host: {name}.{namespace}' http://{reached}{path}")
    }
}

/// For files of the user's own.
pub fn files(listen: SocketAddr, admin: SocketAddr) -> String {
    let (call, admin) = (call(listen, "NAME", "NAMESPACE", "/"), reach(admin));
    format!(
        "\
call an Integration   curl -i {call}
status                http://{admin}/api/v1/integrations
metrics               http://{admin}/metrics

"
    )
}

/// For the quickstart.
pub fn quickstart(listen: SocketAddr, admin: SocketAddr, provider: SocketAddr, directory: &Path) -> String {
    let (call, admin) = (call(listen, "tides", "demo", "/v1/tides"), reach(admin));
    let directory = directory.display();
    format!(
        "\
Tidegate runs its quickstart: an Integration (`tides`), its Credential, and a sample provider that wants an API key.

  manifests   {directory}  (edits are live; removed at the end)
  provider    http://{provider}
  status      http://{admin}/api/v1/integrations

Try this in another terminal and watch the table below.

1. Call the API. You give no key; Tidegate adds it:
     curl -i {call}

2. Break the provider and call twice. Three failed attempts, which one call makes, open the circuit; the second call
   is answered by Tidegate, at once:
     curl -X POST http://{provider}/control/break
     curl -i {call}; curl -i {call}

3. Mend it, wait for five seconds and call again. One trial is let through, and the circuit closes:
     curl -X POST http://{provider}/control/mend; sleep 5
     curl -i {call}

4. Change the key in the Secret. In a second it is in use; nothing restarts:
     sed -i.bak s/sample-key-1/sample-key-2/ {directory}/secret.yaml; sleep 1
     curl -i {call}

Ctrl-C ends it. With manifests of your own: tidegate run -f FILE|DIR

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_lead_to_where_it_listens() {
        for (listen, wanted) in [
            ("127.0.0.1:8080", "http://a.b.localhost:8080/x"),
            ("0.0.0.0:80", "http://a.b.localhost:80/x"),
            ("[::]:80", "http://a.b.localhost:80/x"),
            ("192.0.2.7:80", "-H 'Host: a.b' http://192.0.2.7:80/x"),
        ] {
            assert_eq!(call(listen.parse().unwrap(), "a", "b", "/x"), wanted);
        }
    }
}
