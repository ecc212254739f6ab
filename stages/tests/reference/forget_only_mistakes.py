"""How far deliberate mistakes move the values of forget_only.py.

What it is.  Every entry of MISTAKES edits the text of a function of forget_only.py, or of a few, runs the named case
with it, and prints the largest change of a tensor (num_batches_tracked apart), of a probe logit and of a loss
(relative) against the stored case.  A mistake below the tolerances of README.md would pass the tests unseen.  It
knows nothing of the Rust and writes no file.

How to run.      python forget_only_mistakes.py [CASE ...]
It stops with an AssertionError when a text to edit is not in its function exactly once, or when a mistake is visible
that UNSEEN says is not, or the reverse.
"""

import inspect
import math
import sys
import types

import torch
from safetensors.torch import load_file

import forget_only
from forget_only import CASES, HERE, base

WEIGHTS, LOGITS, LOSSES = 1e-6, 1e-5, 1e-6  # the tolerances of README.md; losses relative

LOOP = 'for _ in range(cfg["epochs"]):\n'
EVERY_EPOCH = "        optimizer = trained(net, cfg)\n"
MODE = 'net.train(not cfg["frozen_bn"])'
NO_DECAY = ("trained", 'weight_decay=cfg["wd"]', "weight_decay=0")
NO_MOMENTUM = ("trained", "momentum=base.MOMENTUM", "momentum=0")
DESCENT = ("ascent_loss", "-ce_loss", "ce_loss")
NOT_CLIPPED = ("clip", "limit is not None", "False")
UNMASKED = ("target_of", "masked_target(original(x))", "torch.softmax(original(x), 1)")


def fresh_sgd(function, maker=EVERY_EPOCH):
    return [(function, LOOP, LOOP + maker)]


UNROLL = {
    "correction subtracted": [("run_unroll", "p += ", "p -= ")],
    "no correction": [("run_unroll", 'cfg["sigma"] * t', "0 * t")],
    "forget pass ascends": [("run_unroll", 'ce_loss(net(data["xf"]', '-ce_loss(net(data["xf"]')],
    "first gradient only": [("run_unroll", "t += p.grad", "t += p.grad * (s.start == 0)")],
    "gradients averaged": [("run_unroll", '["sigma"] * t', '["sigma"] * t / len(slices(70, cfg["forget_batch"]))')],
    "momentum 0.9": [("run_unroll", 'lr=cfg["lr"]', 'lr=cfg["lr"], momentum=0.9')],
    "weight decay 1e-4": [("run_unroll", 'lr=cfg["lr"]', 'lr=cfg["lr"], weight_decay=1e-4')],
    "classifier not corrected": [("run_unroll", 'cfg["sigma"] * t', 'cfg["sigma"] * t * (len(t) != CLASSES)')],
    "BatchNorm's parameters not corrected": [("run_unroll", "p += ", "p += (p.dim() > 1 or len(p) == CLASSES) * ")],
    "buffers put back": [("run_unroll", "    return", "    for b, o in zip(net.buffers(), _original.buffers()):\n"
                          "        b.copy_(o)\n    return")],
}
MISTAKES = {
    "unroll": UNROLL | {
        "retain gradients in G too": [("run_unroll", 'data["yr"][s]), losses)', 'data["yr"][s]), losses)\n'
                                       "            for t, p in zip(total, parameters):\n                t += p.grad")],
        "correction before the retain pass": [
            ("run_unroll", '["sigma"] * t', '["sigma"] * 0'),
            ("run_unroll", '    if cfg["retain"]', "    with torch.no_grad():\n        for t, p in zip(total, "
             'parameters):\n            p.add_(cfg["sigma"] * t)\n    if cfg["retain"]')],
        "no retain pass": [("run_unroll", 'if cfg["retain"]', "if False")],
        "forget batches of 32": [("run_unroll", 'cfg["forget_batch"]', 'cfg["batch"]')],
    },
    "unroll_of": UNROLL,
    "boundary_expand": {
        "label 3 instead of 10": [("expand_loss", "CLASSES", "FORGET")],
        "row from 10 outputs' bound": [("new_row", "CLASSES + 1", "CLASSES")],
        "new row not trained": [("run_expand", MODE, "net.classifier[0].weight.register_hook(lambda g: "
                                 "g * (torch.arange(11) < 10)[:, None])\n    net.train()")],
        "first row dropped": [("drop_row", "wide.weight[:CLASSES]", "wide.weight[1:]"),
                              ("drop_row", "wide.bias[:CLASSES]", "wide.bias[1:]")],
        "new row moved to class 3": [("drop_row", "    with torch.no_grad():\n", "    with torch.no_grad():\n"
                                      "        wide.weight[FORGET] = wide.weight[CLASSES]\n")],
        "BN frozen": [("run_expand", MODE, "net.eval()")],
        "no weight decay": [NO_DECAY],
        "fresh SGD every epoch": fresh_sgd("run_expand"),
    },
    "gradient_ascent": {
        "descent": [DESCENT],
        "not clipped": [NOT_CLIPPED],
        "clipped for each tensor": [("clip", "p.grad *= scale", 
                                     "p.grad *= (limit / (p.grad.norm() + 1e-6)).clamp(max=1)")],
        "every entry clipped": [("clip", "p.grad *= scale", "p.grad.clamp_(-limit, limit)")],
        "classifier left out of the norm": [("clip", "for p in parameters))", "for p in parameters[:-2]))")],
        "clipped after weight decay": [NO_DECAY, ("clip", "    norm =", "    with torch.no_grad():\n        for p in "
                                                  "parameters:\n            p.grad += 0.05 * p\n    norm =")],
        "weight decay reversed too": [NO_DECAY, (
            "run_ascent", "            optimizer.step()", "            for p in net.parameters():\n"
            '                p.grad -= cfg["wd"] * p.detach()\n            optimizer.step()')],
        "no weight decay": [NO_DECAY],
        "BN train": [("ascent_loss", MODE, "net.train()")],
        "fresh SGD every epoch": fresh_sgd("run_ascent"),
        "norm without the 1e-6": [("clip", "(norm + 1e-6)", "norm")],
    },
    "gradient_ascent_no_clip": {
        "clip_norm 1": [("clip", "    if limit", "    limit = 1.0\n    if limit")],
        "descent": [DESCENT],
        "descent on wrong labels": [("run_ascent", "ascent_loss(net, x[s], y[s]", "-ascent_loss(net, x[s], y_adv[s]")],
        "BN frozen": [("ascent_loss", MODE, "net.eval()")],
        "no momentum": [NO_MOMENTUM],
    },
    "gradient_ascent_stop": {
        "never stops": [("run_ascent", 'cfg["stop_below"] is not None', "False")],
        "looks before the epoch": [("run_ascent", LOOP, LOOP + "        seen = accuracy(net, x, y)\n"),
                                   ("run_ascent", "accuracies.append(accuracy(net, x, y))", "accuracies.append(seen)")],
        "accuracy in train mode": [("run_ascent", "accuracy(net, x, y)",
                                    "(net(x).argmax(1) == y).double().mean().item()")],
        "stays in eval mode": [("ascent_loss", "    " + MODE + "\n", ""),
                               ("run_ascent", "    optimizer =", "    net.train()\n    optimizer =")],
        "accuracy of the tail batch": [("run_ascent", "accuracy(net, x, y)", "accuracy(net, x[s], y[s])")],
        "fresh SGD every epoch": fresh_sgd("run_ascent"),
    },
    "salun_f": {
        "smallest saliency": [("largest", "descending=True, ", "")],
        "absolute value before the sum": [("saliency", "g.flatten()", "g.flatten().abs()")],
        "batches weighed by size": [("saliency", "y[s])", "y[s]) * len(x[s])")],
        "saliency in train mode": [("saliency", ".eval()", ".train()")],
        "saliency of the wrong labels": [("run_salun", "saliency(original.state_dict(), x, y)",
                                          "saliency(original.state_dict(), x, wrong)")],
        "ranked for each tensor": [("run_salun", 'largest(scores, cfg["saliency"])', "torch.cat([largest("
                                    'v, cfg["saliency"]) for v in torch.split(scores, [p.numel() for p in '
                                    "net.parameters()])])")],
        "one coordinate too many": [("largest", "math.floor", "math.ceil")],
        "no mask": [("run_salun", "torch.where(masks[name], p, first[name])", "p")],
        "weight decay leaks": [("run_salun", "torch.where(masks[name], p, first[name])",
                                'torch.where(masks[name], p, before[name] * (1 - cfg["lr"] * cfg["wd"]))'),
                               ("run_salun", "            base.step", "            before = {k: v.detach().clone() "
                                "for k, v in net.named_parameters()}\n            base.step")],
        "no weight decay": [NO_DECAY],
        "true labels": [("run_salun", "ce_loss(net(x[s]), wrong[s])", "ce_loss(net(x[s]), y[s])")],
        "BN train": [("run_salun", MODE, "net.train()")],
        "fresh SGD every epoch": fresh_sgd("run_salun"),
    },
    "delete": {
        "log(softmax + 1e-6)": [("delete_loss", "torch.log_softmax(logits, dim=1)",
                                 "torch.log(logits.softmax(1) + 1e-6)")],
        "target not masked": [UNMASKED],
        "mask of -20": [("target_of", "masked_target(original(x))",
                         "torch.softmax(original(x) - 20 * (torch.arange(10) == FORGET), 1)")],
        "student masked too": [("delete_loss", "log_softmax(logits, dim", "log_softmax(logits - 20 * (torch.arange(10) "
                                "== FORGET), dim")],
        "cross-entropy to argmax p~": [("run_delete", "delete_loss(net(x), target_of(original, x))",
                                        "ce_loss(net(x), target_of(original, x).argmax(1))")],
        "divergence reversed": [("run_delete", "delete_loss(net(x), target_of(original, x))", "delete_loss("
                                 "target_of(original, x).log().clamp(min=-30), net(x).softmax(1))")],
        "mean over classes too": [("delete_loss", ".sum() / len(logits)", ".mean()")],
        "classifier frozen": [("run_delete", '"all"', '"extractor"')],
        "BN frozen": [("run_delete", MODE, "net.eval()")],
        "fresh SGD every epoch": fresh_sgd("run_delete"),
        "without p~ log p~": [("delete_loss", "own - cross", "-cross")],
    },
    "delete_frozen": {
        "classifier free": [("run_delete", '"extractor"', '"all"')],
        "weight decay on the classifier": [("run_delete", "            base.step", "            with torch.no_grad():\n"
                                            '                net.classifier[0].weight *= 1 - cfg["lr"] * cfg["wd"]\n'
                                            "            base.step")],
        "no weight decay": [NO_DECAY],
        "BN frozen": [("run_delete", MODE, "net.eval()")],
        "BatchNorm's parameters frozen": [("run_delete", MODE, "for p in net.parameters():\n        p.requires_grad_("
                                           "p.requires_grad and p.dim() > 1)\n    net.train()")],
    },
    "bias_mask": {
        "class 4": [("run_bias_mask", "[FORGET]", "[FORGET + 1]")],
        "added": [("run_bias_mask", " = ", " += ")],
        "row zeroed too": [("run_bias_mask", "    return", "    net.classifier[0].weight.data[FORGET] = 0\n"
                            "    return")],
        "bias -1e3": [("run_bias_mask", "MASKED_BIAS", "-1e3")],
    },
    "classifier_only": {
        "extractor in train mode": [("run_classifier_only", "net.eval()", "net.train()")],
        "extractor trained": [("run_classifier_only", '"classifier"', '"all"')],
        "DELETE's loss": [("run_classifier_only", "ce_loss(net(x), target_of(original, x).argmax(1))",
                           "delete_loss(net(x), target_of(original, x))")],
        "labels of f0 not masked": [UNMASKED],
        "labels of the student": [("run_classifier_only", "target_of(original, x)", "target_of(net, x)")],
        "random labels": [("run_classifier_only", "target_of(original, x).argmax(1)", 'data["random"][s]')],
        "no weight decay": [NO_DECAY],
        "fresh SGD every epoch": fresh_sgd("run_classifier_only",
                                           EVERY_EPOCH.replace("cfg", "cfg, net.classifier.parameters()")),
    },
    "jit": {
        "clamped to [0, 1]": [("noisy", "x.min().item(), x.max().item()", "0, 1")],
        "not clamped": [("noisy", ".clamp(x.min().item(), x.max().item())", "")],
        "bounds of each sample": [("noisy", "x.min().item(), x.max().item()",
                                    "x.amin((1, 2, 3), True), x.amax((1, 2, 3), True)")],
        "divided by the noise before the clamp": [("jit_loss", "x, x_noisy)", "x, x + sigma * n)")],
        "divided by the unscaled noise": [("jit_loss", "x, x_noisy)", "x, x + n)")],
        "mean over samples": [("jit_loss", "/ len(noise)", "/ len(noise) / len(x)")],
        "sum over copies": [("jit_loss", "/ len(noise)", "")],
        "squared norms": [("slopes", "change / torch", "change ** 2 / torch")],
        "gradient through both": [("jit_loss", "torch.no_grad()", "torch.enable_grad()")],
        "noisy forwards in eval mode": [("jit_loss", "            perturbed = net(x_noisy)\n", "            net.eval("
                                         ")\n            perturbed = net(x_noisy)\n            net.train()\n")],
        "clean forward last": [("jit_loss", "clean, total = net(x), 0", "with torch.no_grad():\n        early = [net("
                                "noisy(x, n, sigma)) for n in noise]\n    clean, total = net(x), 0"),
                               ("jit_loss", "for n in noise:\n", "for n, perturbed in zip(noise, early):\n"),
                               ("jit_loss", "            perturbed = net(x_noisy)", "            pass")],
        "first copy for all": [("jit_loss", "for n in noise", "for n in noise[:1].expand_as(noise)")],
        "no momentum": [NO_MOMENTUM],
        "Df's own images": [("run_jit", 'pixels(data["jit_images"])', 'data["xf"]')],
    },
    "l2ul": {
        "away from y_adv": [("adversarial", "detach() - cfg", "detach() + cfg")],
        "away from y": [("adversarial", "detach() - cfg", "detach() + cfg"),
                        ("run_ascent", "x[s], y_adv[s], cfg) for", "x[s], y[s], cfg) for")],
        "not projected": [("adversarial", 'torch.clamp(cfg["radius"] / size, max=1.0)', "torch.ones_like(size)")],
        "projected for the whole batch": [("adversarial", "delta.flatten(1).norm(dim=1)",
                                           "delta.norm().expand(len(x))")],
        "not clamped": [("adversarial", ".clamp(0, 1)", "")],
        "clamped at the end only": [("adversarial", ".clamp(0, 1)", ""), ("adversarial", "return adv.detach()",
                                                                          "return adv.clamp(0, 1)")],
        "clamped before the projection": [("adversarial", "delta = adv - x", "delta = adv.clamp(0, 1) - x")],
        "gradient norm of the whole batch": [("adversarial", "(g.flatten(1).norm(dim=1)", "(g.norm().expand(len(x))")],
        "sign of the gradient": [("adversarial", 'g / (g.flatten(1).norm(dim=1) + 1e-12)[:, None, None, None]',
                                  "g.sign() / 28")],
        "9 iterations": [("adversarial", 'cfg["iterations"]', "9")],
        "attack on the student": [("l2ul_loss", "    leave", "    adv = adversarial(base.frozen_eval("
                                   "base.state_of(net)), x, y_adv, cfg)\n    leave")],
        "gradient of the mean": [("adversarial", " * len(adv)", "")],
        "x_adv in train mode": [("l2ul_loss", "    net.eval()\n", "")],
        "x_adv first": [("l2ul_loss", "    leave", "    net.eval()\n    early = ce_loss(net(adv), y_adv)\n    leave"),
                        ("l2ul_loss", "* ce_loss(net(adv), y_adv)", "* early")],
        "weight 1": [("l2ul_loss", 'cfg["weight"] * ', "")],
        "x_adv with the true labels": [("run_ascent", "adv[s], y_adv[s], cfg)", "adv[s], y[s], cfg)")],
        "x in place of x_adv": [("l2ul_loss", "net(adv)", "net(x)")],
        "not clipped": [NOT_CLIPPED],
        "fresh SGD every epoch": fresh_sgd("run_ascent"),
    },
}
# Too small to see in a case at the tolerances.  units_forget has logits that show the mask of -20.
UNSEEN = {("gradient_ascent", "norm without the 1e-6"), ("delete", "mask of -20"), ("l2ul", "gradient of the mean")}


def edited(edits):
    """forget_only.py with the edits, as a module of its own."""
    module = types.ModuleType("edited")
    module.__file__ = forget_only.__file__
    exec(compile(inspect.getsource(forget_only), "forget_only.py", "exec"), module.__dict__)
    texts = {}
    for function, old, new in edits:
        text = texts.get(function) or inspect.getsource(getattr(forget_only, function))
        assert text.count(old) == 1, f"{text.count(old)} times in {function}: {old}"
        texts[function] = text.replace(old, new)
    for function, text in texts.items():
        exec(compile(text, f"edited {function}", "exec"), module.__dict__)
    module.RUN.update({kind: module.__dict__[run.__name__] for kind, run in module.RUN.items()})
    return module


def compare(case, edits, data, start):
    """Largest changes of tensors, logits and losses (relative), and whether a count of batches differs."""
    net, losses, _ = edited(edits).run_case(CASES[case], start, data)
    right, final = load_file(HERE / f"{case}.safetensors"), base.state_of(net)
    stored = right["losses"].tolist() if "losses" in right else []
    off = [abs(a - b) / abs(b) for a, b in zip(losses, stored)] if len(losses) == len(stored) else [math.inf]
    return {"weights": base.largest_change(final, right),
            "logits": (forget_only.probe_logits(net, data) - right["logits"]).abs().max().item(),
            "losses": max(off, default=0.0),
            "counts": any(not torch.equal(v, right[k]) for k, v in final.items() if not v.is_floating_point())}


def main():
    if not set(sys.argv[1:]) <= set(MISTAKES):
        sys.exit("usage: python forget_only_mistakes.py [CASE ...]")
    torch.set_num_threads(1)
    data, start = forget_only.load_data(HERE), load_file(HERE / "converged.safetensors")
    for case in sys.argv[1:] or MISTAKES:
        exact = compare(case, [], data, start)
        assert max(exact.values()) == 0 or max(exact["weights"], exact["losses"]) < 1e-9, (case, exact)
        for name, edits in MISTAKES[case].items():
            off = compare(case, edits, data, start)
            by_weights = not off["weights"] <= WEIGHTS  # also when it is no number
            seen = by_weights or off["counts"] or not (off["logits"] <= LOGITS and off["losses"] <= LOSSES)
            print(f"{case:24s} {name:40s} weights {off['weights']:.0e} logits {off['logits']:.0e} "
                  f"losses {off['losses']:.0e}{' counts' * off['counts']}{'' if by_weights else ' NOT IN THE WEIGHTS'}",
                  flush=True)
            assert seen != ((case, name) in UNSEEN), (case, name)


if __name__ == "__main__":
    main()
