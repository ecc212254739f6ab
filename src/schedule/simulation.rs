//! The scheduler simulated: every graph of four nodes, random graphs, lost outputs. No clock, no I/O.

use super::*;

/// What a simulated node does when it is started.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Cached,
    Runs,
    Fails,
    /// Fails the first time.
    Flaky,
    /// Finds the outputs of its first producer damaged, once.
    FindsDamage,
    /// Is in the store, but the outputs that its record names are not.
    CachedButLost,
    /// Is described only by values in its producers' outputs: finds their loss, and learns what it needs, when it is
    /// resolved.
    ReadsValues,
}

struct Simulation {
    scheduler: Scheduler,
    limits: Limits,
    producers: Vec<Vec<Id>>,
    needs: Vec<Need>,
    fates: Vec<Fate>,
    seen: Vec<Vec<&'static str>>,
    running: Vec<Id>,
    damage_told: Vec<bool>,
    /// How often the outputs of each node were found damaged.
    reports: Vec<u32>,
    given_up: Vec<bool>,
    failures: Vec<u32>,
    random: u64,
}

impl Simulation {
    fn new(producers: Vec<Vec<Id>>, needs: Vec<Need>, fates: Vec<Fate>, limits: Limits, seed: u64) -> Self {
        let n = fates.len();
        let order: Vec<Id> = (0..n).collect();
        let known =
            needs.iter().zip(&fates).map(|(need, fate)| if *fate == Fate::ReadsValues { one() } else { need.clone() });
        let known: Vec<Need> = known.collect();
        let scheduler = Scheduler::new(producers.clone(), &known, &order, &vec![true; n], limits.clone(), false);
        Self {
            scheduler,
            limits,
            producers,
            needs,
            fates,
            seen: vec![Vec::new(); n],
            running: Vec::new(),
            damage_told: vec![false; n],
            reports: vec![0; n],
            given_up: vec![false; n],
            failures: vec![0; n],
            random: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn run(&mut self, stop_after: Option<usize>) {
        let mut commands = self.scheduler.begin();
        let mut events = 0;
        loop {
            while !commands.is_empty() {
                let command = commands.remove(0);
                let more = self.obey(&command);
                commands.extend(more);
            }
            self.check_limits();
            if stop_after == Some(events) {
                commands = self.scheduler.on(Event::Stop);
                events += 1;
                continue;
            }
            if self.running.is_empty() {
                break;
            }
            let at = self.draw(self.running.len());
            let id = self.running.swap_remove(at);
            commands = self.finish(id);
            events += 1;
            assert!(events < 10_000, "the scheduler must come to an end");
        }
        assert!(self.scheduler.is_over(), "nothing runs, yet it is not over");
    }

    fn obey(&mut self, command: &Command) -> Vec<Command> {
        match *command {
            Command::Resolve { id, replace } => {
                for producer in self.producers[id].clone() {
                    let last = self.seen[producer].last().copied();
                    assert!(matches!(last, Some("hit" | "executed")), "{id} resolved before {producer}: {last:?}");
                }
                if self.fates[id] == Fate::ReadsValues {
                    let lost = self.lost_producers(id);
                    if !lost.is_empty() {
                        return self.damaged(id, lost);
                    }
                    self.scheduler.revise(id, &self.needs[id]);
                }
                if !replace && matches!(self.fates[id], Fate::Cached | Fate::CachedButLost) {
                    self.seen[id].push("hit");
                    self.scheduler.on(Event::Hit(id))
                } else {
                    self.scheduler.on(Event::Miss(id))
                }
            }
            Command::Start { id, replace } => {
                assert_eq!(replace, self.seen[id].contains(&"hit") || self.seen[id].contains(&"executed"));
                self.running.push(id);
                Vec::new()
            }
            Command::Skip(id, because) => {
                assert!(self.seen[because].contains(&"failed"));
                self.seen[id].push("skipped");
                Vec::new()
            }
            Command::GiveUp(id, producer) => {
                assert!(self.reports[producer] > REPAIRS_MAX, "given up too early");
                self.given_up[id] = true;
                self.seen[id].push("failed");
                Vec::new()
            }
            Command::Cancel(id) => {
                self.seen[id].push("cancelled");
                Vec::new()
            }
        }
    }

    fn lost_producers(&self, id: Id) -> Vec<Id> {
        let lost = |p: &Id| self.fates[*p] == Fate::CachedButLost && !self.seen[*p].contains(&"executed");
        self.producers[id].iter().copied().filter(lost).collect()
    }

    fn finish(&mut self, id: Id) -> Vec<Command> {
        let lost = self.lost_producers(id);
        if !lost.is_empty() {
            return self.damaged(id, lost);
        }
        match self.fates[id] {
            Fate::Fails | Fate::Flaky if self.fates[id] == Fate::Fails || self.failures[id] == 0 => {
                self.failures[id] += 1;
                let (now, most) = self.scheduler.tries(id);
                assert_eq!(now, self.failures[id]);
                if now >= most {
                    self.seen[id].push("failed");
                }
                self.scheduler.on(Event::Failed(id))
            }
            Fate::FindsDamage if !self.damage_told[id] && !self.producers[id].is_empty() => {
                self.damage_told[id] = true;
                let producer = self.producers[id][0];
                self.damaged(id, vec![producer])
            }
            _ => {
                self.seen[id].push("executed");
                self.scheduler.on(Event::Executed(id))
            }
        }
    }

    fn damaged(&mut self, id: Id, producers: Vec<Id>) -> Vec<Command> {
        for &producer in &producers {
            self.reports[producer] += 1;
        }
        self.scheduler.on(Event::Damaged(id, producers))
    }

    fn check_limits(&self) {
        let cpus: u32 = self.running.iter().map(|id| self.needs[*id].cpus).sum();
        let alone = self.running.iter().any(|id| self.needs[*id].exclusive);
        assert!(self.running.len() <= self.limits.nodes);
        assert!(cpus <= self.limits.cpus || self.running.len() == 1, "cores are oversubscribed");
        assert!(!alone || self.running.len() == 1, "an exclusive node has company");
        for (name, limit) in &self.limits.named {
            let used: u32 = self.running.iter().filter_map(|id| self.needs[*id].named.get(name)).sum();
            assert!(used <= *limit || self.running.len() == 1, "{name} is oversubscribed");
        }
        for (id, failures) in self.failures.iter().enumerate() {
            assert!(*failures <= self.needs[id].retries + 1, "tried too often");
        }
    }
}

const FATES: [Fate; 8] = [
    Fate::Cached,
    Fate::Runs,
    Fate::Runs,
    Fate::Fails,
    Fate::Flaky,
    Fate::FindsDamage,
    Fate::CachedButLost,
    Fate::ReadsValues,
];

fn one() -> Need {
    Need { cpus: 1, ..Need::default() }
}

fn limits(nodes: usize) -> Limits {
    Limits { nodes, cpus: nodes as u32, gpus: 0, memory_bytes: u64::MAX, named: BTreeMap::new() }
}

#[test]
fn every_graph_of_four_nodes_ends_with_every_node_settled_once() {
    let edges = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    let fates = [Fate::Cached, Fate::Runs, Fate::Fails, Fate::FindsDamage, Fate::CachedButLost, Fate::ReadsValues];
    for graph in 0..64_u32 {
        let mut producers = vec![Vec::new(); 4];
        for (bit, (from, to)) in edges.iter().enumerate() {
            if graph >> bit & 1 == 1 {
                producers[*to].push(*from);
            }
        }
        for code in 0..fates.len().pow(4) {
            let fate: Vec<Fate> = (0..4).map(|i| fates[code / fates.len().pow(i) % fates.len()]).collect();
            let mut simulation =
                Simulation::new(producers.clone(), vec![one(); 4], fate.clone(), limits(2), u64::from(graph));
            simulation.run(None);
            for id in 0..4 {
                let last = simulation.seen[id].last().copied().expect("every node is settled");
                let doomed =
                    producers[id].iter().any(|p| matches!(simulation.seen[*p].last(), Some(&"failed" | &"skipped")));
                match (doomed, fate[id]) {
                    (true, _) => assert!(matches!(last, "skipped" | "hit" | "executed"), "{last}"),
                    (false, _) if simulation.given_up[id] => assert_eq!(last, "failed"),
                    (false, Fate::Fails) => assert_eq!(last, "failed"),
                    (false, _) => assert!(matches!(last, "hit" | "executed"), "{last}"),
                }
            }
        }
    }
}

#[test]
fn a_store_that_lost_every_blob_heals_at_any_depth() {
    let depth = 12;
    let producers: Vec<Vec<Id>> =
        (0..depth).map(|id| if id == 0 { vec![] } else { (id.max(2) - 2..id).collect() }).collect();
    let mut fates = vec![Fate::CachedButLost; depth];
    fates[depth - 1] = Fate::Runs;
    let mut simulation = Simulation::new(producers, vec![one(); depth], fates, limits(2), 1);
    simulation.run(None);
    for (id, seen) in simulation.seen.iter().enumerate() {
        assert_eq!(seen.iter().filter(|what| **what == "executed").count(), 1, "{id}: {seen:?}");
    }
}

#[test]
fn a_producer_whose_outputs_are_always_damaged_fails_its_consumer_and_says_so() {
    let (producers, order) = (vec![vec![], vec![0], vec![1]], [0, 1, 2]);
    let mut scheduler = Scheduler::new(producers, &[(); 3].map(|()| one()), &order, &[true; 3], limits(1), false);
    scheduler.begin();
    scheduler.on(Event::Hit(0));
    let mut commands = scheduler.on(Event::Miss(1));
    for _ in 0..REPAIRS_MAX {
        assert_eq!(commands.last(), Some(&Command::Start { id: 1, replace: false }));
        assert_eq!(scheduler.on(Event::Damaged(1, vec![0])), [Command::Resolve { id: 0, replace: true }]);
        assert_eq!(scheduler.on(Event::Miss(0)), [Command::Start { id: 0, replace: true }]);
        assert_eq!(scheduler.on(Event::Executed(0)), [Command::Resolve { id: 1, replace: false }]);
        commands = scheduler.on(Event::Miss(1));
    }
    assert_eq!(scheduler.on(Event::Damaged(1, vec![0])), [Command::GiveUp(1, 0), Command::Skip(2, 1)]);
    assert!(scheduler.is_over());
}

#[test]
fn a_node_that_needs_what_failed_while_being_repaired_is_skipped_and_not_waited_for() {
    // Two consumers of node 0 run when its outputs turn out to be lost; running it again fails.
    let (producers, order) = (vec![vec![], vec![0], vec![0]], [0, 1, 2]);
    let mut scheduler = Scheduler::new(producers, &[(); 3].map(|()| one()), &order, &[true; 3], limits(2), false);
    scheduler.begin();
    scheduler.on(Event::Hit(0));
    scheduler.on(Event::Miss(1));
    scheduler.on(Event::Miss(2));
    scheduler.on(Event::Damaged(1, vec![0]));
    scheduler.on(Event::Miss(0));
    assert_eq!(scheduler.on(Event::Failed(0)), [Command::Skip(1, 0)]);
    assert_eq!(scheduler.on(Event::Damaged(2, vec![0])), [Command::Skip(2, 0)]);
    assert!(scheduler.is_over());
}

#[test]
fn random_graphs_respect_limits_and_end_whenever_they_are_stopped() {
    for seed in 0..400_u64 {
        let mut source = Simulation::new(vec![], vec![], vec![], limits(1), seed);
        let n = 3 + source.draw(20);
        let (mut producers, mut needs, mut fates) = (Vec::new(), Vec::new(), Vec::new());
        for id in 0..n {
            producers.push((0..id).filter(|_| source.draw(4) == 0).collect::<Vec<Id>>());
            let named =
                if source.draw(3) == 0 { vec![("slots".to_owned(), 1 + source.draw(3) as u32)] } else { vec![] };
            needs.push(Need {
                cpus: 1 + source.draw(5) as u32,
                exclusive: source.draw(8) == 0,
                named: named.into_iter().collect(),
                priority: source.draw(3) as i64,
                retries: source.draw(3) as u32,
                ..one()
            });
            fates.push(FATES[source.draw(FATES.len())]);
        }
        let named = BTreeMap::from([("slots".to_owned(), 2)]);
        let limit = Limits { cpus: 4, named, ..limits(1 + source.draw(4)) };
        let stop = (seed % 3 == 0).then(|| source.draw(n));
        Simulation::new(producers, needs, fates, limit, seed).run(stop);
    }
}

#[test]
fn the_longest_path_goes_first() {
    // 0 is alone, 1 -> 2 -> 3 is a chain.
    let producers = vec![vec![], vec![], vec![1], vec![2]];
    let order = [0, 1, 2, 3];
    let mut scheduler = Scheduler::new(producers, &[(); 4].map(|()| one()), &order, &[true; 4], limits(1), false);
    assert_eq!(
        scheduler.begin(),
        vec![Command::Resolve { id: 0, replace: false }, Command::Resolve { id: 1, replace: false }]
    );
    assert_eq!(scheduler.on(Event::Miss(1)), vec![Command::Start { id: 1, replace: false }]);
    assert_eq!(scheduler.on(Event::Miss(0)), vec![]);
    assert_eq!(
        scheduler.on(Event::Executed(1)),
        vec![Command::Resolve { id: 2, replace: false }, Command::Start { id: 0, replace: false }]
    );
}

#[test]
fn a_node_that_fails_is_resolved_anew_and_tried_as_often_as_it_may_be() {
    let needs = [Need { retries: 2, ..one() }, one()];
    let mut scheduler = Scheduler::new(vec![vec![], vec![0]], &needs, &[0, 1], &[true; 2], limits(1), false);
    scheduler.begin();
    for round in 1..=3 {
        assert_eq!(scheduler.on(Event::Miss(0)), [Command::Start { id: 0, replace: false }]);
        assert_eq!(scheduler.tries(0), (round, 3));
        let commands = scheduler.on(Event::Failed(0));
        let last = [Command::Skip(1, 0)];
        let again = [Command::Resolve { id: 0, replace: false }];
        assert_eq!(commands, if round == 3 { &last } else { &again });
    }
    assert!(scheduler.is_over());
}

#[test]
fn a_higher_priority_goes_before_a_longer_path() {
    let needs = [one(), Need { priority: 1, ..one() }, one()];
    let mut scheduler = Scheduler::new(vec![vec![], vec![], vec![0]], &needs, &[0, 1, 2], &[true; 3], limits(1), false);
    scheduler.begin();
    scheduler.nodes[2].state = State::Waiting;
    assert_eq!(scheduler.on(Event::Miss(0)), [Command::Start { id: 0, replace: false }]);
    assert_eq!(scheduler.on(Event::Miss(1)), []);
    let commands = scheduler.on(Event::Executed(0));
    assert_eq!(commands, [Command::Resolve { id: 2, replace: false }, Command::Start { id: 1, replace: false }]);
    assert_eq!(scheduler.on(Event::Miss(2)), []);
}

#[test]
fn what_is_limited_by_name_is_never_used_beyond_its_limit() {
    let slot = |n| Need { named: BTreeMap::from([("slots".to_owned(), n)]), ..one() };
    let mut limits = limits(4);
    limits.named.insert("slots".to_owned(), 2);
    let needs = [slot(1), slot(1), slot(1), one()];
    let mut scheduler = Scheduler::new(vec![vec![]; 4], &needs, &[0, 1, 2, 3], &[true; 4], limits, false);
    scheduler.begin();
    let mut started = Vec::new();
    for id in 0..4 {
        started.extend(scheduler.on(Event::Miss(id)));
    }
    let start = |id| Command::Start { id, replace: false };
    assert_eq!(started, [start(0), start(1), start(3)]);
    assert_eq!(scheduler.on(Event::Executed(0)), [start(2)]);
}
