"""Independent PyTorch reference values for the unlearning methods that read retain data.

What it is.  Plain PyTorch, float64, written from the equations below and from nothing else; it shares no code
with the Rust stages.  Network, losses, data, the starting weights `converged` and the check against a moved
start are those of make_reference.py beside it; it reads that script's files and changes none of them.

How to run.      python retain_data.py OUT_DIR
Writes CASE.safetensors, first_step_retain.safetensors and summary_retain.json.  Settings, what the equations
leave open, tolerances and the mistakes they separate: RETAIN_DATA.md.

Equations.  f0: the given network theta0, frozen, eval.  f: the student, starting at theta0.  K classes, forget
class F, D_f = samples of F, D_r = the others, both in stored order.  y~: wrong labels, drawn beforehand.
CE(B) = (1/n) sum_{i in B} -log softmax(f(x_i))_{y_i}.  theta: all trainable scalars, BatchNorm's included.

  fine_tune      per epoch, batches B of D_r: CE(B)
  neg_grad_plus  per epoch, batches R of D_r zipped with a cycle of the batches G of D_f:
                 alpha (CE(R) + (pull / 2) |theta - theta0|_2^2) - (1 - alpha) CE(G)
  salun          s = |sum over batches B of D_f of grad CE(B)| at f0;  m = the floor(saliency N) largest of the N
                 entries of s.  Per epoch: batches of D_f with y~, then of D_r with y: CE, steps where m only
  scrub          KL_T(B) = (T^2 / n) sum_i sum_k p_ik (log p_ik - log q_ik), p = softmax(f0/T), q = softmax(f/T);
                 epoch e = 1, 2, ...: if e <= max_epochs: -KL_T over D_f; then gamma CE + alpha KL_T over D_r
  bad_teacher    X = D_f, then a drawn share of D_r;  t_i = softmax(g(x_i)) where g is a freshly initialised net
                 (eval) for i in D_f, f0 otherwise;  (1/n) sum_i sum_k t_ik (log t_ik - log softmax(f(x_i))_k)
  unsir          noise u [n, C, H, W], Adam on u: -CE(f0(u), F) + 0.1 (1/n) sum_i |u_i|_2^2;
                 impair: CE over copies of u labelled F, then some samples of each retain class; fresh Adam
                 repair: CE over those samples only; fresh Adam
  ssd            I(X) = mean over the batches B of X of (grad CE(B) at f0)^2, elementwise;
                 where I(D_f) > alpha I(D): theta <- theta min(lambda I(D) / I(D_f), 1)
  l1_sparse      epoch e = 1..E, batches B of D_r: CE(B) + gamma (1 - (e - 1) / E) |theta|_1
  amnesiac       X = D_f with y~, then D_r with y: CE
  SGD            g <- grad + wd w;  b <- 0.9 b + g (first step: b = g);  w <- w - lr b          (torch.optim.SGD)
  Adam           m <- .9 m + .1 g;  v <- .999 v + .001 g^2;
                 w <- w - lr (m / (1 - .9^t)) / (sqrt(v / (1 - .999^t)) + 1e-8)                (torch.optim.Adam)

Sources.  fine_tune, salun: Fan et al., "SalUn" (2310.12508), OPTML-Group/Unlearn-Saliency.  neg_grad_plus, scrub:
Kurmanji et al. (2302.09880), meghdadk/SCRUB; the pull to the start as in xcadet/deepunlearn (2410.01276).
bad_teacher: Chundawat et al., "Can bad teaching induce forgetting?" (2205.08096), vikram2000b/bad-teaching-
unlearning; the mean is over samples, not over entries.  unsir: Tarun et al. (2111.08947).  ssd: Foster et al.
(2308.07707), if-loops/selective-synaptic-dampening.  l1_sparse: Jia et al. (2304.04934), OPTML-Group/Unlearn-Sparse.
amnesiac: the method of that name in the repositories of bad_teacher and ssd (random labels, not the
subtraction of Graves et al., AAAI 2021).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import make_reference as ref
from make_reference import CLASSES, F64, FORGET, ce_loss, frozen_eval, net_from

HERE = Path(__file__).resolve().parent
# bad_teacher's second teacher is `initial` with every BatchNorm weight set to this (not 1): with 1 its logits differ
# from image to image by 1e-5 only, and an image given another image's target would not be seen.
INCOMPETENT_GAIN = 3.0
# unsir's start noise is NOISE_CENTRE + units / NOISE_DIVISOR with units an i8 (exact in float32 and float64), about
# N(0.5, 0.25^2).  A draw from N(0, 1) is class 3 with certainty for this network: the gradient of CE is then 1e-41.
NOISE_CENTRE, NOISE_DIVISOR = 0.5, 128

SGD = {"batch": 32, "epochs": 3, "wd": 5e-4, "bn": "train"}
NEG = {"kind": "neg_grad_plus", "batch": 24, "epochs": 3, "lr": 3e-4, "wd": 5e-3, "alpha": 0.95, "pull": 0.0,
       "bn": "frozen"}  # batch 24: 8 retain and 3 forget batches, so that a cycle ends within an epoch
CASES = {
    "fine_tune": {**SGD, "kind": "fine_tune", "lr": 1e-2},
    "neg_grad_plus": NEG,
    "neg_grad_plus_pull": {**NEG, "pull": 20.0},
    "neg_grad_plus_bn_train": {**NEG, "lr": 1e-2, "bn": "train"},
    "salun": {**SGD, "kind": "salun", "lr": 5e-3, "saliency": 0.5},
    "scrub": {**SGD, "kind": "scrub", "lr": 5e-3, "forget_batch": 16, "max_epochs": 2, "gamma": 0.9, "alpha": 0.1,
              "temperature": 4.0},
    "bad_teacher": {"kind": "bad_teacher", "batch": 32, "epochs": 2, "lr": 1e-3, "share": 0.3, "bn": "train"},
    "unsir": {"kind": "unsir", "batch": 16, "noise_batch": 8, "noise_steps": 5, "noise_lr": 0.1, "noise_copies": 3,
              "samples_per_class": 6, "lr_impair": 1e-3, "lr_repair": 5e-4, "bn": "train"},
    "ssd": {"kind": "ssd", "batch": 32, "alpha": 40.0, "lambda": 1.0},
    "ssd_clipped": {"kind": "ssd", "batch": 32, "alpha": 20.0, "lambda": 30.0},
    "l1_sparse": {**SGD, "kind": "l1_sparse", "lr": 1e-2, "wd": 0.0, "gamma": 5e-4},
    "amnesiac": {"kind": "amnesiac", "batch": 32, "epochs": 3, "lr": 1e-3, "bn": "train"},
}


# ---------------------------------------------------------------- pieces shared by the methods

def slices(n, size):
    """Stored order, the tail batch is kept."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def adam(parameters, lr):
    return torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


def student_mode(net, cfg):
    net.train(cfg["bn"] == "train")


def divergence(teacher_logits, student_logits, temperature=1.0):
    """Mean over samples of KL(teacher || student) at a temperature, times its square; 0 log 0 = 0."""
    p = torch.softmax(teacher_logits / temperature, dim=1)
    log_q = torch.log_softmax(student_logits / temperature, dim=1)
    return temperature ** 2 * (torch.special.xlogy(p, p) - p * log_q).sum() / len(p)


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def by_name(net, vector):
    """A vector over all trainable scalars, cut into tensors of the parameters' names and shapes."""
    sizes = [p.numel() for p in net.parameters()]
    return {n: v.view_as(p) for (n, p), v in zip(net.named_parameters(), vector.split(sizes))}


def batch_gradients(start, x, y, size):
    """One row per batch: the gradient of the batch's mean CE at the start, in eval mode."""
    net = net_from(start, x.dtype).eval()
    return [flat(torch.autograd.grad(ce_loss(net(x[b]), y[b]), list(net.parameters()))) for b in slices(len(x), size)]


# ---------------------------------------------------------------- methods: (net, start, data, cfg) -> losses, extra

def fine_tune(net, start, data, cfg):
    losses, optimizer = [], ref.sgd(net.parameters(), cfg["lr"], cfg["wd"])
    student_mode(net, cfg)
    for _ in range(cfg["epochs"]):
        for b in slices(len(data["xr"]), cfg["batch"]):
            ref.step(optimizer, ce_loss(net(data["xr"][b]), data["yr"][b]), losses)
    return losses, {}


def neg_grad_plus_loss(net, start, retain, forget, cfg):
    loss = cfg["alpha"] * ce_loss(net(retain[0]), retain[1])  # this forward first: its statistics move first
    loss = loss - (1 - cfg["alpha"]) * ce_loss(net(forget[0]), forget[1])
    if cfg["pull"]:
        away = sum((p - start[n]).square().sum() for n, p in net.named_parameters())
        loss = loss + cfg["alpha"] * cfg["pull"] / 2 * away
    return loss


def neg_grad_plus(net, start, data, cfg):
    losses, optimizer = [], ref.sgd(net.parameters(), cfg["lr"], cfg["wd"])
    student_mode(net, cfg)
    forget = slices(len(data["xf"]), cfg["batch"])
    for _ in range(cfg["epochs"]):
        for i, r in enumerate(slices(len(data["xr"]), cfg["batch"])):
            g = forget[i % len(forget)]  # the cycle starts again in each epoch
            loss = neg_grad_plus_loss(net, start, (data["xr"][r], data["yr"][r]), (data["xf"][g], data["yf"][g]), cfg)
            ref.step(optimizer, loss, losses)
    return losses, {}


def saliency_mask(start, data, cfg):
    """True for the floor(saliency N) largest entries; a stable sort, so that of equal entries the earlier is in."""
    saliency = torch.stack(batch_gradients(start, data["xf"], data["yf"], cfg["batch"])).sum(0).abs()
    ranked, order = torch.sort(saliency, descending=True, stable=True)
    kept = int(cfg["saliency"] * len(saliency))
    assert ranked[kept - 1] / ranked[kept] > 1 + 1e-6, "the edge of the mask hinges on rounding"
    mask = torch.zeros(len(saliency), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask


def salun(net, start, data, cfg):
    losses, optimizer = [], ref.sgd(net.parameters(), cfg["lr"], cfg["wd"])
    mask = by_name(net, saliency_mask(start, data, cfg))
    student_mode(net, cfg)
    for _ in range(cfg["epochs"]):
        for x, y in ((data["xf"], data["wrong"]), (data["xr"], data["yr"])):
            for b in slices(len(x), cfg["batch"]):
                ref.step(optimizer, ce_loss(net(x[b]), y[b]), losses)
                with torch.no_grad():  # SGD works on each coordinate alone: putting the others back is the mask
                    for n, p in net.named_parameters():
                        p.copy_(torch.where(mask[n], p, start[n]))
    return losses, {f"mask/{n}": m.to(torch.uint8) for n, m in mask.items()}


def scrub_forget_loss(net, teacher, x, cfg):
    return -divergence(teacher(x), net(x), cfg["temperature"])


def scrub_retain_loss(net, teacher, x, y, cfg):
    logits = net(x)
    return cfg["gamma"] * ce_loss(logits, y) + cfg["alpha"] * divergence(teacher(x), logits, cfg["temperature"])


def scrub(net, start, data, cfg):
    losses, optimizer, teacher = [], ref.sgd(net.parameters(), cfg["lr"], cfg["wd"]), frozen_eval(start)
    student_mode(net, cfg)
    for epoch in range(1, cfg["epochs"] + 1):
        if epoch <= cfg["max_epochs"]:
            for b in slices(len(data["xf"]), cfg["forget_batch"]):
                ref.step(optimizer, scrub_forget_loss(net, teacher, data["xf"][b], cfg), losses)
        for b in slices(len(data["xr"]), cfg["batch"]):
            ref.step(optimizer, scrub_retain_loss(net, teacher, data["xr"][b], data["yr"][b], cfg), losses)
    return losses, {}


def taught(data, start, dtype=F64):
    """bad_teacher's images and the logits of each one's teacher."""
    x = torch.cat([data["xf"], data["xr"][data["share_rows"]]])
    competent, incompetent = frozen_eval(start, dtype), frozen_eval(data["incompetent"], dtype)
    n = len(data["xf"])
    return x, torch.cat([incompetent(x[:n]), competent(x[n:])])


def bad_teacher(net, start, data, cfg):
    losses, optimizer = [], adam(net.parameters(), cfg["lr"])
    x, target = taught(data, start)
    student_mode(net, cfg)
    for _ in range(cfg["epochs"]):
        for b in slices(len(x), cfg["batch"]):
            ref.step(optimizer, divergence(target[b], net(x[b])), losses)
    return losses, {"rows": data["share_rows"]}


def start_noise(data, dtype):
    return (NOISE_CENTRE + data["noise_units"].to(dtype) / NOISE_DIVISOR).requires_grad_(True)


def noise_loss(net, noise):
    labels = torch.full((len(noise),), FORGET)
    return -ce_loss(net(noise), labels) + 0.1 * noise.square().sum() / len(noise)


def impair_data(noise, data, cfg):
    x = torch.cat([noise] * cfg["noise_copies"] + [data["xr"][data["class_rows"]]])
    forget = torch.full((cfg["noise_copies"] * len(noise),), FORGET)
    return x, torch.cat([forget, data["yr"][data["class_rows"]]])


def unsir(net, start, data, cfg):
    losses, original = [], frozen_eval(start)
    noise = start_noise(data, F64)
    optimizer = adam([noise], cfg["noise_lr"])
    for _ in range(cfg["noise_steps"]):
        ref.step(optimizer, noise_loss(original, noise), losses)
    noise = noise.detach()
    student_mode(net, cfg)
    repair = (data["xr"][data["class_rows"]], data["yr"][data["class_rows"]])
    for (x, y), lr in ((impair_data(noise, data, cfg), cfg["lr_impair"]), (repair, cfg["lr_repair"])):
        optimizer = adam(net.parameters(), lr)
        for b in slices(len(x), cfg["batch"]):
            ref.step(optimizer, ce_loss(net(x[b]), y[b]), losses)
    return losses, {"noise_units": data["noise_units"], "noise": noise, "rows": data["class_rows"]}


def importance(start, x, y, size):
    return torch.stack(batch_gradients(start, x, y, size)).square().mean(0)


def ssd(net, start, data, cfg):
    of_all = importance(start, data["x"], data["y"], cfg["batch"])  # D as stored, forget and retain mixed
    of_forget = importance(start, data["xf"], data["yf"], cfg["batch"])
    chosen = of_forget > cfg["alpha"] * of_all
    assert ((of_forget - cfg["alpha"] * of_all).abs() > 1e-6 * of_forget).all(), "a choice hinges on rounding"
    one = torch.ones_like(of_all)
    ratio = cfg["lambda"] * of_all / torch.where(chosen, of_forget, one)
    factor = by_name(net, torch.where(chosen, torch.minimum(ratio, one), one))
    with torch.no_grad():
        for n, p in net.named_parameters():
            p.mul_(factor[n])
    return [], {f"dampened/{n}": m.to(torch.uint8) for n, m in by_name(net, chosen).items()}


def l1_loss(net, x, y, gamma):
    return ce_loss(net(x), y) + gamma * sum(p.abs().sum() for p in net.parameters())  # the derivative of |0| is 0


def l1_sparse(net, start, data, cfg):
    losses, optimizer = [], ref.sgd(net.parameters(), cfg["lr"], cfg["wd"])
    student_mode(net, cfg)
    for epoch in range(1, cfg["epochs"] + 1):
        gamma = cfg["gamma"] * (1 - (epoch - 1) / cfg["epochs"])
        for b in slices(len(data["xr"]), cfg["batch"]):
            ref.step(optimizer, l1_loss(net, data["xr"][b], data["yr"][b], gamma), losses)
    return losses, {}


def amnesiac(net, start, data, cfg):
    losses, optimizer = [], adam(net.parameters(), cfg["lr"])
    x, y = torch.cat([data["xf"], data["xr"]]), torch.cat([data["wrong"], data["yr"]])
    student_mode(net, cfg)
    for _ in range(cfg["epochs"]):
        for b in slices(len(x), cfg["batch"]):
            ref.step(optimizer, ce_loss(net(x[b]), y[b]), losses)
    return losses, {}


METHODS = {f.__name__: f for f in
           (fine_tune, neg_grad_plus, salun, scrub, bad_teacher, unsir, ssd, l1_sparse, amnesiac)}


# ---------------------------------------------------------------- data

def read_data():
    """The images and draws of make_reference.py, and the draws that only these methods need."""
    inputs = load_file(HERE / "inputs.safetensors")
    x, y = ref.pixels(inputs["images"]), inputs["labels"]
    incompetent = {k: torch.full_like(v, INCOMPETENT_GAIN) if k.startswith("conv") and k.endswith(".1.weight") else v
                   for k, v in load_file(HERE / "initial.safetensors").items()}
    data = {"x": x, "y": y, "xf": x[y == FORGET], "yf": y[y == FORGET], "xr": x[y != FORGET], "yr": y[y != FORGET],
            "wrong": inputs["random_label"], "probe": ref.pixels(inputs["probe_images"]),
            "incompetent": incompetent}
    rng, n = np.random.RandomState(23), len(data["xr"])
    share = np.sort(rng.permutation(n)[:int(CASES["bad_teacher"]["share"] * n)])
    per_class = CASES["unsir"]["samples_per_class"]
    labels = data["yr"].numpy()
    chosen = [rng.permutation(np.flatnonzero(labels == k))[:per_class] for k in range(CLASSES) if k != FORGET]
    units = np.rint(32 * rng.normal(size=(CASES["unsir"]["noise_batch"], *x.shape[1:]))).clip(-127, 127)
    data["share_rows"] = torch.from_numpy(share.astype(np.int64))
    data["class_rows"] = torch.from_numpy(np.sort(np.concatenate(chosen)).astype(np.int64))
    data["noise_units"] = torch.from_numpy(units.astype(np.int8))
    return data


def run_case(cfg, start, data):
    net = net_from(start)
    losses, extra = METHODS[cfg["kind"]](net, start, data, cfg)
    return net, losses, extra


def probe_logits(net, data):
    net.eval()
    with torch.no_grad():
        return net(data["probe"])


# ---------------------------------------------------------------- first steps in float32

def first_steps(start, data, dtype, noise):
    """Loss and gradients of single steps at the start, in the given dtype; plans as in RETAIN_DATA.md."""
    d = {k: v.to(dtype) if torch.is_tensor(v) and v.is_floating_point() else v for k, v in data.items()}
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in start.items()}
    teacher, xr, yr = frozen_eval(cast, dtype), d["xr"][:32], d["yr"][:32]
    x_taught, t_taught = taught(d, cast, dtype)
    x_impair, y_impair = impair_data(noise.to(dtype), d, CASES["unsir"])
    mixed = slice(50, 82)  # 20 forget and 12 retain images; in float32 slice(64, 96) hinges on a ReLU's input near 0

    def saliency(n):
        return sum(ce_loss(n(d["xf"][b]), d["yf"][b]) for b in slices(len(d["xf"]), 32))

    def neg(n):
        b = slice(0, 24)
        return neg_grad_plus_loss(n, cast, (d["xr"][b], d["yr"][b]), (d["xf"][b], d["yf"][b]), CASES["neg_grad_plus"])

    plans = {  # name: (student in eval mode, loss)
        "neg_grad_plus": (True, neg),
        "salun_saliency": (True, saliency),
        "scrub_forget": (False, lambda n: scrub_forget_loss(n, teacher, d["xf"][:16], CASES["scrub"])),
        "scrub_retain": (False, lambda n: scrub_retain_loss(n, teacher, xr, yr, CASES["scrub"])),
        "bad_teacher_mixed": (False, lambda n: divergence(t_taught[mixed], n(x_taught[mixed]))),
        "unsir_impair": (False, lambda n: ce_loss(n(x_impair[16:32]), y_impair[16:32])),
        "l1_sparse": (False, lambda n: l1_loss(n, xr, yr, CASES["l1_sparse"]["gamma"])),
    }
    out = {}
    for name, (eval_mode, f) in plans.items():
        net = net_from(cast, dtype).train(not eval_mode)
        loss = f(net)
        loss.backward()
        out[f"{name}/loss"] = loss.detach()
        out |= {f"{name}/grad/{n}": p.grad.clone().contiguous() for n, p in net.named_parameters()}
    u = start_noise(data, dtype)
    loss = noise_loss(teacher, u)
    (grad,) = torch.autograd.grad(loss, u)
    return out | {"unsir_noise/loss": loss.detach(), "unsir_noise/grad/noise": grad}


# ---------------------------------------------------------------- main

def measure_moved(cfg, start, data, final, logits, losses):
    """The largest changes when every starting parameter moves by +-1e-12, over two draws."""
    moved = {"weights": 0.0, "logits": 0.0, "losses": 0.0}
    for seed in (1, 2):
        other, other_losses, _ = run_case(cfg, ref.shaken(start, seed), data)
        moved["weights"] = max(moved["weights"], ref.largest_change(final, ref.state_of(other)))
        moved["logits"] = max(moved["logits"], (probe_logits(other, data) - logits).abs().max().item())
        moved["losses"] = max([moved["losses"]] + [abs(u - v) for u, v in zip(losses, other_losses)])
    return moved


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python retain_data.py OUT_DIR")
    (out := Path(sys.argv[1])).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data, start = read_data(), load_file(HERE / "converged.safetensors")
    summary = {"torch": torch.__version__, "numpy": np.__version__, "threads": torch.get_num_threads(),
               "forget_class": FORGET, "momentum": ref.MOMENTUM, "noise_centre": NOISE_CENTRE,
               "noise_divisor": NOISE_DIVISOR, "incompetent_gain": INCOMPETENT_GAIN, "cases": {}}
    save_file(data["incompetent"], out / "incompetent.safetensors")
    noise = None
    for name, cfg in CASES.items():
        net, losses, extra = run_case(cfg, start, data)
        final, logits = ref.state_of(net), probe_logits(net, data)
        assert all(torch.isfinite(t).all() for t in [*final.values(), logits]) and all(np.isfinite(losses)), name
        tensors = {**final, **{k: v.contiguous() for k, v in extra.items()}, "logits": logits}
        if losses:
            tensors["losses"] = torch.tensor(losses, dtype=F64)
        save_file(tensors, out / f"{name}.safetensors")
        noise = extra.get("noise", noise)
        moved = measure_moved(cfg, start, data, final, logits, losses)
        after = {"forget": ref.accuracy(net, data["xf"], data["yf"]),
                 "retain": ref.accuracy(net, data["xr"], data["yr"])}
        summary["cases"][name] = {**cfg, "steps": len(losses), "accuracy_after": after, "moved_by_1e-12": moved,
                                  "weight_change": ref.largest_change(start, final)}
        picked = {k: v.double() for k, v in extra.items() if k.startswith(("mask/", "dampened/"))}
        if picked:
            summary["cases"][name]["share_of_scalars"] = flat(picked.values()).mean().item()
        print(f"{name:24s} steps {len(losses):3d} A_f {after['forget']:.3f} A_r {after['retain']:.3f} "
              f"change {ref.largest_change(start, final):.1e} moved w {moved['weights']:.1e} z {moved['logits']:.1e} "
              f"l {moved['losses']:.1e}", flush=True)
        assert moved["weights"] < 1e-7 and moved["logits"] < 1e-6, f"{name} is chaotic"

    double, single = (first_steps(start, data, t, noise) for t in (F64, torch.float32))
    with torch.backends.mkldnn.flags(enabled=False):  # other convolution kernels: what float32 can promise
        other = first_steps(start, data, torch.float32, noise)
    summary["first_step_float32_against_float64"] = report = {}
    for plan in sorted({k.split("/")[0] for k in single}):
        report[plan] = {"loss": 0.0, "conv1.0.weight": 0.0, "other_tensors": 0.0}
        for k in (k for k in single if k.startswith(f"{plan}/")):
            kind = k.split("/")[-1] if k.endswith(("/loss", "conv1.0.weight")) else "other_tensors"
            error = max(((v[k].double() - double[k]).norm() / double[k].norm()).item() for v in (single, other))
            report[plan][kind] = max(report[plan][kind], error)
        print(f"first step {plan:20s} float32 against float64, worst of two kernels: {report[plan]}")
        assert max(report[plan].values()) < 5e-5, f"{plan} is fragile in float32"
    save_file(single, out / "first_step_retain.safetensors")
    (out / "summary_retain.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
