"""vardax: data assimilation with amortized analyses."""

__version__ = "0.1.0"

from vardax_core.analysis.adapter import AnalysisAdapter as AnalysisAdapter
from vardax_core.analysis.amortized.config import AmortizedConfig as AmortizedConfig
from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder as ConvObsEncoder
from vardax_core.analysis.amortized.encoders import AbstractObsEncoder as AbstractObsEncoder
from vardax_core.analysis.amortized.encoders import IdentityObsEncoder as IdentityObsEncoder
from vardax_core.analysis.amortized.encoders import MLPObsEncoder as MLPObsEncoder
from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead as AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.eof_flow import EOFFlowHead as EOFFlowHead
from vardax_core.analysis.amortized.heads.flow import ConditionalFlowHead as ConditionalFlowHead
from vardax_core.analysis.amortized.heads.regression import RegressionHead as RegressionHead
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead as ScoreDiffusionHead
from vardax_core.analysis.amortized.posterior import AmortizedPosterior as AmortizedPosterior
from vardax_core.analysis.amortized.set_encoder import SetObsEncoder as SetObsEncoder
from vardax_core.analysis.amortized.step import PosteriorAnalysisStep as PosteriorAnalysisStep
from vardax_core.types import Analysis as Analysis
from vardax_core.types import Batch1D as Batch1D
from vardax_core.types import Batch2D as Batch2D
from vardax_core.types import Batch2DMultivar as Batch2DMultivar
from vardax_core.types import Observations as Observations
