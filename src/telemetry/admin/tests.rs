use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn ask(readiness: &Readiness, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes(readiness.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_means_that_every_check_passes() {
    let readiness = Readiness::new();
    assert_eq!(ask(&readiness, "/readyz").await, (200, "ok\n".into()));
    let (lease, plans) = (readiness.check("lease"), readiness.check("plans"));
    lease.pass();
    let (status, text) = ask(&readiness, "/readyz").await;
    assert_eq!(
        (status, text.as_str()),
        (503, "[+] lease ok\n[-] plans failed: not yet\nfailed\n")
    );
    plans.pass();
    assert_eq!(ask(&readiness, "/readyz").await.0, 200);
    lease.fail("lost");
    assert_eq!(ask(&readiness, "/readyz").await.0, 503);
    assert_eq!(
        ask(&readiness, "/livez").await.0,
        200,
        "not being ready is no reason for a restart"
    );
}

#[tokio::test(start_paused = true)]
async fn live_means_that_every_loop_turns() {
    let readiness = Readiness::new();
    let pulse = readiness.pulse("watch", Duration::from_secs(30));
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(ask(&readiness, "/livez").await.0, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    let (status, text) = ask(&readiness, "/livez").await;
    assert_eq!(
        (status, text.as_str()),
        (503, "[-] watch failed: silent for 31 s\nfailed\n")
    );
    pulse.beat();
    assert_eq!(ask(&readiness, "/livez").await.0, 200);
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_flag() {
    let taken = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let error = bind(taken.local_addr().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("--admin"), "{error}");
}

#[tokio::test]
async fn serve_answers_and_ends_when_asked_to() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let extra = Router::new().route("/extra", get(async || "more"));
    let served = tokio::spawn(serve(listener, Readiness::new(), extra, stop.clone()));
    for (path, begin) in [("livez", "ok"), ("extra", "more")] {
        let text = reqwest::get(format!("http://{address}/{path}"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(text.starts_with(begin), "{path}: {text}");
    }
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .unwrap()
        .unwrap();
}
