//! A run as a trace that Perfetto and `chrome://tracing` show: a bar for each time that a node ran, in as few lanes as
//! ran at once.

use serde_json::{Value, json};

use super::read::{NodeEnd, Run, Stretch};

/// The trace as JSON.
#[must_use]
pub fn trace(run: &Run) -> Value {
    let start = &run.summary.start;
    let mut bars: Vec<(usize, Stretch)> = Vec::new();
    for (place, node) in run.nodes.iter().enumerate() {
        for (turn, stretch) in node.stretches.iter().enumerate() {
            let unfinished = node.end == NodeEnd::Unfinished && turn + 1 == node.stretches.len();
            let wall = if unfinished { run.summary.wall.saturating_sub(stretch.begin) } else { stretch.wall };
            bars.push((place, Stretch { wall, ..*stretch }));
        }
    }
    bars.sort_by_key(|(place, stretch)| (stretch.begin, *place));
    let lanes = lanes(bars.iter().map(|(_, stretch)| stretch));
    let named = |what: &str, lane: usize, name: String| json!({"ph": "M", "name": what, "pid": 1, "tid": lane, "args": {"name": name}});
    let mut events = vec![named("process_name", 0, format!("{} {}", start.pipeline, start.run_id))];
    let count = lanes.iter().max().map_or(0, |last| last + 1);
    events.extend((0..count).map(|lane| named("thread_name", lane + 1, format!("lane {}", lane + 1))));
    for ((place, stretch), lane) in bars.iter().zip(&lanes) {
        let node = &run.nodes[*place];
        let producers: Vec<&str> = node.producers.iter().map(|producer| run.nodes[*producer].name.as_str()).collect();
        events.push(json!({
            "ph": "X",
            "name": node.name,
            "cat": node.name.split('[').next(),
            "pid": 1,
            "tid": lane + 1,
            "ts": stretch.begin.as_micros() as u64,
            "dur": stretch.wall.as_micros() as u64,
            "args": {
                "outcome": node.end.word(),
                "key": node.key.map(|key| key.to_string()),
                "reads": producers,
                "reason": node.reason,
            },
        }));
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {"run": start.run_id, "pipeline": start.pipeline, "started": start.time.to_string()},
        "traceEvents": events,
    })
}

/// A lane for each stretch, in order of their begins: the first that is free.
fn lanes<'a>(stretches: impl Iterator<Item = &'a Stretch>) -> Vec<usize> {
    let mut free_at = Vec::new();
    let mut lanes = Vec::new();
    for stretch in stretches {
        let free = free_at.iter().position(|at| *at <= stretch.begin);
        let lane = free.unwrap_or_else(|| {
            free_at.push(stretch.begin);
            free_at.len() - 1
        });
        free_at[lane] = stretch.end();
        lanes.push(lane);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::run;
    use super::*;

    #[test]
    fn what_ran_at_once_has_lanes_of_its_own_and_no_lane_more_is_taken() {
        let trace = trace(&run(&[
            ("a", Some((0, 10)), &[]),
            ("b[x=1]", Some((5, 10)), &[]),
            ("c", None, &[0]),
            ("d", Some((10, 5)), &[0]),
            ("e", Some((16, 1)), &[0, 1]),
        ]));
        let events = trace["traceEvents"].as_array().unwrap();
        let bars: Vec<(&str, u64, u64, u64)> = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| {
                let number = |field: &str| event[field].as_u64().unwrap();
                (event["name"].as_str().unwrap(), number("tid"), number("ts"), number("dur"))
            })
            .collect();
        assert_eq!(
            bars,
            [("a", 1, 0, 10000), ("b[x=1]", 2, 5000, 10000), ("d", 1, 10000, 5000), ("e", 1, 16000, 1000)]
        );
        assert_eq!(events.iter().filter(|event| event["name"] == "thread_name").count(), 2);
        let last = events.last().unwrap();
        assert_eq!((&last["cat"], &last["args"]["reads"]), (&json!("e"), &json!(["a", "b[x=1]"])));
    }
}
