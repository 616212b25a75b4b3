"""vardax: data assimilation with amortized analyses.

`import vardax_core as vardax` loads nothing; a name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flows.notebook import run as run
    from vardax_core.analysis.adapter import AnalysisAdapter as AnalysisAdapter
    from vardax_core.analysis.amortized.config import AmortizedConfig as AmortizedConfig
    from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder as ConvObsEncoder
    from vardax_core.analysis.amortized.encoders import AbstractObsEncoder as AbstractObsEncoder
    from vardax_core.analysis.amortized.encoders import IdentityObsEncoder as IdentityObsEncoder
    from vardax_core.analysis.amortized.encoders import MLPObsEncoder as MLPObsEncoder
    from vardax_core.analysis.amortized.heads.base import (
        AbstractPosteriorHead as AbstractPosteriorHead,
    )
    from vardax_core.analysis.amortized.heads.eof_flow import EOFFlowHead as EOFFlowHead
    from vardax_core.analysis.amortized.heads.flow import ConditionalFlowHead as ConditionalFlowHead
    from vardax_core.analysis.amortized.heads.regression import RegressionHead as RegressionHead
    from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead as ScoreDiffusionHead
    from vardax_core.analysis.amortized.posterior import AmortizedPosterior as AmortizedPosterior
    from vardax_core.analysis.amortized.set_encoder import SetObsEncoder as SetObsEncoder
    from vardax_core.analysis.amortized.step import PosteriorAnalysisStep as PosteriorAnalysisStep
    from vardax_core.analysis.amortized.support import Box as Box
    from vardax_core.analysis.amortized.support import Simplex as Simplex
    from vardax_core.analysis.amortized.support import box as box
    from vardax_core.notebook.tree import open_tree as open  # noqa: F401
    from vardax_core.types import Analysis as Analysis
    from vardax_core.types import Batch1D as Batch1D
    from vardax_core.types import Batch2D as Batch2D
    from vardax_core.types import Batch2DMultivar as Batch2DMultivar
    from vardax_core.types import Observations as Observations

_AMORTIZED = "vardax_core.analysis.amortized"
_NAMES = {
    "AbstractObsEncoder": f"{_AMORTIZED}.encoders",
    "AbstractPosteriorHead": f"{_AMORTIZED}.heads.base",
    "AmortizedConfig": f"{_AMORTIZED}.config",
    "AmortizedPosterior": f"{_AMORTIZED}.posterior",
    "Analysis": "vardax_core.types",
    "AnalysisAdapter": "vardax_core.analysis.adapter",
    "Batch1D": "vardax_core.types",
    "Batch2D": "vardax_core.types",
    "Batch2DMultivar": "vardax_core.types",
    "Box": f"{_AMORTIZED}.support",
    "ConditionalFlowHead": f"{_AMORTIZED}.heads.flow",
    "ConvObsEncoder": f"{_AMORTIZED}.conv_encoder",
    "EOFFlowHead": f"{_AMORTIZED}.heads.eof_flow",
    "IdentityObsEncoder": f"{_AMORTIZED}.encoders",
    "MLPObsEncoder": f"{_AMORTIZED}.encoders",
    "Observations": "vardax_core.types",
    "PosteriorAnalysisStep": f"{_AMORTIZED}.step",
    "RegressionHead": f"{_AMORTIZED}.heads.regression",
    "ScoreDiffusionHead": f"{_AMORTIZED}.heads.score",
    "SetObsEncoder": f"{_AMORTIZED}.set_encoder",
    "Simplex": f"{_AMORTIZED}.support",
    "box": f"{_AMORTIZED}.support",
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    if name == "open":
        importlib.import_module("vardax_core.notebook.accessor")
        found = importlib.import_module("vardax_core.notebook.tree").open_tree
    elif name == "run":
        importlib.import_module("vardax_core.command").use_home()
        importlib.import_module("vardax_core.notebook.accessor")
        found = importlib.import_module("flows.notebook").run
    elif name in _NAMES:
        found = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, "open", "run"})
