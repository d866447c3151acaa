"""Options that several commands share: one name, one help text, one way to read the value.

A command uses an alias as the type of its parameter and gives the default itself: `seed: Seed = 0`.
"""

from robustcsc.cli.options.corruptions import (
    AsPublished,
    CorruptedRoot,
    Corruptions,
    FrostRoot,
    Severities,
    Spec,
    check_corruptions,
)
from robustcsc.cli.options.data import (
    AnswersAmong,
    Classes,
    ClassOrder,
    Data,
    Download,
    ImageSize,
    Limit,
    Readers,
    Root,
)
from robustcsc.cli.options.measuring import (
    Address,
    AnyBatchSize,
    BatchSize,
    Device,
    DryRun,
    EngineName,
    GpusPerWorker,
    Json,
    LambdaPolicies,
    Precision,
    Remeasure,
    Seed,
    TestTime,
    Threads,
    Workers,
)
from robustcsc.cli.options.model import Mean, Model, ModelOption, Output, Run, Runs, Std, Weights
from robustcsc.cli.options.panels import in_compute, in_corruptions, in_data, in_lambda, in_model, in_output, writable
from robustcsc.cli.options.values import (
    ALL_SEVERITIES,
    OptionError,
    SeverityTuple,
    adaptations,
    builder_options,
    noises,
    numbers,
    per_channel,
    policies,
    protocols,
    some,
    words,
)
