"""Independent PyTorch reference values for the training and unlearning stages.

What it is.  A second implementation, in plain PyTorch and float64, of the network, of training and
relearning, and of the unlearning methods of this project.  It writes small safetensors files (inputs,
starting weights, final weights, losses, logits, unit values and gradients) that the Rust tests compare with.
It shares no code with the Rust stages; it is written from the equations below.

How to run.      python make_reference.py OUT_DIR
Needs torch, numpy and safetensors (versions: README.md beside this file).  CPU, one thread, a few minutes.
It stops with an AssertionError when a case is implausible or not robust to a 1e-12 change of its start.

Equations.  Source: Zhang, Chen, Zhang, Xu, "PRU", ACML 2024, PMLR 260:1336-1351 (Eq. 3, 4, 5, section 4.2);
Chen et al., "Boundary Unlearning", CVPR 2023 (Boundary Shrink).  f0 is the original network (frozen, eval),
f = c(e(.)) the student (extractor e, linear classifier c), K classes, forget class F, batch of n images x_i.

  target      p~_i = softmax(f0(x_i) with logit F set to -inf);   y~_i = argmax p~_i
              (= p_k / (1 - p_F), the paper's redistribution of p_F, without its 0/0)
  L_p (KL)    (1/n) sum_i sum_k p~_ik (log p~_ik - log(softmax(f(x_i))_k + 1e-6)),   0 log 0 := 0
  L_p (CE)    (1/n) sum_i -log softmax(f(x_i))_{y_i}                                 y = y~ or random labels
  o_k         mean of e(x_i) over the batch members with y_i = k; C clusters are present
  d_o         sum_{k != l} |o_k - o_l|_2 / (C (C - 1) + 1e-6)
  L_o (Eq.3)  1 / (d_o / lambda + 1e-6)
  L_s (Eq.4)  unweighted mean, over clusters with m >= 2 members, of sum_{i != j} |e_i - e_j|_2 / (m (m - 1));
              0 when there is no such cluster
  |a|_2       sqrt(sum a^2) from exact differences; value 0 and gradient 0 where a = 0

  PRU epoch   shift : a fresh SGD over e's parameters (c frozen), one pass:   L_p + L_o + L_s
              refine: a fresh SGD, one pass: L_p.  as-published: e trains, c is frozen;
                      as-described: c trains, e is frozen and in eval mode (BatchNorm included)
  Shrink      x_adv: PGD-Linf on f0 (start, steps, projection, rounding: see pgd()); y' = argmax f0(x_adv);
              CE(f(x), y') over all parameters
  SGD         g <- grad + wd * w;  b <- 0.9 * b + g (first step: b = g);  w <- w - lr * b
"""

import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

FORGET = 3
CLASSES = 10
BATCH = 32
EPOCHS = 3
WIDTH = 0.125
TINY = 1e-6
MOMENTUM = 0.9
PGD = {"bound": 0.1, "step": 8 / 255, "iterations": 5}
NOISE_LEVELS = 127  # the start noise is bound * units / 127 with units an i8 in -127..127
F64 = torch.float64

# Every case: what runs, from which weights, with which settings.  Batch size, epochs, momentum: above.
PRU = {"kind": "pru", "start": "converged", "lr_shift": 5e-3, "lr_refine": 1e-1, "wd": 1e-4, "lambda": 1.0,
       "refine": "extractor", "l_p": "kl", "l_o": True, "l_s": True, "l_p_in_shift": True,
       "random_labels": False, "subset": 1.0, "frozen_bn": False}
CASES = {
    "train": {"kind": "train", "start": "initial", "images": "all", "lr": 1e-2, "wd": 1e-4,
              "fresh_sgd_each_epoch": False, "frozen_bn": False},
    "train_frozen_bn": {"kind": "train", "start": "converged", "images": "all", "lr": 1e-3, "wd": 1e-4,
                        "fresh_sgd_each_epoch": False, "frozen_bn": True},
    "relearn": {"kind": "train", "start": "converged", "images": "retain", "lr": 1e-3, "wd": 1e-4,
                "fresh_sgd_each_epoch": True, "frozen_bn": False},
    "pru_as_published": PRU,
    "pru_as_described": {**PRU, "refine": "classifier"},
    "pru_no_cluster": {**PRU, "l_o": False},
    "pru_no_sample": {**PRU, "l_s": False},
    "pru_no_cluster_no_sample": {**PRU, "l_o": False, "l_s": False},
    "pru_ce": {**PRU, "l_p": "ce"},
    "pru_no_lp": {**PRU, "l_p_in_shift": False},
    "pru_no_lp_no_refine": {**PRU, "l_p_in_shift": False, "refine": "none"},
    "pru_random_label": {**PRU, "l_p": "ce", "random_labels": True},
    "pru_lambda2_ce": {**PRU, "l_p": "ce", "lambda": 2.0},
    "pru_frozen_bn": {**PRU, "frozen_bn": True, "lr_shift": 5e-4, "lr_refine": 1e-3},  # the larger rates diverge
    "pru_subset": {**PRU, "subset": 0.5},
    "random_label": {"kind": "labels", "start": "converged", "labels": "random", "lr": 1e-3, "wd": 0.0},
    "boundary_shrink": {"kind": "labels", "start": "converged", "labels": "adversarial", "lr": 5e-4, "wd": 0.0},
    "bn_only": {"kind": "bn_only", "start": "converged", "forwards": "2 per batch, then 1 per batch, each epoch"},
}


# ---------------------------------------------------------------- network

class Net(nn.Module):
    """AllCNN for 28x28 single-channel images; the tensor names are those of the published state dict."""

    def __init__(self):
        super().__init__()
        a, b = int(96 * WIDTH), int(192 * WIDTH)
        # (inputs, outputs, kernel, stride) of conv1 .. conv8; padding keeps the size (3x3: 1, 1x1: 0)
        plan = [(1, a, 3, 1), (a, a, 3, 1), (a, b, 3, 2), (b, b, 3, 1),
                (b, b, 3, 1), (b, b, 3, 2), (b, b, 3, 1), (b, b, 1, 1)]
        self.depth = len(plan)
        for i, (cin, cout, k, s) in enumerate(plan, start=1):
            conv = nn.Conv2d(cin, cout, k, stride=s, padding=k // 2, bias=False)
            self.add_module(f"conv{i}", nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU()))
        self.classifier = nn.Sequential(nn.Linear(b, CLASSES))

    def embed(self, x):
        for i in range(1, self.depth + 1):
            x = getattr(self, f"conv{i}")(x)
        return x.mean(dim=(2, 3))  # the 7x7 average pool of a 7x7 map

    def forward(self, x):
        return self.classifier(self.embed(x))


def net_from(state, dtype=F64):
    net = Net().to(dtype)
    net.load_state_dict(state)  # copies with a cast to the net's dtype
    return net


def frozen_eval(state, dtype=F64):
    return net_from(state, dtype).eval().requires_grad_(False)


def state_of(net):
    return {k: v.detach().clone().contiguous() for k, v in net.state_dict().items()}


def batches(n):
    """Stored order, no shuffling, the tail batch is kept."""
    return [slice(i, min(i + BATCH, n)) for i in range(0, n, BATCH)]


def pixels(images, dtype=F64):
    return images.to(dtype) / 255


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(1) == y).double().mean().item()


# ---------------------------------------------------------------- losses

def masked_target(reference_logits):
    z = reference_logits.detach().clone()
    z[:, FORGET] = -torch.inf
    return torch.softmax(z, dim=1)


def kl_loss(logits, target):
    log_student = torch.log(torch.softmax(logits, dim=1) + TINY)
    return (torch.special.xlogy(target, target) - target * log_student).sum() / logits.shape[0]


def ce_loss(logits, labels):
    return -torch.log_softmax(logits, dim=1).gather(1, labels[:, None]).sum() / logits.shape[0]


def ordered_pair_sum(rows):
    """Sum of |row_i - row_j| over ordered pairs; zero distances add value 0 and gradient 0."""
    square = (rows[:, None, :] - rows[None, :, :]).square().sum(-1)
    apart = square > 0
    root = torch.sqrt(torch.where(apart, square, torch.ones_like(square)))
    return torch.where(apart, root, torch.zeros_like(root)).sum()


def cluster_loss(embeddings, labels, lam=1.0):
    means = torch.stack([embeddings[labels == k].mean(0) for k in labels.unique(sorted=True)])
    c = means.shape[0]
    distance = ordered_pair_sum(means) / (c * (c - 1) + TINY)
    return 1 / (distance / lam + TINY)


def sample_loss(embeddings, labels):
    terms = []
    for k in labels.unique(sorted=True):
        members = embeddings[labels == k]
        m = members.shape[0]
        if m >= 2:
            terms.append(ordered_pair_sum(members) / (m * (m - 1)))
    if not terms:
        return (embeddings * 0).sum()  # the constant 0, with a zero gradient
    return torch.stack(terms).mean()


# ---------------------------------------------------------------- methods

def sgd(parameters, lr, wd):
    return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, weight_decay=wd)


def step(optimizer, loss, losses):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())


def run_train(net, x, y, cfg):
    losses = []
    net.train(not cfg.get("frozen_bn", False))  # BatchNorm is the only layer whose mode matters
    optimizer = sgd(net.parameters(), cfg["lr"], cfg["wd"])
    for _ in range(cfg.get("epochs", EPOCHS)):
        if cfg.get("fresh_sgd_each_epoch"):
            optimizer = sgd(net.parameters(), cfg["lr"], cfg["wd"])
        for b in batches(len(x)):
            step(optimizer, ce_loss(net(x[b]), y[b]), losses)
    return losses


def pru_loss(net, reference, x, random_labels, cfg, phase):
    with torch.no_grad():
        target = masked_target(reference(x))
    labels = random_labels if cfg["random_labels"] else target.argmax(1)
    loss = torch.zeros((), dtype=x.dtype)
    if phase == "shift":  # a forward of its own: with the logits' below, running statistics move twice
        embeddings = net.embed(x)
        if cfg["l_o"]:
            loss = loss + cluster_loss(embeddings, labels, cfg["lambda"])
        if cfg["l_s"]:
            loss = loss + sample_loss(embeddings, labels)
    logits = net(x)  # also when L_p is dropped: the ablations differ in the loss only
    if phase == "refine" or cfg["l_p_in_shift"]:
        loss = loss + (kl_loss(logits, target) if cfg["l_p"] == "kl" else ce_loss(logits, labels))
    return loss


def set_trainable(net, part):
    """part: extractor (all but classifier.*), classifier or all.  Frozen tensors see no weight decay either."""
    for name, p in net.named_parameters():
        p.requires_grad_(part in ("all", "classifier" if name.startswith("classifier.") else "extractor"))
        p.grad = None
    return [p for p in net.parameters() if p.requires_grad]


def run_pru(net, reference, x, random_labels, cfg):
    losses = []
    n = int(len(x) * cfg["subset"])  # floor
    for _ in range(EPOCHS):
        net.train(not cfg["frozen_bn"])
        optimizer = sgd(set_trainable(net, "extractor"), cfg["lr_shift"], cfg["wd"])
        for b in batches(n):
            step(optimizer, pru_loss(net, reference, x[b], random_labels[b], cfg, "shift"), losses)
        if cfg["refine"] == "none":
            continue
        net.train(not cfg["frozen_bn"] and cfg["refine"] != "classifier")
        optimizer = sgd(set_trainable(net, cfg["refine"]), cfg["lr_refine"], cfg["wd"])
        for b in batches(n):
            step(optimizer, pru_loss(net, reference, x[b], random_labels[b], cfg, "refine"), losses)
    return losses


def pgd(reference, x, y, noise, gradient_noise=None, tie_shift=0.0):
    """PGD-Linf around x in pixel space; the two last arguments exist for the fragility check only."""
    low, high = x - PGD["bound"], x + PGD["bound"]
    adv = (x + noise).clamp(0, 1)
    for _ in range(PGD["iterations"]):
        adv = adv.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(ce_loss(reference(adv), y), adv)
        if gradient_noise is not None:
            g = g + 1e-12 * g.abs().amax(dim=(1, 2, 3), keepdim=True) * torch.randn(
                g.shape, generator=gradient_noise, dtype=g.dtype)
        adv = adv.detach() + PGD["step"] * g.sign()
        adv = torch.minimum(torch.maximum(adv, low), high).clamp(0, 1)
    return torch.round(adv * 255 + tie_shift) / 255


def adversarial_labels(reference, x, y, units, **kw):
    """y' [epochs, n] and the smallest gap between the two largest logits of f0(x_adv)."""
    rows, margin = [], float("inf")
    for epoch in range(EPOCHS):
        noise = PGD["bound"] * units[epoch].to(x.dtype) / NOISE_LEVELS
        row = []
        for b in batches(len(x)):
            adv = pgd(reference, x[b], y[b], noise[b], **kw)
            with torch.no_grad():
                z = reference(adv)
            top = z.topk(2, dim=1).values
            margin = min(margin, (top[:, 0] - top[:, 1]).min().item())
            row.append(z.argmax(1))
        rows.append(torch.cat(row))
    return torch.stack(rows), margin


def run_labels(net, x, labels, cfg):
    """labels: [epochs, n].  One optimizer for all epochs."""
    losses = []
    net.train()
    optimizer = sgd(net.parameters(), cfg["lr"], cfg["wd"])
    for epoch in range(EPOCHS):
        for b in batches(len(x)):
            step(optimizer, ce_loss(net(x[b]), labels[epoch][b]), losses)
    return losses


def run_bn_only(net, x):
    net.train()
    with torch.no_grad():
        for _ in range(EPOCHS):
            for times in (2, 1):  # as PRU as-published: two forwards per shift step, one per refine step
                for b in batches(len(x)):
                    for _ in range(times):
                        net(x[b])
    return []


def run_case(cfg, start, data):
    """start: the state dict both the student and f0 begin with.  Returns net, losses, extra tensors."""
    net, extra = net_from(start), {}
    if cfg["kind"] == "train":
        keep = torch.ones_like(data["y"], dtype=torch.bool) if cfg["images"] == "all" else data["y"] != FORGET
        losses = run_train(net, data["x"][keep], data["y"][keep], cfg)
    elif cfg["kind"] == "pru":
        losses = run_pru(net, frozen_eval(start), data["xf"], data["random"], cfg)
    elif cfg["kind"] == "labels":
        labels = data["random"].expand(EPOCHS, -1)
        if cfg["labels"] == "adversarial":
            labels, _ = adversarial_labels(frozen_eval(start), data["xf"], data["yf"], data["units"])
            extra["labels"] = labels
            b, noise = slice(0, BATCH), PGD["bound"] * data["units"][0].to(F64) / NOISE_LEVELS
            adv = pgd(frozen_eval(start), data["xf"][b], data["yf"][b], noise[b])
            extra["adversarial"] = torch.round(adv * 255).to(torch.uint8)  # epoch 0, batch 0
        losses = run_labels(net, data["xf"], labels, cfg)
    else:
        losses = run_bn_only(net, data["xf"])
    return net, losses, extra


# ---------------------------------------------------------------- inputs

def draw_images(rng, labels):
    """A fixed low-frequency pattern for each class, shifted, mixed with a second class's, plus noise."""
    grid = np.arange(28) / 28
    patterns = []
    for _ in range(CLASSES):
        p = np.zeros((28, 28))
        for u in range(4):
            for v in range(4):
                if u + v:
                    wave = np.cos(2 * np.pi * (u * grid[:, None] + v * grid[None, :]) / 1.3 + rng.uniform(0, 6.3))
                    p += rng.normal() / np.hypot(u, v) * wave
        p -= p.mean()
        for q in patterns:  # orthogonal patterns: no class is the obvious second choice of another
            p -= (p * q).mean() * q
        patterns.append(p / p.std())
    out = []
    for label in labels:
        other = rng.choice([k for k in range(CLASSES) if k != label])
        low, high = (0.7, 0.95) if label == FORGET else (0.3, 0.6)  # the forget class has many second choices
        p = patterns[label] + rng.uniform(low, high) * patterns[other]
        p = np.roll(p, tuple(rng.randint(-1, 2, size=2)), axis=(0, 1))
        p = 0.5 + 0.16 * p + rng.normal(scale=0.10, size=p.shape)
        out.append(np.clip(np.rint(p * 255), 0, 255).astype(np.uint8))
    return np.stack(out)[:, None]


def make_inputs():
    rng = np.random.RandomState(9)
    n_forget = 70
    rest = [k for k in range(CLASSES) if k != FORGET]
    labels = np.array([FORGET] * n_forget + [rest[i % 9] for i in range(256 - n_forget)])
    rng.shuffle(labels)
    probe_labels = np.array([i % CLASSES for i in range(64)])
    pictures = draw_images(rng, np.concatenate([labels, probe_labels]))
    return {
        "images": torch.from_numpy(pictures[:256]),
        "labels": torch.from_numpy(labels.astype(np.int64)),
        "probe_images": torch.from_numpy(pictures[256:]),
        "random_label": torch.from_numpy(np.array(rest)[rng.randint(0, 9, size=n_forget)].astype(np.int64)),
    }


def stable_noise(reference, x, y):
    """The first seed whose adversarial labels survive gradient noise and either rounding of ties."""
    for seed in range(100, 200):
        shape = (EPOCHS, *x.shape)
        units = np.random.RandomState(seed).randint(-NOISE_LEVELS, NOISE_LEVELS + 1, size=shape)
        units = torch.from_numpy(units.astype(np.int8))
        labels, margin = adversarial_labels(reference, x, y, units)
        variants = [{"tie_shift": 1e-6}, {"tie_shift": -1e-6}]
        variants += [{"gradient_noise": torch.Generator().manual_seed(s)} for s in (1, 2)]
        others = [adversarial_labels(reference, x, y, units, **v)[0] for v in variants]
        if margin > 1e-3 and all(torch.equal(labels, o) for o in others):
            return seed, units, labels, margin
    raise AssertionError("no noise seed gives stable adversarial labels")


# ---------------------------------------------------------------- unit cases

def make_units():
    rng = np.random.RandomState(11)

    def draw(*shape):
        return torch.from_numpy(rng.normal(size=shape))

    def reference(n, boost=None):
        z = 2 * draw(n, CLASSES)
        z[:, FORGET] += 6
        if boost is not None:
            z[torch.arange(n), boost] += 40
        return z

    rest = torch.tensor([k for k in range(CLASSES) if k != FORGET])
    sat_forget, sat_other = reference(16), reference(16)
    sat_forget[:, FORGET] += 1000
    sat_other[:, 7] += 1000
    student_forget, student_other = draw(16, CLASSES), draw(16, CLASSES)
    student_forget[:, FORGET] += 1000
    student_other[:, 7] += 1000
    # situation: (reference logits, student logits, embeddings); embeddings are >= 0 as after ReLU and pooling
    normal = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 5, 5, 5, 5, 8, 8, 9, 2])[torch.from_numpy(rng.permutation(16))]
    situations = {
        "normal": (reference(16, normal), 2 * draw(16, CLASSES), draw(16, 24).abs()),
        "one_cluster": (reference(16, torch.full((16,), 5)), 2 * draw(16, CLASSES), draw(16, 24).abs()),
        "one_sample": (reference(1), 2 * draw(1, CLASSES), draw(1, 24).abs()),
        "singletons": (reference(9, rest), 2 * draw(9, CLASSES), draw(9, 24).abs()),
        "saturated_forget": (sat_forget, student_forget, draw(16, 24).abs()),
        "saturated_other": (sat_other, student_other, draw(16, 24).abs()),
        "saturated_cross": (sat_other, student_forget, draw(16, 24).abs()),
    }
    # duplicates: clusters 0 {a, a}, 1 {a, b}, 2 {b, a} (the mean of 1), 4 {b, b}, 5 {c}, 6 {c}.  With sizes 1, 2
    # (and 5 equal to 6) equal means are bit-equal in every summation order.
    a, b, c = (torch.from_numpy(np.abs(rng.normal(size=24))) for _ in range(3))
    boost = torch.tensor([0, 0, 1, 1, 2, 2, 4, 4, 5, 6])
    situations["duplicates"] = (reference(10, boost), 2 * draw(10, CLASSES),
                                torch.stack([a, a, a, b, b, a, b, b, c, c]))
    situations["identical"] = (reference(10, boost), 2 * draw(10, CLASSES), torch.stack([a] * 10))

    out = {}
    for name, (ref, student, emb) in situations.items():
        target = masked_target(ref)
        labels = target.argmax(1)
        assert torch.isfinite(target).all() and (target[:, FORGET] == 0).all()
        out |= {f"target_{name}/reference_logits": ref, f"target_{name}/value": target,
                f"target_{name}/labels": labels}
        wanted = {"kl": (student, lambda z: kl_loss(z, target)), "ce": (student, lambda z: ce_loss(z, labels))}
        if not name.startswith("saturated"):
            wanted |= {"lo": (emb, lambda e: cluster_loss(e, labels)), "ls": (emb, lambda e: sample_loss(e, labels))}
        if name == "normal":
            wanted["lo_lambda2"] = (emb, lambda e: cluster_loss(e, labels, 2.0))
        for loss_name, (at, f) in wanted.items():
            at = at.clone().requires_grad_(True)
            value = f(at)
            (grad,) = torch.autograd.grad(value, at)
            assert torch.isfinite(value) and torch.isfinite(grad).all(), (loss_name, name)
            unit = f"{loss_name}_{name}"
            out |= {f"{unit}/input": at, f"{unit}/reference_logits": ref, f"{unit}/labels": labels,
                    f"{unit}/value": value, f"{unit}/grad": grad}
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


# ---------------------------------------------------------------- first steps in float32

def first_steps(converged, data, dtype):
    """Loss and gradients of the first batch at the converged weights, in the given dtype."""
    x, y, first = pixels(data["images"], dtype), data["y"], slice(0, BATCH)  # u8 / 255 in the dtype itself
    xf, xr, yr = x[y == FORGET], x[y != FORGET], y[y != FORGET]
    reference = frozen_eval(converged, dtype)
    rl = data["random"][first]

    def pru(case, phase):
        return lambda n: pru_loss(n, reference, xf[first], rl, CASES[case], phase)

    def ce(images, labels):
        return lambda n: ce_loss(n(images[first]), labels[first])

    plans = {  # name: (trainable part, net in eval mode, loss)
        "train": ("all", False, ce(x, y)),
        "train_frozen_bn": ("all", True, ce(x, y)),
        "relearn": ("all", False, ce(xr, yr)),
        "pru_as_published": ("extractor", False, pru("pru_as_published", "shift")),
        "pru_as_published_refine": ("extractor", False, pru("pru_as_published", "refine")),
        "pru_as_described_refine": ("classifier", True, pru("pru_as_described", "refine")),
        "pru_random_label": ("extractor", False, pru("pru_random_label", "shift")),
        "random_label": ("all", False, ce(xf, rl)),
        "boundary_shrink": ("all", False, ce(xf, data["adversarial"][0])),
    }
    out = {}
    for name, (part, eval_mode, f) in plans.items():
        net = net_from(converged, dtype)
        set_trainable(net, part)
        net.train(not eval_mode)
        loss = f(net)
        loss.backward()
        out[f"{name}/loss"] = loss.detach()
        for n, p in net.named_parameters():
            if p.grad is not None:
                out[f"{name}/grad/{n}"] = p.grad.clone().contiguous()
    return out


# ---------------------------------------------------------------- main

def largest_change(a, b):
    return max((a[k] - b[k]).abs().max().item() for k in a if a[k].is_floating_point())


def shaken(state, seed):
    """Every parameter moved by +-1e-12 (BatchNorm's running statistics stay)."""
    g = torch.Generator().manual_seed(seed)
    return {k: v + 1e-12 * (2 * torch.randint(0, 2, v.shape, generator=g) - 1).to(F64)
            if v.is_floating_point() and "running" not in k else v.clone() for k, v in state.items()}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python make_reference.py OUT_DIR")
    (out := Path(sys.argv[1])).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    inputs = make_inputs()
    y = inputs["labels"]
    x, probe = pixels(inputs["images"]), pixels(inputs["probe_images"])
    data = {"images": inputs["images"], "x": x, "y": y, "xf": x[y == FORGET], "yf": y[y == FORGET],
            "random": inputs["random_label"]}

    torch.manual_seed(7)
    net = Net().to(F64)  # PyTorch's default initialisation
    initial = state_of(net)
    epochs = 0
    while accuracy(net, x, y) < 0.985:  # BatchNorm's running statistics lag behind at first
        run_train(net, x, y, {"lr": 5e-2, "wd": 1e-4, "epochs": 1})
        epochs += 1
        assert epochs < 60, "the net does not converge"
    converged = state_of(net)
    original = frozen_eval(converged)
    before = {"all": accuracy(net, x, y), "forget": accuracy(net, data["xf"], data["yf"])}
    assert before["all"] >= 0.97 and before["forget"] >= 0.9
    print(f"converged after {epochs} epochs: {before}")

    # each forget batch must exercise the cluster terms, without near-ties of the hard label
    for b in batches(len(data["xf"])):
        p = masked_target(original(data["xf"][b]))
        top = p.topk(2, dim=1).values
        assert (top[:, 0] / top[:, 1]).min() > 1 + 1e-6
        print("clusters of a forget batch:", p.argmax(1).bincount(minlength=CLASSES).tolist())
        assert p.argmax(1).unique().numel() >= 3

    seed, units, labels, margin = stable_noise(original, data["xf"], data["yf"])
    data["units"], data["adversarial"] = units, labels
    kept = (labels == FORGET).double().mean().item()
    print(f"adversarial labels: noise seed {seed}, smallest logit margin {margin:.2e}, {kept:.3f} keep class {FORGET}")
    assert kept < 0.9

    save_file({**inputs, "boundary_shrink_noise_units": units}, out / "inputs.safetensors")
    save_file(initial, out / "initial.safetensors")
    save_file(converged, out / "converged.safetensors")
    save_file(make_units(), out / "units.safetensors")

    summary = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
               "threads": torch.get_num_threads(), "dtype": "float64", "forget_class": FORGET, "batch": BATCH,
               "epochs": EPOCHS, "momentum": MOMENTUM, "width": WIDTH, "pgd": PGD, "noise_seed": seed,
               "noise_margin": margin, "adversarial_labels_still_forget": kept,
               "converged": {"epochs": epochs, "accuracy": before}, "cases": {}}
    retain = y != FORGET
    for name, cfg in CASES.items():
        start = initial if cfg["start"] == "initial" else converged
        net, losses, extra = run_case(cfg, start, data)
        final = state_of(net)
        net.eval()
        with torch.no_grad():
            logits = net(probe)
        assert all(torch.isfinite(t).all() for t in [*final.values(), logits]), name
        assert all(np.isfinite(losses)), name
        tensors = {**final, **extra, "logits": logits}
        if losses:
            tensors["losses"] = torch.tensor(losses, dtype=F64)
        save_file(tensors, out / f"{name}.safetensors")

        moved = {"weights": 0.0, "logits": 0.0, "losses": 0.0}
        for s in (1, 2):
            other, other_losses, _ = run_case(cfg, shaken(start, s), data)
            other.eval()
            with torch.no_grad():
                shift = (other(probe) - logits).abs().max().item()
            moved["weights"] = max(moved["weights"], largest_change(final, state_of(other)))
            moved["logits"] = max(moved["logits"], shift)
            moved["losses"] = max([moved["losses"]] + [abs(u - v) for u, v in zip(losses, other_losses)])
        after = {"forget": accuracy(net, data["xf"], data["yf"]), "retain": accuracy(net, x[retain], y[retain])}
        summary["cases"][name] = {**cfg, "steps": len(losses), "accuracy_after": after, "moved_by_1e-12": moved,
                                  "weight_change": largest_change(start, final)}
        print(f"{name:26s} steps {len(losses):3d} A_f {after['forget']:.3f} A_r {after['retain']:.3f} "
              f"loss {losses[0] if losses else 0:.4f} -> {losses[-1] if losses else 0:.4f} "
              f"moved w {moved['weights']:.1e} z {moved['logits']:.1e} l {moved['losses']:.1e}", flush=True)
        assert moved["weights"] < 1e-7 and moved["logits"] < 1e-6, f"{name} is chaotic"
        if name in ("pru_as_published", "pru_ce", "pru_as_described", "boundary_shrink"):
            assert after["forget"] < before["forget"], name

    single, double = first_steps(converged, data, torch.float32), first_steps(converged, data, F64)
    rel = {k: ((v.double() - double[k]).norm() / double[k].norm()).item() for k, v in single.items()}
    summary["first_step_float32_against_float64"] = report = {}
    for case in sorted({k.split("/")[0] for k in rel}):
        worst = max(v for k, v in rel.items() if k.startswith(f"{case}/grad"))
        report[case] = {"loss": rel[f"{case}/loss"], "worst_gradient": worst}
        print(f"first step {case:26s} f32 against f64: loss {rel[f'{case}/loss']:.1e} worst gradient {worst:.1e}")
    save_file(single, out / "first_step.safetensors")
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
