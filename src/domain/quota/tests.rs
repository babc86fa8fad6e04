use std::collections::BTreeMap;
use std::sync::Arc;

use super::split::Split;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn plan(requests: u32, burst: u32, workers: u32) -> RateLimitPlan {
    RateLimitPlan {
        requests,
        interval: SECOND,
        burst,
        max_wait: SECOND,
        workers,
    }
}

fn taken(bucket: &mut Bucket, now: Instant) -> usize {
    (0..1_000_000).take_while(|_| bucket.take(now).is_ok()).count()
}

/// No window of `length` that begins at an attempt has more than `most` of `sent`, which is in order.
fn most_in_a_window(sent: &[Instant], length: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in sent.iter().enumerate() {
        while sent[first] + length <= *at {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

#[test]
fn a_full_bucket_has_the_burst_and_then_the_rate() {
    let now = Instant::now();
    let mut bucket = Bucket::full(allowance(&plan(100, 20, 1), 1), now);
    assert_eq!(taken(&mut bucket, now), 21);
    assert_eq!(bucket.take(now), Err(Some(Duration::from_millis(10))));
    assert_eq!(taken(&mut bucket, now + Duration::from_millis(95)), 9);
    assert_eq!(taken(&mut bucket, now + 60 * SECOND), 21);
}

#[test]
fn a_share_is_a_part_of_the_rate_and_of_the_burst() {
    let part =
        |requests, burst, of| allowance(&plan(requests, burst, 1), of).map(|it| (it.capacity, it.period / 1_000_000));
    assert_eq!(part(100, 19, 4), Some((5, 40)));
    assert_eq!(part(100, 0, 1), Some((1, 10)));
    // Four tokens are more than the burst: the rest is taken off the rate, 97 instead of 100.
    assert_eq!(part(100, 0, 4), Some((1, 41)));
    assert_eq!(part(1, 0, 1), Some((1, 1000)));
    for (requests, burst, of) in [(1, 0, 2), (3, 0, 4), (3, 0, 1000), (100, 20, 0)] {
        assert_eq!(part(requests, burst, of), None, "{requests} {burst} {of}");
    }
    assert!(allowance(&plan(u32::MAX, u32::MAX, 1), u32::MAX).is_some());
}

#[test]
fn an_empty_bucket_tells_how_long_those_wait_who_stand_in_line() {
    let now = Instant::now();
    let bucket = Bucket::empty(allowance(&plan(10, 5, 1), 1), now);
    let wait = |ahead, later| bucket.wait(ahead, now + Duration::from_millis(later));
    assert_eq!(wait(0, 0), Some(Duration::from_millis(100)));
    assert_eq!(wait(3, 0), Some(Duration::from_millis(400)));
    assert_eq!(wait(3, 250), Some(Duration::from_millis(150)));
    assert_eq!(Bucket::empty(None, now).wait(0, now), None);
}

#[test]
fn a_token_that_is_given_back_is_there_again_and_no_more_than_fit() {
    let now = Instant::now();
    let mut bucket = Bucket::full(allowance(&plan(10, 0, 1), 1), now);
    bucket.refund();
    assert!(bucket.take(now).is_ok());
    assert!(bucket.take(now).is_err());
    bucket.refund();
    assert_eq!(taken(&mut bucket, now), 1);
}

#[test]
fn a_larger_share_brings_no_tokens_and_a_smaller_one_takes_them() {
    let now = Instant::now();
    let plan = plan(100, 19, 1);
    let mut bucket = Bucket::full(allowance(&plan, 1), now);
    bucket.adjust(allowance(&plan, 4), now);
    bucket.adjust(allowance(&plan, 1), now);
    assert_eq!(taken(&mut bucket, now), 5);
    bucket.adjust(None, now + SECOND);
    assert_eq!(bucket.take(now + SECOND), Err(None));
    bucket.adjust(allowance(&plan, 1), now + 2 * SECOND);
    assert_eq!(taken(&mut bucket, now + 2 * SECOND), 0);
}

#[test]
fn a_clock_that_stands_or_leaps_is_harmless() {
    let now = Instant::now();
    let mut bucket = Bucket::full(allowance(&plan(10, 0, 1), 1), now + SECOND);
    assert_eq!(taken(&mut bucket, now), 1);
    assert_eq!(taken(&mut bucket, now + Duration::from_secs(1 << 33)), 1);
}

fn name(number: usize) -> Arc<str> {
    format!("w{number}").into()
}

/// Tells every worker what it is to be told, until there is nothing more to tell.
fn settle(split: &mut Split, workers: &mut BTreeMap<Arc<str>, u32>, now: Instant) {
    for _ in 0..4 {
        for (worker, has) in workers.iter_mut() {
            if let Some(of) = split.tell(worker, now) {
                assert!(split.held() <= 1.0 + 1e-6, "{split:?}");
                *has = of;
                split.confirm(worker, of);
            }
        }
    }
}

fn fleet(split: &mut Split, count: usize, now: Instant) -> BTreeMap<Arc<str>, u32> {
    let mut workers = BTreeMap::new();
    for number in 0..count {
        split.see(&name(number));
        split.hear(&name(number), None);
        workers.insert(name(number), 0);
    }
    settle(split, &mut workers, now);
    workers
}

#[test]
fn shares_are_equal_and_leave_room_for_those_who_are_to_come() {
    let now = Instant::now();
    for (wanted, live, of) in [(2, 1, 2), (2, 2, 2), (2, 3, 3), (1, 1, 1)] {
        let mut split = Split::default();
        split.want(Some(&plan(100, 20, wanted)), now);
        let workers = fleet(&mut split, live, now);
        assert!(workers.values().all(|has| *has == of), "{wanted} {live} {workers:?}");
    }
}

#[test]
fn a_worker_that_cannot_be_told_keeps_its_share_until_it_is_gone() {
    let now = Instant::now();
    let mut split = Split::default();
    split.want(Some(&plan(100, 20, 1)), now);
    fleet(&mut split, 1, now);
    split.see(&name(1));
    split.hear(&name(1), None);
    // It is being told, and does not confirm.
    assert_eq!(split.tell("w0", now), Some(2));
    assert_eq!(split.tell("w1", now), Some(0), "there is nothing left for the new one");
    split.confirm("w1", 0);
    assert_eq!(split.tell("w1", now), None);
    split.lose("w0", now);
    assert_eq!(split.tell("w1", now), Some(1));
}

#[test]
fn one_of_whom_nothing_was_heard_is_taken_to_hold_what_another_controller_may_have_told_it() {
    let now = Instant::now();
    let mut split = Split::default();
    split.want(Some(&plan(100, 20, 2)), now);
    for number in 0..3 {
        split.see(&name(number));
    }
    assert_eq!(split.tell("w2", now), None, "it is not connected");
    split.hear("w2", None);
    assert_eq!(split.tell("w2", now), Some(0), "the two others may have a half each");
    split.confirm("w2", 0);
    for worker in ["w0", "w1"] {
        split.hear(worker, Some(2));
        assert_eq!(split.tell(worker, now), Some(3));
        split.confirm(worker, 3);
    }
    assert_eq!(split.tell("w2", now), Some(3));
}

#[test]
fn without_a_rate_limit_nobody_is_told_anything() {
    let mut split = Split::default();
    split.see(&name(0));
    split.hear("w0", None);
    assert_eq!(split.tell("w0", Instant::now()), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    /// Workers come, go, are scaled, lose their connection and confirm late, and everybody asks all the time: no window
    /// of an interval sees more than the promise.
    #[test]
    fn no_window_sees_more_than_the_promise_however_workers_come_and_go(
        requests in 8_u32..60,
        burst in 0_u32..12,
        steps in proptest::collection::vec((0_u8..8, 0_usize..6, 1_u64..400), 1..80),
    ) {
        struct Worker {
            bucket: Bucket,
            pending: Option<u32>,
            reachable: bool,
        }
        let start = Instant::now();
        let mut wanted = 2;
        let terms = |wanted| plan(requests, burst, wanted);
        let mut split = Split::default();
        split.want(Some(&terms(wanted)), start);
        let mut workers: BTreeMap<Arc<str>, Worker> = BTreeMap::new();
        let mut sent = Vec::new();
        let (mut now, mut born) = (start, 0);
        for (what, which, pause) in steps {
            let chosen = workers.keys().nth(which).cloned();
            match (what, chosen) {
                (0 | 1, _) if workers.len() < 6 => {
                    born += 1;
                    split.see(&name(born));
                    split.hear(&name(born), None);
                    workers.insert(name(born), Worker { bucket: Bucket::empty(None, now), pending: None, reachable: true });
                }
                (2, Some(worker)) => {
                    workers.remove(&worker);
                    split.lose(&worker, now);
                }
                (3, Some(worker)) => {
                    let worker = workers.get_mut(&worker).unwrap();
                    worker.reachable = !worker.reachable;
                }
                (4, _) => {
                    wanted = 1 + u32::try_from(which).unwrap();
                    split.want(Some(&terms(wanted)), now);
                }
                _ => {}
            }
            let until = now + Duration::from_millis(pause);
            while now < until {
                for (name, worker) in &mut workers {
                    if worker.reachable {
                        if worker.pending.is_none() {
                            worker.pending = split.tell(name, now);
                            // The worker has it at once; the confirmation takes a step.
                            if let Some(of) = worker.pending {
                                worker.bucket.adjust(allowance(&terms(wanted), of), now);
                            }
                        } else if let Some(of) = worker.pending.take() {
                            split.confirm(name, of);
                        }
                    }
                    while worker.bucket.take(now).is_ok() {
                        sent.push(now);
                    }
                }
                now += Duration::from_millis(3);
            }
        }
        let most = most_in_a_window(&sent, SECOND);
        proptest::prop_assert!(most <= (requests + burst) as usize, "{} of {} + {}", most, requests, burst);
    }
}
