use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn plan(requests: u32, burst: u32) -> RateLimitPlan {
    RateLimitPlan {
        requests,
        interval: SECOND,
        burst,
        max_wait: SECOND,
        workers: 2,
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[tokio::test(start_paused = true)]
async fn attempts_pass_at_the_rate_in_the_order_of_arrival() {
    let quota = Arc::new(Quota::new(&plan(10, 0), None));
    let start = Instant::now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..10)
        .map(|number| {
            let (quota, order) = (quota.clone(), order.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(number)).await;
                quota.take(far()).await.unwrap();
                order.lock().unwrap().push((number, start.elapsed().as_millis() / 10));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let expected: Vec<_> = (0..10).map(|number| (number, u128::from(number) * 10)).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_told_at_once_when_to_come_back() {
    let quota = Arc::new(Quota::new(&plan(10, 0), None));
    quota.take(far()).await.unwrap();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let quota = quota.clone();
            tokio::spawn(async move { quota.take(far()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let start = Instant::now();
    let NoToken(wait) = quota.take(far()).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(wait.unwrap() > SECOND && wait.unwrap() < SECOND * 12 / 10, "{wait:?}");
    for one in waiting {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_wait() {
    let quota = Quota::new(&plan(10, 0), None);
    quota.take(far()).await.unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    assert!(quota.take(soon).await.is_err());
    assert!(quota.take(Instant::now() + Duration::from_millis(150)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_leaves_no_trace() {
    let quota = Arc::new(Quota::new(&plan(10, 0), None));
    quota.take(far()).await.unwrap();
    for _ in 0..100 {
        let given_up = tokio::time::timeout(Duration::from_millis(1), quota.take(far()));
        // The bucket fills during a hundred milliseconds; up to there, nobody is served.
        drop(given_up.await);
    }
    assert_eq!(quota.waiting.load(Ordering::Relaxed), 0);
    tokio::time::sleep(SECOND).await;
    let start = Instant::now();
    quota.take(far()).await.unwrap();
    quota.take(far()).await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_share_that_comes_wakes_those_who_wait_and_one_that_goes_stops_them() {
    let (controller, share) = watch::channel(None);
    let quota = Arc::new(Quota::new(&plan(10, 1), Some(share)));
    let start = Instant::now();
    let waits = tokio::spawn({
        let quota = quota.clone();
        async move { quota.take(far()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(quota.told(), None);
    controller.send_replace(Some(2));
    assert_eq!(waits.await.unwrap(), Ok(()));
    // It began with an empty bucket, and has a half of ten.
    assert_eq!(start.elapsed().as_millis(), 500);
    controller.send_replace(Some(0));
    assert_eq!(quota.take(far()).await, Err(NoToken(None)));
    assert_eq!(start.elapsed().as_millis(), 1500);
}

#[tokio::test(start_paused = true)]
async fn without_a_controller_a_worker_takes_a_smaller_share_after_a_while() {
    let (_controller, share) = watch::channel(None);
    let quota = Quota::new(&plan(30, 10), Some(share));
    assert!(quota.take(far()).await.is_err());
    tokio::time::sleep(PATIENCE).await;
    let start = Instant::now();
    for _ in 0..4 {
        quota.take(far()).await.unwrap();
    }
    // One part of three: ten a second, from nothing.
    assert_eq!(start.elapsed().as_millis(), 400);
}

#[tokio::test(start_paused = true)]
async fn an_edit_gives_no_new_tokens() {
    let quota = Quota::new(&plan(10, 0), None);
    quota.take(far()).await.unwrap();
    let start = Instant::now();
    quota.following(&plan(10, 5)).take(far()).await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 100);
}
