"""Bad inputs of every command: what is typed, and a part of the sentence that refuses it."""

#: Models of a user's own; those that cannot be measured say so in their names.
OWN = '''
import sys
import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, images):
        return self.answer(self.head(images.flatten(1)))

    def answer(self, logits):
        return logits


class Tuple(Plain):
    def answer(self, logits):
        return logits, logits


class Eleven(Plain):
    def answer(self, logits):
        return torch.cat([logits, logits[:, :1]], 1)


class Halved(Plain):
    """Right in a trial of few images."""

    def answer(self, logits):
        return logits if len(logits) < 3 else logits[::2]


class Late(Plain):
    """Fails in the middle."""

    def answer(self, logits):
        if len(logits) > 2:
            raise LookupError("no table for so many images")
        return logits


class Detached(Plain):
    def answer(self, logits):
        return logits.detach()


class Rounded(Plain):
    """Has a gradient of its weights, and none of its images."""

    def forward(self, images):
        return self.head(images.mul(255).detach().round().flatten(1))


class Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no way back")


class Oneway(Plain):
    def answer(self, logits):
        return Back.apply(logits)


def refusing():
    raise OSError("no licence")


def leaving():
    sys.exit("no licence")


def sparse():
    from robustcsc.models.convert import convert

    return convert(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Plain()), (1, 8, 8))


def sparse_late():
    def hook(module, inputs):
        Late().answer(inputs[0])

    model = sparse()
    model.register_forward_pre_hook(hook)
    return model
'''

WITHOUT_TORCH = {
    "attack: batch size of the memory": ("attack --run sdnet --batch-size auto", "cannot be auto: type a number"),
    "sweep: batch size in words": ("sweep --run sdnet --batch-size many", "is no number of images: write one"),
    "sweep: batch size 0": ("sweep --run sdnet --batch-size 0", "is no number of images: write one"),
    "sweep: precision of trainings": ("sweep --run sdnet --precision bf16-mixed", "'bf16-mixed'"),
    "evaluate: shipped model with a letter less": ("evaluate --run sdnet-digit", "did you mean 'sdnet-digits'?"),
    "evaluate: shipped model as a model": ("evaluate --model sdnet20-cifar10-jpeg", "--run sdnet20-cifar10-jpeg."),
    "evaluate: model with a letter less": ("evaluate --model sdnet-digit --weights plain.pth", "mean 'sdnet-digits'?"),
    "evaluate: option of a model with a letter less": (
        "evaluate --model sdnet-digits --model-option atom=8 --weights plain.pth --data digits",
        "Unknown option of sdnet-digits 'atom': did you mean 'atoms'?",
    ),
    "train: model with a letter less": ("train sdnet-digit", "did you mean 'sdnet-digits'?"),
    "train: option of a model with a letter less": ("train sdnet-digits --model-option atom=8", "mean 'atoms'?"),
    "train: option of another kind": ("train sdnet-textures --model-option atoms=abc", "atoms=abc is not a whole"),
    "train: data with a letter less": ("train sdnet-digits --data digit", "did you mean 'digits'?"),
    **{
        f"{command}: data with a letter less": (f"{command} --data digit", "did you mean 'digits'?")
        for command in (
            *("evaluate", "sweep", "fit-lambda", "attack", "uap", "random-noise", "report sdnet --examples 1"),
            *("inspect atoms", "inspect classifier", "inspect metric", "inspect coding", "inspect codes"),
            *("inspect reconstruction", "inspect residuals", "data corrupt --out c"),
        )
    },
    **{
        f"{command}: run with a letter less": (f"{command} --run sdnt", "did you mean 'sdnet'?")
        for command in (
            *("evaluate", "sweep", "fit-lambda", "attack", "uap", "random-noise", "report", "leaderboard"),
            *("inspect atoms", "inspect classifier", "inspect metric", "inspect coding", "inspect codes"),
            *("inspect reconstruction", "inspect residuals"),
        )
    },
    **{
        f"{command}: corruption with a letter less": (f"{command} gausian", "did you mean 'gaussian'?")
        for command in (
            *("sweep --corruptions", "inspect residuals --corruptions", "inspect reconstruction --corruption"),
            "data corrupt --data digits --out c --corruptions",
        )
    },
    **{
        f"{command}: severity table with a letter less": (f"{command} cifar10c", "did you mean 'cifar10_c'?")
        for command in (
            *("sweep --spec", "fit-lambda --spec", "inspect residuals --spec", "inspect reconstruction --spec"),
            *("corruptions", "data corrupt --data digits --out c --spec"),
        )
    },
    "sweep: image size of digits": ("sweep --data digits --image-size 9", "digits has images of 8x8 pixels"),
    "sweep: order of digits": ("sweep --data digits --class-order text", "digits has no class folders"),
    "sweep: policy with a letter less": ("sweep --lambda adaptiv", "did you mean 'adaptive'?"),
    "random-noise: policy with a letter less": ("random-noise --lambda adaptiv", "did you mean 'adaptive'?"),
    "random-noise: energy in percent": ("random-noise --rho 5", "did you mean 0.05?"),
    "uap: l2 radius in grey levels": ("uap --norm l2 --xi 2000", "Budgets in l2 are in pixel units"),
    "uap: no radius": ("uap --xi 0", "xi must be above 0"),
    "attack: transfer from a run with a letter less": ("attack --from sdnt", "did you mean 'sdnet'?"),
    "report: baseline with a letter less": ("report sdnet --baseline sdnt", "did you mean 'sdnet'?"),
    "random-noise: energy below zero": ("random-noise --run sdnet --rho -0.1", "at least 0, not -0.1"),
    "random-noise: energy that is no number": ("random-noise --run sdnet --rho nan", "a finite number of at least 0"),
    "random-noise: labels of the test": ("random-noise --run sdnet --lambda oracle", "it has no fooling rate"),
    "uap: more than all": ("uap --run sdnet --delta 2", "delta must be at least 0 and below 1, not 2"),
    "inspect: unknown corruption": (
        "inspect reconstruction --run sdnet --corruption fogg --out tables",
        "Unknown corruption 'fogg'",
    ),
    "sweep: photographs of nobody": (
        "sweep --run sdnet --frost-root full --corruptions frost",
        "full/frost1.png cannot be read",
    ),
    "corruptions: text as a table": ("corruptions notes.txt", "is not valid TOML"),
    "run: no file": ("run", "No experiment is named"),
    "run: a file that is not there": ("run nothing.toml", "nothing.toml cannot be read"),
    "run: a folder": ("run full", "full cannot be read"),
    "run: a file that is no TOML": ("run own.py", "is not valid TOML"),
    "train: hidden name": ("train sdnet-digits --run .hidden", "'.hidden' cannot be the name of a run"),
    "train: name with a blank": ("train sdnet-digits --run 'my run'", "'my run' cannot be the name of a run"),
    "train: name of trained weights": ("train sdnet-digits --run sdnet", "has trained weights already"),
    "train: learning rate of 0": ("train sdnet-digits --learning-rate 0", "a learning rate is a number above 0"),
    "train: learning rate in no number": ("train sdnet-digits --learning-rate nan", "is a number above 0"),
    "train: recipe with a letter too many": ("train sdnet-digits --recipe digitss", "did you mean 'digits'?"),
    "train: two budgets": ("train sdnet-digits --adversarial pgd-7 --epsilon 0.1,0.2", "is no attack budget"),
    "train: budget of a defence without it": ("train sdnet-digits --epsilon 1/255", "add --adversarial pgd-7"),
    "evaluate: run of another name": ("evaluate --run sdnt", "did you mean 'sdnet'?"),
    "evaluate: file as a run": ("evaluate --run notes.txt", "No run 'notes.txt' in runs"),
    "evaluate: folder as a run": ("evaluate --run full", "full is a folder, but no run"),
    "evaluate: policy with a letter too many": ("evaluate --lambda train,oracles", "did you mean 'oracle'?"),
    "evaluate: lambda that is no number": ("evaluate --lambda fixed=nan", "is no lambda"),
    "evaluate: infinite lambda": ("evaluate --lambda fixed=inf", "is no lambda"),
    "evaluate: lambda without a value": ("evaluate --lambda fixed=", "'fixed=' is no lambda"),
    "evaluate: no policy": ("evaluate --lambda ,", "--lambda is empty"),
    "evaluate: run in a run": (
        "evaluate --run sdnet/own --model own:Plain --weights plain.pth --data digits",
        "'sdnet/own' cannot be the name of a run",
    ),
    "evaluate: run above": (
        "evaluate --run ../own --model own:Plain --weights plain.pth --data digits",
        "'../own' cannot be the name of a run",
    ),
    "evaluate: own model without a file": (
        "evaluate --model own:Plain --weights nowhere.pth --data digits",
        "There are no weights at nowhere.pth",
    ),
    "evaluate: folder as weights": ("evaluate --model own:Plain --weights full --data digits", "no weights at full"),
    "evaluate: weights alone": ("evaluate --weights plain.pth", "need both --model NAME and --weights FILE"),
    "sweep: severities backwards": ("sweep --severities 5-1", "severities go from 1 to 5"),
    "sweep: severities in words": ("sweep --severities all", "severities go from 1 to 5"),
    "sweep: frost for files": ("sweep --frost-root full --corrupted-root full", "--frost-root is for generated frost"),
    "sweep: run of another name": ("sweep --run sdnet2", "did you mean 'sdnet'?"),
    "sweep: fixed policy in words": ("sweep --lambda fixed=low", "'fixed=low' is no lambda"),
    "fit-lambda: noise with a letter too many": ("fit-lambda --noise gaussians", "did you mean 'gaussian'?"),
    "fit-lambda: no noise": ("fit-lambda --noise ,", "--noise is empty"),
    "fit-lambda: grid of two parts": ("fit-lambda --grid 0.1:0.5", "is no list of numbers"),
    "fit-lambda: grid backwards": ("fit-lambda --grid 1:0:0.1", "is no list of numbers"),
    "fit-lambda: grid without end": ("fit-lambda --grid 0:1:1e-9", "is no list of numbers"),
    "attack: two kinds": ("attack --pgd linf --attack fgsm", "--pgd and --attack exclude each other"),
    "attack: no steps": ("attack --attack pgd:steps=0", "steps=0 of the attack pgd must be above 0"),
    "attack: half a step": ("attack --attack pgd:steps=1.5", "steps=1.5 of the attack pgd"),
    "attack: setting without a value": ("attack --attack pgd:steps", "steps= of the attack pgd is no number"),
    "attack: budget by zero": ("attack --epsilon 1/0", "'1/0' is no attack budget"),
    "attack: budget that is no number": ("attack --epsilon nan", "'nan' is no attack budget"),
    "attack: step backwards": ("attack --step-size -0.1", "'-0.1' is no attack budget"),
    "attack: norm beside PGD's": ("attack --pgd linf --norm l2", "--norm belongs to --attack and --suite"),
    "attack: suite with a letter too many": ("attack --suite papers", "did you mean 'paper'?"),
    "attack: suite of a run that is not there": ("attack --suite paper --run nowhere", "No run 'nowhere'"),
    "attack: images into a folder": ("attack --protocols plain --save full", "--save full cannot be written to"),
    "attack: images below a file": ("attack --protocols plain --save notes.txt/a", "(notes.txt is a file)"),
    "attack: crafted on no run": ("attack --from nowhere", "No run 'nowhere'"),
    "attack: damaged results": ("attack --run damaged --steps 1", "is damaged or no result store"),
    "uap: norm below zero": ("uap --xi -1", "'-1' is no attack budget"),
    "uap: no norm": ("uap --xi ,", "--xi is empty"),
    "uap: norm in grey levels": ("uap --xi 10", "did you mean 10/255?"),
    "uap: protocol of attacks": ("uap --protocols fixed", "Unknown attack protocol 'fixed'"),
    "uap: run that is not there": ("uap --run nowhere", "No run 'nowhere'"),
    "random-noise: energy in words": ("random-noise --rho much", "--rho 'much' is no list of numbers"),
    "random-noise: energies backwards": ("random-noise --rho 0.2:0.1:0.01", "is no list of numbers"),
    "random-noise: unknown policy": ("random-noise --lambda adaptive-all", "Unknown lambda policy"),
    "report: one run of two": ("report sdnet nowhere", "No run 'nowhere'"),
    "report: baseline that is not there": ("report sdnet --baseline nowhere", "No run 'nowhere'"),
    "report: page in no folder": (
        "report --html nowhere/page.html",
        "--html nowhere/page.html cannot be written to (there is no folder nowhere)",
    ),
    "report: page in the place of a folder": ("report --html full", "--html full cannot be written to"),
    "report: page below a file": ("report --html notes.txt/page.html", "(notes.txt is a file)"),
    "report: file in the place of its folder": ("report --out notes.txt", "--out notes.txt cannot be written to"),
    "report: folder below a file": ("report --out notes.txt/a/b", "(notes.txt is a file)"),
    "merge: no target": ("merge sdnet", "robustcsc merge needs --into"),
    "merge: run with a letter less": ("merge sdnt --into all", "did you mean 'sdnet'?"),
    "merge: into itself": ("merge sdnet --into sdnet", "There is nothing to merge into 'sdnet'"),
    "merge: name with a blank": ("merge sdnet --into 'all of them'", "'all of them' cannot be the name of a run"),
    "merge: file as a target": ("merge sdnet --into notes.txt/all", "'notes.txt/all' cannot be the name of a run"),
    "leaderboard: folder that is not there": ("leaderboard nowhere", "There are no runs in nowhere"),
    "leaderboard: file as a folder": ("leaderboard notes.txt", "notes.txt cannot be read"),
    "leaderboard: tables in a file": ("leaderboard --out notes.txt", "--out notes.txt cannot be written to"),
    "leaderboard: runs without results": ("leaderboard empty", "No run in empty has results to rank"),
    "inspect: file in the place of its folder": ("inspect atoms --out notes.txt", "--out notes.txt cannot be written"),
    "inspect: run that is not there": ("inspect codes --run nowhere", "No run 'nowhere'"),
    "inspect: severity 7": ("inspect residuals --severities 7", "severities go from 1 to 5"),
    "inspect: own model without a file": ("inspect metric --model own:Plain --weights a.pth", "no weights at a.pth"),
    "data corrupt: file in the place of its folder": ("data corrupt --data digits --out notes.txt", "is a file"),
    "data corrupt: folder below a file": ("data corrupt --data digits --out notes.txt/c", "(notes.txt is a file)"),
    "data corrupt: severity 6": ("data corrupt --data digits --out c --severities 6", "severities go from 1 to 5"),
    "corruptions: drawing of nothing": ("corruptions --out a.png", "give an image with --preview IMAGE"),
    "corruptions: drawing in another format": ("corruptions --preview photo.png --out a.jpg", "must end in .png"),
    "corruptions: drawing in no folder": ("corruptions --preview photo.png --out no/a.png", "cannot be written to"),
    "corruptions: judging without clean images": ("corruptions --judge full", "type --judge CORRUPTED --clean CLEAN"),
    "corruptions: drawing over a folder": ("corruptions --preview photo.png --out full", "full cannot be written to"),
}  # fmt: skip

_GIVEN = "--weights plain.pth --data digits --limit 6"
_MEASURING = {
    "evaluate": "evaluate",
    "sweep": "sweep --corruptions gaussian_noise --severities 1",
    "attack": "attack --pgd linf --steps 1",
    "black box": "attack --attack square --queries 2",
    "random-noise": "random-noise --rho 0.1 --seeds 1",
    "uap": "uap --passes 1 --crafting-images 5 --seeds 1",
}
_TAKING_GRADIENTS = {
    "attack": "attack --pgd linf --steps 1",
    "attack in turn": "attack --attack square,fgsm --queries 2 --in-turn",
    "black box first": "attack --attack square,fgsm --queries 2",
    "smallest budget": "attack --attack fgsm --min-epsilon",
    "suite": "attack --suite paper --norm linf",
    "uap": "uap --passes 1 --crafting-images 5 --seeds 1",
    "attack that keeps images": "attack --pgd linf --steps 1 --protocols plain --save kept.safetensors",
}
#: Models, by what is wrong with them; ``{Late}`` and the like is the line on which one fails.
_WRONG = {
    "tuple": ("Tuple", _MEASURING, "own:Tuple returns a tuple of 0, 1: choose the logits, as in --output 0"),
    "eleven classes": ("Eleven", _MEASURING, "own:Eleven returned logits of shape (2, 11) for 2 images of 10 classes"),
    "half of the answers": ("Halved", _MEASURING, "must return"),
    "error in the middle": (
        "Late",
        _MEASURING,
        "failed: LookupError: no table for so many images ({place}/own.py, line {Late}); --debug shows",
    ),
    "no gradient": ("Detached", _TAKING_GRADIENTS, "No gradient reaches the images through the model"),
    "no gradient of images": ("Rounded", _TAKING_GRADIENTS, "No gradient reaches the images through the model"),
    "error in a gradient": (
        "Oneway",
        _TAKING_GRADIENTS,
        "failed: ArithmeticError: no way back ({place}/own.py, line {Oneway}); --debug shows",
    ),
}
#: The lines on which models and factories fail.
FAILING = {"Late": "raise LookupError", "Oneway": "raise Arithm", "refusing": "raise OSError", "leaving": "sys.exit"}

_LATE_CODES = "--model own:sparse_late --weights sparse.pth --data digits"
WITH_TORCH = {
    **{
        f"{command}: {wrong}": (f"{typed} --model own:{model} {_GIVEN}", sentence)
        for wrong, (model, commands, sentence) in _WRONG.items()
        for command, typed in commands.items()
    },
    "train: tuple": (
        "train own:Tuple --epochs 1",
        "own:Tuple returns a tuple of 0, 1: choose the logits, as in --output 0",
    ),
    "train: error in the middle": (
        "train own:Late --epochs 1",
        "failed: LookupError: no table for so many images ({place}/own.py, line {Late})",
    ),
    "train: half of the answers": ("train own:Halved --epochs 1", "logits of shape (32, 10) for 64 images"),
    "train: no gradient": ("train own:Detached --epochs 1", "No gradient reaches the weights of the model"),
    "train: error in a gradient": ("train own:Oneway --epochs 1 --tensorboard", "ArithmeticError: no way back"),
    "train: loss that is no number": (
        "train sdnet-digits --epochs 1 --learning-rate 1e30",
        "The loss of epoch 1 is not finite",
    ),
    "train: more images than there are": ("train sdnet-digits --train-images 5000", "A balanced subset of 5000 images"),
    "train: factory that fails": (
        "train own:refusing --run own",
        "OSError: no licence ({place}/own.py, line {refusing})",
    ),
    "train: factory that leaves": (
        "train own:leaving --run own",
        "SystemExit: no licence ({place}/own.py, line {leaving})",
    ),
    "evaluate: factory that fails": (f"evaluate --model own:refusing {_GIVEN}", "OSError: no licence ({place}/own.py"),
    "evaluate: factory that leaves": (f"evaluate --model own:leaving {_GIVEN}", "SystemExit: no licence"),
    "evaluate: data that are no data": ("evaluate --data imagefolder --root full", "full has no class folders"),
    "evaluate: images that cannot be read": (
        "evaluate --run sdnet --data imagefolder --root damaged",
        "None of the 10 images in damaged/test can be read",
    ),
    "evaluate: images of another size": (
        "evaluate --run sdnet --data imagefolder --root images --image-size 9",
        "made for images of 1x8x8 pixels in 10 classes, but images has 1x9x9",
    ),
    "evaluate: weights without data": ("evaluate --model own:Plain --weights plain.pth", "add --data NAME"),
    "evaluate: weights of another network": (
        "evaluate --model own:sparse --weights plain.pth --data digits",
        "weights of another architecture",
    ),
    "evaluate: text as weights": (
        "evaluate --model own:Plain --weights notes.txt --data digits",
        "notes.txt does not hold plain tensors",
    ),
    "fit-lambda: error in the middle": (f"fit-lambda {_LATE_CODES} --limit 9", "LookupError: no table for so many"),
    "fit-lambda: model without lambda": (
        "fit-lambda --model own:Plain --weights plain.pth --data digits",
        "own:Plain has no CSC layer",
    ),
    "attack: images over a file": ("attack --protocols plain --save notes.txt", "notes.txt exists already"),
    "attack: images of no attack": ("attack --score nowhere.safetensors", "There is no file nowhere.safetensors"),
    "attack: text as images": ("attack --run sdnet --score notes.txt", "notes.txt holds no adversarial images"),
    "sweep: files of nobody": (
        "sweep --run sdnet --corrupted-root full",
        "full holds no corruptions: they must lie in NAME.npy",
    ),
    "report: run without results": ("report bare", "Run 'bare' has no results to report yet"),
    "report: examples of images that are not there": (
        "report sdnet --examples 2 --data imagefolder --root nowhere",
        "nowhere is not a folder",
    ),
    "report: folder of someone else": ("report --out full", "holds 'thesis.tex' and was not written by a report"),
    "inspect: error in the middle": (f"inspect residuals {_LATE_CODES} --out tables", "LookupError: no table"),
    "inspect: layer that is not there": (
        "inspect atoms --run sdnet --layers nowhere --out tables",
        "There is no layer 'nowhere' to inspect",
    ),
    "data corrupt: files that are not images": (
        "data corrupt --data imagefolder --root damaged --out c",
        "None of the 10 images in damaged/test can be read",
    ),
    "data corrupt: folder of someone else": ("data corrupt --data digits --out full", "full holds files that were not"),
    "data corrupt: form that keeps names": (
        "data corrupt --data digits --out c --format imagenet-c",
        "digits has no file names, which the form imagenet-c keeps",
    ),
    "corruptions: judging a file": ("corruptions --judge notes.txt --clean full", "notes.txt is not a folder"),
    "corruptions: text as an image": ("corruptions --preview notes.txt", "notes.txt is not a readable image"),
}
