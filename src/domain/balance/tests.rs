use super::*;

const FIT: Standing = Standing {
    gate: Gate::Flows,
    unhealthy: false,
};
const UNHEALTHY: Standing = Standing {
    gate: Gate::Flows,
    unhealthy: true,
};
const DUE: Standing = Standing {
    gate: Gate::TrialDue,
    unhealthy: false,
};
const SHUT: Standing = Standing {
    gate: Gate::Shut,
    unhealthy: false,
};

fn balancer(policy: BalancePolicy, weights_and_priorities: &[(u32, u8)]) -> Balancer {
    let endpoints: Vec<EndpointPlan> = weights_and_priorities
        .iter()
        .enumerate()
        .map(|(index, &(weight, priority))| EndpointPlan {
            name: format!("endpoint-{index}"),
            url: "https://api.example.com".into(),
            weight,
            priority,
        })
        .collect();
    Balancer::new(policy, &endpoints)
}

/// A small generator, so that every run is the same.
struct Random(u64);

impl Random {
    #[allow(clippy::cast_possible_truncation)]
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn draw(&mut self) -> Draw {
        Draw(self.next(), self.next())
    }

    fn unit(&mut self) -> f64 {
        f64::from(self.next()) / 4_294_967_296.0
    }
}

/// The endpoints that are chosen for these standings, over many draws.
fn chosen(balancer: &mut Balancer, standings: &[Standing], tried: Option<usize>) -> Vec<usize> {
    let (now, mut random) = (Instant::now(), Random(1));
    let mut chosen: Vec<usize> = (0..200)
        .filter_map(|_| balancer.choose(|index| standings[index], tried, None, random.draw(), now))
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[test]
fn the_endpoints_that_are_asked_are_those_the_rules_name() {
    // (what it shows, weights and priorities, standings, tried before, who may be chosen)
    type Row = (
        &'static str,
        &'static [(u32, u8)],
        &'static [Standing],
        Option<usize>,
        &'static [usize],
    );
    let rows: [Row; 22] = [
        (
            "the lowest priority serves",
            &[(1, 1), (1, 0), (1, 0)],
            &[FIT, FIT, FIT],
            None,
            &[1, 2],
        ),
        (
            "the next priority serves when the lowest is shut",
            &[(1, 0), (1, 1)],
            &[SHUT, FIT],
            None,
            &[1],
        ),
        (
            "the next priority serves when the lowest is unhealthy",
            &[(1, 0), (1, 1)],
            &[UNHEALTHY, FIT],
            None,
            &[1],
        ),
        (
            "priorities need not be dense",
            &[(1, 7), (1, 3)],
            &[FIT, SHUT],
            None,
            &[0],
        ),
        (
            "unhealthy is avoided within a priority",
            &[(1, 0), (1, 0)],
            &[UNHEALTHY, FIT],
            None,
            &[1],
        ),
        (
            "all unhealthy: the breaker alone decides",
            &[(1, 0), (1, 0)],
            &[UNHEALTHY, UNHEALTHY],
            None,
            &[0, 1],
        ),
        (
            "all unhealthy: lowest priority first",
            &[(1, 0), (1, 1)],
            &[UNHEALTHY, UNHEALTHY],
            None,
            &[0],
        ),
        (
            "unhealthy and shut: the other unhealthy one",
            &[(1, 0), (1, 1)],
            &[SHUT, UNHEALTHY],
            None,
            &[1],
        ),
        ("all shut: nobody", &[(1, 0), (1, 1)], &[SHUT, SHUT], None, &[]),
        ("weight 0 gets nothing", &[(0, 0), (1, 0)], &[FIT, FIT], None, &[1]),
        ("weight 0 gets nothing even alone", &[(0, 0)], &[FIT], None, &[]),
        (
            "weight 0 does not hold a priority",
            &[(0, 0), (1, 1)],
            &[FIT, FIT],
            None,
            &[1],
        ),
        ("a due trial comes first", &[(1, 0), (100, 0)], &[DUE, FIT], None, &[0]),
        (
            "a due trial of a better priority comes first",
            &[(1, 0), (1, 1)],
            &[DUE, FIT],
            None,
            &[0],
        ),
        (
            "a due trial of a worse priority waits",
            &[(1, 0), (1, 1)],
            &[FIT, DUE],
            None,
            &[0],
        ),
        (
            "a due trial is made when nobody is fit",
            &[(1, 0), (1, 1)],
            &[SHUT, DUE],
            None,
            &[1],
        ),
        (
            "no trial of what a probe calls unhealthy",
            &[(1, 0), (1, 0)],
            &[Standing { unhealthy: true, ..DUE }, FIT],
            None,
            &[1],
        ),
        (
            "a retry goes to another",
            &[(100, 0), (1, 0)],
            &[FIT, FIT],
            Some(0),
            &[1],
        ),
        (
            "a retry goes to another of any priority",
            &[(1, 0), (1, 1)],
            &[FIT, FIT],
            Some(0),
            &[1],
        ),
        (
            "a retry stays when no other is fit",
            &[(1, 0), (1, 1)],
            &[FIT, UNHEALTHY],
            Some(0),
            &[0],
        ),
        (
            "a retry is no trial",
            &[(1, 0), (1, 0), (1, 0)],
            &[FIT, FIT, DUE],
            Some(0),
            &[1],
        ),
        (
            "what was tried and does not exist excludes nobody",
            &[(1, 0)],
            &[FIT],
            Some(99),
            &[0],
        ),
    ];
    for policy in [
        BalancePolicy::LeastLoaded,
        BalancePolicy::RoundRobin,
        BalancePolicy::ConsistentHash,
    ] {
        for (claim, endpoints, standings, tried, expected) in rows {
            assert_eq!(
                chosen(&mut balancer(policy, endpoints), standings, tried),
                expected,
                "{claim} ({policy:?})"
            );
        }
    }
}

#[test]
fn an_endpoint_to_avoid_is_asked_again_when_its_time_is_over_or_nobody_else_is_fit() {
    let mut balancer = balancer(BalancePolicy::RoundRobin, &[(1, 0), (1, 0)]);
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(30));
    balancer.avoid(0, later);
    let draw = Draw(0, 0);
    for _ in 0..10 {
        assert_eq!(balancer.choose(|_| FIT, None, None, draw, now), Some(1));
    }
    assert_eq!(
        balancer.choose(|index| if index == 0 { FIT } else { SHUT }, None, None, draw, now),
        Some(0)
    );
    let both: Vec<_> = (0..4)
        .map(|_| balancer.choose(|_| FIT, None, None, draw, later))
        .collect();
    assert!(both.contains(&Some(0)));
}

#[test]
fn round_robin_is_smooth_and_exact() {
    let mut balancer = balancer(BalancePolicy::RoundRobin, &[(5, 0), (1, 0), (1, 0)]);
    let order: Vec<usize> = (0..14)
        .filter_map(|_| balancer.choose(|_| FIT, None, None, Draw(0, 0), Instant::now()))
        .collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

/// Requests that come at random intervals and take a random time, on a clock of its own. Returns each endpoint's share.
struct Simulation {
    requests: usize,
    /// Requests under way on average, if latencies are as given.
    concurrency: f64,
    /// Mean latency of each endpoint, in seconds.
    latencies: Vec<f64>,
    /// 0: every request takes the mean; 1: exponential.
    noise: f64,
}

impl Simulation {
    fn run(&self, balancer: &mut Balancer) -> Vec<f64> {
        let start = Instant::now();
        let mut random = Random(42);
        let mut clock = 0.0;
        let mut under_way: Vec<(f64, usize, f64)> = Vec::new();
        let mut counts = vec![0_u32; self.latencies.len()];
        let mean = self.latencies.iter().sum::<f64>() / f64::from(u32::try_from(self.latencies.len()).unwrap());
        for _ in 0..self.requests {
            clock += -(1.0 - random.unit()).ln() * mean / self.concurrency;
            under_way.sort_by(|a, b| a.0.total_cmp(&b.0));
            while under_way.first().is_some_and(|(end, ..)| *end <= clock) {
                let (end, index, took) = under_way.remove(0);
                balancer.end(
                    index,
                    Some(Duration::from_secs_f64(took)),
                    start + Duration::from_secs_f64(end),
                );
            }
            let now = start + Duration::from_secs_f64(clock);
            let index = balancer.choose(|_| FIT, None, None, random.draw(), now).unwrap();
            balancer.begin(index);
            counts[index] += 1;
            let exponential = -(1.0 - random.unit()).ln();
            let took = self.latencies[index] * (1.0 - self.noise + self.noise * exponential);
            under_way.push((clock + took, index, took));
        }
        counts
            .iter()
            .map(|&count| f64::from(count) / f64::from(u32::try_from(self.requests).unwrap()))
            .collect()
    }
}

#[test]
fn weights_hold_within_a_tenth_when_endpoints_are_equally_fast() {
    for policy in [BalancePolicy::LeastLoaded, BalancePolicy::RoundRobin] {
        for concurrency in [0.001, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 200.0] {
            for noise in [0.0, 0.2, 1.0] {
                for latency in [0.001, 0.05, 2.0] {
                    let mut balancer = balancer(policy, &[(80, 0), (20, 0)]);
                    let simulation = Simulation {
                        requests: 4000,
                        concurrency,
                        latencies: vec![latency, latency],
                        noise,
                    };
                    let share = simulation.run(&mut balancer)[0];
                    assert!(
                        (share - 0.8).abs() < 0.1,
                        "{share:.3} of the traffic with {policy:?}, concurrency {concurrency}, noise {noise}, latency {latency}"
                    );
                }
            }
        }
    }
}

#[test]
fn equal_endpoints_share_equally() {
    let mut balancer = balancer(BalancePolicy::LeastLoaded, &[(1, 0); 5]);
    let simulation = Simulation {
        requests: 10_000,
        concurrency: 10.0,
        latencies: vec![0.05; 5],
        noise: 0.5,
    };
    for share in simulation.run(&mut balancer) {
        assert!((share - 0.2).abs() < 0.03, "{share:.3}");
    }
}

#[test]
fn a_slow_endpoint_gives_way_and_comes_back_when_it_is_fast_again() {
    let mut balancer = balancer(BalancePolicy::LeastLoaded, &[(80, 0), (20, 0)]);
    let mut simulation = Simulation {
        requests: 4000,
        concurrency: 5.0,
        latencies: vec![0.5, 0.05],
        noise: 0.2,
    };
    let slow = simulation.run(&mut balancer)[0];
    assert!(slow < 0.2, "{slow:.3} of the traffic goes to the slow endpoint");
    let fast_again = Instant::now() + Duration::from_secs(3600);
    for _ in 0..balancer.in_flight(0) {
        balancer.end(0, None, fast_again);
    }
    simulation.latencies[0] = 0.05;
    let recovered = simulation.run(&mut balancer)[0];
    assert!((recovered - 0.8).abs() < 0.1, "{recovered:.3}");
}

#[test]
fn an_endpoint_that_does_not_answer_at_all_gives_way() {
    let mut balancer = balancer(BalancePolicy::LeastLoaded, &[(1, 0), (1, 0)]);
    let (now, mut random) = (Instant::now(), Random(3));
    let mut stalled = 0;
    for _ in 0..1000 {
        let index = balancer.choose(|_| FIT, None, None, random.draw(), now).unwrap();
        balancer.begin(index);
        if index == 0 {
            stalled += 1;
        } else {
            balancer.end(index, Some(Duration::from_millis(10)), now);
        }
    }
    assert!(stalled < 10, "{stalled} of 1000 requests hang");
}

#[test]
fn an_endpoint_that_fails_fast_is_not_taken_for_a_fast_one() {
    let mut balancer = balancer(BalancePolicy::LeastLoaded, &[(1, 0), (1, 0)]);
    let (now, mut random) = (Instant::now(), Random(3));
    let mut failed = 0;
    for _ in 0..1000 {
        let index = balancer.choose(|_| FIT, None, None, random.draw(), now).unwrap();
        balancer.begin(index);
        failed += usize::from(index == 0);
        balancer.end(index, (index == 1).then_some(Duration::from_millis(10)), now);
    }
    assert!(failed < 600, "{failed} of 1000 requests fail");
}

#[test]
fn ends_without_beginnings_and_unknown_endpoints_are_harmless() {
    let mut balancer = balancer(BalancePolicy::LeastLoaded, &[(u32::MAX, 0), (u32::MAX, 0)]);
    let now = Instant::now();
    for index in [0, 1, 64, usize::MAX] {
        balancer.end(index, Some(Duration::ZERO), now);
        balancer.begin(index);
        balancer.avoid(index, now);
    }
    for draw in [Draw(0, 0), Draw(u32::MAX, u32::MAX)] {
        assert!(balancer.choose(|_| FIT, Some(usize::MAX), None, draw, now).is_some());
    }
}
