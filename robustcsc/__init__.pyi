"""The Python interface of robustcsc; each name is documented where it is defined."""

from .adaptive.fit import fit_lambda
from .attacks.gradient import pgd
from .corruptions.apply import corrupt
from .data.catalog import load
from .evaluation.attacks.plans import AttackRequest
from .evaluation.engines.cluster import RayCluster
from .experiments.running import plan_experiment, run_experiment
from .measurements.fits import LambdaFit
from .measurements.policies import Adaptive, FixedLambda, Oracle, Scope, TrainingLambda
from .measurements.records import Record
from .measurements.severity_tables import load_spec
from .measurements.threats import ThreatModel
from .models.convert import convert
from .session.choices import DataChoice
from .session.comparing import compare
from .session.measuring import Measuring, Results
from .session.merging import merge
from .session.models import BuildChoice
from .session.opening import open
from .session.reporting import report
from .session.session import Session
from .session.training import train
from .training.request import TrainingRequest

__version__: str

__all__ = [
    "Adaptive",
    "AttackRequest",
    "BuildChoice",
    "DataChoice",
    "FixedLambda",
    "LambdaFit",
    "Measuring",
    "Oracle",
    "RayCluster",
    "Record",
    "Results",
    "Scope",
    "Session",
    "ThreatModel",
    "TrainingLambda",
    "TrainingRequest",
    "compare",
    "convert",
    "corrupt",
    "fit_lambda",
    "load",
    "load_spec",
    "merge",
    "open",
    "pgd",
    "plan_experiment",
    "report",
    "run_experiment",
    "train",
]
