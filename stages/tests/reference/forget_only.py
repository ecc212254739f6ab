"""PyTorch reference values for the paper's unrolling and expansion, and for the methods that see forget data only.

What it is.  A second implementation, in plain PyTorch and float64, of unroll, unroll_of, boundary_expand,
gradient_ascent, salun_f, delete, bias_mask, classifier_only, jit and l2ul.  It shares no code with the Rust stages;
it is written from the equations below.  Network, data, converged weights, SGD and the robustness check are those of
make_reference.py, whose files it reads and never writes.

How to run.      python forget_only.py OUT_DIR [CASE ...]
Needs the packages of make_reference.py and its files (inputs, converged, units) beside this script.  CPU, one
thread, a few minutes.  It stops with an AssertionError when a case is implausible, does not exercise what it is for,
or is not robust to a 1e-12 change of its start.  Naming cases makes those alone, without the shared files.

Equations.  theta all trainable tensors (N scalars), theta0 their start, f the student, f0 its frozen copy in eval,
K classes, forget class F, batch of n images x_i with labels y_i, CE the batch mean of -log_softmax(z)[label],
p~ = softmax(f0(x) with logit F set to -inf), |.| the Euclidean norm.

  unroll            Thudi, Deza, Chandrasekaran, Papernot, "Unrolling SGD" (EuroS&P 2022, arXiv 2109.13398), in the
                    form of the PRU lineage.  One epoch of plain SGD, theta <- theta - lr * g_t, g_t = grad CE(f(x), y)
                    at the theta before the step: all batches of D_f, then all of D_r.  With G the sum of g_t over the
                    batches of D_f:  theta <- theta + sigma * G.  Buffers stay as the passes left them.
  unroll_of         The same without the pass over D_r.
  boundary_expand   Chen et al., "Boundary Unlearning" (CVPR 2023, arXiv 2303.11570).  The classifier gets an output K:
                    its row from U(-a, a), a = sqrt(6 / (D + K + 1)), D the classifier's inputs, its bias 0.
                    CE(f(x), K) over all tensors of the wide network; then row K is dropped.
  gradient_ascent   -CE(f(x), y).  clip_norm c: g <- g * min(1, c / (|g| + 1e-6)), |g| over all tensors together,
                    before weight decay.  stop_below a: accuracy of f (eval) on D_f < a after an epoch ends the run.
  salun_f           Fan et al., "SalUn" (ICLR 2024, arXiv 2310.12508), on D_f alone.  s = |sum over batches of D_f of
                    grad CE(f0(x), y)|; the mask holds the floor(saliency * N) largest of s, of equal ones that first
                    in state-dict order.  CE(f(x), wrong label), the SGD below on masked coordinates only.
  delete            Zhou et al., "Decoupled Distillation to Erase" (CVPR 2025, arXiv 2503.23751).
                    (1/n) sum_i sum_k p~_ik (log p~_ik - log_softmax(f(x_i))_k), 0 log 0 = 0.
  bias_mask         Control.  Classifier bias of F := -1e4.  No data, no step.
  classifier_only   Control.  CE(f(x), argmax p~), classifier trained, extractor frozen and in eval mode.
  jit               Foster et al., "Just in Time" (arXiv 2402.01401).  x_m = clamp(x + sigma * n_m, min x, max x), min
                    and max over the batch; (1/M) sum_m sum_i |f(x_i) - f(x_m,i)| / |x_m,i - x_i|, m = 1..M, no
                    gradient through f(x_m,i).  |0| has value 0 and gradient 0; a term with |x_m,i - x_i| = 0 is 0.
  l2ul              Cha et al., "Learning to Unlearn" (AAAI 2024, arXiv 2301.11578), without its weight-importance
                    penalty.  -CE(f(x), y) + weight * CE(f(x_adv), y_adv), y_adv a wrong label.  x_adv starts at x;
                    ten times: x_adv <- x_adv - step * g / (|g| + 1e-12), norm per sample, g = grad of the SUM over
                    the batch of CE(f0(x_adv), y_adv); delta = x_adv - x <- delta * min(1, radius / (|delta| + 1e-12));
                    x_adv = clamp(x + delta, 0, 1).  clip_norm and stop_below as above.
  SGD               g <- grad + wd * w;  b <- 0.9 * b + g (first step: b = g);  w <- w - lr * b.  One for the whole run.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import make_reference as base
from make_reference import CLASSES, F64, FORGET, accuracy, ce_loss, masked_target, net_from, pixels

HERE = Path(__file__).resolve().parent
BATCH, EPOCHS = base.BATCH, base.EPOCHS
MASKED_BIAS = -1e4
NOISE_DIVISOR = 32  # jit's noise is units / 32 with units an i8 in -127..127: N(0, 1) rounded, cut at 3.97
# Pixel levels that jit's batches are cut to, so that min x and max x are not simply 0 and 1 and differ by batch.
JIT_LEVELS = [(0, 215), (30, 255), (12, 235)]

# Every case: what runs, with which settings.  All start at `converged`; batch 32, momentum 0.9 where there is one.
LABELS = {"lr": 1e-3, "wd": 0.0, "epochs": EPOCHS, "frozen_bn": False}
ASCENT = {**LABELS, "kind": "ascent", "clip_norm": None, "stop_below": None}
CASES = {
    "unroll": {"kind": "unroll", "lr": 2e-2, "sigma": 3e-2, "batch": 32, "forget_batch": 16, "retain": True},
    "unroll_of": {"kind": "unroll", "lr": 2e-2, "sigma": 1e-1, "batch": 32, "forget_batch": 32, "retain": False},
    "boundary_expand": {**LABELS, "kind": "expand", "lr": 5e-3, "wd": 1e-2},
    "gradient_ascent": {**ASCENT, "clip_norm": 1.0, "lr": 1e-3, "wd": 5e-2, "frozen_bn": True},
    "gradient_ascent_no_clip": {**ASCENT, "lr": 3e-4},
    "gradient_ascent_stop": {**ASCENT, "clip_norm": 1.0, "stop_below": 0.35, "lr": 1e-2, "epochs": 6},
    "salun_f": {**LABELS, "kind": "salun", "saliency": 0.3, "lr": 3e-4, "wd": 5e-2, "frozen_bn": True},
    "delete": {**LABELS, "kind": "delete", "lr": 5e-3, "classifier": "free"},
    "delete_frozen": {**LABELS, "kind": "delete", "lr": 5e-3, "wd": 1e-2, "classifier": "frozen"},
    "bias_mask": {"kind": "bias_mask"},
    "classifier_only": {"kind": "classifier_only", "lr": 5e-2, "wd": 1e-2, "epochs": EPOCHS},
    "jit": {"kind": "jit", "lr": 3e-4, "wd": 0.0, "epochs": 1, "frozen_bn": False, "noises": 3, "sigma": 0.5},
    "l2ul": {**ASCENT, "kind": "l2ul", "clip_norm": 6.0, "weight": 0.1, "radius": 0.4, "step": 0.1,
             "iterations": 10},
}


def slices(n, size=BATCH):
    """Stored order, the tail batch is kept."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def trained(net, cfg, parameters=None):
    """The one optimizer of a run."""
    parameters = list(net.parameters()) if parameters is None else parameters
    return torch.optim.SGD(parameters, lr=cfg["lr"], momentum=base.MOMENTUM, weight_decay=cfg["wd"])


def safe_norm(rows):
    """Norm of each row; a zero row has value 0 and gradient 0."""
    square = rows.square().sum(1)
    some = square > 0
    root = torch.sqrt(torch.where(some, square, torch.ones_like(square)))
    return torch.where(some, root, torch.zeros_like(root))


# ---------------------------------------------------------------- unroll, boundary_expand

def run_unroll(net, _original, data, cfg):
    losses, parameters = [], list(net.parameters())
    optimizer = torch.optim.SGD(parameters, lr=cfg["lr"])
    total = [torch.zeros_like(p) for p in parameters]
    net.train()
    for s in slices(len(data["xf"]), cfg["forget_batch"]):
        base.step(optimizer, ce_loss(net(data["xf"][s]), data["yf"][s]), losses)
        for t, p in zip(total, parameters):
            t += p.grad  # of the loss before this step: the step left it as it was
    if cfg["retain"]:
        for s in slices(len(data["xr"]), cfg["batch"]):
            base.step(optimizer, ce_loss(net(data["xr"][s]), data["yr"][s]), losses)
    with torch.no_grad():
        for t, p in zip(total, parameters):
            p += cfg["sigma"] * t
    return losses, {}


def new_row(inputs):
    """The expanded output's weights: Xavier-uniform over the wide classifier's shape."""
    bound = math.sqrt(6 / (inputs + CLASSES + 1))
    return torch.from_numpy(np.random.RandomState(21).uniform(-bound, bound, size=inputs))


def widen(net, row):
    narrow = net.classifier[0]
    wide = nn.Linear(narrow.in_features, CLASSES + 1).to(narrow.weight.dtype)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([narrow.weight, row.to(narrow.weight.dtype)[None]]))
        wide.bias.copy_(torch.cat([narrow.bias, torch.zeros_like(narrow.bias[:1])]))
    net.classifier[0] = wide


def drop_row(net):
    wide = net.classifier[0]
    narrow = nn.Linear(wide.in_features, CLASSES).to(wide.weight.dtype)
    with torch.no_grad():
        narrow.weight.copy_(wide.weight[:CLASSES])
        narrow.bias.copy_(wide.bias[:CLASSES])
    net.classifier[0] = narrow


def expand_loss(net, x):
    return ce_loss(net(x), torch.full((len(x),), CLASSES))


def run_expand(net, _original, data, cfg):
    losses, row = [], new_row(net.classifier[0].in_features)
    widen(net, row)
    optimizer = trained(net, cfg)
    net.train(not cfg["frozen_bn"])
    for _ in range(cfg["epochs"]):
        for s in slices(len(data["xf"])):
            base.step(optimizer, expand_loss(net, data["xf"][s]), losses)
    drop_row(net)
    return losses, {"new_row": row}


# ---------------------------------------------------------------- gradient_ascent, l2ul

def clip(parameters, limit):
    """Scales all gradients together; returns their norm before that."""
    norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters))
    if limit is not None:
        scale = torch.clamp(limit / (norm + 1e-6), max=1.0)
        for p in parameters:
            p.grad *= scale
    return norm.item()


def ascent_loss(net, x, y, cfg):
    net.train(not cfg["frozen_bn"])
    return -ce_loss(net(x), y)


def adversarial(original, x, y, cfg):
    """Targeted L2-PGD towards y, without a random start."""
    adv = x.clone()
    for _ in range(cfg["iterations"]):
        adv = adv.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(ce_loss(original(adv), y) * len(adv), adv)  # of the sum over the batch
        adv = adv.detach() - cfg["step"] * g / (g.flatten(1).norm(dim=1) + 1e-12)[:, None, None, None]
        delta = adv - x
        size = delta.flatten(1).norm(dim=1) + 1e-12
        delta = delta * torch.clamp(cfg["radius"] / size, max=1.0)[:, None, None, None]
        adv = (x + delta).clamp(0, 1)
    return adv.detach()


def l2ul_loss(net, x, y, adv, y_adv, cfg):
    leave = ascent_loss(net, x, y, cfg)  # first: in train mode it moves the running statistics used next
    net.eval()
    return leave + cfg["weight"] * ce_loss(net(adv), y_adv)


def run_ascent(net, original, data, cfg):
    """gradient_ascent and l2ul: they differ in the loss."""
    x, y, y_adv = data["xf"], data["yf"], data["random"]
    losses, norms, accuracies, extra = [], [], [], {}
    if cfg["kind"] == "l2ul":
        adv = torch.cat([adversarial(original, x[s], y_adv[s], cfg) for s in slices(len(x))])
        extra["x_adv"] = adv[:BATCH].to(torch.float32)  # to look at: the run uses all of it in float64
    optimizer = trained(net, cfg)
    for _ in range(cfg["epochs"]):
        for s in slices(len(x)):
            if cfg["kind"] == "l2ul":
                loss = l2ul_loss(net, x[s], y[s], adv[s], y_adv[s], cfg)
            else:
                loss = ascent_loss(net, x[s], y[s], cfg)
            optimizer.zero_grad()
            loss.backward()
            norms.append(clip(list(net.parameters()), cfg["clip_norm"]))
            optimizer.step()
            losses.append(loss.item())
        accuracies.append(accuracy(net, x, y))
        if cfg["stop_below"] is not None and accuracies[-1] < cfg["stop_below"]:
            break
    extra |= {"gradient_norms": torch.tensor(norms, dtype=F64), "accuracies": torch.tensor(accuracies, dtype=F64)}
    return losses, extra


# ---------------------------------------------------------------- salun_f

def saliency(original_state, x, y):
    """|sum over batches of the gradient of the mean CE| at theta0 in eval mode, flat in state-dict order."""
    net = net_from(original_state).eval()
    total = None
    for s in slices(len(x)):
        grads = torch.autograd.grad(ce_loss(net(x[s]), y[s]), list(net.parameters()))
        flat = torch.cat([g.flatten() for g in grads])
        total = flat if total is None else total + flat
    return total.abs()


def largest(scores, share):
    """Mask of the floor(share * N) largest; of equal ones the lower index, by a stable sort."""
    count = math.floor(share * len(scores))
    mask = torch.zeros(len(scores), dtype=torch.bool)
    mask[torch.sort(scores, descending=True, stable=True).indices[:count]] = True
    return mask


def run_salun(net, original, data, cfg):
    x, y, wrong, losses = data["xf"], data["yf"], data["random"], []
    scores = saliency(original.state_dict(), x, y)
    flat = largest(scores, cfg["saliency"])
    edge = torch.sort(scores, descending=True).values[int(flat.sum()) - 1:][:2]
    pieces = torch.split(flat, [p.numel() for p in net.parameters()])
    masks = {name: m.view(p.shape) for (name, p), m in zip(net.named_parameters(), pieces)}
    first = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = trained(net, cfg)
    net.train(not cfg["frozen_bn"])
    for _ in range(cfg["epochs"]):
        for s in slices(len(x)):
            base.step(optimizer, ce_loss(net(x[s]), wrong[s]), losses)
            with torch.no_grad():  # SGD acts on each coordinate alone, so undoing the others is masking them
                for name, p in net.named_parameters():
                    p.copy_(torch.where(masks[name], p, first[name]))
    extra = {f"mask/{name}": m.to(torch.int8) for name, m in masks.items()}
    return losses, {**extra, "mask_size": flat.sum(), "mask_edge": edge}


# ---------------------------------------------------------------- delete, bias_mask, classifier_only

def delete_loss(logits, target):
    own = torch.special.xlogy(target, target)
    cross = torch.where(target > 0, target * torch.log_softmax(logits, dim=1), torch.zeros_like(logits))
    return (own - cross).sum() / len(logits)


def target_of(original, x):
    with torch.no_grad():
        return masked_target(original(x))


def run_delete(net, original, data, cfg):
    losses = []
    optimizer = trained(net, cfg, base.set_trainable(net, "all" if cfg["classifier"] == "free" else "extractor"))
    net.train(not cfg["frozen_bn"])
    for _ in range(cfg["epochs"]):
        for s in slices(len(data["xf"])):
            x = data["xf"][s]
            base.step(optimizer, delete_loss(net(x), target_of(original, x)), losses)
    return losses, {}


def run_bias_mask(net, _original, _data, _cfg):
    with torch.no_grad():
        net.classifier[0].bias[FORGET] = MASKED_BIAS
    return [], {}


def run_classifier_only(net, original, data, cfg):
    losses = []
    optimizer = trained(net, cfg, base.set_trainable(net, "classifier"))
    net.eval()
    for _ in range(cfg["epochs"]):
        for s in slices(len(data["xf"])):
            x = data["xf"][s]
            base.step(optimizer, ce_loss(net(x), target_of(original, x).argmax(1)), losses)
    return losses, {}


# ---------------------------------------------------------------- jit

def jit_images(images):
    """D_f with each batch cut to levels of its own."""
    return torch.cat([images[s].clamp(*levels) for s, levels in zip(slices(len(images)), JIT_LEVELS)])


def jit_noise(count, shape):
    """Units [epochs = 1, copies, samples, 1, 28, 28]."""
    units = np.rint(np.random.RandomState(22).normal(size=(1, count, *shape)) * NOISE_DIVISOR)
    return torch.from_numpy(np.clip(units, -127, 127).astype(np.int8))


def noisy(x, noise, sigma):
    return (x + sigma * noise).clamp(x.min().item(), x.max().item())


def slopes(clean, perturbed, x, x_noisy):
    """|f(x_i) - f(x_m,i)| / |x_m,i - x_i| for each sample."""
    change, distance = safe_norm(clean - perturbed), safe_norm((x_noisy - x).flatten(1))
    some = distance > 0
    return torch.where(some, change / torch.where(some, distance, torch.ones_like(distance)), torch.zeros_like(change))


def jit_loss(net, x, noise, sigma):
    """noise [copies, n, ...].  All forwards in the net's mode, the clean one first."""
    clean, total = net(x), 0
    for n in noise:
        x_noisy = noisy(x, n, sigma)
        with torch.no_grad():
            perturbed = net(x_noisy)
        total = total + slopes(clean, perturbed, x, x_noisy).sum()
    return total / len(noise)


def run_jit(net, _original, data, cfg):
    losses, x = [], pixels(data["jit_images"])
    noise = data["jit_units"].to(F64) / NOISE_DIVISOR
    optimizer = trained(net, cfg)
    net.train(not cfg["frozen_bn"])
    for epoch in range(cfg["epochs"]):
        for s in slices(len(x)):
            base.step(optimizer, jit_loss(net, x[s], noise[epoch][:, s], cfg["sigma"]), losses)
    return losses, {"images": data["jit_images"], "noise_units": data["jit_units"]}


RUN = {"unroll": run_unroll, "expand": run_expand, "ascent": run_ascent, "l2ul": run_ascent, "salun": run_salun,
       "delete": run_delete, "bias_mask": run_bias_mask, "classifier_only": run_classifier_only, "jit": run_jit}


def run_case(cfg, start, data):
    net = net_from(start)
    losses, extra = RUN[cfg["kind"]](net, base.frozen_eval(start), data, cfg)
    return net, losses, extra


# ---------------------------------------------------------------- data, first steps, units

def load_data(folder):
    inputs = load_file(folder / "inputs.safetensors")
    x, y = pixels(inputs["images"]), inputs["labels"]
    forget = y == FORGET
    return {"images": inputs["images"], "x": x, "y": y, "xf": x[forget], "yf": y[forget], "xr": x[~forget],
            "yr": y[~forget], "random": inputs["random_label"], "probe": pixels(inputs["probe_images"]),
            "jit_images": jit_images(inputs["images"][forget]),
            "jit_units": jit_noise(CASES["jit"]["noises"], x[forget].shape)}


def first_steps(converged, data, x_adv, dtype):
    """Loss and gradients of the first batch at the converged weights, in the given dtype."""
    first = slice(0, BATCH)
    xf, yf = pixels(data["images"], dtype)[data["y"] == FORGET][first], data["yf"][first]
    wrong, original = data["random"][first], base.frozen_eval(converged, dtype)
    target = target_of(original, xf)
    xj, noise = pixels(data["jit_images"][first], dtype), data["jit_units"][0][:, first].to(dtype) / NOISE_DIVISOR

    def of_expand(net):
        widen(net, new_row(net.classifier[0].in_features))
        return expand_loss(net, xf)

    plans = {  # name: (trainable part, net in eval mode, loss)
        "forget_ce": ("all", False, lambda n: ce_loss(n(xf), yf)),
        "boundary_expand": ("all", False, of_expand),
        "salun_f": ("all", True, lambda n: ce_loss(n(xf), wrong)),
        "delete": ("all", False, lambda n: delete_loss(n(xf), target)),
        "classifier_only": ("classifier", True, lambda n: ce_loss(n(xf), target.argmax(1))),
        "jit": ("all", False, lambda n: jit_loss(n, xj, noise, CASES["jit"]["sigma"])),
        "l2ul": ("all", False, lambda n: l2ul_loss(n, xf, yf, x_adv.to(dtype), wrong, CASES["l2ul"])),
    }
    out = {}
    for name, (part, eval_mode, loss_of) in plans.items():
        net = net_from(converged, dtype)
        base.set_trainable(net, part)
        net.train(not eval_mode)
        loss = loss_of(net)
        loss.backward()
        out[f"{name}/loss"] = loss.detach()
        out |= {f"{name}/grad/{n}": p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    return out


def make_units(folder):
    """Small float64 cases of the parts that the runs do not bring to their edges."""
    known, out = load_file(folder / "units.safetensors"), {}
    for situation in ("normal", "one_sample", "saturated_forget", "saturated_other", "saturated_cross"):
        logits = known[f"kl_{situation}/input"].clone().requires_grad_(True)
        value = delete_loss(logits, masked_target(known[f"kl_{situation}/reference_logits"]))
        (grad,) = torch.autograd.grad(value, logits)
        out |= {f"delete_{situation}/value": value, f"delete_{situation}/grad": grad}

    rng = np.random.RandomState(23)  # jit: sample 1 keeps its logits, sample 2 its pixels, sample 3 both
    draw = [torch.from_numpy(rng.normal(size=shape)) for shape in ((5, 10), (5, 10), (5, 1, 4, 4), (5, 1, 4, 4))]
    clean, perturbed, x, x_noisy = draw
    perturbed[1], x_noisy[2] = clean[1], x[2]
    perturbed[3], x_noisy[3] = clean[3], x[3]
    clean.requires_grad_(True)
    value = slopes(clean, perturbed, x, x_noisy)
    (grad,) = torch.autograd.grad(value.sum(), clean)
    out |= {"jit_slopes/clean": clean, "jit_slopes/noisy": perturbed, "jit_slopes/x": x, "jit_slopes/x_noisy": x_noisy,
            "jit_slopes/value": value, "jit_slopes/grad": grad}

    scores = torch.tensor([0.5, 2, 0.5, 0, 3, 0.5, 0, 0.5, 1, 0.5, 0], dtype=F64)  # ties at both sides of the edge
    out["mask/scores"] = scores
    for name, share in (("none", 0.05), ("half", 0.5), ("six", 0.6), ("zeros", 0.8), ("all", 1.0)):
        out[f"mask/{name}"] = largest(scores, share).to(torch.int8)
        out[f"mask/{name}_share"] = torch.tensor(share, dtype=F64)

    images = torch.from_numpy(rng.randint(0, 256, size=(2, 1, 4, 4)))
    images[0].clamp_(10, 200)
    noise = torch.from_numpy(rng.normal(size=images.shape))
    x = images.to(F64) / 255
    out |= {"jit_noisy/x": x, "jit_noisy/noise": noise, "jit_noisy/value": noisy(x, noise, 0.5)}
    assert all(torch.isfinite(t).all() for t in out.values())
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


# ---------------------------------------------------------------- main

def unchanged(name, key, net):
    """Tensors that a case must leave bit for bit."""
    classifier, buffer = key.startswith("classifier."), key not in dict(net.named_parameters())
    return {"bias_mask": key != "classifier.0.bias", "classifier_only": not classifier, "delete_frozen": classifier,
            "salun_f": buffer, "gradient_ascent": buffer}.get(name, False)


def check(name, cfg, net, start, extra, data):
    """The case does what it is there for."""
    final = base.state_of(net)
    assert all(torch.equal(final[k], start[k]) for k in start if unchanged(name, k, net)), f"{name} changed too much"
    if "gradient_norms" in extra and cfg["clip_norm"]:
        clipped = (extra["gradient_norms"] > cfg["clip_norm"]).double().mean()
        assert clipped == 1 if cfg["kind"] == "ascent" else 0 < clipped < 1, name
    if cfg.get("stop_below"):
        rates = extra["accuracies"]
        assert rates[-1] < cfg["stop_below"] - 0.03 and len(rates) < cfg["epochs"], rates
        assert (rates[:-1] > cfg["stop_below"] + 0.03).all(), rates
    if name == "salun_f":
        edge, masks = extra["mask_edge"], {k[5:]: v.bool() for k, v in extra.items() if k.startswith("mask/")}
        assert 1 - edge[1] / edge[0] > 1e-8, f"the mask's edge hinges on rounding: {edge}"
        assert all(torch.equal(final[k][~m], start[k][~m]) for k, m in masks.items())
    if name == "jit":
        x, units = pixels(data["jit_images"]), data["jit_units"][0].to(F64) / NOISE_DIVISOR
        for s in slices(len(x)):
            moved = x[s] + cfg["sigma"] * units[:, s]
            assert (moved < x[s].min()).double().mean() > 0.05 and (moved > x[s].max()).double().mean() > 0.05
        assert {tuple(pixels(torch.tensor(v)).tolist()) for v in JIT_LEVELS} == {
            (x[s].min().item(), x[s].max().item()) for s in slices(len(x))}
    if name == "l2ul":
        delta = extra["x_adv"].to(F64) - data["xf"][:BATCH]
        length = delta.flatten(1).norm(dim=1)
        assert length.max() <= cfg["radius"] + 1e-6 and (length > cfg["radius"] - 1e-6).any()
        assert ((extra["x_adv"] == 0) | (extra["x_adv"] == 1)).double().mean() > 0.005


def probe_logits(net, data):
    net.eval()
    with torch.no_grad():
        return net(data["probe"])


def moved_by_shaking(cfg, start, data, result):
    """The largest changes when every starting parameter moves by +-1e-12; whole numbers must not change."""
    net, losses, extra = result
    worst = {"weights": 0.0, "logits": 0.0, "losses": 0.0}
    for seed in (1, 2):
        other, other_losses, other_extra = run_case(cfg, base.shaken(start, seed), data)
        assert len(losses) == len(other_losses), "the number of steps hinges on rounding"
        assert all(torch.equal(v, other_extra[k]) for k, v in extra.items() if not v.is_floating_point())
        for key, change in {
            "weights": base.largest_change(base.state_of(net), base.state_of(other)),
            "logits": (probe_logits(net, data) - probe_logits(other, data)).abs().max().item(),
            "losses": max([0.0] + [abs(u - v) for u, v in zip(losses, other_losses)]),
        }.items():
            worst[key] = max(worst[key], change)
    return worst


def write_case(name, start, data, out):
    cfg = CASES[name]
    result = net, losses, extra = run_case(cfg, start, data)
    check(name, cfg, net, start, extra, data)
    final, logits = base.state_of(net), probe_logits(net, data)
    tensors = {**final, **extra, "logits": logits}
    if losses:
        tensors["losses"] = torch.tensor(losses, dtype=F64)
    assert all(torch.isfinite(t).all() for t in tensors.values()), name
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / f"{name}.safetensors")
    moved = moved_by_shaking(cfg, start, data, result)
    assert moved["weights"] < 1e-7 and moved["logits"] < 1e-6, f"{name} is chaotic: {moved}"
    after = {"forget": accuracy(net, data["xf"], data["yf"]), "retain": accuracy(net, data["xr"], data["yr"])}
    change = base.largest_change(start, {k: final[k] for k, _ in net.named_parameters()} | {
        k: start[k] for k, _ in net.named_buffers()})
    assert change > 1e-3, name
    report = {**cfg, "steps": len(losses), "accuracy_after": after, "moved_by_1e-12": moved, "parameter_change": change}
    for key in ("gradient_norms", "accuracies", "mask_edge"):
        if key in extra:
            report[key] = extra[key].tolist()
    if "mask_size" in extra:
        report["mask_size"] = int(extra["mask_size"])
    first, last = (losses[0], losses[-1]) if losses else (0, 0)
    print(f"{name:24s} steps {len(losses):3d} A_f {after['forget']:.3f} A_r {after['retain']:.3f} "
          f"loss {first:.4f} -> {last:.4f} change {change:.1e} "
          f"moved w {moved['weights']:.1e} z {moved['logits']:.1e} l {moved['losses']:.1e}", flush=True)
    return report


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(CASES):
        sys.exit("usage: python forget_only.py OUT_DIR [CASE ...]")
    (out := Path(sys.argv[1])).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data, start = load_data(HERE), load_file(HERE / "converged.safetensors")
    reports = {name: write_case(name, start, data, out) for name in sys.argv[2:] or CASES}
    if sys.argv[2:]:
        return
    x_adv = load_file(out / "l2ul.safetensors")["x_adv"]
    single, double = (first_steps(start, data, x_adv, dtype) for dtype in (torch.float32, F64))
    rel = {k: ((v.double() - double[k]).norm() / double[k].norm()).item() for k, v in single.items()}
    errors = {}
    for plan in sorted({k.split("/")[0] for k in rel}):
        grads = {k: v for k, v in rel.items() if k.startswith(f"{plan}/grad")}
        worst = max(grads, key=grads.get)
        others = [v for k, v in grads.items() if not k.endswith("conv1.0.weight")]
        errors[plan] = {"loss": rel[f"{plan}/loss"], "worst_gradient": grads[worst], "in": worst.split("/")[-1],
                        "worst_but_conv1": max(others)}
        print(f"first step {plan:18s} f32 against f64: {errors[plan]}")
    save_file(single, out / "first_step_forget.safetensors")
    save_file(make_units(HERE), out / "units_forget.safetensors")
    summary = {"torch": torch.__version__, "numpy": np.__version__, "threads": torch.get_num_threads(),
               "cases": reports, "first_step_float32_against_float64": errors}
    (out / "summary_forget.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
