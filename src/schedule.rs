//! Which node does what next: a pure state machine, events in and commands out. No clock, no I/O, no threads; std only.
//!
//! A node waits for its producers, is resolved (its key computed and looked up), and on a miss is queued and started
//! as soon as its resources are free. Outcomes are data: a failure skips what depends on it and nothing else.

use std::collections::{BTreeMap, BTreeSet};

/// Index of a node.
pub type Id = usize;

/// What one node needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Cores.
    pub cpus: u32,
    /// Devices.
    pub gpus: u32,
    /// Bytes of memory, 0 when not stated.
    pub memory_bytes: u64,
    /// Runs beside nothing else.
    pub exclusive: bool,
    /// Whatever else is limited, by name.
    pub named: BTreeMap<String, u32>,
    /// Of nodes that could run, those of the highest priority go first.
    pub priority: i64,
    /// How often it is tried again when it has failed.
    pub retries: u32,
}

/// What the machine, or the user, allows at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes (`-j`).
    pub nodes: usize,
    /// Cores (`--cpus`).
    pub cpus: u32,
    /// Devices.
    pub gpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Whatever else is limited, by name; what is not named here is not.
    pub named: BTreeMap<String, u32>,
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
    /// The node could not be resolved or start, as stored outputs of these producers are missing or damaged.
    Damaged(Id, Vec<Id>),
    /// The user asked to stop.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Compute the node's key and look it up; answer with `Hit`, `Miss`, `Unresolvable` or `Damaged`.
    Resolve {
        /// The node.
        id: Id,
        /// Whether its record is to be bypassed: the outputs that it names are damaged.
        replace: bool,
    },
    /// Run the node; `replace` bypasses its record, whose outputs are damaged.
    Start {
        /// The node.
        id: Id,
        /// Whether the new record takes the place of the old one.
        replace: bool,
    },
    /// The node will not run, because of this failed producer.
    Skip(Id, Id),
    /// The node fails: outputs of this producer were damaged each time that they were made.
    GiveUp(Id, Id),
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
    /// What it needs, as an index of [`Scheduler::classes`].
    class: usize,
    /// How often it has failed.
    failures: u32,
    /// Nodes on the longest path from here to an end: long paths go first.
    depth: usize,
    replace: bool,
    repairs: u32,
    /// The failed node for which this one is over.
    root: Id,
}

/// The state machine.
pub struct Scheduler {
    nodes: Vec<Node>,
    limits: Limits,
    fail_fast: bool,
    stopping: bool,
    /// All that is needed by any node, each once: nodes of one class fit or do not fit together.
    classes: Vec<Need>,
    class_of: BTreeMap<Need, usize>,
    /// Queued nodes by class, the longest path first.
    queues: Vec<BTreeSet<(usize, Id)>>,
    running: usize,
    used: Need,
    /// Nodes that are wanted and not at their end.
    open: usize,
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
        let node = |(id, (producers, wanted)): (usize, (Vec<Id>, &bool))| Node {
            state: if *wanted { State::Waiting } else { State::Unwanted },
            producers,
            consumers: Vec::new(),
            class: 0,
            failures: 0,
            depth: 1,
            replace: false,
            repairs: 0,
            root: id,
        };
        let mut nodes: Vec<Node> = producers.into_iter().zip(wanted).enumerate().map(node).collect();
        for &id in order.iter().rev() {
            for at in 0..nodes[id].producers.len() {
                let producer = nodes[id].producers[at];
                nodes[producer].consumers.push(id);
                nodes[producer].depth = nodes[producer].depth.max(nodes[id].depth + 1);
            }
        }
        let open = wanted.iter().filter(|wanted| **wanted).count();
        let mut scheduler = Self {
            nodes,
            limits,
            fail_fast,
            stopping: false,
            classes: Vec::new(),
            class_of: BTreeMap::new(),
            queues: Vec::new(),
            running: 0,
            used: Need::default(),
            open,
        };
        for (id, need) in needs.iter().enumerate() {
            scheduler.nodes[id].class = scheduler.class(need);
        }
        scheduler
    }

    /// The class of nodes with this need.
    fn class(&mut self, need: &Need) -> usize {
        if let Some(class) = self.class_of.get(need) {
            return *class;
        }
        let class = self.classes.len();
        self.classes.push(need.clone());
        self.queues.push(BTreeSet::new());
        self.class_of.insert(need.clone(), class);
        class
    }

    /// The one way in which a state changes.
    fn set(&mut self, id: Id, state: State) {
        let is_open = |state: State| !matches!(state, State::Unwanted | State::Ready | State::Over);
        self.open -= usize::from(is_open(self.nodes[id].state));
        self.open += usize::from(is_open(state));
        self.nodes[id].state = state;
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

    /// What a node needs, where that is known only when it is resolved.
    pub fn revise(&mut self, id: Id, need: &Need) {
        debug_assert_eq!(self.nodes[id].state, State::Resolving, "what runs has taken what it needs");
        self.nodes[id].class = self.class(need);
    }

    /// How often a running node, should it fail now, would have failed, and how often it may.
    #[must_use]
    pub fn tries(&self, id: Id) -> (u32, u32) {
        let node = &self.nodes[id];
        (node.failures + 1, if self.stopping { 0 } else { self.classes[node.class].retries + 1 })
    }

    /// Whether nothing is left to do or to wait for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.open == 0
    }

    /// Takes an event and says what is to be done.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Hit(id) => {
                self.nodes[id].replace = false;
                self.now_ready(id, &mut commands);
            }
            Event::Miss(id) => self.enqueue(id, &mut commands),
            Event::Unresolvable(id) => self.now_failed(id, &mut commands),
            Event::Executed(id) => {
                self.release(id);
                self.nodes[id].replace = false;
                self.now_ready(id, &mut commands);
            }
            Event::Failed(id) => {
                self.release(id);
                let (failures, most) = self.tries(id);
                self.nodes[id].failures = failures;
                if failures < most {
                    // Resolved anew: what it reads from outside may have changed.
                    self.wait(id, &mut commands);
                } else {
                    self.now_failed(id, &mut commands);
                }
            }
            Event::Stopped(id) => {
                self.release(id);
                self.set(id, State::Over);
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
            self.set(id, State::Resolving);
            commands.push(Command::Resolve { id, replace: self.nodes[id].replace });
        }
    }

    /// Puts a node that is to be resolved (again) in line; skips it when a producer failed meanwhile.
    fn wait(&mut self, id: Id, commands: &mut Vec<Command>) {
        self.set(id, State::Waiting);
        let failed = self.nodes[id].producers.iter().find(|p| self.nodes[**p].state == State::Over);
        match failed.map(|p| self.nodes[*p].root) {
            Some(root) => self.skip(id, root, commands),
            None => self.resolve_if_possible(id, commands),
        }
    }

    /// Skips a waiting node and all that wait for it.
    fn skip(&mut self, id: Id, root: Id, commands: &mut Vec<Command>) {
        let mut stack = vec![id];
        while let Some(next) = stack.pop() {
            if self.nodes[next].state == State::Waiting {
                self.set(next, State::Over);
                self.nodes[next].root = root;
                commands.push(Command::Skip(next, root));
                stack.extend(&self.nodes[next].consumers);
            }
        }
    }

    fn now_ready(&mut self, id: Id, commands: &mut Vec<Command>) {
        self.set(id, State::Ready);
        for at in 0..self.nodes[id].consumers.len() {
            let consumer = self.nodes[id].consumers[at];
            self.resolve_if_possible(consumer, commands);
        }
    }

    fn enqueue(&mut self, id: Id, commands: &mut Vec<Command>) {
        if self.stopping {
            self.set(id, State::Over);
            commands.push(Command::Cancel(id));
            return;
        }
        self.set(id, State::Queued);
        let (class, depth) = (self.nodes[id].class, self.nodes[id].depth);
        self.queues[class].insert((usize::MAX - depth, id));
    }

    fn now_failed(&mut self, id: Id, commands: &mut Vec<Command>) {
        self.set(id, State::Over);
        self.nodes[id].root = id;
        for at in 0..self.nodes[id].consumers.len() {
            let consumer = self.nodes[id].consumers[at];
            self.skip(consumer, id, commands);
        }
        if self.fail_fast {
            self.stop(commands);
        }
    }

    fn cancel_consumers(&mut self, id: Id, commands: &mut Vec<Command>) {
        let mut stack = self.nodes[id].consumers.clone();
        while let Some(next) = stack.pop() {
            if self.nodes[next].state == State::Waiting {
                self.set(next, State::Over);
                commands.push(Command::Cancel(next));
                stack.extend(&self.nodes[next].consumers);
            }
        }
    }

    /// Runs the producers of damaged outputs again, bypassing their records; the consumer waits and is then resolved
    /// anew, as other bytes would mean another key. A producer may in turn find its own inputs damaged.
    fn repair(&mut self, id: Id, producers: &[Id], commands: &mut Vec<Command>) {
        if self.nodes[id].state == State::Running {
            self.release(id);
        }
        if self.stopping {
            self.set(id, State::Over);
            commands.push(Command::Cancel(id));
            self.cancel_consumers(id, commands);
            return;
        }
        if let Some(&hopeless) = producers.iter().find(|p| self.nodes[**p].repairs >= REPAIRS_MAX) {
            commands.push(Command::GiveUp(id, hopeless));
            self.now_failed(id, commands);
            return;
        }
        for &producer in producers {
            // Another consumer may have asked for the same repair already.
            if self.nodes[producer].state == State::Ready {
                self.nodes[producer].repairs += 1;
                self.nodes[producer].replace = true;
                self.wait(producer, commands);
            }
        }
        self.wait(id, commands);
    }

    fn stop(&mut self, commands: &mut Vec<Command>) {
        self.stopping = true;
        self.queues.iter_mut().for_each(BTreeSet::clear);
        for id in 0..self.nodes.len() {
            if matches!(self.nodes[id].state, State::Waiting | State::Queued) {
                self.set(id, State::Over);
                commands.push(Command::Cancel(id));
            }
        }
    }

    /// Whether nodes of a class can only run alone: they ask to, or for more than there is.
    fn alone(&self, class: usize) -> bool {
        let (need, limits) = (&self.classes[class], &self.limits);
        let more = |(name, n): (&String, &u32)| limits.named.get(name).is_some_and(|limit| n > limit);
        need.exclusive
            || need.cpus > limits.cpus
            || need.gpus > limits.gpus
            || need.memory_bytes > limits.memory_bytes
            || need.named.iter().any(more)
    }

    fn fits(&self, class: usize) -> bool {
        if self.running == 0 {
            return true;
        }
        let (need, used, limits) = (&self.classes[class], &self.used, &self.limits);
        let named = |(name, n): (&String, &u32)| {
            limits.named.get(name).is_none_or(|limit| used.named.get(name).copied().unwrap_or(0) + n <= *limit)
        };
        self.running < limits.nodes
            && !used.exclusive
            && !self.alone(class)
            && used.cpus + need.cpus <= limits.cpus
            && used.gpus + need.gpus <= limits.gpus
            && used.memory_bytes + need.memory_bytes <= limits.memory_bytes
            && need.named.iter().all(named)
    }

    fn admit(&mut self, commands: &mut Vec<Command>) {
        // The first of each class, in the order in which they would run.
        let first = |scheduler: &Self, class: usize| {
            let (rank, id) = *scheduler.queues[class].first()?;
            Some((std::cmp::Reverse(scheduler.classes[class].priority), rank, id, class))
        };
        let mut heads: BTreeSet<_> = (0..self.classes.len()).filter_map(|class| first(self, class)).collect();
        while self.running < self.limits.nodes {
            let Some((_, rank, id, class)) = heads.pop_first() else { break };
            if !self.fits(class) {
                // One that needs the machine for itself must not wait for ever behind small ones.
                if self.alone(class) {
                    break;
                }
                continue;
            }
            self.queues[class].remove(&(rank, id));
            self.take(id);
            commands.push(Command::Start { id, replace: self.nodes[id].replace });
            heads.extend(first(self, class));
        }
    }

    fn take(&mut self, id: Id) {
        let class = self.nodes[id].class;
        let alone = self.alone(class);
        self.set(id, State::Running);
        self.running += 1;
        let (need, used) = (&self.classes[class], &mut self.used);
        used.cpus += need.cpus;
        used.gpus += need.gpus;
        used.memory_bytes += need.memory_bytes;
        used.exclusive |= alone;
        for (name, n) in &need.named {
            *used.named.entry(name.clone()).or_default() += n;
        }
    }

    fn release(&mut self, id: Id) {
        debug_assert_eq!(self.nodes[id].state, State::Running, "only a running node gives resources back");
        self.running -= 1;
        let (need, used) = (&self.classes[self.nodes[id].class], &mut self.used);
        used.cpus -= need.cpus;
        used.gpus -= need.gpus;
        used.memory_bytes -= need.memory_bytes;
        used.exclusive = false;
        for (name, n) in &need.named {
            if let Some(used) = used.named.get_mut(name) {
                *used -= n;
            }
        }
    }
}

#[cfg(test)]
mod simulation;
