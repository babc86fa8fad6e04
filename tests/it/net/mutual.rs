//! Mutual TLS of the control connection: only peers of our own authority talk to each other.

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::pki_types::ServerName;
use tidegate::net::tls::{self, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls::{authority, issue};

type Authority = rcgen::CertifiedIssuer<'static, rcgen::KeyPair>;

struct Identity {
    certificate: String,
    key: String,
}

fn identity(authority: &Authority, name: &str, usage: rcgen::ExtendedKeyUsagePurpose) -> Identity {
    let (certificate, key) = issue(authority, |params| params.extended_key_usages = vec![usage], &[name]);
    Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// Whether a byte comes through in both directions, and whether both chose HTTP/2.
async fn talk(
    server: std::sync::Arc<rustls::ServerConfig>,
    client: std::sync::Arc<rustls::ClientConfig>,
) -> std::io::Result<bool> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await
    };
    let calling = async {
        let name = ServerName::try_from("worker").unwrap();
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        stream.write_u8(7).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, 7);
        Ok(stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    };
    let (near_end, far_end) = tokio::join!(calling, serving);
    far_end.and(near_end)
}

#[tokio::test]
async fn peers_of_one_authority_talk_and_others_do_not() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let worker = identity(&ours, "worker", ServerAuth);
    let controller = identity(&ours, "controller", ClientAuth);
    let stranger = identity(&theirs, "controller", ClientAuth);
    let impostor = identity(&theirs, "worker", ServerAuth);
    let other_worker = identity(&ours, "other", ServerAuth);

    let server = |who: &Identity| tls::server(&who.certificate, &who.key, &ours.pem()).unwrap();
    let client = |who: &Identity| tls::client(&who.certificate, &who.key, &ours.pem()).unwrap();

    assert!(
        talk(server(&worker), client(&controller)).await.unwrap(),
        "HTTP/2 was not chosen"
    );
    assert!(
        talk(server(&worker), client(&stranger)).await.is_err(),
        "a stranger was let in"
    );
    assert!(
        talk(server(&impostor), client(&controller)).await.is_err(),
        "an impostor was believed"
    );
    assert!(
        talk(server(&other_worker), client(&controller)).await.is_err(),
        "another name was believed"
    );
    assert!(
        talk(server(&worker), client(&worker)).await.is_err(),
        "a worker was taken for a controller"
    );

    let nobody = tls::provider_config(
        &tidegate::domain::plan::TlsPlan {
            ca_pem: Some(ours.pem()),
            ..Default::default()
        },
        tidegate::api::integration::Http2::Auto,
    );
    assert!(
        talk(server(&worker), nobody.unwrap()).await.is_err(),
        "somebody without a certificate was let in"
    );
}

#[test]
fn what_is_missing_or_does_not_fit_is_named_without_being_shown() {
    let ours = authority("ours");
    let (one, two) = (
        identity(&ours, "worker", ServerAuth),
        identity(&ours, "worker", ServerAuth),
    );
    let ca = ours.pem();
    let error = tls::server(&one.certificate, &two.key, &ca).unwrap_err();
    assert!(error.to_string().contains("server certificate and key"), "{error}");
    assert_eq!(
        tls::server(&one.certificate, &one.certificate, &ca).unwrap_err(),
        TlsError::Missing {
            what: "server key",
            wanted: "private key"
        }
    );
    assert!(matches!(
        tls::client(&one.key, &one.key, &ca).unwrap_err(),
        TlsError::Missing {
            what: "client certificate",
            ..
        }
    ));
    let garbled = one.key.replace('A', "!");
    let error = tls::client(&one.certificate, &garbled, &ca).unwrap_err();
    assert!(
        one.key
            .lines()
            .all(|line| line.starts_with("-----") || !error.to_string().contains(line))
    );
}
