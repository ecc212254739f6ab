//! Draws every figure with made-up data, to look at.
#[path = "plain/attempt.rs"]
#[allow(dead_code)]
mod attempt;
use attempt::Setup;
use serde_json::{Value, json};

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 11) as f64) / ((1u64 << 53) as f64)
    }
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.next().max(1e-12), self.next());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}
const SEVEN: [&str; 7] = ["original", "retrain", "unroll", "unroll_of", "boundary_shrink", "boundary_expand", "pru"];
const MANY: [&str; 27] = [
    "original",
    "retrain",
    "bn_only",
    "unroll",
    "unroll_of",
    "boundary_shrink",
    "boundary_expand",
    "pru",
    "pru_described",
    "gradient_ascent",
    "random_label",
    "salun_f",
    "delete",
    "delete_frozen",
    "bias_mask",
    "classifier_only",
    "jit",
    "l2ul",
    "fine_tune",
    "neg_grad_plus",
    "salun",
    "scrub",
    "bad_teacher",
    "unsir",
    "ssd",
    "l1_sparse",
    "amnesiac",
];

fn labels() -> Value {
    json!({"original": "Original", "retrain": "Retrain", "unroll": "Unroll", "unroll_of": "UnrollOF", "boundary_shrink": "BoundShrink", "boundary_expand": "BoundExpand", "pru": "PRU"})
}

fn out(name: &str, done: &attempt::Done) {
    let dir = std::path::Path::new("/tmp/gallery");
    std::fs::create_dir_all(dir).unwrap();
    for (output, ext) in [("svg", "svg"), ("png", "png"), ("data", "csv")] {
        std::fs::write(dir.join(format!("{name}.{ext}")), done.bytes(output)).unwrap();
    }
}

fn level(method: &str) -> (f64, f64, f64, f64) {
    // A_f at 0, A_f comeback asymptote, speed, A_r at 0
    let h = method.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(b as u64));
    let mut r = Rng(h);
    r.next();
    r.next();
    match method {
        "original" => (0.99, 0.85, 0.3, 0.994),
        "retrain" => (0.0, 0.0, 1.0, 0.993),
        "pru" => (0.0, 0.03, 0.5, 0.85),
        "unroll" => (0.0, 0.002, 0.5, 0.938),
        "boundary_shrink" => (0.13, 0.72, 1.2, 0.795),
        "boundary_expand" => (0.12, 0.83, 1.0, 0.825),
        "unroll_of" => (0.05, 0.09, 0.4, 0.64),
        _ => (r.next() * 0.1, r.next() * 0.9, 0.2 + r.next() * 2.0, 0.6 + 0.39 * r.next()),
    }
}

fn curve(method: &str, rng: &mut Rng) -> Value {
    let (a, b, s, r0) = level(method);
    let shift = 0.02 * rng.normal();
    let points: Vec<Value> = (0..=10)
        .map(|e| {
            let t = 1.0 - (-s * e as f64).exp();
            let f =
                if method == "retrain" { 0.0 } else { (a + (b - a) * t + shift + 0.01 * rng.normal()).clamp(0.0, 1.0) };
            let r = (r0 + (0.995 - r0) * (1.0 - (-1.5 * e as f64).exp()) + 0.002 * rng.normal() + shift * 0.3)
                .clamp(0.0, 1.0);
            json!({"epoch": e, "forget": f, "retain": r, "overall": 0.9 * r, "loss": null})
        })
        .collect();
    json!({"forget_class": 0, "epochs": points})
}

fn relearning(name: &str, methods: &[&str], seeds: &[&str], drop: bool) {
    let mut rng = Rng(5);
    let mut setup = Setup::new(
        "figures/relearning",
        json!({"title": "Relearning, MNIST with AllCNN", "layout": {"labels": labels()}}),
    );
    for m in methods {
        for s in seeds {
            for c in ["0", "3", "9"] {
                let v = curve(m, &mut rng);
                if drop && *m == "boundary_shrink" && *s == "8" && c == "3" {
                    setup = setup.planned("curves", &[("method", m), ("class", c), ("seed", s)]);
                    continue;
                }
                setup = setup.input("curves", &[("method", m), ("class", c), ("seed", s)], v.to_string().as_bytes());
            }
        }
    }
    out(name, &setup.run().unwrap());
}

fn change(method: &str, rng: &mut Rng) -> Value {
    let mut tensors = Vec::new();
    let h = method.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(b as u64));
    let mut r = Rng(h);
    r.next();
    r.next();
    let base = -4.0 + 3.6 * r.next();
    let slope = 0.2 * r.normal();
    let mut push = |name: String, kind: &str, log: Option<f64>| {
        let relative = log.map_or(0.0, |l| 10f64.powf(l));
        tensors.push(json!({"name": name, "kind": kind, "relative": relative, "absolute": relative * 3.0, "unchanged": log.is_none()}));
    };
    let still = method == "bn_only";
    for l in 1..=8 {
        let at = base + slope * (l as f64 - 4.0) + 0.15 * rng.normal();
        push(format!("conv{l}.0.weight"), "extractor", (!still).then_some(at));
        push(format!("conv{l}.1.weight"), "normalisation", (!still).then_some(at - 0.8 + 0.1 * rng.normal()));
        push(format!("conv{l}.1.bias"), "normalisation", (!still).then_some(at + 0.2));
        push(format!("conv{l}.1.running_mean"), "statistic", Some(-0.6 + 0.1 * l as f64 + 0.2 * rng.normal()));
        push(format!("conv{l}.1.running_var"), "statistic", Some(-0.4 + 0.1 * rng.normal()));
        push(format!("conv{l}.1.num_batches_tracked"), "statistic", Some(-1.0));
    }
    let head = !(still || method == "pru" || method == "delete_frozen");
    push("classifier.0.weight".into(), "classifier", head.then_some(base + 0.5));
    push("classifier.0.bias".into(), "classifier", head.then_some(base));
    json!({"tensors": tensors})
}

fn parameter_change(name: &str, methods: &[&str]) {
    let mut rng = Rng(9);
    let mut setup = Setup::new(
        "figures/parameter_change",
        json!({"title": "Change of parameters by layer, MNIST with AllCNN", "layout": {"labels": labels()}, "references": ["retrain"]}),
    );
    for m in methods {
        for s in ["7", "8", "9"] {
            for c in ["0", "3"] {
                if *m == "original" {
                    continue;
                }
                if *m == "unroll" && s == "9" {
                    continue;
                }
                setup = setup.input(
                    "changes",
                    &[("method", m), ("class", c), ("seed", s)],
                    change(m, &mut rng).to_string().as_bytes(),
                );
            }
        }
    }
    out(name, &setup.run().unwrap());
}

fn perception(method: &str, rng: &mut Rng, n: usize) -> Value {
    let (a, ..) = level(method);
    let h = method.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(b as u64));
    let (mut p, mut d, mut k, mut hist) = (vec![], vec![], vec![], vec![0u64; 10]);
    for _ in 0..n {
        let is_f = rng.next() < a;
        let prob = if is_f { 0.5 + 0.5 * rng.next().powf(0.2) } else { 0.4 * rng.next().powf(5.0) };
        let class = if is_f {
            9
        } else {
            let u = rng.next();
            if u < 0.55 {
                (h % 9) as u32
            } else if u < 0.85 {
                (h / 9 % 9) as u32
            } else if u < 0.97 {
                7
            } else {
                (rng.next() * 9.0) as u32
            }
        };
        p.push(prob);
        d.push((1.0 + 0.35 * rng.normal() + 0.2 * rng.normal().powi(2)).abs());
        k.push(class);
        hist[class as usize] += 1;
    }
    let mean = d.iter().sum::<f64>() / n as f64;
    let d: Vec<f64> = d.iter().map(|x| x / mean).collect();
    json!({"forget_class": 9, "probability": p, "distance": d, "predicted": k, "histogram": hist})
}

fn seen(stage: &'static str, name: &str, methods: &[&str]) {
    let mut rng = Rng(3);
    let params = if stage.ends_with("predictions") {
        json!({"title": "Predictions for class 9 of MNIST", "layout": {"labels": labels()}, "published": {"boundary_shrink": 1.59, "boundary_expand": 3.82, "unroll_of": 1.99, "unroll": 0.66, "pru": 0.12}})
    } else {
        json!({"title": "Perception of class 9 of MNIST", "layout": {"labels": labels()}})
    };
    let mut setup = Setup::new(stage, params);
    for m in methods {
        setup = setup.input(
            "perceptions",
            &[("method", m), ("class", "9"), ("seed", "7")],
            perception(m, &mut rng, 1009).to_string().as_bytes(),
        );
    }
    out(name, &setup.run().unwrap());
}

fn trade_off(name: &str, methods: &[&str], rates: usize) {
    let mut rng = Rng(11);
    let mut setup = Setup::new(
        "figures/trade_off",
        json!({"title": "Trade-off over rates, MNIST with AllCNN", "layout": {"labels": labels()}}),
    );
    for m in methods {
        for s in ["7", "8"] {
            for c in ["0", "3"] {
                let (_, back, _, r0) = level(m);
                let grid: Vec<Option<f64>> = if *m == "original" || *m == "retrain" {
                    vec![None]
                } else {
                    (0..rates).map(|i| Some(1e-5 * 10f64.powf(i as f64 * 0.5))).collect()
                };
                for (i, rate) in grid.iter().enumerate() {
                    let t = i as f64 / rates as f64;
                    let mut v = curve(m, &mut rng);
                    if rate.is_some() {
                        v["epochs"][10]["forget"] = json!(
                            ((0.97 - (0.97 - 0.3 * back) * t.powf(1.0 + back)) + 0.02 * rng.normal()).clamp(0.0, 1.0)
                        );
                        v["epochs"][0]["retain"] =
                            json!((0.99 - (0.99 - r0 * 0.8) * t.powf(1.6) + 0.01 * rng.normal()).clamp(0.0, 1.0));
                    }
                    let text = rate.map(|r| format!("{r:.0e}")).unwrap_or_default();
                    let mut at = vec![("method", *m), ("class", c), ("seed", s)];
                    if rate.is_some() {
                        at.insert(1, ("lr", text.as_str()));
                    }
                    setup = setup.input("curves", &at, v.to_string().as_bytes());
                }
            }
        }
    }
    out(name, &setup.run().unwrap());
}

fn deep(name: &str, tensors: Vec<(String, &'static str)>) {
    let mut rng = Rng(4);
    let mut setup = Setup::new("figures/parameter_change", json!({"title": "Change of parameters by layer", "layout": {"labels": labels()}}));
    for (m, base) in [("retrain", -0.2), ("unroll", -2.0), ("boundary_shrink", -1.5), ("boundary_expand", -2.4), ("pru", -1.2)] {
        let ts: Vec<Value> = tensors.iter().enumerate().map(|(i, (n, k))| { let still = m == "pru" && *k == "classifier"; let r = if still { 0.0 } else { 10f64.powf(base + 0.2 * rng.normal() + 0.01 * i as f64) }; json!({"name": n, "kind": k, "relative": r, "absolute": r, "unchanged": still}) }).collect();
        setup = setup.input("changes", &[("method", m), ("class", "0"), ("seed", "7")], json!({"tensors": ts}).to_string().as_bytes());
    }
    out(name, &setup.run().unwrap());
}

fn resnet(blocks: [usize; 4], convs: usize) -> Vec<(String, &'static str)> {
    let mut t = Vec::new();
    let mut bn = |t: &mut Vec<(String, &'static str)>, n: String| for (s, k) in [("weight", "normalisation"), ("bias", "normalisation"), ("running_mean", "statistic"), ("running_var", "statistic")] { t.push((format!("{n}.{s}"), k)); };
    t.push(("conv1.weight".into(), "extractor")); bn(&mut t, "bn1".into());
    for (l, n) in blocks.iter().enumerate() { for b in 0..*n { for c in 1..=convs { t.push((format!("layer{}.{b}.conv{c}.weight", l + 1), "extractor")); bn(&mut t, format!("layer{}.{b}.bn{c}", l + 1)); } if b == 0 && l > 0 { t.push((format!("layer{}.0.downsample.0.weight", l + 1), "extractor")); bn(&mut t, format!("layer{}.0.downsample.1", l + 1)); } } }
    t.push(("fc.weight".into(), "classifier")); t.push(("fc.bias".into(), "classifier"));
    t
}

fn vit() -> Vec<(String, &'static str)> {
    let mut t: Vec<(String, &'static str)> = vec![("class_token".into(), "extractor"), ("conv_proj.weight".into(), "extractor"), ("conv_proj.bias".into(), "extractor"), ("encoder.pos_embedding".into(), "extractor")];
    for i in 0..12 { let p = format!("encoder.layers.encoder_layer_{i}"); for (s, k) in [("ln_1.weight", "normalisation"), ("ln_1.bias", "normalisation"), ("self_attention.in_proj_weight", "extractor"), ("self_attention.in_proj_bias", "extractor"), ("self_attention.out_proj.weight", "extractor"), ("self_attention.out_proj.bias", "extractor"), ("ln_2.weight", "normalisation"), ("ln_2.bias", "normalisation"), ("mlp.0.weight", "extractor"), ("mlp.0.bias", "extractor"), ("mlp.3.weight", "extractor"), ("mlp.3.bias", "extractor")] { t.push((format!("{p}.{s}"), k)); } }
    for (s, k) in [("encoder.ln.weight", "normalisation"), ("encoder.ln.bias", "normalisation"), ("heads.head.weight", "classifier"), ("heads.head.bias", "classifier")] { t.push((s.into(), k)); }
    t
}

#[test]
fn all() {
    let pick = std::env::var("PICK").unwrap_or_default();
    let go = |name: &str| name.contains(&pick);
    if go("relearning") {
        relearning("relearning7", &SEVEN, &["7", "8", "9", "10", "11"], false);
        relearning("relearning7_missing", &SEVEN, &["7", "8", "9"], true);
        relearning("relearning27", &MANY, &["7", "8", "9"], false);
        relearning("relearning7_one", &SEVEN, &["7"], false);
    }
    if go("change") {
        parameter_change("change7", &SEVEN);
        parameter_change("change27", &MANY);
    }
    if go("perception") {
        seen("figures/perception", "perception4", &["boundary_shrink", "boundary_expand", "retrain", "pru"]);
        seen("figures/perception", "perception7", &SEVEN);
        seen("figures/perception", "perception27", &MANY);
    }
    if go("predictions") {
        seen("figures/predictions", "predictions7", &SEVEN);
        seen("figures/predictions", "predictions27", &MANY);
    }
    if go("trade") {
        trade_off("trade7", &SEVEN, 7);
        trade_off("trade27", &MANY, 7);
    }
    if go("times") {
        use pru_flow_stages::figures::times::{Setting, Time, times};
        let t = |m: &str, s: f64, p: Option<f64>| Time {
            method: m.into(),
            seconds: Some(s),
            half_width: Some(s * 0.12),
            n: 50,
            published: p,
        };
        let one = |name: &str, f: f64, p: [f64; 5]| Setting {
            name: name.into(),
            times: vec![
                t("Retrain", 61.0 * f, Some(p[0])),
                t("Unroll", 5.2 * f, Some(p[1])),
                t("BoundShrink", 31.0 * f, Some(p[2])),
                t("BoundExpand", 3.7 * f, Some(p[3])),
                t("PRU", 21.0 * f, Some(p[4])),
            ],
        };
        let mut settings = vec![
            one("MNIST, AllCNN", 1.0, [50.0, 4.0, 33.0, 4.0, 24.0]),
            one("CIFAR-10, AllCNN", 2.5, [180.0, 5.0, 37.0, 5.0, 20.0]),
            one("CIFAR-10, ResNet18", 3.2, [160.0, 8.0, 58.0, 7.0, 30.0]),
        ];
        settings[2].times[1].seconds = None;
        settings[2].times[1].published = None;
        settings[2].times[1].half_width = None;
        let d =
            times("Time of unlearning", &settings, &["12 of 162 nodes are left out: they did not run alone.".into()]);
        std::fs::write("/tmp/gallery/times.svg", &d.svg).unwrap();
        std::fs::write("/tmp/gallery/times.png", d.png().unwrap()).unwrap();
    }
}
