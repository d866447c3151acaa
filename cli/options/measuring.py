"""Options that say how to measure, and what to print."""

from typing import Annotated, Any, Literal

from robustcsc.cli.options import completion
from robustcsc.cli.options.panels import in_compute, in_lambda, in_output
from robustcsc.cli.options.values import any_batch_size
from robustcsc.measurements import records

LambdaPolicies = Annotated[
    str,
    in_lambda(
        "--lambda",
        metavar="LIST",
        autocompletion=completion.policy_lists,
        help="How lambda is chosen, commas between several: train, adaptive (once per data set), adaptive-batch, "
        "adaptive-image, blind (per image, for unknown noise), oracle (uses the test labels), fixed=NUMBER (or with "
        "commas one per layer), grid (every value, for lambda curves). By default train, and adaptive and blind if "
        "there are fits.",
    ),
]
TestTime = Annotated[
    str,
    in_lambda(
        "--test-time",
        metavar="LIST",
        autocompletion=completion.adaptation_lists,
        help="What else is done at test time, commas between several, each with every --lambda: none, "
        "shift (the shift of the batch against clean images is undone), bn "
        "(batch-norm statistics of the test batch), tent (entropy minimisation), denoise-wavelet, denoise-tv, "
        "denoise-nlm. Settings stand behind colons, like bn:batch=16:prior=64:order=class or "
        "tent:steps=3:episodic=true.",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], in_compute("--device", help="Where to compute; auto takes a GPU if there is one.")
]
Threads = Annotated[
    int | None,
    in_compute(
        "--threads",
        metavar="N",
        min=1,
        help="Threads on the CPU; by default those of OMP_NUM_THREADS, or one for each processor that other programs "
        "leave free.",
    ),
]
Workers = Annotated[
    int | None,
    in_compute(
        "--workers",
        metavar="N",
        min=1,
        help="Processes that measure at once; the threads are divided among them, and of several GPUs each has one. By "
        "default one, and on a Ray cluster as many as it has room for, with a thread each.",
    ),
]
EngineName = Annotated[
    Literal["local", "ray"],
    in_compute("--engine", help="Who measures: this machine, or a Ray cluster, which needs robustcsc[ray]."),
]
Address = Annotated[
    str | None,
    in_compute(
        "--address",
        metavar="HOST:PORT",
        help="The head node of the Ray cluster, or auto on one of its nodes; by default that of RAY_ADDRESS, or else "
        "Ray is started here and ends with the command.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    in_compute(
        "--gpus-per-worker",
        metavar="N",
        min=0,
        max=1,
        help="Share of a GPU that each worker on the Ray cluster takes, like 1 or 0.5; with 0 it computes on a CPU. By "
        "default 1 with a GPU here, else 0.",
    ),
]
Precision = Annotated[
    records.Precision,
    in_compute(
        "--precision",
        help="fp32, or bf16: bfloat16 where autocast deems it safe, with results and lambda fits of its own; fast on "
        "GPUs, and on processors that have it.",
    ),
]
BatchSize = Annotated[int, in_compute("--batch-size", metavar="N", min=1, help="Images per step.")]
AnyBatchSize = Annotated[
    Any,  # typer knows no unions
    in_compute(
        "--batch-size",
        metavar="N",
        parser=any_batch_size,
        help="Images per step, or auto: as many as the memory has room for.",
    ),
]
Seed = Annotated[int, in_compute("--seed", metavar="N", min=0, max=2**31 - 1, help="Seed of everything random.")]
Remeasure = Annotated[bool, in_output("--remeasure", help="Measure again what the run has measured already.")]
DryRun = Annotated[
    bool,
    in_output("--dry-run", help="Show what would be measured, and about how long it takes; write nothing."),
]
Json = Annotated[bool, in_output("--json", help="Print the result as JSON.")]
