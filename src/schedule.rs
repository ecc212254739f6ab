//! Which node does what next: a pure state machine, events in and commands out. No clock, no I/O, no threads; std only.
//!
//! A node waits for its producers, is resolved (its key computed and looked up), and on a miss is queued and started
//! as soon as its resources are free. Outcomes are data: a failure skips what depends on it and nothing else.

use std::collections::BTreeSet;

/// Index of a node.
pub type Id = usize;

/// What one node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Cores.
    pub cpus: u32,
    /// Devices.
    pub gpus: u32,
    /// Bytes of memory, 0 when not stated.
    pub memory_bytes: u64,
    /// Runs beside nothing else.
    pub exclusive: bool,
}

/// What the machine, or the user, allows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes (`-j`).
    pub nodes: usize,
    /// Cores (`--cpus`).
    pub cpus: u32,
    /// Devices.
    pub gpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node's result is in the store.
    Hit(Id),
    /// It is not: the node must run.
    Miss(Id),
    /// The node's key could not be computed.
    Unresolvable(Id),
    /// The node ran and its result is durable.
    Executed(Id),
    /// The node ran and failed.
    Failed(Id),
    /// The node was stopped on request.
    Stopped(Id),
    /// The node could not start, as stored outputs of these producers are missing or damaged.
    Damaged(Id, Vec<Id>),
    /// The user asked to stop.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Compute the node's key and look it up; answer with `Hit`, `Miss` or `Unresolvable`.
    Resolve(Id),
    /// Run the node; `replace` bypasses its record, whose outputs are damaged.
    Start {
        /// The node.
        id: Id,
        /// Whether the new record takes the place of the old one.
        replace: bool,
    },
    /// The node will not run, because of this failed producer.
    Skip(Id, Id),
    /// The node will not run, because the run stops.
    Cancel(Id),
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not asked for.
    Unwanted,
    /// Some producer is not done.
    Waiting,
    /// `Resolve` was given.
    Resolving,
    /// Must run, and waits for resources.
    Queued,
    /// `Start` was given.
    Running,
    /// Its outputs can be used.
    Ready,
    /// Failed, skipped or cancelled.
    Over,
}

/// How often a producer is run again for damaged outputs before its consumer fails.
const REPAIRS_MAX: u32 = 3;

struct Node {
    state: State,
    producers: Vec<Id>,
    consumers: Vec<Id>,
    need: Need,
    /// Nodes on the longest path from here to an end: long paths go first.
    depth: usize,
    replace: bool,
    repairs: u32,
}

/// The state machine.
pub struct Scheduler {
    nodes: Vec<Node>,
    limits: Limits,
    fail_fast: bool,
    stopping: bool,
    /// Queued nodes, the longest path first.
    queue: BTreeSet<(usize, Id)>,
    running: usize,
    used: Need,
}

impl Scheduler {
    /// `order` is topological; nodes that are not `wanted` take no part.
    #[must_use]
    pub fn new(
        producers: Vec<Vec<Id>>,
        needs: &[Need],
        order: &[Id],
        wanted: &[bool],
        limits: Limits,
        fail_fast: bool,
    ) -> Self {
        let mut nodes: Vec<Node> = producers
            .into_iter()
            .zip(needs)
            .zip(wanted)
            .map(|((producers, need), wanted)| Node {
                state: if *wanted { State::Waiting } else { State::Unwanted },
                producers,
                consumers: Vec::new(),
                need: *need,
                depth: 1,
                replace: false,
                repairs: 0,
            })
            .collect();
        for &id in order.iter().rev() {
            for at in 0..nodes[id].producers.len() {
                let producer = nodes[id].producers[at];
                nodes[producer].consumers.push(id);
                nodes[producer].depth = nodes[producer].depth.max(nodes[id].depth + 1);
            }
        }
        let used = Need { cpus: 0, gpus: 0, memory_bytes: 0, exclusive: false };
        Self { nodes, limits, fail_fast, stopping: false, queue: BTreeSet::new(), running: 0, used }
    }

    /// The first commands.
    pub fn begin(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for id in 0..self.nodes.len() {
            self.resolve_if_possible(id, &mut commands);
        }
        self.admit(&mut commands);
        commands
    }

    /// Whether nothing is left to do or to wait for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node.state, State::Unwanted | State::Ready | State::Over))
    }

    /// Takes an event and says what is to be done.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Hit(id) => self.now_ready(id, &mut commands),
            Event::Miss(id) => self.enqueue(id, &mut commands),
            Event::Unresolvable(id) => self.now_failed(id, &mut commands),
            Event::Executed(id) => {
                self.release(id);
                self.nodes[id].replace = false;
                self.now_ready(id, &mut commands);
            }
            Event::Failed(id) => {
                self.release(id);
                self.now_failed(id, &mut commands);
            }
            Event::Stopped(id) => {
                self.release(id);
                self.nodes[id].state = State::Over;
                self.cancel_consumers(id, &mut commands);
            }
            Event::Damaged(id, producers) => self.repair(id, &producers, &mut commands),
            Event::Stop => self.stop(&mut commands),
        }
        self.admit(&mut commands);
        commands
    }

    fn resolve_if_possible(&mut self, id: Id, commands: &mut Vec<Command>) {
        let all_ready = self.nodes[id].producers.iter().all(|p| self.nodes[*p].state == State::Ready);
        if self.nodes[id].state == State::Waiting && all_ready && !self.stopping {
            self.nodes[id].state = State::Resolving;
            commands.push(Command::Resolve(id));
        }
    }

    fn now_ready(&mut self, id: Id, commands: &mut Vec<Command>) {
        self.nodes[id].state = State::Ready;
        for at in 0..self.nodes[id].consumers.len() {
            let consumer = self.nodes[id].consumers[at];
            self.resolve_if_possible(consumer, commands);
        }
    }

    fn enqueue(&mut self, id: Id, commands: &mut Vec<Command>) {
        if self.stopping {
            self.nodes[id].state = State::Over;
            commands.push(Command::Cancel(id));
            return;
        }
        self.nodes[id].state = State::Queued;
        self.queue.insert((usize::MAX - self.nodes[id].depth, id));
    }

    fn now_failed(&mut self, id: Id, commands: &mut Vec<Command>) {
        self.nodes[id].state = State::Over;
        let mut stack = self.nodes[id].consumers.clone();
        while let Some(next) = stack.pop() {
            // A consumer that waits for a repair of `id` may have been resolved before: it waits again.
            if self.nodes[next].state == State::Waiting {
                self.nodes[next].state = State::Over;
                commands.push(Command::Skip(next, id));
                stack.extend(&self.nodes[next].consumers);
            }
        }
        if self.fail_fast {
            self.stop(commands);
        }
    }

    fn cancel_consumers(&mut self, id: Id, commands: &mut Vec<Command>) {
        let mut stack = self.nodes[id].consumers.clone();
        while let Some(next) = stack.pop() {
            if self.nodes[next].state == State::Waiting {
                self.nodes[next].state = State::Over;
                commands.push(Command::Cancel(next));
                stack.extend(&self.nodes[next].consumers);
            }
        }
    }

    /// Runs the producers of damaged outputs again, bypassing their records; the consumer waits and is then resolved
    /// anew, as other bytes would mean another key.
    fn repair(&mut self, id: Id, producers: &[Id], commands: &mut Vec<Command>) {
        self.release(id);
        self.nodes[id].state = State::Waiting;
        if producers.iter().any(|p| self.nodes[*p].repairs >= REPAIRS_MAX) {
            self.now_failed(id, commands);
            return;
        }
        for &producer in producers {
            // Another consumer may have asked for the same repair already.
            if self.nodes[producer].state == State::Ready {
                self.nodes[producer].repairs += 1;
                self.nodes[producer].replace = true;
                self.enqueue(producer, commands);
            }
        }
        if self.stopping {
            self.nodes[id].state = State::Over;
            commands.push(Command::Cancel(id));
        } else {
            self.resolve_if_possible(id, commands);
        }
    }

    fn stop(&mut self, commands: &mut Vec<Command>) {
        self.stopping = true;
        self.queue.clear();
        for id in 0..self.nodes.len() {
            if matches!(self.nodes[id].state, State::Waiting | State::Queued) {
                self.nodes[id].state = State::Over;
                commands.push(Command::Cancel(id));
            }
        }
    }

    /// Whether `id` can only run alone: it asks to, or for more cores than there are.
    fn alone(&self, id: Id) -> bool {
        let need = self.nodes[id].need;
        need.exclusive || need.cpus > self.limits.cpus || need.memory_bytes > self.limits.memory_bytes
    }

    fn fits(&self, id: Id) -> bool {
        if self.running == 0 {
            return true;
        }
        let need = self.nodes[id].need;
        self.running < self.limits.nodes
            && !self.used.exclusive
            && !self.alone(id)
            && self.used.cpus + need.cpus <= self.limits.cpus
            && self.used.gpus + need.gpus <= self.limits.gpus
            && self.used.memory_bytes + need.memory_bytes <= self.limits.memory_bytes
    }

    fn admit(&mut self, commands: &mut Vec<Command>) {
        let queue: Vec<(usize, Id)> = self.queue.iter().copied().collect();
        for (rank, id) in queue {
            if self.running >= self.limits.nodes {
                break;
            }
            if !self.fits(id) {
                // One that needs the machine for itself must not wait for ever behind small ones.
                if self.alone(id) {
                    break;
                }
                continue;
            }
            self.queue.remove(&(rank, id));
            self.take(id);
            commands.push(Command::Start { id, replace: self.nodes[id].replace });
        }
    }

    fn take(&mut self, id: Id) {
        let (need, alone) = (self.nodes[id].need, self.alone(id));
        self.nodes[id].state = State::Running;
        self.running += 1;
        self.used.cpus += need.cpus;
        self.used.gpus += need.gpus;
        self.used.memory_bytes += need.memory_bytes;
        self.used.exclusive |= alone;
    }

    fn release(&mut self, id: Id) {
        let need = self.nodes[id].need;
        debug_assert_eq!(self.nodes[id].state, State::Running, "only a running node gives resources back");
        self.running -= 1;
        self.used.cpus -= need.cpus;
        self.used.gpus -= need.gpus;
        self.used.memory_bytes -= need.memory_bytes;
        self.used.exclusive = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a simulated node does when it is started.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Fate {
        Cached,
        Runs,
        Fails,
        /// Finds the outputs of its first producer damaged, once.
        FindsDamage,
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
        random: u64,
    }

    impl Simulation {
        fn new(producers: Vec<Vec<Id>>, needs: Vec<Need>, fates: Vec<Fate>, limits: Limits, seed: u64) -> Self {
            let n = fates.len();
            let order: Vec<Id> = (0..n).collect();
            let scheduler = Scheduler::new(producers.clone(), &needs, &order, &vec![true; n], limits, false);
            Self {
                scheduler,
                limits,
                producers,
                needs,
                fates,
                seen: vec![Vec::new(); n],
                running: Vec::new(),
                damage_told: vec![false; n],
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
                Command::Resolve(id) => {
                    for producer in self.producers[id].clone() {
                        let last = self.seen[producer].last().copied();
                        assert!(matches!(last, Some("hit" | "executed")), "{id} resolved before {producer}: {last:?}");
                    }
                    if self.fates[id] == Fate::Cached {
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
                Command::Cancel(id) => {
                    self.seen[id].push("cancelled");
                    Vec::new()
                }
            }
        }

        fn finish(&mut self, id: Id) -> Vec<Command> {
            match self.fates[id] {
                Fate::Fails => {
                    self.seen[id].push("failed");
                    self.scheduler.on(Event::Failed(id))
                }
                Fate::FindsDamage if !self.damage_told[id] && !self.producers[id].is_empty() => {
                    self.damage_told[id] = true;
                    let producer = self.producers[id][0];
                    self.scheduler.on(Event::Damaged(id, vec![producer]))
                }
                _ => {
                    self.seen[id].push("executed");
                    self.scheduler.on(Event::Executed(id))
                }
            }
        }

        fn check_limits(&self) {
            let cpus: u32 = self.running.iter().map(|id| self.needs[*id].cpus).sum();
            let alone = self.running.iter().any(|id| self.needs[*id].exclusive);
            assert!(self.running.len() <= self.limits.nodes);
            assert!(cpus <= self.limits.cpus || self.running.len() == 1, "cores are oversubscribed");
            assert!(!alone || self.running.len() == 1, "an exclusive node has company");
        }
    }

    fn one() -> Need {
        Need { cpus: 1, gpus: 0, memory_bytes: 0, exclusive: false }
    }

    fn limits(nodes: usize) -> Limits {
        Limits { nodes, cpus: nodes as u32, gpus: 0, memory_bytes: u64::MAX }
    }

    #[test]
    fn every_graph_of_four_nodes_ends_with_every_node_settled_once() {
        let edges = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
        let fates = [Fate::Cached, Fate::Runs, Fate::Fails, Fate::FindsDamage];
        for graph in 0..64_u32 {
            let mut producers = vec![Vec::new(); 4];
            for (bit, (from, to)) in edges.iter().enumerate() {
                if graph >> bit & 1 == 1 {
                    producers[*to].push(*from);
                }
            }
            for code in 0..256 {
                let fate: Vec<Fate> = (0..4).map(|i| fates[code >> (2 * i) & 3]).collect();
                let mut simulation =
                    Simulation::new(producers.clone(), vec![one(); 4], fate.clone(), limits(2), u64::from(graph));
                simulation.run(None);
                for id in 0..4 {
                    let last = simulation.seen[id].last().copied().expect("every node is settled");
                    let doomed = producers[id]
                        .iter()
                        .any(|p| matches!(simulation.seen[*p].last(), Some(&"failed" | &"skipped")));
                    match (doomed, fate[id]) {
                        (true, _) => assert!(matches!(last, "skipped" | "hit" | "executed"), "{last}"),
                        (false, Fate::Fails) => assert_eq!(last, "failed"),
                        (false, _) => assert!(matches!(last, "hit" | "executed"), "{last}"),
                    }
                }
            }
        }
    }

    #[test]
    fn random_graphs_respect_limits_and_end_whenever_they_are_stopped() {
        for seed in 0..400_u64 {
            let mut source = Simulation::new(vec![], vec![], vec![], limits(1), seed);
            let n = 3 + source.draw(20);
            let (mut producers, mut needs, mut fates) = (Vec::new(), Vec::new(), Vec::new());
            for id in 0..n {
                producers.push((0..id).filter(|_| source.draw(4) == 0).collect::<Vec<Id>>());
                needs.push(Need { cpus: 1 + source.draw(5) as u32, exclusive: source.draw(8) == 0, ..one() });
                fates.push([Fate::Cached, Fate::Runs, Fate::Runs, Fate::Fails, Fate::FindsDamage][source.draw(5)]);
            }
            let limit = Limits { cpus: 4, ..limits(1 + source.draw(4)) };
            let stop = (seed % 3 == 0).then(|| source.draw(n));
            Simulation::new(producers, needs, fates, limit, seed).run(stop);
        }
    }

    #[test]
    fn the_longest_path_goes_first() {
        // 0 is alone, 1 -> 2 -> 3 is a chain.
        let producers = vec![vec![], vec![], vec![1], vec![2]];
        let order = [0, 1, 2, 3];
        let mut scheduler = Scheduler::new(producers, &[one(); 4], &order, &[true; 4], limits(1), false);
        assert_eq!(scheduler.begin(), vec![Command::Resolve(0), Command::Resolve(1)]);
        scheduler.nodes[0].state = State::Resolving;
        assert_eq!(scheduler.on(Event::Miss(1)), vec![Command::Start { id: 1, replace: false }]);
        assert_eq!(scheduler.on(Event::Miss(0)), vec![]);
        assert_eq!(
            scheduler.on(Event::Executed(1)),
            vec![Command::Resolve(2), Command::Start { id: 0, replace: false }]
        );
    }
}
