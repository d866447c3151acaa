"""`robustcsc evaluate` and `robustcsc sweep`."""

from __future__ import annotations

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen, Measured, choosing
from robustcsc.cli.render import show_results


@choosing
def evaluate(
    *,
    chosen: Chosen,
    limit: options.Limit = None,
    policies: options.LambdaPolicies = "",
    measured: Measured,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy on uncorrupted test images."""
    asked = options.policies(policies)
    with measured.session(chosen, limit) as session:
        results = session.evaluate(policies=asked)
    show_results(session.run, results, as_json)


@choosing
def sweep(
    *,
    chosen: Chosen,
    limit: options.Limit = None,
    corruptions: options.Corruptions = None,
    severities: options.Severities = options.ALL_SEVERITIES,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    corrupted_root: options.CorruptedRoot = None,
    as_published: options.AsPublished = True,
    policies: options.LambdaPolicies = "",
    measured: Measured,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy under corruptions at five severities, and on clean images.

    Every cell is stored as soon as it is measured: rerun an interrupted sweep to resume it.
    """
    if corrupted_root is not None and frost_root is not None:
        raise options.OptionError("--frost-root is for generated frost: leave it out where --corrupted-root is given.")
    if corrupted_root is not None and not as_published:
        raise options.OptionError("--float is for generated corruptions: leave it out where --corrupted-root is given.")
    options.check_corruptions(corruptions, spec, frost_root)
    asked = options.policies(policies)
    with measured.session(chosen, limit) as session:
        results = session.sweep(
            corruptions=corruptions,
            severities=severities,
            policies=asked,
            spec=session.severity_table(spec, frost_root),
            corrupted_root=corrupted_root,
            as_published=as_published,
            seed=seed,
        )
    show_results(session.run, results, as_json)
