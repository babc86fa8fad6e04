use super::*;

/// A provider that does `at_once` requests at a time, each in `service`, and callers who always want more. Time goes in
/// steps of a millisecond.
struct Queue {
    at_once: usize,
    service: Duration,
    /// When each request that is under way came, first come first served.
    under_way: Vec<Instant>,
    /// When each of those that are being served is done.
    done_at: Vec<Option<Instant>>,
    now: Instant,
}

impl Queue {
    fn new(at_once: usize, service: u64) -> Self {
        Self {
            at_once,
            service: Duration::from_millis(service),
            under_way: Vec::new(),
            done_at: Vec::new(),
            now: Instant::now(),
        }
    }

    /// Goes on for so long with at most `demand` callers. The answers, and how long they took together.
    fn run(&mut self, limit: &mut Limit, seconds: u64, demand: usize) -> (u32, Duration) {
        let (mut answers, mut waited) = (0, Duration::ZERO);
        for _ in 0..seconds * 1000 {
            self.now += Duration::from_millis(1);
            while let Some(index) = self
                .done_at
                .iter()
                .position(|done| done.is_some_and(|done| done <= self.now))
            {
                let came = self.under_way.remove(index);
                self.done_at.remove(index);
                let took = self.now - came;
                let under_way = u32::try_from(self.under_way.len()).unwrap();
                limit.answered(took, under_way + 1, self.now);
                answers += 1;
                waited += took;
            }
            while self.under_way.len() < demand.min(limit.get() as usize) {
                self.under_way.push(self.now);
                self.done_at.push(None);
            }
            for done in self.done_at.iter_mut().take(self.at_once) {
                done.get_or_insert(self.now + self.service);
            }
        }
        (answers, waited)
    }
}

fn limit(queue: &Queue) -> Limit {
    Limit::new(4, 1000, 0.5, queue.now)
}

const PLENTY: usize = 10_000;

#[test]
fn it_settles_a_little_above_what_the_provider_does_at_once() {
    for (at_once, service) in [(1, 20), (8, 50), (20, 50), (20, 500), (100, 20), (300, 100)] {
        let mut queue = Queue::new(at_once, service);
        let mut limit = Limit::new(u32::try_from(at_once.min(4)).unwrap(), 1000, 0.5, queue.now);
        queue.run(&mut limit, 60, PLENTY);
        let (answers, waited) = queue.run(&mut limit, 60, PLENTY);
        let capacity = 60 * 1000 / service * at_once as u64;
        // One more under way is twice as many, where one is all.
        let most = if at_once == 1 { 4 } else { 2 };
        assert!(
            u64::from(answers) * 100 > capacity * 95,
            "{at_once} at once: {answers} of {capacity} answers"
        );
        let mean = waited / answers;
        assert!(
            mean < most * Duration::from_millis(service),
            "{at_once} at once in {service} ms: answers take {mean:?}"
        );
    }
}

#[test]
fn it_follows_a_provider_that_does_less_and_then_more_again() {
    let mut queue = Queue::new(40, 50);
    let mut limit = limit(&queue);
    queue.run(&mut limit, 30, PLENTY);
    let before = limit.get();
    assert!((40..=80).contains(&before), "{before}");
    queue.at_once = 10;
    queue.run(&mut limit, 60, PLENTY);
    let less = limit.get();
    assert!((4..=20).contains(&less), "{less}");
    queue.at_once = 40;
    queue.run(&mut limit, 60, PLENTY);
    assert!((40..=80).contains(&limit.get()), "{}", limit.get());
}

#[test]
fn a_provider_that_became_slower_for_everybody_is_measured_anew() {
    let mut queue = Queue::new(20, 20);
    let mut limit = limit(&queue);
    queue.run(&mut limit, 30, PLENTY);
    queue.service = Duration::from_millis(200);
    queue.run(&mut limit, 60, PLENTY);
    let (answers, _) = queue.run(&mut limit, 60, PLENTY);
    assert!(answers > 60 * 5 * 20 * 9 / 10, "{answers}");
}

#[test]
fn what_is_not_used_does_not_grow() {
    let mut queue = Queue::new(100, 20);
    let mut limit = limit(&queue);
    queue.run(&mut limit, 120, 10);
    assert!(limit.get() <= 30, "{}", limit.get());
}

#[test]
fn a_provider_that_refuses_is_believed_at_once() {
    let mut queue = Queue::new(100, 20);
    let mut limit = limit(&queue);
    queue.run(&mut limit, 15, PLENTY);
    let before = limit.get();
    for _ in 0..100 {
        queue.now += Duration::from_millis(100);
        for _ in 0..20 {
            limit.refused(queue.now);
        }
    }
    assert!(limit.get() * 8 <= before, "{before} to {}", limit.get());
    assert!(limit.get() >= 4);
}

proptest::proptest! {
    #[test]
    fn the_limit_never_leaves_its_bounds(
        minimum in 1_u32..50,
        more in 0_u32..1000,
        steps in proptest::collection::vec((0_u64..400, proptest::option::of(0_u64..100_000), 0_u32..2000), 0..300),
    ) {
        let mut now = Instant::now();
        let mut limit = Limit::new(minimum, minimum + more, 0.3, now);
        for (pause, took, under_way) in steps {
            now += Duration::from_millis(pause);
            match took {
                Some(took) => limit.answered(Duration::from_millis(took), under_way, now),
                None => limit.refused(now),
            }
            proptest::prop_assert!((minimum..=minimum + more).contains(&limit.get()));
        }
    }
}
